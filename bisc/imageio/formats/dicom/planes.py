"""Where slices lie to each other, whatever series their files name: by it a scan that was torn is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bisc.core.geometry import Triple

EVEN: Final = 0.1
"""Steps of a stack that differ by less are even: positions may be rounded."""
MOSTLY: Final = 0.8
"""Of the steps are even where a scan lacks a few slices; of places that lie by chance few are."""
LEAST_TORN: Final = 4
"""Slices that may be one stack's, though their files do not say so; fewer lie evenly by chance."""
SEAM: Final = (-0.2, 2.2)
"""So many steps behind one series' end the next begins where both are parts of one scan: a slice may be in both, or be
lost at the seam."""


@dataclass(frozen=True)
class Plane:
    """One slice's place.

    Attributes:
        grid: What slices of one stack share: orientation, pixel spacing, size and place in the plane, rounded.
        height_mm: Along the normal.
    """

    grid: tuple[float, ...]
    height_mm: float


def plane_of(
    place_mm_xyz: Triple | None,
    turn: tuple[float, ...] | None,
    spacing_mm_yx: tuple[float, float] | None,
    shape_yx: tuple[int, int],
) -> Plane | None:
    """The plane of a slice by its own tags; None where it lacks any of them."""
    if place_mm_xyz is None or turn is None or spacing_mm_yx is None:
        return None
    place, rows, columns = np.asarray(place_mm_xyz), np.asarray(turn[:3]), np.asarray(turn[3:])
    aside_mm = np.round([place @ rows, place @ columns])
    grid = (*np.round(turn, 2), *np.round(spacing_mm_yx, 3), *shape_yx, *aside_mm)
    return Plane(tuple(float(v) for v in grid), float(place @ np.cross(rows, columns)))


def is_torn(planes: Iterable[Plane]) -> bool:
    """Whether slices of one grid, each of a series of its own, lie evenly: as one scan does whose slices bear a UID
    each."""
    heights = heights_of(planes)
    if len(heights) < LEAST_TORN:
        return False
    steps = np.diff(heights)
    usual = np.median(steps)
    return float(np.mean(np.abs(steps - usual) <= EVEN * usual)) >= MOSTLY


def goes_on(one: Sequence[Plane], other: Sequence[Plane]) -> bool:
    """Whether the slices of one series go on where those of the other end, by the same step on the same grid."""
    if not one or not other or len({plane.grid for plane in (*one, *other)}) > 1:
        return False
    low, high = sorted((heights_of(one), heights_of(other)), key=lambda heights: heights[0])
    steps = [float(np.median(np.diff(heights))) for heights in (low, high) if len(heights) > 1]
    if not steps or max(steps) > (1 + EVEN) * min(steps):
        return False
    # Steps of slices: one alone takes the other's.
    return SEAM[0] <= (high[0] - low[-1]) / steps[0] <= SEAM[1]


def heights_of(planes: Iterable[Plane]) -> list[float]:
    """Ascending, each once."""
    return sorted({round(plane.height_mm, 2) for plane in planes})
