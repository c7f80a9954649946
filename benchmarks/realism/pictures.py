"""What a person looks at: simulated patients alone, and real slices beside simulated ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.realism.slices import Case, Image, Labels, Slice, by_patient

Pixels = npt.NDArray[np.uint8]
SIDE = 512


def view(case: Case) -> Pixels:
    """Axial slice as the real ones are windowed, the same with contours, and a coronal one, below each other."""
    hu, labels, spacing = case.hu, case.labels, case.spacing_mm_zyx
    areas = (labels == 2).sum(axis=(1, 2)) * 10 + (labels == 1).sum(axis=(1, 2))
    some = labels if labels.any() else np.ones_like(labels)
    k, row = int(areas.argmax()) if labels.any() else labels.shape[0] // 2, int(np.median(np.nonzero(some)[1]))
    rows = np.arange(0, labels.shape[0] * spacing[0], spacing[1]) / spacing[0]
    rows = np.clip(rows.astype(int), 0, labels.shape[0] - 1)[::-1]
    axial = np.stack([np.clip(hu[k], 0, 255).astype(np.uint8)] * 3, axis=-1)
    parts = [axial[60:], contours(hu[k], labels[k])[60:], contours(hu[rows, row], labels[rows, row])[:370]]
    return np.asarray(np.concatenate(parts, axis=0)[::2, ::2])


def contours(hu: Image, labels: Labels) -> Pixels:
    """A soft-tissue window (-160..240 HU) with the kidneys outlined in blue, the tumours in red."""
    out = np.stack([np.clip((hu + 160) / 400 * 255, 0, 255).astype(np.uint8)] * 3, axis=-1)
    for value, colour in ((1, (0, 140, 255)), (2, (255, 40, 40))):
        mask = labels == value
        out[mask & ~ndimage.binary_erosion(mask, iterations=2)] = colour
    pad = np.zeros((max(0, 370 - out.shape[0]), *out.shape[1:]), np.uint8)
    return np.concatenate([out, pad], axis=0)


def side_by_side(real: list[Slice], simulated: list[Slice], rows: int = 4) -> Pixels:
    """Three columns of real slices, a white line, three of simulated ones: each of another patient."""
    halves = []
    for group in (real, simulated):
        first = [slices[len(slices) // 2] for slices in by_patient(group).values()]
        picked = [first[int(i)] for i in np.linspace(0, len(first) - 1, 3 * rows)]
        tiles = [_square(s.hu) for s in picked]
        halves.append(
            np.concatenate([np.concatenate(tiles[c * rows : (c + 1) * rows], axis=0) for c in range(3)], axis=1)
        )
    line = np.full((halves[0].shape[0], 8), 255, np.uint8)
    return np.concatenate([halves[0], line, halves[1]], axis=1)


def _square(hu: Image) -> Pixels:
    """Cut or padded at the right and the bottom."""
    out = np.zeros((SIDE, SIDE), np.uint8)
    part = hu[:SIDE, :SIDE]
    out[: part.shape[0], : part.shape[1]] = part
    return out
