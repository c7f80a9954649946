"""How wide a mask is: the longest line across one axial slice, and through the whole.

A voxel is taken for as wide as it is: to the distance of the outermost voxels' centres its own width along the line is
added, so that a ball's diameter is not a voxel too small.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from bisc.core.geometry import IntTriple, Triple, as_int_triple

Mask = npt.NDArray[np.bool_]


class Line(NamedTuple):
    """A line through a mask.

    Attributes:
        length_mm: From outer end to outer end of its two voxels.
        first_zyx: The voxel at one end.
        last_zyx: The voxel at the other.
    """

    length_mm: float
    first_zyx: IntTriple
    last_zyx: IntTriple


def axial_line(mask: Mask, spacing_mm_zyx: Triple) -> Line | None:
    """The longest line within one axial slice of a (z, y, x) mask, the slice chosen where it is longest; None of an
    empty mask. What radiologists call the largest axial diameter."""
    best: Line | None = None
    for z, plane in enumerate(mask):
        if plane.any():
            length_mm, ends = _longest(np.argwhere(plane), np.asarray(spacing_mm_zyx[1:]))
            if best is None or length_mm > best.length_mm:
                best = Line(length_mm, *(as_int_triple((z, *end)) for end in ends))
    return best


def line(mask: Mask, spacing_mm_zyx: Triple) -> Line | None:
    """The longest line between any two voxels of a (z, y, x) mask; None of an empty mask."""
    if not mask.any():
        return None
    length_mm, ends = _longest(_surface(mask), np.asarray(spacing_mm_zyx))
    return Line(length_mm, *(as_int_triple(end) for end in ends))


def axial_diameter_mm(mask: Mask, spacing_mm_zyx: Triple) -> float:
    """The length of `axial_line`; 0 of an empty mask."""
    found = axial_line(mask, spacing_mm_zyx)
    return found.length_mm if found else 0.0


def diameter_mm(mask: Mask, spacing_mm_zyx: Triple) -> float:
    """The length of `line`; 0 of an empty mask."""
    found = line(mask, spacing_mm_zyx)
    return found.length_mm if found else 0.0


def _surface(mask: Mask) -> npt.NDArray[np.intp]:
    """Indices of the first and last voxel of every row along x: they hold every corner of the convex hull."""
    z, y, x = np.nonzero(mask)
    first = np.flatnonzero(np.r_[True, (np.diff(z) != 0) | (np.diff(y) != 0)])
    last = np.r_[first[1:] - 1, z.size - 1]
    ends = np.unique(np.r_[first, last])
    return np.stack([z[ends], y[ends], x[ends]], axis=1)


def _longest(
    index: npt.NDArray[np.intp], step_mm: npt.NDArray[np.float64]
) -> tuple[float, tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """The longest of all lines between two of (n, axes) voxels, each as wide as it is, and the two."""
    if len(index) > index.shape[1] + 1:
        with suppress(QhullError):  # all in a line or a plane
            index = index[ConvexHull(index * step_mm).vertices]
    points_mm = index * step_mm
    if len(index) == 1:
        return float(step_mm.max()), (index[0], index[0])
    distances = squareform(pdist(points_mm))
    i, j = np.unravel_index(int(distances.argmax()), distances.shape)
    along = np.abs(points_mm[i] - points_mm[j]) / distances[i, j]
    return float(distances[i, j] + along @ step_mm), (index[i], index[j])
