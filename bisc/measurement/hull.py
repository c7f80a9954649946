"""Convex hulls of masks on their voxels: of the whole, and of each axial slice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError
from skimage.draw import polygon

from bisc.core.geometry import Triple

Mask = npt.NDArray[np.bool_]


def hull_of(mask: Mask, spacing_mm_zyx: Triple) -> Mask:
    """The voxels of a (z, y, x) mask whose centres lie within the convex hull of its centres; the mask itself where
    it is flat.

    Each slice shows the hull's cross-section, a convex polygon whose corners are where the hull's edges cross it.
    """
    out = mask.copy()
    outer = mask & ~_inner(mask)
    points = np.argwhere(outer).astype(np.float64)
    try:
        hull = ConvexHull(points * spacing_mm_zyx)
    except (QhullError, ValueError):
        return out
    pairs = np.sort(np.concatenate([hull.simplices[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]), axis=1)
    low, high = (points[end] for end in np.unique(pairs, axis=0).T)
    down = low[:, 0] > high[:, 0]
    low[down], high[down] = high[down].copy(), low[down].copy()
    rise = high[:, 0] - low[:, 0]
    for z in range(int(low[:, 0].min()), int(high[:, 0].max()) + 1):
        crossing = (low[:, 0] <= z) & (high[:, 0] >= z) & (rise > 0)
        share = ((z - low[crossing, 0]) / rise[crossing])[:, None]
        out[z] |= _filled(low[crossing, 1:] + share * (high - low)[crossing, 1:], mask.shape[1:])
    return out


def hull_of_slices(mask: Mask) -> Mask:
    """The convex hull of each axial slice of a (z, y, x) mask."""
    out = mask.copy()
    for plane, filled in zip(mask, out, strict=True):
        if plane.any():
            filled |= _filled(np.argwhere(plane & ~_inner(plane)).astype(np.float64), plane.shape)
    return out


def _inner(mask: Mask) -> Mask:
    """Voxels whose neighbours along the last axis are both there: no corner of a hull is among them."""
    inner = np.zeros_like(mask)
    inner[..., 1:-1] = mask[..., :-2] & mask[..., 2:]
    return inner


def _filled(points_yx: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Mask:
    plane = np.zeros(shape, bool)
    try:
        corners = points_yx[ConvexHull(points_yx).vertices]
    except (QhullError, ValueError):
        return plane  # fewer than three corners, or all in a line
    plane[polygon(corners[:, 0], corners[:, 1], shape)] = True
    return plane
