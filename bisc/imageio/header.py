"""Headers looked at before ITK obeys them: what a file promises must fit into it, and its voxels lie in its folder.

ITK allocates what a header asks for, follows a header to any file of the machine, tries twenty formats on a file
whatever its name, and dies of some NRRD headers. All of that is decided here, from the header alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio.slabs import bytes_per_voxel
from bisc.imageio.text_headers import EXPORT, check_meta, check_nrrd

MAX_VOXELS: Final = 1 << 31
"""1024 x 1024 x 2048, four gigabytes of int16: eight times the largest scan of KiTS19 (512 x 512 x 1059)."""
MAX_EXPANSION: Final = 1032
"""Deflate, which gzip and zlib are made of, packs no more than 1032 bytes into one."""


def checked_reader(path: Path, suffix: str) -> sitk.ImageFileReader:
    """ITK's reader of one file, its header read and found plausible, held to the format that the name promises.

    Args:
        path: A file.
        suffix: Its suffix, a key of `FORMATS`.

    Raises:
        InputError: If the header is none of its format, promises more than the file can hold or `MAX_VOXELS`, or
            has its voxels outside the file's own folder.
        RuntimeError: ITK's own, if it cannot read the header.
    """
    io_name, check = FORMATS[suffix]
    try:
        stored = [path, *check(path)]
        n_bytes = sum(file.stat().st_size for file in stored)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})", "a readable file") from error
    reader = sitk.ImageFileReader()
    reader.SetImageIO(io_name)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    check_promise(path, reader, n_bytes)
    return reader


def check_promise(path: Path, header: sitk.ImageFileReader, n_bytes: int) -> None:
    """Refuse a header that promises more voxels than `n_bytes` can hold, packed as tightly as can be.

    Args:
        path: Named in the error.
        header: After `ReadImageInformation`.
        n_bytes: Of the files that hold it.

    Raises:
        InputError: Also if there are more than `MAX_VOXELS`, or none.
    """
    size = header.GetSize()
    n_voxels = header.GetNumberOfComponents()
    for n in size:
        n_voxels *= n
    shape = " x ".join(str(n) for n in size)
    if n_voxels < 1:
        raise InputError(path, f"cannot be read (size {shape})", "a size of at least one voxel", EXPORT)
    if n_voxels > MAX_VOXELS:
        raise InputError(path, f"its header promises {shape} voxels", f"at most {MAX_VOXELS}", "crop or resample it")
    promised = n_voxels * bytes_per_voxel(header.GetPixelID(), unknown=1)
    if promised > MAX_EXPANSION * n_bytes:
        raise InputError(
            path,
            f"cannot be read (its header promises {shape} voxels, {promised} bytes, in a file of {n_bytes})",
            "a whole file",
            "copy or export it again",
        )


FORMATS: Final[dict[str, tuple[str, Callable[[Path], Sequence[Path]]]]] = {
    ".nii.gz": ("NiftiImageIO", lambda path: ()),
    ".nii": ("NiftiImageIO", lambda path: ()),
    ".nrrd": ("NrrdImageIO", check_nrrd),
    ".mha": ("MetaImageIO", check_meta),
    ".mhd": ("MetaImageIO", check_meta),
}
"""By suffix: the one reader of ITK's that may see the file, and the check that comes first (NIfTI headers have had
theirs in `nifti_header`)."""
