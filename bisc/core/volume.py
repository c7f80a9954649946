"""Boxes of voxels, and voxels together with their geometry: canonical inside, and able to return to the grid they were
stored on."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import AxisOrder, Geometry, IntTriple, as_int_triple, canonical_axis_order


@dataclass(frozen=True)
class Box:
    """Voxels from `start_zyx` up to, not including, `stop_zyx`. A box may reach beyond its grid until clipped."""

    start_zyx: IntTriple
    stop_zyx: IntTriple

    def __post_init__(self) -> None:
        if any(b <= a for a, b in zip(self.start_zyx, self.stop_zyx, strict=True)):
            raise ValueError(f"empty box: start {self.start_zyx}, stop {self.stop_zyx}")

    @classmethod
    def of_mask(cls, mask: npt.NDArray[np.generic]) -> Box | None:
        """The smallest box around the non-zero voxels, or None for an empty mask."""
        is_byte = mask.dtype in (np.bool_, np.uint8)
        voxels = (mask if is_byte else mask != 0).view(np.uint8)  # of which `max` is quicker than `any`
        # In the order of memory, forwards: against it numpy takes twenty times as long.
        mirrored = [stride < 0 for stride in voxels.strides]
        first, second, third = (int(a) for a in np.argsort(np.negative(np.abs(voxels.strides)), kind="stable"))
        voxels = np.flip(voxels, np.flatnonzero(mirrored).tolist()).transpose(first, second, third)
        hit = _range(voxels.max(axis=(1, 2))) if voxels.size else None
        if hit is None:
            return None
        plane = voxels[slice(*hit)].max(axis=0)
        ranges = {first: hit, second: _range(plane.max(axis=1)), third: _range(plane.max(axis=0))}
        start, stop = [0, 0, 0], [0, 0, 0]
        for axis, n in enumerate(mask.shape):
            ends = ranges[axis]
            assert ends is not None  # there is a voxel: every axis has seen it
            low, high = ends
            start[axis], stop[axis] = (n - high, n - low) if mirrored[axis] else (low, high)
        return cls(as_int_triple(start), as_int_triple(stop))

    @classmethod
    def of_shape(cls, shape_zyx: IntTriple) -> Box:
        """The whole grid."""
        return cls((0, 0, 0), shape_zyx)

    @property
    def shape_zyx(self) -> IntTriple:
        """Edge lengths in voxels."""
        return as_int_triple(np.subtract(self.stop_zyx, self.start_zyx))

    def to_slices(self) -> tuple[slice, slice, slice]:
        """Slices that cut this box out of an array; the box must not begin before voxel 0."""
        if min(self.start_zyx) < 0:
            raise ValueError(f"box begins outside the grid: {self.start_zyx}; clip it first")
        z, y, x = (slice(a, b) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    def slabs(self, most_voxels: int) -> list[Box]:
        """The box cut along z into slabs of at most `most_voxels`, or of one slice where that is more."""
        first, y, x = self.start_zyx
        last, y_stop, x_stop = self.stop_zyx
        step = max(1, most_voxels // ((y_stop - y) * (x_stop - x)))
        return [Box((z, y, x), (min(z + step, last), y_stop, x_stop)) for z in range(first, last, step)]

    def shifted(self, by_zyx: IntTriple) -> Box:
        """The box moved by whole voxels."""
        return Box(as_int_triple(np.add(self.start_zyx, by_zyx)), as_int_triple(np.add(self.stop_zyx, by_zyx)))

    def padded(self, by_zyx: IntTriple) -> Box:
        """The box grown by `by_zyx` voxels at both ends."""
        return Box(as_int_triple(np.subtract(self.start_zyx, by_zyx)), as_int_triple(np.add(self.stop_zyx, by_zyx)))

    def clipped(self, shape_zyx: IntTriple) -> Box | None:
        """The part inside a grid of `shape_zyx` voxels, or None where they do not meet."""
        return self.meeting(Box.of_shape(shape_zyx))

    def meeting(self, other: Box) -> Box | None:
        """The part that lies in both, or None where they do not meet."""
        start = np.maximum(self.start_zyx, other.start_zyx)
        stop = np.minimum(self.stop_zyx, other.stop_zyx)
        if (stop <= start).any():
            return None
        return Box(as_int_triple(start), as_int_triple(stop))

    def within(self, other: Box) -> Box:
        """The box as voxels of an array cut out by `other`."""
        z, y, x = other.start_zyx
        return self.shifted((-z, -y, -x))

    def mirrored(self, shape_zyx: IntTriple, axes: Collection[int]) -> Box:
        """The box where mirroring a grid of `shape_zyx` voxels along `axes` takes it."""
        ends = zip(self.start_zyx, self.stop_zyx, shape_zyx, strict=True)
        turned = [
            (n - stop, n - start) if axis in axes else (start, stop) for axis, (start, stop, n) in enumerate(ends)
        ]
        return Box(as_int_triple([start for start, _ in turned]), as_int_triple([stop for _, stop in turned]))

    def contains(self, other: Box) -> bool:
        """Whether every voxel of `other` lies inside."""
        return all(a <= b for a, b in zip(self.start_zyx, other.start_zyx, strict=True)) and all(
            a >= b for a, b in zip(self.stop_zyx, other.stop_zyx, strict=True)
        )

    def union(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            as_int_triple(np.minimum(self.start_zyx, other.start_zyx)),
            as_int_triple(np.maximum(self.stop_zyx, other.stop_zyx)),
        )


def _range(values: npt.NDArray[np.uint8]) -> tuple[int, int] | None:
    """The first that is not zero, and one past the last."""
    hit = np.flatnonzero(values)
    return (int(hit[0]), int(hit[-1]) + 1) if hit.size else None


Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Volume:
    """An array in canonical (z, y, x) LPS order with its geometry: voxels, or softmax of several classes.

    Attributes:
        array: (z, y, x) voxels, or (channels, z, y, x).
        geometry: The canonical grid; `geometry.shape_zyx == array.shape[-3:]`.

    Raises:
        ValueError: If array and geometry disagree in size.
    """

    array: Array
    geometry: Geometry

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4) or self.array.shape[-3:] != self.geometry.shape_zyx:
            raise ValueError(f"array is {self.array.shape} but its geometry {self.geometry.shape_zyx} (z, y, x)")

    def with_array(self, array: Array) -> Volume:
        """Another array on this grid."""
        return Volume(array, self.geometry)

    def cropped(self, box: Box) -> Volume:
        """The part inside `box` (which must lie inside the grid), as a view."""
        inside = (..., *box.to_slices())
        return Volume(self.array[inside], self.geometry.cropped(box.start_zyx, box.shape_zyx))


def digest_of(*volumes: Volume) -> str:
    """Changes with any voxel, its type or its place: what tells a file replaced by another of its size and time."""
    digest = hashlib.sha256()
    for volume in volumes:
        digest.update(f"{volume.array.dtype} {volume.array.strides} {volume.geometry!r}".encode())
        slowest = int(np.argmax(np.abs(volume.array.strides)))  # slabs as they lie in memory: no strided reading
        for slab in np.moveaxis(volume.array, slowest, 0):
            digest.update(slab.ravel(order="K"))
    return digest.hexdigest()


def image_digest(volume: Volume) -> str:
    """Of the whole numbers that a canonical HU image holds, in whatever format and place they are stored."""
    digest = hashlib.blake2b(repr(volume.array.shape).encode(), digest_size=16)
    for slab in volume.array:
        digest.update(np.rint(slab).astype("<i4").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class NativeGrid:
    """The grid a file stores, kept exactly as read, and the axis order that makes it canonical.

    Attributes:
        geometry: The grid.
        order: The axis order.
        placed: Whether the file says where the grid lies; where it does not, each program takes a place of its own for
            it, and what is written on it must leave that open too.
    """

    geometry: Geometry
    order: AxisOrder
    placed: bool = True

    @classmethod
    def of(cls, stored: Geometry, placed: bool = True) -> NativeGrid:
        """The native grid of a stored geometry."""
        return cls(stored, canonical_axis_order(stored), placed)

    @property
    def canonical(self) -> Geometry:
        """The same grid in LPS (z, y, x) order, its direction orthonormal where rounding had bent it."""
        return self.order.apply_to_geometry(self.geometry.orthonormal())

    def to_canonical(self, stored: Array) -> Volume:
        """A stored (z, y, x) array as a canonical volume (a view, nothing is copied)."""
        return Volume(self.order.apply(stored), self.canonical)

    def to_stored(self, canonical: Array) -> Array:
        """A canonical array back in the file's own axis order, contiguous."""
        return np.ascontiguousarray(self.order.inverse().apply(canonical))
