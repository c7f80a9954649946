"""Headers looked at before ITK obeys them: what a file promises must fit into it, and its voxels lie in its folder.

ITK allocates what a header asks for, follows a header to any file of the machine, tries twenty formats on a file
whatever its name, and dies of some NRRD headers. All of that is decided here, from the header alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio.slabs import bytes_per_voxel

MAX_VOXELS: Final = 1 << 31
"""1024 x 1024 x 2048, four gigabytes of int16: eight times the largest scan of KiTS19 (512 x 512 x 1059)."""
MAX_EXPANSION: Final = 1032
"""Deflate, which gzip and zlib are made of, packs no more than 1032 bytes into one."""
MAX_HEADER_BYTES: Final = 1 << 20
MAX_LINE: Final = 1000
"""Characters of a header's line with numbers; ITK's NRRD parser overruns its memory on longer ones."""
EXPORT: Final = "export it again"

_NUMBER = r"\s*[-+]?[0-9.]{1,40}([eE][-+]?[0-9]{1,4})?\s*|\s*nan\s*"
_VECTOR = rf"\(({_NUMBER})(,({_NUMBER})){{0,15}}\)"
_VECTORS = re.compile(rf"\s*(none|{_VECTOR})(\s+(none|{_VECTOR})){{0,15}}\s*", re.IGNORECASE)
_NRRD_VECTORS = ("space directions", "space origin", "measurement frame")
_NRRD_FREE = ("content", "units", "space units", "labels", "sample units", "sampleunits")
_NRRD_PLAIN = re.compile(r"[\w\s.+-]*")
_NRRD_DATA = ("data file", "datafile")
_META_DATA = "elementdatafile"


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
    check_promise(path, reader, 1, n_bytes)
    return reader


def slice_reader(path: Path | str) -> sitk.ImageFileReader:
    """ITK's reader of one DICOM file, its header read.

    Raises:
        RuntimeError: ITK's own, if it cannot read the header.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def check_series_promise(folder: Path, names: Sequence[str]) -> None:
    """Refuse a DICOM series whose first slice promises more voxels than its files can hold.

    Raises:
        InputError: As `checked_reader`.
        RuntimeError: ITK's own, if it cannot read the header.
    """
    check_promise(folder, slice_reader(names[0]), len(names), sum(Path(name).stat().st_size for name in names))


def check_promise(path: Path, header: sitk.ImageFileReader, n_files: int, n_bytes: int) -> None:
    """Refuse a header that promises more voxels than `n_bytes` can hold, packed as tightly as can be.

    Args:
        path: Named in the error.
        header: After `ReadImageInformation`.
        n_files: How many files of that size there are (slices of a series).
        n_bytes: Their bytes together.

    Raises:
        InputError: Also if there are more than `MAX_VOXELS`, or none.
    """
    size = header.GetSize()
    n_voxels = n_files * header.GetNumberOfComponents()
    for n in size:
        n_voxels *= n
    shape = " x ".join(str(n) for n in (size if n_files == 1 else (*size, n_files)))
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


def check_nrrd(path: Path) -> Sequence[Path]:
    """Refuse NRRD headers that ITK dies of, and voxels outside the file's folder; returns a detached data file."""
    lines = _text_lines(path)
    if not lines[0].startswith("NRRD000"):
        raise InputError(path, "cannot be read (no NRRD header)", "a NRRD image", EXPORT)
    data: list[Path] = []
    for line in lines[1:]:
        if not line.strip():
            break
        if line.startswith("#") or re.match(r"[^:]*:=", line):
            continue
        field, colon, value = line.partition(":")
        field = field.strip().lower()
        if field in _NRRD_DATA:
            data.append(_beside(path, value.strip()))
            continue
        sound = _VECTORS.fullmatch(value) if field in _NRRD_VECTORS else _NRRD_PLAIN.fullmatch(value)
        if not colon or len(line) > MAX_LINE or not (sound or field in _NRRD_FREE):
            raise InputError(path, f"cannot be read (header line '{line[:80]}')", "the fields of a NRRD image", EXPORT)
    return data


def check_meta(path: Path) -> Sequence[Path]:
    """Refuse MetaImage headers without voxels, or with voxels outside the file's folder; returns a data file."""
    for line in _text_lines(path):
        key, equals, value = line.partition("=")
        if not equals or len(line) > MAX_LINE or not line.isprintable() or _META_DATA in value.lower():
            break
        if _META_DATA in key.lower():
            return () if value.strip() in ("LOCAL", "Local", "local") else [_beside(path, value.strip())]
    raise InputError(path, "cannot be read (no ElementDataFile in its header)", "a MetaImage", EXPORT)


FORMATS: Final[dict[str, tuple[str, Callable[[Path], Sequence[Path]]]]] = {
    ".nii.gz": ("NiftiImageIO", lambda path: ()),
    ".nii": ("NiftiImageIO", lambda path: ()),
    ".nrrd": ("NrrdImageIO", check_nrrd),
    ".mha": ("MetaImageIO", check_meta),
    ".mhd": ("MetaImageIO", check_meta),
}
"""By suffix: the one reader of ITK's that may see the file, and the check that comes first (NIfTI headers have had
theirs in `nifti_header`)."""


def _text_lines(path: Path) -> list[str]:
    """The lines at the head of a file; bytes of voxels among them are of no matter."""
    with path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    if not head:
        raise InputError(path, "cannot be read (it is empty)", "an image", EXPORT)
    return head.decode("latin-1").replace("\r\n", "\n").split("\n")


def _beside(path: Path, name: str) -> Path:
    """The file in `path`'s own folder that its header names for its voxels."""
    data = path.parent / name
    homes = (path.parent.resolve(), path.resolve().parent)
    plain = re.fullmatch(r"[^/\\%\x00-\x1f]+", name) and name not in (".", "..") and not name.startswith("LIST")
    if not plain or data.resolve().parent not in homes or not data.is_file():
        raise InputError(
            path,
            f"cannot be read (its header sends the reader to '{name[:80]}')",
            "its voxels in the same file, or in one file beside it",
            "export it as one .nii.gz",
        )
    return data
