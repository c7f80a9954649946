"""NRRD and MetaImage: ITK reads them, held to the one format that the name promises, once their headers were looked at.

Left to itself it tries twenty formats on a file whatever its name, follows a header to any file of the machine, and
allocates what it asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.errors import InputError, one_line
from bisc.imageio.case import Stored
from bisc.imageio.formats.text_headers import EXPORT, check_meta, check_nrrd
from bisc.imageio.formats.text_voxels import check_whole_meta, check_whole_nrrd
from bisc.imageio.formats.whole import Promise
from bisc.imageio.plausible import check_header, itk_grid

SLAB_BYTES: Final = 1 << 27
"""Stored bytes converted at a time, and held at a time where ITK can read a part of the format."""
VOXEL_BYTES: Final = {
    getattr(sitk, f"sitk{vector}{kind}"): n_bytes
    for vector in ("", "Vector")
    for n_bytes, kinds in {
        1: ("UInt8", "Int8"),
        2: ("UInt16", "Int16"),
        4: ("UInt32", "Int32", "Float32"),
        8: ("UInt64", "Int64", "Float64"),
    }.items()
    for kind in kinds
}
"""By pixel type; a vector's of each component, of which a NRRD with an axis of length 1 too many has one."""


def open_nrrd(path: Path) -> Stored:
    """A `.nrrd` file, of which ITK reads the whole each time (measured by peak memory); raises as `open_meta`."""
    return _open(path, "NrrdImageIO", check_nrrd(path), streamed=False)


def open_meta(path: Path) -> Stored:
    """A `.mha` or `.mhd` file, its header checked.

    Raises:
        InputError: If the header is none of its format, promises more than the file can hold, has its voxels outside
            the file's own folder, or places them on no straight grid.
    """
    return _open(path, "MetaImageIO", check_meta(path), streamed=True)


def _open(path: Path, io_name: str, data: Sequence[Path], streamed: bool) -> Stored:
    """`data`: the files beside the header that hold its voxels."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(io_name)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    n_bytes = VOXEL_BYTES.get(reader.GetPixelID(), 1)
    check_header(path, reader, sum(file.stat().st_size for file in (path, *data)), n_bytes)
    geometry = itk_grid(path, reader)
    n_stored = prod(geometry.shape_zyx) * n_bytes
    return Stored(geometry, n_stored, streamed, lambda: _slabs(path, reader, n_bytes, streamed))


def _slabs(path: Path, reader: sitk.ImageFileReader, voxel_bytes: int, streamed: bool) -> Iterator[npt.NDArray[Any]]:
    """Views of at most `SLAB_BYTES`, of an image that is in memory as a whole unless it is `streamed`."""
    x, y, z, *more = reader.GetSize()
    check_whole = check_whole_meta if streamed else check_whole_nrrd
    check_whole(path, Promise((x, y, z), voxel_bytes))
    step = max(1, SLAB_BYTES // (x * y * voxel_bytes))
    part = step if streamed else z
    for at in range(0, z, part):
        reader.SetExtractIndex([0, 0, at, *(0 for _ in more)])
        reader.SetExtractSize([x, y, min(part, z - at), *(0 for _ in more)])
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise _unreadable(path, error) from error
        view = sitk.GetArrayViewFromImage(image)
        for i in range(0, len(view), step):
            yield view[i : i + step]


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = one_line(str(error)).rsplit("ERROR:", 1)[-1].strip()[-200:]
    return InputError(path, f"cannot be read ({reason})", "a NIfTI, NRRD, MHA or DICOM image", EXPORT)
