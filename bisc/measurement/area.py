"""Areas of surfaces between voxels, closed or cut out of a mask, without the steps of the grid.

Counting voxel faces makes a sphere's surface 50 % too large, however fine the grid: its steps do not become flatter.
Here each face counts by the cosine between it and the surface's own direction, which the blurred mask tells: the flux
of a unit field through the steps is that through the smooth surface (divergence theorem), so the sum converges.
Crofton's count of crossings in 13 directions does so too for closed surfaces, but on slices of 3 mm it finds 5 to
30 % too little of an open piece, such as the contact of a tumour with its kidney (docs/lab/measurements.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Triple
from bisc.core.volume import Box

Mask = npt.NDArray[np.bool_]
Field = npt.NDArray[np.floating]

SLICES: Final = 1.5
"""Blur by so many of the largest spacing (sigma): less leaves steps in the directions, more rounds small tumours."""
REACH: Final = 3.0
"""Sigmas that a blur and the room around a mask go."""
RIM_MM: Final = 1.5
"""By so much (sigma) the rim's direction is blurred."""
LEAST_MM: Final = 0.4
"""The least width over which a face at the rim counts in part."""


def surface_mm2(mask: Mask, spacing_mm_zyx: Triple) -> float:
    """The surface of a (z, y, x) mask in mm2; where it reaches the array's border it is closed there."""
    box = Box.of_mask(mask)
    if box is None:
        return 0.0
    room = _room(spacing_mm_zyx)
    inside = np.pad(mask[box.to_slices()], [(n, n) for n in room])
    return _flux(inside, spacing_mm_zyx, lambda face: np.ones(1))


def contact_mm2(one: Mask, other: Mask, spacing_mm_zyx: Triple) -> float:
    """The surface in mm2 along which two (z, y, x) masks that do not overlap touch.

    Both are carried on outwards, and what of their common surface lies within the outline of the two together counts,
    faces on the outline in part: else a rim of up to a slice would be lost all around.

    Raises:
        ValueError: If they overlap, or differ in shape.
    """
    if one.shape != other.shape or (one & other).any():
        raise ValueError("two masks of one shape, apart from each other")
    box = Box.of_mask(touching(one, other))
    if box is None:
        return 0.0
    room = _room(spacing_mm_zyx)
    near = tuple(slice(max(a - n, 0), b + n) for a, b, n in zip(box.start_zyx, box.stop_zyx, room, strict=True))
    a, b = (np.pad(mask[near], [(n, n) for n in room]) for mask in (one, other))
    mm_to = [edt.edt(~mask, anisotropy=spacing_mm_zyx) for mask in (a, b)]
    carried = mm_to[0] <= mm_to[1]
    depth_mm = np.minimum(*mm_to) - edt.edt(a | b, anisotropy=spacing_mm_zyx)
    rim = np.abs(_unit(_gradient(depth_mm, spacing_mm_zyx, RIM_MM)))

    def within(face: _Faces) -> Field:
        """Of each face, the share that lies within the outline, taken for flat there."""
        width_mm = sum(mm * face.mean(rim[axis]) for axis, mm in enumerate(spacing_mm_zyx) if axis != face.axis)
        return np.asarray(np.clip(0.5 - face.mean(depth_mm) / np.maximum(width_mm, LEAST_MM), 0.0, 1.0))

    return _flux(carried, spacing_mm_zyx, within)


def touching(one: Mask, other: Mask) -> Mask:
    """Voxels of the one that share a face with the other."""
    out = np.zeros_like(one)
    for axis in range(one.ndim):
        a, b, found = (np.moveaxis(array, axis, 0) for array in (one, other, out))
        found[1:] |= a[1:] & b[:-1]
        found[:-1] |= a[:-1] & b[1:]
    return out


@dataclass(frozen=True)
class _Faces:
    """The voxel faces across one axis in which an array changes.

    Attributes:
        axis: 0 z, 1 y, 2 x.
        at: Indices of the voxels before them.
    """

    axis: int
    at: tuple[npt.NDArray[np.intp], ...]

    @property
    def beyond(self) -> tuple[npt.NDArray[np.intp], ...]:
        """Indices of the voxels behind them."""
        return tuple(index + (axis == self.axis) for axis, index in enumerate(self.at))

    def mean(self, values: Field) -> Field:
        """At each face the mean of the two voxels'."""
        return (values[self.at] + values[self.beyond]) / 2


def _flux(mask: Mask, spacing_mm_zyx: Triple, weight: Callable[[_Faces], Field]) -> float:
    """The area in mm2 of a mask's surface, its faces weighted."""
    towards = _gradient(mask.astype(np.float64), spacing_mm_zyx, SLICES * max(spacing_mm_zyx))
    total = 0.0
    for axis, mm in enumerate(spacing_mm_zyx):
        steps = np.diff(mask.astype(np.int8), axis=axis)
        face = _Faces(axis, np.nonzero(steps))
        direction = _unit(np.stack([face.mean(component) for component in towards]))
        area_mm2 = float(np.prod(spacing_mm_zyx)) / mm
        total += float(np.sum(direction[axis] * steps[face.at] * weight(face))) * area_mm2
    return total


def _unit(vectors: Field) -> Field:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=0), 1e-12))


def _room(spacing_mm_zyx: Triple) -> tuple[int, ...]:
    reach_mm = REACH * SLICES * max(spacing_mm_zyx)
    return tuple(int(np.ceil(reach_mm / mm)) for mm in spacing_mm_zyx)


def _gradient(values: Field, spacing_mm_zyx: Triple, sigma_mm: float) -> Field:
    """(3, z, y, x) of a blurred array, per mm."""
    sigmas = [sigma_mm / mm for mm in spacing_mm_zyx]
    orders = np.eye(3, dtype=int).tolist()
    blurred = [ndimage.gaussian_filter(values, sigmas, order=order, truncate=REACH) for order in orders]
    return np.stack([slope / mm for slope, mm in zip(blurred, spacing_mm_zyx, strict=True)])
