"""What a file's header says of its size, before any voxel is read."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.core.geometry import IntTriple
from bisc.imageio.header import slice_reader
from bisc.imageio.read import image_suffix, open_header
from bisc.imageio.slabs import STREAMED_SUFFIXES, bytes_per_voxel


@dataclass(frozen=True)
class StoredImage:
    """An image on disk.

    Attributes:
        shape_zyx: Its size as stored, axes in the file's order.
        n_bytes: What its voxels take as they are stored, unpacked.
        streamed: Whether they are read in slabs, so that these bytes are never held at once.
    """

    shape_zyx: IntTriple
    n_bytes: int
    streamed: bool


def read_size(path: Path) -> StoredImage:
    """The header of a file, or of the first slice of a DICOM folder, which counts for all.

    Raises:
        InputError: If it cannot be read.
    """
    files = _slices(path) if path.is_dir() else [path]
    reader = _slice_header(files[0]) if path.is_dir() and files else open_header(path)
    x, y, z = (*reader.GetSize(), 1)[:3]
    shape = (z * max(1, len(files)), y, x)
    n_bytes = prod(shape) * reader.GetNumberOfComponents() * bytes_per_voxel(reader.GetPixelID())
    return StoredImage(shape, n_bytes, path.is_file() and image_suffix(path) in STREAMED_SUFFIXES)


def _slice_header(path: Path) -> sitk.ImageFileReader:
    try:
        return slice_reader(path)
    except RuntimeError as error:
        raise InputError(path, "cannot be read", "a DICOM slice") from error


def _slices(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
