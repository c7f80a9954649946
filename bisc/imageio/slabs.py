"""A file's voxels, converted slab by slab along its slowest axis: one large float file must not fill the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.errors import InputError

SLAB_BYTES: Final = 1 << 27
"""Stored bytes held at a time, where ITK can read a part of the format. It costs NIfTI, packed or not, no time."""
STREAMED_SUFFIXES: Final = (".nii.gz", ".nii", ".mha", ".mhd")
"""ITK reads a part of these from disk; of a .nrrd it reads the whole each time (measured by peak memory)."""

Out = TypeVar("Out", bound=np.generic)
Convert = Callable[[npt.NDArray[Any]], npt.NDArray[Out]]


class Slabs(Protocol):
    """An image whose voxels come in pieces."""

    shape_zyx: tuple[int, int, int]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """Stored (z, y, x) arrays in order; together they have `shape_zyx`."""


def converted(
    slabs: Slabs,
    convert: Convert[Out],
    dtype: npt.DTypeLike,
    mirrored: tuple[bool, bool, bool] = (False, False, False),
) -> npt.NDArray[Out]:
    """All slabs through `convert`, in one array of `dtype` and `slabs.shape_zyx`.

    Along the `mirrored` axes the array lies backwards in memory, and its mirror image, which is what will be worked
    on, forwards: against the order of memory numpy takes up to twenty times as long.
    """
    whole: npt.NDArray[Out] = np.empty(slabs.shape_zyx, dtype=dtype)
    out = np.flip(whole, np.flatnonzero(mirrored).tolist())
    at = 0
    for slab in slabs:
        out[at : at + len(slab)] = convert(slab)
        at += len(slab)
    return out


class FileSlabs:
    """A three-dimensional file, read in parts of at most `SLAB_BYTES`.

    Args:
        reader: With its file name set and its header read; of one value a voxel.
        fault: Makes the error of what ITK says where it cannot read.
    """

    def __init__(self, reader: sitk.ImageFileReader, fault: Callable[[Exception], InputError]) -> None:
        self.reader, self.fault = reader, fault
        self.x, self.y, self.z = reader.GetSize()
        self.shape_zyx = (self.z, self.y, self.x)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        per_slice = self.x * self.y * bytes_per_voxel(self.reader.GetPixelID())
        step = max(1, SLAB_BYTES // per_slice)
        for at in range(0, self.z, step):
            self.reader.SetExtractIndex([0, 0, at])
            self.reader.SetExtractSize([self.x, self.y, min(step, self.z - at)])
            try:
                image = self.reader.Execute()
            except RuntimeError as error:
                raise self.fault(error) from error
            yield sitk.GetArrayViewFromImage(image)


class ImageSlabs:
    """An image in memory, as slabs of views: what is converted is never copied whole."""

    def __init__(self, image: sitk.Image) -> None:
        self.image = image
        x, y, z = image.GetSize()
        self.shape_zyx = (z, y, x)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        view = sitk.GetArrayViewFromImage(self.image)
        step = max(1, SLAB_BYTES // view[0].nbytes)
        for at in range(0, len(view), step):
            yield view[at : at + step]


class ArraySlabs:
    """An array in memory as one slab."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.array = array
        z, y, x = array.shape
        self.shape_zyx = (z, y, x)

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        yield self.array


def is_large(reader: sitk.ImageFileReader) -> bool:
    """Whether the file, whose header was read, is a volume of one value a voxel and of more than one slab."""
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
        return False
    n_voxels = prod(int(n) for n in reader.GetSize())
    return n_voxels * bytes_per_voxel(reader.GetPixelID()) > SLAB_BYTES


def bytes_per_voxel(pixel_id: int, unknown: int = 8) -> int:
    """Of an ITK scalar pixel type of up to four bytes; `unknown` for all others."""
    sizes = {sitk.sitkUInt8: 1, sitk.sitkInt8: 1, sitk.sitkUInt16: 2, sitk.sitkInt16: 2}
    sizes |= {sitk.sitkUInt32: 4, sitk.sitkInt32: 4, sitk.sitkFloat32: 4}
    return sizes.get(pixel_id, unknown)
