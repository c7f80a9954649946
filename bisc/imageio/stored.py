"""What a file's header says of its size, before any voxel is read."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from bisc.core.geometry import IntTriple
from bisc.imageio.dicom import seeming_shape
from bisc.imageio.read import image_suffix, open_header
from bisc.imageio.slabs import STREAMED_SUFFIXES, bytes_per_voxel

HU_BYTES = 2


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
    """The header of a file, or of the first one of a DICOM folder, which counts for all.

    Raises:
        InputError: If it cannot be read.
    """
    if path.is_dir() or image_suffix(path) is None:
        shape = seeming_shape(path)
        return StoredImage(shape, prod(shape) * HU_BYTES, streamed=False)
    reader = open_header(path)
    x, y, z = (*reader.GetSize(), 1)[:3]
    n_bytes = x * y * z * reader.GetNumberOfComponents() * bytes_per_voxel(reader.GetPixelID())
    return StoredImage((z, y, x), n_bytes, image_suffix(path) in STREAMED_SUFFIXES)
