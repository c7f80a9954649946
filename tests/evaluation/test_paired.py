"""Paired differences by hand, and what must hold of them whatever the numbers: signs, ties, what has no value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bisc.evaluation.paired import (
    EXACT_UP_TO,
    MIN_FOR_INTERVAL,
    PairedDifference,
    differences,
    holm,
    mean_interval,
    paired_difference,
    wilcoxon,
)

NAN, INF = math.nan, math.inf
SHARES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12)


def test_four_patients_by_hand() -> None:
    """Differences 0.1, -0.2, 0.3, 0: means 0.5 and 0.55; of the ranks 1, 2, 3 those above 0 sum to 4."""
    found = paired_difference([0.5, 0.6, 0.4, 0.5], [0.6, 0.4, 0.7, 0.5], "higher")
    assert (found.n_pairs, found.n, found.n_without_value, found.n_infinite) == (4, 4, 0, 0)
    assert [found.mean_a, found.mean_b, found.difference, found.median_difference] == pytest.approx(
        [0.5, 0.55, 0.05, 0.05]
    )
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    # Of the 8 ways to sign 1, 2, 3 the lower sum is at most 2 in 3 (none, 1, 2), and as often the upper: 6 / 8.
    assert (found.p, found.p_exact) == (0.75, True)
    assert math.isnan(found.low)
    assert not found.is_shown


def test_lower_is_better_turns_wins_alone() -> None:
    found = paired_difference([5.0, 5.0, 5.0], [4.0, 5.0, 9.0], "lower")
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert found.difference == 1.0


def test_what_has_no_value_is_counted() -> None:
    """A NaN on either side takes the pair out of everything but its number."""
    found = paired_difference([NAN, 0.5, 0.5, NAN], [0.5, NAN, 0.6, NAN], "higher")
    assert (found.n_pairs, found.n, found.n_without_value) == (4, 1, 3)
    assert (found.mean_a, found.mean_b, found.difference) == pytest.approx((0.5, 0.6, 0.1))
    assert (found.wins, found.ties, found.losses) == (1, 0, 0)
    nothing = paired_difference([NAN], [0.5], "higher")
    assert (nothing.n_pairs, nothing.n, nothing.wins) == (1, 0, 0)
    assert all(math.isnan(v) for v in (nothing.difference, nothing.p, nothing.median_difference, nothing.low))


def test_infinite_distances_count_as_the_largest() -> None:
    """In wins, ties, median and ranks; a mean of them is none."""
    finite = paired_difference([1.0, 2.0, 3.0, 4.0], [2.0, 9.0, 1.0, 4.0], "lower")
    infinite = paired_difference([1.0, 2.0, 3.0, INF], [2.0, INF, 1.0, INF], "lower")
    assert (infinite.n, infinite.n_infinite) == (4, 2)
    assert (infinite.wins, infinite.ties, infinite.losses) == (finite.wins, finite.ties, finite.losses) == (1, 1, 2)
    assert infinite.p == finite.p
    assert infinite.median_difference == finite.median_difference == 0.5
    assert all(math.isnan(v) for v in (infinite.mean_b, infinite.difference, infinite.low, infinite.high))
    assert not infinite.is_shown
    assert math.isnan(paired_difference([INF, 1.0], [1.0, INF], "lower").median_difference)


def test_differences_that_print_alike_tie() -> None:
    """0.9 - 0.8 and 0.8 - 0.7 differ in the last bit."""
    a, b = np.array([0.8, 0.7, 0.8]), np.array([0.9, 0.8, 0.7])
    assert len({float(v) for v in np.abs(b - a)}) > 1
    assert len({float(v) for v in np.abs(differences(a, b))}) == 1


def by_enumeration(values: Sequence[float]) -> float:
    """Wilcoxon's p by all signs there are."""
    nonzero = [v for v in values if v]
    ranks = stats.rankdata(np.abs(nonzero))
    centre = ranks.sum() / 2
    found = abs(ranks[np.array(nonzero) > 0].sum() - centre)
    sums = [abs(ranks[np.array(signs, bool)].sum() - centre) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return float(np.mean([one >= found - 1e-9 for one in sums]))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_wilcoxon_with_ties_is_that_of_all_signs(values: list[int]) -> None:
    """Small counts: nothing but ties."""
    p, exact = wilcoxon(np.array(values, float))
    assert exact
    assert p == pytest.approx(by_enumeration(values) if any(values) else 1.0)


@pytest.mark.parametrize("n", [6, 25, 50])
def test_wilcoxon_without_ties_is_scipys(n: int, rng: np.random.Generator) -> None:
    values = rng.normal(0.3, 1.0, n)
    assert wilcoxon(values)[0] == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


def test_wilcoxon_of_many_is_the_normal_approximation(rng: np.random.Generator) -> None:
    """With ties, as scipy corrects for them; and near what is counted out at the border."""
    values = np.round(rng.normal(0.05, 1.0, EXACT_UP_TO + 100), 1)
    p, exact = wilcoxon(values)
    assert not exact
    assert p == pytest.approx(stats.wilcoxon(values, method="approx").pvalue)
    border = rng.normal(0.05, 1.0, EXACT_UP_TO)
    counted, exact = wilcoxon(border)
    assert exact
    assert counted == pytest.approx(stats.wilcoxon(border, method="approx").pvalue, abs=2e-3)


def turned(found: PairedDifference) -> list[float]:
    return [-found.difference, -found.median_difference, -found.high, -found.low, found.losses, found.ties, found.wins]


@given(SHARES)
def test_swapping_the_runs_flips_every_sign_and_keeps_p(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    there, back = paired_difference(a, b, "higher"), paired_difference(b, a, "higher")
    straight = [back.difference, back.median_difference, back.low, back.high, back.wins, back.ties, back.losses]
    assert straight == pytest.approx(turned(there), abs=1e-9, nan_ok=True)
    assert there.p == back.p
    assert (there.mean_a, there.mean_b) == (back.mean_b, back.mean_a)
    assert there.wins + there.ties + there.losses == there.n == len(pairs)


def test_an_interval_is_the_same_each_time_and_needs_patients(rng: np.random.Generator) -> None:
    values = rng.normal(0.1, 1.0, 30)
    assert mean_interval(values, 3) == mean_interval(values, 3) != mean_interval(values, 4)
    assert all(math.isnan(end) for end in mean_interval(values[: MIN_FOR_INTERVAL - 1]))
    assert not any(math.isnan(end) for end in mean_interval(values[:MIN_FOR_INTERVAL]))
    assert mean_interval(np.full(9, 0.25)) == (0.25, 0.25)
    low, high = mean_interval(values)
    assert low < values.mean() < high
    # Of 30 near-normal values it is Student's, nearly.
    margin = stats.t.ppf(0.975, 29) * values.std(ddof=1) / 30**0.5
    assert (high - low) / 2 == pytest.approx(margin, rel=0.1)


def test_the_interval_covers_the_truth(rng: np.random.Generator) -> None:
    """Of 300 simulated comparisons of 25 patients, near 95 %; skewed, as Dice is (a few lost badly)."""
    covered = 0
    for seed in range(300):
        values = 0.02 - rng.exponential(0.05, 25) + 0.05  # mean 0.02
        low, high = mean_interval(values, seed, n_resamples=400)
        covered += low <= 0.02 <= high
    assert 0.88 < covered / 300 < 0.98


def test_a_few_that_differ_show_nothing() -> None:
    """4 of 16 differ and all to one side: the interval leaves out 0, the test says 0.125."""
    found = paired_difference([0.0] * 16, [1.0] * 4 + [0.0] * 12, "lower")
    assert found.low > 0.0
    assert found.p == 0.125
    assert not found.is_shown
    assert paired_difference([0.0] * 16, [1.0] * 9 + [0.0] * 7, "lower").is_shown


def test_holm_by_hand() -> None:
    """0.01 x 3; 0.03 x 2; 0.04 x 1 would be below the one before."""
    assert holm([0.04, 0.01, NAN, 0.03]) == pytest.approx([0.06, 0.03, NAN, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_lists_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one a patient"):
        paired_difference([0.1], [0.1, 0.2], "higher")
