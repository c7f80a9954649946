"""How two ways of measuring a volume agree: bias, limits of agreement, and concordance.

Sources: J M Bland, D G Altman, "Statistical methods for assessing agreement between two methods of clinical
measurement", Lancet 1986; the same, "Measuring agreement in method comparison studies", Stat Methods Med Res 1999
(intervals of the limits, limits as ratios where the spread grows); L I-K Lin, "A concordance correlation coefficient to
evaluate reproducibility", Biometrics 1989.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import linregress, spearmanr, t

from bisc.evaluation.paired import ALPHA, LEVEL

Values = npt.NDArray[np.float64]
Z: Final = 1.96
MIN_FOR_RATIO: Final = 6
"""Fewer pairs do not show how their spread goes."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


NOTHING: Final = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Limits:
    """Between which two measurements of a patient differ in 95 of 100, were the differences normal.

    Attributes:
        n: Patients.
        bias: Mean difference.
        lower, upper: bias -/+ 1.96 standard deviations of the differences.
    """

    n: int
    bias: Estimate
    lower: Estimate
    upper: Estimate


@dataclass(frozen=True)
class Agreement:
    """How measurements y agree with measurements x of the same patients.

    Attributes:
        limits: Of y - x, in the measurements' unit.
        slope: By how much y - x rises for each unit of their mean; beyond 0 the bias grows or falls with the size.
        grows: Whether the differences' spread grows with the mean (Spearman's rank correlation of their size with the
            mean is above 0, p below 0.05): limits in ml are then too wide for the small and too narrow for the large.
        ratio: Limits of y / x (by their logarithms) over pairs of two above 0; None where the
            spread does not grow and it was not asked for.
        n_zero: Pairs that have no ratio, since one of the two is 0.
        concordance: Lin's coefficient: 1 where all y = x, 0 where they are unrelated; NaN where nothing varies.
    """

    limits: Limits
    slope: Estimate
    grows: bool
    ratio: Limits | None
    n_zero: int
    concordance: float


def agreement(x: Sequence[float] | Values, y: Sequence[float] | Values, with_ratio: bool = False) -> Agreement:
    """Compare two measurements of each patient, such as the reference's volume and the predicted one, in ml.

    Args:
        x: Measurements of at least 0, all finite.
        y: The same patients', in the same order.
        with_ratio: Give limits of the ratio even where the spread does not grow.

    Returns:
        See `Agreement`; NaN throughout where there are too few: two for limits, three for intervals.

    Raises:
        ValueError: If the two differ in length.
    """
    of_x, of_y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if of_x.shape != of_y.shape:
        raise ValueError(f"{of_x.shape} and {of_y.shape} measurements: one a patient in each")
    difference, mean = of_y - of_x, (of_x + of_y) / 2.0
    positive = (of_x > 0.0) & (of_y > 0.0)
    grows = _grows(difference, mean)
    ratio = None
    if (grows or with_ratio) and positive.sum() >= MIN_FOR_RATIO:
        ratio = _back(limits_of_agreement(np.log(of_y[positive]) - np.log(of_x[positive])))
    return Agreement(
        limits_of_agreement(difference),
        _slope(difference, mean),
        grows,
        ratio,
        int((~positive).sum()),
        concordance(of_x, of_y),
    )


def limits_of_agreement(difference: Values) -> Limits:
    """Bias, limits and the intervals of all three, by Student's t with n - 1 degrees of freedom.

    With s the standard deviation (n - 1), the variance of the bias is s^2 / n and that of a limit
    s^2 (1 / n + 1.96^2 / (2 (n - 1))).
    """
    n = len(difference)
    if not n:
        return Limits(0, NOTHING, NOTHING, NOTHING)
    bias = float(difference.mean())
    if n == 1:
        return Limits(1, Estimate(bias, math.nan, math.nan), NOTHING, NOTHING)
    s = float(difference.std(ddof=1))
    times = float(t.ppf((1.0 + LEVEL) / 2.0, n - 1)) if n > 2 else math.nan
    of_bias = times * s / math.sqrt(n)
    of_limit = times * s * math.sqrt(1.0 / n + Z**2 / (2.0 * (n - 1)))
    return Limits(
        n,
        _around(bias, of_bias),
        _around(bias - Z * s, of_limit),
        _around(bias + Z * s, of_limit),
    )


def concordance(x: Values, y: Values) -> float:
    """Lin's concordance correlation coefficient, 2 s_xy / (s_x^2 + s_y^2 + (mean x - mean y)^2), moments over n."""
    if len(x) < 2:
        return math.nan
    apart = float(x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    together = float(((x - x.mean()) * (y - y.mean())).mean())
    return 2.0 * together / apart if apart > 0.0 else math.nan


def _around(value: float, margin: float) -> Estimate:
    return Estimate(value, value - margin, value + margin)


def _back(logarithms: Limits) -> Limits:
    """Limits of logarithms as factors."""
    bias, lower, upper = (
        Estimate(*(math.exp(v) for v in (one.value, one.low, one.high)))
        for one in (logarithms.bias, logarithms.lower, logarithms.upper)
    )
    return Limits(logarithms.n, bias, lower, upper)


def _slope(difference: Values, mean: Values) -> Estimate:
    if len(mean) < 3 or np.ptp(mean) == 0.0:
        return NOTHING
    line = linregress(mean, difference)
    times = float(t.ppf((1.0 + LEVEL) / 2.0, len(mean) - 2))
    return _around(float(line.slope), times * float(line.stderr))


def _grows(difference: Values, mean: Values) -> bool:
    """Whether the spread about the line of the differences grows with the mean (Bland and Altman 1999, section 3.2): a
    bias alone, or one that grows, is no spread."""
    if len(mean) < MIN_FOR_RATIO or np.ptp(mean) == 0.0:
        return False
    line = linregress(mean, difference)
    size = np.abs(difference - line.intercept - line.slope * mean)
    if size.max() <= 1e-9 * np.abs(difference).max():
        return False
    found = spearmanr(size, mean)
    return bool(found.statistic > 0.0 and found.pvalue < ALPHA)
