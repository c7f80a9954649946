"""Two runs' values of one measure over the same patients: differences, their interval, Wilcoxon's test, and wins.

What has no value, what is infinite, and what ties are is said here once. A difference is always the second run's
value less the first's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap, rankdata

Values = npt.NDArray[np.float64]
Better = Literal["higher", "lower"]

LEVEL: Final = 0.95
ALPHA: Final = 0.05
RESAMPLES: Final = 10_000
MIN_FOR_INTERVAL: Final = 6
"""Below, all differences have one sign by mere chance in more than 5 % of all comparisons of equals, 2 / 2 ** n, and a
bootstrap interval then leaves out 0: it is none of 95 %."""
EXACT_UP_TO: Final = 500
"""Wilcoxon's distribution is counted out for so many differences; it takes n ** 3 steps."""
DECIMALS: Final = 9
"""Differences are rounded to so many: reports hold six digits, and 0.9 - 0.8 must tie with 0.8 - 0.7."""


@dataclass(frozen=True)
class PairedDifference:
    """What one measure says of two runs.

    Attributes:
        n_pairs: Patients whom both reports have.
        n: Those of them for whom both have a value: what all else rests on. An infinite distance is a value.
        n_infinite: Those of the n for whom either value is infinite. They count in median, wins, ties, losses and p;
            where there are any, there are no means and no interval: these are NaN.
        mean_a, mean_b: Means of either run over the n.
        difference: Mean of b - a.
        low, high: Its 95 % interval by bootstrap over patients (BCa); NaN below `MIN_FOR_INTERVAL` patients.
        median_difference: Median of b - a; NaN where it falls between two that are infinite to both sides.
        wins, ties, losses: Patients for whom b is better, equal, worse. They sum to n.
        p: Two-sided, Wilcoxon's signed-rank test; NaN without a pair.
        p_exact: Whether it is counted out, or the normal approximation (over `EXACT_UP_TO` patients).
    """

    n_pairs: int
    n: int
    n_infinite: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    median_difference: float
    wins: int
    ties: int
    losses: int
    p: float
    p_exact: bool

    @property
    def n_without_value(self) -> int:
        """Pairs in which either run has no value: they are in nothing but this number."""
        return self.n_pairs - self.n

    @property
    def is_shown(self) -> bool:
        """Whether a difference is shown: its interval leaves out 0, and p is below 0.05.

        Either alone can mislead: the interval of a mean leaves out 0 where 4 of 16 differ and all to one side (p
        0.125); p says nothing of the mean where one patient outweighs many.
        """
        return (self.low > 0.0 or self.high < 0.0) and self.p < ALPHA


def paired_difference(a: Sequence[float], b: Sequence[float], better: Better, seed: int = 0) -> PairedDifference:
    """Compare two runs' values of one measure.

    Args:
        a: The first run's values, one a patient; NaN where there is none.
        b: The second's, of the same patients in the same order.
        better: Which values are the better ones.
        seed: Of the bootstrap's draws.

    Returns:
        See `PairedDifference`. Of no pair with a value: NaN throughout.

    Raises:
        ValueError: If the two differ in length.
    """
    of_a, of_b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if of_a.shape != of_b.shape or of_a.ndim != 1:
        raise ValueError(f"{of_a.shape} and {of_b.shape} values: one a patient in each, in the same order")
    valued = ~(np.isnan(of_a) | np.isnan(of_b))
    of_a, of_b = of_a[valued], of_b[valued]
    infinite = int((np.isinf(of_a) | np.isinf(of_b)).sum())
    difference = differences(of_a, of_b)
    low, high = mean_interval(difference, seed) if not infinite else (math.nan, math.nan)
    p, exact = wilcoxon(difference)
    gain = difference if better == "higher" else -difference
    return PairedDifference(
        n_pairs=len(valued),
        n=len(difference),
        n_infinite=infinite,
        mean_a=_mean(of_a),
        mean_b=_mean(of_b),
        difference=_mean(difference),
        low=low,
        high=high,
        median_difference=median(difference),
        wins=int((gain > 0).sum()),
        ties=int((gain == 0).sum()),
        losses=int((gain < 0).sum()),
        p=p,
        p_exact=exact,
    )


