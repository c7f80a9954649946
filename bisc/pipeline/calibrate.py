"""The calibrated decision: one offset per class to the log probabilities, fitted on a fold's validation cases.

A balanced loss trains as if all classes were equally frequent, so that its argmax, the paper's rule, over-segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.labels import N_CLASSES
from bisc.inference.cascade import NO_OFFSETS, Offsets


class OffsetFit:
    """Fits offsets to a sample of voxels: case by case in, the best mean Dice out.

    Voxels that are background and stay so under every offset tried change no sum, and are not kept. Dice is a ratio of
    sums, so a uniform sample of what is left estimates it without bias worth mentioning. All cases have one voxel size.

    In a case without a tumour the Dice of tumour is 1 or 0, by a single voxel: among simulated patients, half of them
    without one, that made offsets that called next to nothing a tumour, in the other half too. Here what is called
    tumour there costs what it would beside a tumour of median size that is outlined exactly: 2 m / (2 m + false).
    Where no case has a tumour, nothing tells what one would lose, and the kidney alone counts.

    The argmax is kept unless offsets earn more: fitted on either half of the cases and scored on the other, they must
    beat it by more than two standard errors of the paired gain. The best of some hundred pairs always looks good on the
    cases that chose it.

    Args:
        kidney_weight: What the kidney's Dice counts for; the tumour's counts for the rest.
    """

    MAX_VOXELS: Final = 200_000
    GRID: Final = tuple(np.linspace(-5.0, 3.0, 17))
    STEPS: Final = (0.25, 0.1)
    MOST: Final = 5.0
    """No offset lies farther from none than this."""

    def __init__(self, kidney_weight: float = 0.5) -> None:
        self.kidney_weight = kidney_weight
        self.cases: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]] = []
        self.sampled: list[float] = []
        """Per case, the share of its voxels that was kept."""
        self.tumors: list[float] = []
        """And its tumours' voxels, all of them."""
        self._known: dict[Offsets, npt.NDArray[np.float64]] = {}

    def add(self, probabilities: Sequence[npt.NDArray[np.float32]], labels: Sequence[npt.NDArray[np.uint8]]) -> None:
        """One case: (classes, z, y, x) probabilities and (z, y, x) reference labels of its regions."""
        p = np.concatenate([a.reshape(N_CLASSES, -1) for a in probabilities], axis=1)
        y = np.concatenate([a.ravel() for a in labels])
        log_p = np.log(np.maximum(p, 1e-7))
        open_ = (y > 0) | (log_p[1:].max(axis=0) + self.MOST >= log_p[0])
        log_p, y = log_p[:, open_], y[open_]
        self.sampled.append(min(1.0, self.MAX_VOXELS / max(y.size, 1)))
        self.tumors.append(float(np.count_nonzero(y == 2)))
        if y.size > self.MAX_VOXELS:
            picks = np.random.default_rng(len(self.cases)).choice(y.size, self.MAX_VOXELS, replace=False)
            log_p, y = log_p[:, picks], y[picks]
        self.cases.append((log_p, y))
        self._known.clear()

    def fit(self) -> Offsets:
        """Offsets (background's is 0) with the best score over all cases, or none where they earn nothing."""
        halves = np.arange(len(self.cases)) % 2 == 0
        if len(self.cases) < 2:
            return NO_OFFSETS
        gains = np.empty(len(self.cases))
        for half in (halves, ~halves):
            gains[half] = (self._each(self._best(~half)) - self._each(NO_OFFSETS))[half]
        earned = gains.mean() > 2.0 * gains.std(ddof=1) / np.sqrt(gains.size)
        return self._best(halves | ~halves) if earned else NO_OFFSETS

    def score(self, offsets: Offsets) -> float:
        """Mean over cases of the weighted Dice, with what a case without a tumour counts by graded as above."""
        return float(self._each(offsets).mean()) if self.cases else 0.0

    def _best(self, chosen: npt.NDArray[np.bool_]) -> Offsets:
        """The best of the chosen cases: a coarse grid, then coordinate steps; those nearest to none win ties."""
        best, score = NO_OFFSETS, float(self._each(NO_OFFSETS)[chosen].mean())

        def better(candidate: Offsets) -> None:
            nonlocal best, score
            if max(candidate) > self.MOST or min(candidate) < -self.MOST:
                return
            new = float(self._each(candidate)[chosen].mean())
            nearer = np.abs(candidate).sum() < np.abs(best).sum()
            if new > score + 1e-6 or (nearer and new >= score - 1e-9):
                best, score = candidate, new

        for kidney in self.GRID:
            for tumor in self.GRID:
                better((0.0, float(kidney), float(tumor)))
        for step in self.STEPS:
            before = None
            while best != before:
                before = best
                for dk, dt in ((step, 0), (-step, 0), (0, step), (0, -step)):
                    better((0.0, best[1] + dk, best[2] + dt))
        return tuple(round(b, 4) for b in best)

    def _each(self, offsets: Offsets) -> npt.NDArray[np.float64]:
        """Every case's score, computed once."""
        if offsets not in self._known:
            median = float(np.median([n for n in self.tumors if n] or [0.0]))
            self._known[offsets] = np.asarray(
                [
                    self._weighted(log_p, y, offsets, median * share)
                    for (log_p, y), share in zip(self.cases, self.sampled, strict=True)
                ]
            )
        return self._known[offsets]

    def _weighted(
        self, log_p: npt.NDArray[np.float32], y: npt.NDArray[np.uint8], offsets: Offsets, median: float
    ) -> float:
        """Of one case; `median` is the size of a median tumour in voxels of its sample, 0 if no case has one."""
        kidney, tumor = log_p[1] + np.float32(offsets[1]), log_p[2] + np.float32(offsets[2])
        background = log_p[0] + np.float32(offsets[0])
        found_tumor = (tumor > kidney) & (tumor > background)
        found = found_tumor | (kidney > background)
        true_tumor = y == 2
        if true_tumor.any():
            tumor_score = _dice(found_tumor, true_tumor)
        else:
            tumor_score = 2.0 * median / (2.0 * median + np.count_nonzero(found_tumor)) if median else 1.0
        w = self.kidney_weight
        return w * _dice(found, y > 0) + (1.0 - w) * tumor_score


def _dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * np.count_nonzero(a & b) / total if total else 1.0
