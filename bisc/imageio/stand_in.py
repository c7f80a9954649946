"""What ITK reads in place of a NIfTI-2 file: a copy with a NIfTI-1 header, for as long as it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio.header import checked_reader
from bisc.imageio.nifti_header import AGAIN, READABLE, NiftiHeader
from bisc.imageio.whole import Promise, promised_chunks

NO_EXTENSION = bytes(4)


@contextmanager
def stand_in(path: Path, header: NiftiHeader | None, voxels: bool) -> Iterator[Path]:
    """The file that ITK may read: `path` itself, or of a NIfTI-2 file a copy; errors that name the copy name `path`.

    Byte for byte the copy is as long as the file unpacked, and its voxels lie in the same place: what is found missing
    in the one is missing in the other.

    Args:
        path: A file or folder.
        header: Its header, if it is NIfTI.
        voxels: Whether they will be read; else the copy holds none.

    Raises:
        InputError: If the file promises what it cannot hold, is damaged, or there is no room for the copy.
    """
    if header is None or header.as_nifti1 is None:
        yield path
        return
    try:
        folder = TemporaryDirectory(prefix="bisc-nifti2-")
    except OSError as error:
        raise _no_room(path, "a temporary folder", error) from error
    with folder as name:
        copy = Path(name) / "nifti1.nii"
        try:
            _copy(path, copy, header.as_nifti1, voxels)
            yield copy
        except InputError as error:
            raise InputError(path, error.found.replace(str(copy), str(path)), error.expected, error.mend) from error


def _copy(path: Path, copy: Path, head: bytes, voxels: bool) -> None:
    try:
        with copy.open("wb") as file:
            file.write(head + NO_EXTENSION)
            file.truncate(max(file.tell(), path.stat().st_size))  # what fits into the file is judged by its length
        promise = Promise.of(_header_reader(copy))
        if voxels:
            with copy.open("wb") as file:
                for chunk in promised_chunks(path, promise.n_bytes):
                    file.write(chunk)
                file.seek(0)
                file.write(head + NO_EXTENSION)
    except OSError as error:
        raise _no_room(path, str(copy.parent), error) from error


def _no_room(path: Path, where: str, error: OSError) -> InputError:
    found = f"is NIfTI-2, and cannot be unpacked into {where} ({error.strerror or error})"
    return InputError(path, found, "room for its voxels there", "free space, or set TMPDIR")


def _header_reader(copy: Path) -> sitk.ImageFileReader:
    try:
        return checked_reader(copy, ".nii")
    except RuntimeError as error:
        raise InputError(copy, "cannot be read (a NIfTI header of another kind)", READABLE, AGAIN) from error
