"""Bland and Altman's limits by hand, ratios where the spread grows, Lin's concordance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from bisc.evaluation.agreement import agreement, concordance, limits_of_agreement


def test_limits_of_four_by_hand() -> None:
    """Differences 1, 3, -1, 1: mean 1, squares 0 + 4 + 4 + 0 over 3, so s = sqrt(8 / 3) = 1.633."""
    found = agreement([10.0, 20.0, 30.0, 40.0], [11.0, 23.0, 29.0, 41.0])
    s = math.sqrt(8 / 3)
    limits = found.limits
    assert limits.n == 4
    assert limits.bias.value == 1.0
    assert [limits.lower.value, limits.upper.value] == pytest.approx([1 - 1.96 * s, 1 + 1.96 * s])
    times = 3.182446  # Student's t, 3 degrees of freedom, 97.5 %
    assert limits.bias.high - 1.0 == pytest.approx(times * s / 2, rel=1e-6)
    # s^2 (1/4 + 1.96^2 / 6) = 8/3 * 0.890267 = 2.374044
    assert limits.upper.high - limits.upper.value == pytest.approx(times * math.sqrt(2.374044), rel=1e-6)
    assert limits.lower.value - limits.lower.low == pytest.approx(times * math.sqrt(2.374044), rel=1e-6)
    assert (found.grows, found.ratio, found.n_zero) == (False, None, 0)


def test_bland_and_altmans_own_peak_flow() -> None:
    """The 17 subjects of the Lancet of 1986, first readings: bias -2.1, s 38.8, limits -78.1 and 73.9 l/min."""
    wright = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    limits = agreement(mini, wright).limits
    assert limits.bias.value == pytest.approx(-2.1, abs=0.05)
    # The paper multiplies by 2 there: -2.1 -/+ 77.6.
    assert (limits.upper.value - limits.bias.value) / 1.96 == pytest.approx(38.8, abs=0.05)


def test_turning_it_round_flips_the_signs(rng: np.random.Generator) -> None:
    x, y = rng.uniform(1, 100, 20), rng.uniform(1, 100, 20)
    there, back = agreement(x, y), agreement(y, x)
    assert back.limits.bias.value == pytest.approx(-there.limits.bias.value)
    assert [back.limits.lower.low, back.limits.upper.high] == pytest.approx(
        [-there.limits.upper.high, -there.limits.lower.low]
    )
    assert back.slope.value == pytest.approx(-there.slope.value)
    assert back.concordance == pytest.approx(there.concordance)


def test_a_spread_that_grows_is_told_as_ratios(rng: np.random.Generator) -> None:
    """Errors of a fifth of each volume: factors e^(-/+ 1.96 s), whatever the volume; a volume of 0 has none."""
    x = np.geomspace(1.0, 500.0, 60).astype(np.float64)
    y = x * np.exp(rng.normal(0.1, 0.2, 60))
    found = agreement([*x, 3.0], [*y, 0.0])
    assert found.grows
    assert found.ratio is not None
    assert (found.ratio.n, found.n_zero) == (60, 1)
    logs = np.log(y / x)
    assert found.ratio.bias.value == pytest.approx(np.exp(logs.mean()))
    assert found.ratio.upper.value == pytest.approx(np.exp(logs.mean() + 1.96 * logs.std(ddof=1)))
    assert found.ratio.bias.low < found.ratio.bias.value < found.ratio.bias.high
    even = agreement(x, x + rng.normal(0.0, 2.0, 60))
    assert not even.grows
    assert even.ratio is None
    assert agreement(x, x + 1.0, with_ratio=True).ratio is not None


def test_a_bias_is_no_spread_that_grows(rng: np.random.Generator) -> None:
    """A fifth too much everywhere, scatter the same: even. A scatter that grows is seen behind whatever bias."""
    x = np.geomspace(10.0, 500.0, 80).astype(np.float64)
    scatter = rng.normal(0.0, 1.0, 80)
    assert not agreement(x, 1.2 * x + 3.0 * scatter).grows
    assert agreement(x, x + 15.0 + (1.0 + 0.1 * x) * scatter).grows
    assert agreement(x, 0.85 * x + 20.0 + 0.1 * x * scatter).grows


def test_a_bias_that_grows_is_a_slope() -> None:
    """y = 1.1 x - 1: the difference rises by 0.1 / 1.05 for each unit of the mean, without scatter."""
    x = np.linspace(10.0, 100.0, 10).astype(np.float64)
    slope = agreement(x, 1.1 * x - 1.0).slope
    assert [slope.value, slope.low, slope.high] == pytest.approx([0.1 / 1.05] * 3, abs=1e-6)


def test_concordance_by_hand() -> None:
    """x 1, 2, 3 and y 2, 3, 4: covariance 2/3, variances 2/3 each, means 1 apart: 4/3 over 4/3 + 1."""
    assert concordance(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0])) == pytest.approx((4 / 3) / (7 / 3))
    assert concordance(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 1.0
    assert math.isnan(concordance(np.array([1.0, 1.0]), np.array([1.0, 1.0])))


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_too_few(n: int) -> None:
    """No limits of one, no intervals of two."""
    found = agreement([1.0, 2.0, 4.0][:n], [1.5, 2.0, 3.0][:n])
    assert math.isnan(found.limits.bias.value) == (n == 0)
    assert math.isnan(found.limits.lower.value) == (n < 2)
    assert math.isnan(found.limits.lower.low) == (n < 3)
    assert math.isnan(found.slope.value) == (n < 3)


def test_limits_cover_what_they_say(rng: np.random.Generator) -> None:
    """The interval of a limit holds the true one in about 95 of 100 (Bland and Altman's variance)."""
    truth = 1.96
    held = 0
    for _ in range(1000):
        upper = limits_of_agreement(rng.normal(0.0, 1.0, 30)).upper
        held += upper.low <= truth <= upper.high
    assert 0.93 < held / 1000 < 0.97
    assert t.ppf(0.975, 3) == pytest.approx(3.182446)
