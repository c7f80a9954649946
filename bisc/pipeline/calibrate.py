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
    sums, so a uniform sample of what is left estimates it without bias worth mentioning.

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

    def add(self, probabilities: Sequence[npt.NDArray[np.float32]], labels: Sequence[npt.NDArray[np.uint8]]) -> None:
        """One case: (classes, z, y, x) probabilities and (z, y, x) reference labels of its regions."""
        p = np.concatenate([a.reshape(N_CLASSES, -1) for a in probabilities], axis=1)
        y = np.concatenate([a.ravel() for a in labels])
        log_p = np.log(np.maximum(p, 1e-7))
        open_ = (y > 0) | (log_p[1:].max(axis=0) + self.MOST >= log_p[0])
        log_p, y = log_p[:, open_], y[open_]
        if y.size > self.MAX_VOXELS:
            picks = np.random.default_rng(len(self.cases)).choice(y.size, self.MAX_VOXELS, replace=False)
            log_p, y = log_p[:, picks], y[picks]
        self.cases.append((log_p, y))

    def fit(self) -> Offsets:
        """Offsets (background's is 0) with the best mean over cases of the weighted Dice of kidney and tumour.

        A coarse grid, then coordinate steps; the offsets nearest to none win ties, so that a network that is already
        calibrated keeps its argmax.
        """
        best, score = NO_OFFSETS, self.score(NO_OFFSETS)
        for kidney in self.GRID:
            for tumor in self.GRID:
                best, score = self._better((0.0, float(kidney), float(tumor)), best, score)
        for step in self.STEPS:
            improved = True
            while improved:
                before = best
                for dk, dt in ((step, 0), (-step, 0), (0, step), (0, -step)):
                    best, score = self._better((0.0, best[1] + dk, best[2] + dt), best, score)
                improved = best != before
        return tuple(round(b, 4) for b in best)

    def score(self, offsets: Offsets) -> float:
        """Mean over cases of the weighted Dice."""
        return float(np.mean([self._weighted(p, y, offsets) for p, y in self.cases])) if self.cases else 0.0

    def _better(self, candidate: Offsets, best: Offsets, score: float) -> tuple[Offsets, float]:
        if max(candidate) > self.MOST or min(candidate) < -self.MOST:
            return best, score
        new = self.score(candidate)
        nearer = np.abs(candidate).sum() < np.abs(best).sum()
        if new > score + 1e-6 or (nearer and new >= score - 1e-9):
            return candidate, new
        return best, score

    def _weighted(self, log_p: npt.NDArray[np.float32], y: npt.NDArray[np.uint8], offsets: Offsets) -> float:
        kidney, tumor = log_p[1] + np.float32(offsets[1]), log_p[2] + np.float32(offsets[2])
        background = log_p[0] + np.float32(offsets[0])
        found_tumor = (tumor > kidney) & (tumor > background)
        found = found_tumor | (kidney > background)
        w = self.kidney_weight
        return w * _dice(found, y > 0) + (1.0 - w) * _dice(found_tumor, y == 2)


def _dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * np.count_nonzero(a & b) / total if total else 1.0
