"""A kidney's pole where a tumour took its place: carried on by the kidney's own shape.

The hull of what is left ends where the tumour begins. A kidney's outline is much like an ellipsoid, and outside the
tumour the mask shows what is kidney and what is not, so only within the tumour is anything made up.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Triple
from bisc.core.labels import CONNECT_26

Mask = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]

MOST_STEPS: Final = 40


def lost_pole(outline: Mask, tumors: Mask, spacing_mm_zyx: Triple) -> Mask:
    """What of the tumours beyond an outline was kidney: those that reach its first or last slice, within the ellipsoid
    of the whole's moments, itself included.

    The ellipsoid is as large as the layer of voxels around the tumour says: as many of them lie in it as do in the
    outline.

    Args:
        outline: (z, y, x) the hull of what is left of the kidney, not empty.
        tumors: (z, y, x) its tumours, a voxel off the array's border.
        spacing_mm_zyx: Of the voxels.
    """
    tumors = _at_ends(outline, tumors)
    lost = tumors & ~outline
    if not lost.any():
        return lost
    beyond = np.argwhere(lost) * spacing_mm_zyx
    layer = np.argwhere(ndimage.binary_dilation(tumors) & ~tumors)
    n_inside = int(np.count_nonzero(outline[tuple(layer.T)]))
    seen = np.argwhere(outline) * spacing_mm_zyx
    n, total, squares = len(seen), seen.sum(axis=0), seen.T @ seen
    taken = np.zeros(len(beyond), bool)
    for _ in range(MOST_STEPS):
        made = beyond[taken]
        centre = (total + made.sum(axis=0)) / (n + len(made))
        spread = (squares + made.T @ made) / (n + len(made)) - np.outer(centre, centre)
        inverse = np.linalg.inv(spread + np.diag(np.square(spacing_mm_zyx)) / 12)  # voxels are boxes: never flat
        around = np.sort(_squared(layer * spacing_mm_zyx - centre, inverse))
        edge = around[min(n_inside, len(around) - 1)]
        before, taken = taken, _squared(beyond - centre, inverse) < edge
        if np.array_equal(before, taken):
            break
    lost[lost] = taken
    return lost


def _at_ends(outline: Mask, tumors: Mask) -> Mask:
    """The tumours that reach the level of the outline's first or last slice."""
    z = np.flatnonzero(outline.any(axis=(1, 2)))
    parts, _ = ndimage.label(tumors, CONNECT_26)
    numbers = np.unique(np.concatenate([parts[: z[0] + 1].ravel(), parts[z[-1] :].ravel()]))
    return np.asarray(np.isin(parts, numbers[numbers > 0]))


def _squared(off: Float, inverse: Float) -> Float:
    """Squared distances from an ellipsoid's centre, in its own measure."""
    return np.asarray(((off @ inverse) * off).sum(axis=1))
