"""How sharp the outline of an organ is, and how far the label's outline lies from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import find_contours

from benchmarks.realism.slices import Image, Mask

REACH_PX: Final = 8.0
STEP_PX: Final = 0.25
PLATEAU_PX: Final = 5.0
ALONG: Final = 9
"""Profiles of this many neighbouring points of the outline are averaged: noise falls to a third, the edge stays."""
Profile = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Edges:
    """Of each place along the outline that borders on fat, in px: the 10-90 % width, and where half height lies.

    The offset is counted from the label's outline, outwards positive. Both are empty where nothing borders on fat.
    """

    width_px: Profile
    offset_px: Profile


def edges(hu: Image, mask: Mask, outer_below_hu: float = 20.0, contrast_hu: float = 60.0) -> Edges:
    """Profiles along the normals of the outline of `mask` whose outer end is fat and whose inner end is tissue."""
    spline = ndimage.spline_filter(hu, order=3)
    at: Profile = np.arange(-REACH_PX, REACH_PX + STEP_PX / 2, STEP_PX, dtype=np.float64)
    found = []
    for contour in find_contours(np.asarray(mask, float), 0.5):
        if len(contour) < 40 or not np.array_equal(contour[0], contour[-1]):
            continue
        points = ndimage.gaussian_filter1d(contour[:-1], 2.0, axis=0, mode="wrap")
        along = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        # find_contours keeps the higher values on one side, so that this normal always points out of the mask.
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
        places = points[:, None, :] + at[None, :, None] * normal[:, None, :]
        profiles = ndimage.map_coordinates(spline, np.moveaxis(places, -1, 0), order=3, prefilter=False, mode="nearest")
        mean = ndimage.uniform_filter1d(profiles, ALONG, axis=0, mode="wrap")[:: ALONG // 2]
        found += [_edge(p, at, outer_below_hu, contrast_hu) for p in mean]
    both = np.array([f for f in found if f is not None], float).reshape(-1, 2)
    return Edges(both[:, 0], both[:, 1])


def _edge(profile: Profile, at: Profile, outer_below_hu: float, contrast_hu: float) -> tuple[float, float] | None:
    """Width and place of the step next to 0; None where there is none of that contrast."""
    inner, outer = np.median(profile[at <= -PLATEAU_PX]), np.median(profile[at >= PLATEAU_PX])
    if outer > outer_below_hu or inner - outer < contrast_hu:
        return None
    height = (profile - outer) / (inner - outer)
    falls = np.flatnonzero((height[:-1] >= 0.5) & (height[1:] < 0.5))
    if falls.size == 0:
        return None
    middle = int(falls[np.abs(at[falls]).argmin()])
    high = np.flatnonzero(height[: middle + 1] >= 0.9)
    low = np.flatnonzero(height[middle + 1 :] <= 0.1)
    if high.size == 0 or low.size == 0:
        return None
    start = _crossing(height, at, int(high[-1]), 0.9)
    end = _crossing(height, at, middle + int(low[0]), 0.1)
    return end - start, _crossing(height, at, middle, 0.5)


def _crossing(height: Profile, at: Profile, i: int, level: float) -> float:
    """Between samples i and i + 1."""
    fall = height[i] - height[i + 1]
    return float(at[i] + STEP_PX * (0.0 if fall == 0 else (height[i] - level) / fall))