def differences(a: Values, b: Values) -> Values:
    """b - a, rounded to `DECIMALS`; of two infinite values, which are equally bad, 0."""
    out = np.zeros_like(a)
    np.subtract(b, a, out=out, where=a != b)
    rounded: Values = np.round(out, DECIMALS)
    return rounded


def mean_interval(
    difference: Values, seed: int = 0, n_resamples: int = RESAMPLES, at_least: int = MIN_FOR_INTERVAL
) -> tuple[float, float]:
    """The 95 % interval of the mean of finite differences by the bias-corrected, accelerated bootstrap (Efron 1987).

    The patients are drawn, each with his pair of values. Where all differ by the same, it is that value.

    Returns:
        Lower and upper end; NaN for fewer than `at_least` values.
    """
    if len(difference) < at_least:
        return math.nan, math.nan
    if np.ptp(difference) == 0.0:  # the correction divides by their spread
        return float(difference[0]), float(difference[0])
    chance = np.random.default_rng(seed)
    drawn = bootstrap(
        (difference,),
        np.mean,
        n_resamples=n_resamples,
        batch=1000,
        confidence_level=LEVEL,
        method="BCa",
        random_state=chance,
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def wilcoxon(difference: Values) -> tuple[float, bool]:
    """Two-sided p of Wilcoxon's signed-rank test (1945), and whether it is exact.

    Differences of 0 are left out and equal sizes share their mean rank, both as Wilcoxon has it. The distribution over
    all 2 ** n signs is counted out for these very ranks, ties and all, so p is exact also for counts, where a normal
    approximation errs most (of two differences it gives 0.16 for 0.5); libraries count it out only without ties.

    Returns:
        p, 1 where every difference is 0, and NaN without any; True where it is exact.
    """
    if not len(difference):
        return math.nan, True
    nonzero = difference[difference != 0.0]
    # Twice the ranks are whole numbers. Infinite sizes are the largest, and tie.
    ranks = np.rint(2.0 * rankdata(np.abs(nonzero))).astype(np.int64)
    total, plus = int(ranks.sum()), int(ranks[nonzero > 0].sum())
    if len(nonzero) > EXACT_UP_TO:
        z = (plus - total / 2.0) / math.sqrt(float((ranks.astype(np.float64) ** 2).sum()) / 4.0)
        return math.erfc(abs(z) / math.sqrt(2.0)), False
    share: Values = np.zeros(total + 1)  # of all signs so far, those whose positive ranks sum to the index
    share[0] = 1.0
    for rank in ranks:
        with_it = np.zeros_like(share)
        with_it[rank:] = share[: len(share) - rank]
        share = (share + with_it) / 2.0
    return min(1.0, 2.0 * float(share[: min(plus, total - plus) + 1].sum())), True


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjustment (1979) of a family's p: reject where it is below 0.05, and any false rejection has 5 % at most.

    NaN stays NaN and counts for nothing in the family.
    """
    order = sorted((i for i, one in enumerate(p) if not math.isnan(one)), key=lambda i: p[i])
    adjusted, highest = [math.nan] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def median(values: Values) -> float:
    """The median; NaN of none, and half-way between two that are infinite to both sides."""
    if not len(values):
        return math.nan
    ordered = np.sort(values)
    low, high = float(ordered[(len(ordered) - 1) // 2]), float(ordered[len(ordered) // 2])
    return low if low == high else (low + high) / 2.0  # inf - inf is NaN, and Python warns of nothing


def _mean(values: Values) -> float:
    return float(values.mean()) if len(values) and np.isfinite(values).all() else math.nan
