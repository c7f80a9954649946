"""Label maps that were not finished: drawn on some slices alone, or as outlines that nobody filled; or of litres.

Programs fill between slices and within outlines when asked to; a map that was saved before has a half of its volume, or
less, and looks sound value by value. All are told, not refused: an odd shape may be the patient's.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.labels import MAX_KIDNEY_ML
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
    mask = np.ascontiguousarray(labels.volume.array[box.to_slices()] > 0)
    ml = np.count_nonzero(mask) * labels.volume.geometry.voxel_volume_ml
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


def _broken(planes: Mask) -> float:
    """Part of the labelled voxels that are the last before a gap, along the first axis."""
    ends, later = planes.copy(), np.zeros_like(planes)
    ends[:-1] &= ~planes[1:]
    for step in range(2, min(MOST_APART, len(planes) - 1) + 1):
        later[:-step] |= planes[step:]
    return np.count_nonzero(ends & later) / np.count_nonzero(planes)


def _enclosed(mask: Mask) -> float:
    """Background that no path within an axial slice leads out of, as part of the labelled voxels."""
    n_enclosed = 0
    for plane in np.moveaxis(mask, Z, 0):
        outside, _ = ndimage.label(np.pad(~plane, 1, constant_values=True))
        n_enclosed += np.count_nonzero(outside) - np.count_nonzero(outside == outside[0, 0])
    return n_enclosed / np.count_nonzero(mask)
