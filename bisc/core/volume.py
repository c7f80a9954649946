"""Voxels together with their geometry: canonical inside, and able to return to the grid they were stored on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bisc.core.box import Box
from bisc.core.geometry import AxisOrder, Geometry, canonical_axis_order

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


@dataclass(frozen=True)
class NativeGrid:
    """The grid a file stores, kept exactly as read, and the axis order that makes it canonical."""

    geometry: Geometry
    order: AxisOrder

    @classmethod
    def of(cls, stored: Geometry) -> NativeGrid:
        """The native grid of a stored geometry."""
        return cls(stored, canonical_axis_order(stored))

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
