"""How wide a mask is: the longest line across one axial slice, and through the whole.

From the centre of a voxel to that of another: of balls from 6 mm of radius on, on slices of 3 x 0.8 x 0.8 mm, that is
0.1 to 0.4 mm too little within a slice and 0.0 to 0.1 mm through the whole, where from edge to edge would be 0.7 to 1.0
and 1.9 to 2.3 mm too much (docs/lab/measurements.md). A single voxel is as long as it is.
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
        length_mm: From centre to centre of its two voxels, or the width of the only one.
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
    """The longest of all lines between two of (n, axes) voxels, and the two."""
    if len(index) > index.shape[1] + 1:
        with suppress(QhullError):  # all in a line or a plane
            index = index[ConvexHull(index * step_mm).vertices]
    points_mm = index * step_mm
    if len(index) == 1:
        return float(step_mm.max()), (index[0], index[0])
    distances = squareform(pdist(points_mm))
    i, j = np.unravel_index(int(distances.argmax()), distances.shape)
    return float(distances[i, j]), (index[i], index[j])
