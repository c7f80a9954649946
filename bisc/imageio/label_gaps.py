"""Label maps that were not finished: drawn on some slices alone, or as outlines that nobody filled; or of litres.

Programs fill between slices and within outlines when asked to; a map that was saved before has a half of its volume, or
less, and looks sound value by value. All are told, not refused: an odd shape may be the patient's.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.labels import KIDNEY, MAX_KIDNEY_ML, TUMOR
from bisc.core.volume import Box
from bisc.imageio.case import CaseImage
from bisc.imageio.plausible import tell_of_lost_grid
from bisc.imageio.slices import AXES, Z
from bisc.system.console import notice

MOST_APART: Final = 10
"""Slices from one that is drawn to the next."""
MOST_BROKEN: Final = 0.15
"""Part of the labelled voxels behind which the label breaks off and goes on within `MOST_APART`: nearly all where every
n-th slice is drawn, a third where it is so of one of two kidneys, 0.038 at most in KiTS19's
167 and KiTS23's 116 real maps."""
MOST_ENCLOSED: Final = 0.5
"""Background within the outlines of axial slices, as part of what is labelled: 2 and more in outlines alone, 0.035 at
most in those real maps."""

MOST_LOST: Final = 3
"""Axial slices that may be empty amid a kidney as those that were forgotten, or whose frames were lost, are; of what is
not tumour, and of tumours, one: with two, one of those real maps would be told of."""
LEAST_LOST_CM2: Final = 1.0
"""Of what the slices before and behind have in common, and they nothing of: such a piece has 0.75 at most in those real
maps, whose sinuses leave a part of larger ones."""

Mask = npt.NDArray[np.bool_]


def tell_of_label_map(labels: CaseImage, with_grid: bool = True) -> None:
    """All that is looked at in a label map before it is trained on, measured or scored, in notices.

    Args:
        labels: 0 background, 1 kidney, 2 tumour.
        with_grid: Look for a lost grid too; no need where its image is looked at.
    """
    if with_grid:
        tell_of_lost_grid(labels)
    box = Box.of_mask(labels.volume.array)
    if box is None:
        return
    part, grid = np.ascontiguousarray(labels.volume.array[box.to_slices()]), labels.volume.geometry
    mask = part > 0
    ml = np.count_nonzero(mask) * grid.voxel_volume_ml
    if ml > MAX_KIDNEY_ML:
        found = f"implausible: {ml:.0f} ml of kidney and tumour, expected at most {MAX_KIDNEY_ML:.0f} ml"
        notice(labels.path, found, "taken as it stands; look whether it is inverted, or of something else")
    if _enclosed(mask) > MOST_ENCLOSED:
        found = "its labels enclose much that they do not cover in axial slices, as outlines that were not filled"
        notice(labels.path, found, "taken as they stand; if so, fill them: volumes and shapes are wrong")
        return
    broken = [_broken(np.moveaxis(mask, axis, 0)) for axis in range(mask.ndim)]
    axis = int(np.argmax(broken))
    if broken[axis] > MOST_BROKEN:
        found = (
            f"its labels break off and go on from one {AXES[axis]} slice to another, as if drawn on some slices alone"
        )
        notice(labels.path, found, "taken as they stand; if so, fill between them: volumes and shapes are wrong")
        return
    slice_cm2 = grid.spacing_mm_zyx[1] * grid.spacing_mm_zyx[2] / 100.0
    told: set[int] = set()
    for what, planes, most in (
        ("kidney", mask, MOST_LOST),
        ("kidney", part == KIDNEY, 1),
        ("tumour", part == TUMOR, 1),
    ):
        lost = _lost(planes, slice_cm2, most) - told
        told |= lost
        corners = [grid.index_to_physical(np.add(box.start_zyx, (z, 0, 0))) for z in sorted(lost)]
        where = ", ".join(f"{corner[2]:.4g}" for corner in corners)
        if lost:
            found = f"its {what} breaks off and goes on behind an empty axial slice (z {where} mm)"
            notice(labels.path, found, "taken as it stands; if a slice was forgotten or its frame lost, draw it")


def _broken(planes: Mask) -> float:
    """Part of the labelled voxels that are the last before a gap, along the first axis."""
    ends, later = planes.copy(), np.zeros_like(planes)
    ends[:-1] &= ~planes[1:]
    for step in range(2, min(MOST_APART, len(planes) - 1) + 1):
        later[:-step] |= planes[step:]
    return np.count_nonzero(ends & later) / np.count_nonzero(planes)


def _lost(planes: Mask, slice_cm2: float, most: int) -> set[int]:
    """Slices, at most so many one behind the other, without a voxel of a piece that those before and behind share."""
    found: set[int] = set()
    for n in range(1, most + 1):
        for z in range(len(planes) - n - 1):
            shared, between = planes[z] & planes[z + n + 1], planes[z + 1 : z + n + 1].any(axis=0)
            if np.count_nonzero(shared & ~between) * slice_cm2 < LEAST_LOST_CM2:
                continue
            pieces, _ = ndimage.label(shared)
            areas_cm2 = np.bincount(pieces.ravel()) * slice_cm2
            areas_cm2[np.unique(pieces[between])] = 0.0
            if areas_cm2[1:].max(initial=0.0) >= LEAST_LOST_CM2:
                found |= set(range(z + 1, z + n + 1))
    return found


def _enclosed(mask: Mask) -> float:
    """Background that no path within an axial slice leads out of, as part of the labelled voxels."""
    n_enclosed = 0
    for plane in np.moveaxis(mask, Z, 0):
        outside, _ = ndimage.label(np.pad(~plane, 1, constant_values=True))
        n_enclosed += np.count_nonzero(outside) - np.count_nonzero(outside == outside[0, 0])
    return n_enclosed / np.count_nonzero(mask)
