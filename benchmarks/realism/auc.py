"""How well a number tells simulated from real, counted by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve and its 95 % interval: 0.5 tells nothing, above it the simulated values are larger."""

    value: float
    low: float
    high: float

    @property
    def telling(self) -> float:
        """Its distance from 0.5, to either side."""
        return abs(self.value - 0.5)

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def patient_auc(
    real: Sequence[Values],
    simulated: Sequence[Values],
    comparable: npt.NDArray[np.bool_] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Auc:
    """The chance that a value of a simulated patient is above one of a real patient, ties counted half.

    Every patient weighs the same, however many values it has. The interval is the percentile bootstrap that draws
    patients, not values (Efron and Tibshirani 1993), so that ten slices of one patient are one observation.

    Args:
        real: The values of each real patient; none may be empty.
        simulated: The same of the simulated ones.
        comparable: (n_real, n_simulated), false where the two were scored by different classifiers; none: all true.
        resamples: Draws of the bootstrap.
        seed: Of its draws.

    Raises:
        ValueError: A side is empty, or no pair is comparable.
    """
    pairs = np.ones((len(real), len(simulated))) if comparable is None else np.asarray(comparable, float)
    if pairs.sum() == 0:
        raise ValueError("no real patient can be compared with a simulated one: an AUC needs both")
    wins = np.array([[_above(s, r) for s in simulated] for r in real]) * pairs
    rng = np.random.default_rng(seed)
    rows = rng.multinomial(len(real), np.full(len(real), 1 / len(real)), resamples).astype(float)
    columns = rng.multinomial(len(simulated), np.full(len(simulated), 1 / len(simulated)), resamples).astype(float)
    total = ((rows @ pairs) * columns).sum(axis=1)
    drawn = ((rows @ wins) * columns).sum(axis=1)[total > 0] / total[total > 0]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Auc(float(wins.sum() / pairs.sum()), float(low), float(high))


def _above(ours: Values, theirs: Values) -> float:
    """The share of pairs in which ours is larger."""
    difference = ours[:, None] - theirs[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())
