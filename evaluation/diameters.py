"""How wide a mask is: the longest line across one axial slice, and through the whole.

A voxel is taken for as wide as it is: to the distance of the outermost voxels' centres its own width along the line is
added, so that a ball's diameter is not a voxel too small.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from bisc.core.geometry import Triple

Mask = npt.NDArray[np.bool_]


def axial_diameter_mm(mask: Mask, spacing_mm_zyx: Triple) -> float:
    """The longest line within one axial slice of a (z, y, x) mask, the slice chosen where it is longest; 0 of an empty
    mask. What radiologists call the largest axial diameter."""
    step = np.asarray(spacing_mm_zyx[1:])
    return max((_longest(np.argwhere(plane) * step, step) for plane in mask if plane.any()), default=0.0)


def diameter_mm(mask: Mask, spacing_mm_zyx: Triple) -> float:
    """The longest line between any two voxels of a (z, y, x) mask; 0 of an empty mask."""
    step = np.asarray(spacing_mm_zyx)
    return _longest(_surface(mask) * step, step) if mask.any() else 0.0


def _surface(mask: Mask) -> npt.NDArray[np.intp]:
    """Indices of the first and last voxel of every row along x: they hold every corner of the convex hull."""
    z, y, x = np.nonzero(mask)
    first = np.flatnonzero(np.r_[True, (np.diff(z) != 0) | (np.diff(y) != 0)])
    last = np.r_[first[1:] - 1, z.size - 1]
    ends = np.unique(np.r_[first, last])
    return np.stack([z[ends], y[ends], x[ends]], axis=1)


def _longest(points_mm: npt.NDArray[np.float64], step_mm: npt.NDArray[np.float64]) -> float:
    """The longest of all lines between two of (n, axes) points, each as wide as a voxel."""
    if len(points_mm) > points_mm.shape[1] + 1:
        with suppress(QhullError):  # all in a line or a plane
            points_mm = points_mm[ConvexHull(points_mm).vertices]
    if len(points_mm) == 1:
        return float(step_mm.max())
    distances = squareform(pdist(points_mm))
    i, j = np.unravel_index(int(distances.argmax()), distances.shape)
    along = np.abs(points_mm[i] - points_mm[j]) / distances[i, j]
    return float(distances[i, j] + along @ step_mm)
