"""Reading and writing images and label maps, with every fault of a file told in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.errors import InputError, WorkError, one_line
from bisc.core.geometry import Geometry, IntTriple
from bisc.core.volume import NativeGrid
from bisc.imageio.case import CaseImage, Stored
from bisc.imageio.formats import FORMATS
from bisc.imageio.formats.dicom import is_dicom, open_dicom, seeming_shape
from bisc.imageio.formats.nifti import leave_place_open, unpacked_bytes
from bisc.imageio.formats.text_headers import data_files
from bisc.imageio.label_map import LabelReader, meaning_for
from bisc.imageio.label_names import LabelMeaning
from bisc.imageio.plausible import HU_LIMITS, check_rounding
from bisc.system.console import collecting
from bisc.system.files import atomic_file
from bisc.system.paths import absence, check_nameable

IMAGE_SUFFIXES: Final = tuple(FORMATS)
WRITTEN: Final = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Of one file each: an .mhd's voxels lie in a second one, and no two files appear at once."""
DETACHED: Final = (".mhd", ".mha", ".nrrd", ".nhdr")
"""Headers that may name a file beside them."""
PAIRS: Final = {".hdr": ".img", ".img": ".hdr"}
NIFTI_HEADER_BYTES: Final = 352
HU_BYTES: Final = 2

Out = TypeVar("Out", bound=np.generic)


def image_suffix(path: Path) -> str | None:
    """The image suffix of a file name (`.nii.gz`, ...), or None where it has none of `IMAGE_SUFFIXES`."""
    name = path.name.lower()
    return next((s for s in IMAGE_SUFFIXES if name.endswith(s)), None)


def read_image(path: str | Path) -> CaseImage:
    """Read a CT image (a file, or a folder with one DICOM series) as int16 HU.

    Example:
        >>> image = bisc.read_image("ct.nii.gz")

    Returns:
        The image with a canonical int16 (z, y, x) volume.

    Raises:
        InputError: If it cannot be read, ends too early, lacks a slice, is not one 3-D scalar image, holds NaN or
            infinite voxels, or lies on no straight grid.
    """
    path = Path(path)
    return image_of(path, _open(path))


def image_of(path: Path, stored: Stored) -> CaseImage:
    """An image that was opened, as `read_image` gives it; `path` is named in errors, which are the same."""
    n_bad = 0
    ends: list[float] = []

    def converted(slab: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
        nonlocal n_bad
        hu, n = as_hu(slab)
        n_bad += n
        if slab.dtype.kind == "f":
            ends.extend((float(slab.min()), float(slab.max())))
        return hu

    image = _converted(path, stored, converted, np.int16)
    if n_bad:
        raise InputError(path, f"{n_bad} voxels are NaN or infinite", "finite HU", "repair the export")
    if ends:
        check_rounding(path, min(ends), max(ends))
    return image


def as_hu(array: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int16], int]:
    """Numbers rounded to int16, and how many of them were NaN or infinite (0 in the result)."""
    n_bad = 0
    if np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32) if array.dtype.itemsize == 2 else array  # float16 rounds int16's ends away
        finite = np.isfinite(array)
        n_bad = int(array.size - np.count_nonzero(finite))
        array = np.rint(array, where=finite, out=np.zeros_like(array))
    return array if array.dtype == np.int16 else np.clip(array, *HU_LIMITS).astype(np.int16), n_bad


def read_labels(path: Path, meaning: LabelMeaning | None = None) -> CaseImage:
    """Read a label map as uint8 with 0 background, 1 kidney, 2 tumour; cysts become kidney.

    Args:
        path: A file.
        meaning: What its values mean by `--labels` or its data set; None where nothing but itself may say so
            (`bisc.imageio.label_map.meaning_for`).

    Raises:
        InputError: As `read_image`, and if a value occurs that means nothing.
    """
    try:
        reader = LabelReader(path, meaning_for(path, meaning))  # first: overlapping segments are several values a voxel
    except OSError as error:
        raise _unreadable(path, error) from error
    return _converted(path, _open(path), reader, np.uint8)


def read_stored_geometry(path: Path) -> Geometry:
    """The stored grid of a file from its header alone, by the rules of `read_image`.

    Raises:
        InputError: If the header cannot be read, or places the voxels on no straight 3-D grid.
    """
    if path.is_dir():
        raise InputError(path, "is a folder", "an image file", "put the file in its place")
    return _open(path).geometry


def read_header(path: Path) -> CaseImage:
    """A file's grid from its header alone; every voxel of the volume is 0, and none takes memory.

    Raises:
        InputError: As `read_stored_geometry`.
    """
    native = NativeGrid.of(read_stored_geometry(path))
    return CaseImage(path, native.to_canonical(np.broadcast_to(np.int16(0), native.geometry.shape_zyx)), native)


@dataclass(frozen=True)
class StoredImage:
    """The size of an image on disk; see `Stored`.

    Attributes:
        shape_zyx: Voxels per axis as stored, axes in the file's order.
        n_bytes: What its voxels take as they are stored, unpacked.
        streamed: Whether they are read in slabs, so that these bytes are never held at once.
    """

    shape_zyx: IntTriple
    n_bytes: int
    streamed: bool


def read_size(path: Path) -> StoredImage:
    """By the header of a file, without a notice, or of the first one of a DICOM folder, which counts for all.

    Raises:
        InputError: If it cannot be read.
    """
    if path.is_dir() or image_suffix(path) is None:
        shape = seeming_shape(path)
        return StoredImage(shape, prod(shape) * HU_BYTES, streamed=False)
    with collecting(quiet=True):
        stored = _open(path)
    return StoredImage(stored.geometry.shape_zyx, stored.n_bytes, stored.streamed)


def _open(path: Path) -> Stored:
    """A file's grid and voxels; the voxels stay on disk until they are asked for."""
    missing = absence(path)
    if missing:
        raise InputError(path, missing, "an image file or a DICOM series folder", "mend the path or the link")
    check_nameable(path)
    if not path.is_dir() and not path.is_file():
        raise InputError(path, "is a pipe or a device", "an image file or a DICOM series folder", "copy it to a file")
    suffix = image_suffix(path)
    try:
        if path.is_dir() or (suffix is None and is_dicom(path)):
            return open_dicom(path)
        if suffix is None:
            raise InputError(path, "no image by its name", f"a name that ends in {', '.join(IMAGE_SUFFIXES)}")
        return FORMATS[suffix](path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(path, f"cannot be read ({error.strerror or error})", "a readable file", "check the file")


def _converted(
    path: Path, stored: Stored, convert: Callable[[npt.NDArray[Any]], npt.NDArray[Out]], dtype: npt.DTypeLike
) -> CaseImage:
    """All voxels through `convert`, slab by slab.

    Along mirrored axes the stored array lies backwards in memory, and the canonical one, which is what will be worked
    on, forwards: against the order of memory numpy takes up to twenty times as long.
    """
    native = NativeGrid.of(stored.geometry, stored.placed)
    whole: npt.NDArray[Out] = np.empty(stored.geometry.shape_zyx, dtype=dtype)
    out = np.flip(whole, np.flatnonzero(native.order.inverse().flips).tolist())
    at = 0
    try:
        for slab in stored.slabs():
            out[at : at + len(slab)] = convert(slab)
            at += len(slab)
    except OSError as error:
        raise _unreadable(path, error) from error
    return CaseImage(path, native.to_canonical(out), native)


def write_image(
    path: Path, canonical: npt.NDArray[np.generic], native: NativeGrid, compress: bool = True, note: str = ""
) -> None:
    """Write a canonical (z, y, x) array in the native grid's own axis order, whole or not at all.

    Args:
        path: Target; the suffix (one of `WRITTEN`) chooses the format.
        canonical: (z, y, x) array on `native.canonical`; a trailing axis becomes vector components.
        native: The grid to write on; its size, spacing, origin and direction are kept exactly. Where the image's file
            does not say where that lies, nor does a NIfTI file: else programs would show the two apart.
        compress: Compress formats that can be (`.nii.gz` always is).
        note: What NIfTI's header says in its field `descrip`, 79 characters at most.

    Raises:
        InputError: If the name tells no format that holds a volume in one file or is no UTF-8, the folder cannot be
            written, or the disk is full.
        WorkError: If ITK cannot write the file.
    """
    if not path.name.endswith(WRITTEN):
        raise InputError(path, "no image by its name", f"a name that ends in {', '.join(WRITTEN)}", "name it so")
    check_nameable(path)
    if canonical.shape[:3] != native.canonical.shape_zyx:
        raise ValueError(f"array is {canonical.shape}, its grid {native.canonical.shape_zyx} (z, y, x)")
    image = sitk.GetImageFromArray(native.to_stored(canonical), isVector=canonical.ndim == 4)
    image.SetSpacing(native.geometry.spacing_mm_zyx[::-1])
    image.SetOrigin(native.geometry.origin_mm_xyz)
    image.SetDirection(native.geometry.direction)
    if note:
        image.SetMetaData("ITK_FileNotes", note)
    with atomic_file(path) as scratch:
        try:
            sitk.WriteImage(image, str(scratch), useCompression=compress, compressionLevel=1)
        except RuntimeError as error:
            raise WorkError(f"{path}: cannot be written ({one_line(str(error))[-200:]})") from error
        if image_suffix(path) in (".nii.gz", ".nii"):
            _check_written(path, scratch, canonical.nbytes)
            if not native.placed:
                leave_place_open(scratch)


def _check_written(target: Path, scratch: Path, voxel_bytes: int) -> None:
    """ITK's NIfTI writer reports no error when the disk is full: look whether every byte is there."""
    there, promised = unpacked_bytes(scratch), NIFTI_HEADER_BYTES + voxel_bytes
    if there < promised:
        raise InputError(
            target,
            f"cannot be written whole ({there} of {promised} bytes)",
            "room on the disk",
            "free space or choose another folder",
        )


def files_of(path: Path) -> list[Path]:
    """Every file that holds a case's header or voxels: a file, the data file it names, a folder's files by name.

    A header that cannot be read names no other file: reading the case says what is wrong with it.
    """
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    suffix = path.suffix.lower()
    if suffix in PAIRS:
        return [path, *(p for p in (path.with_suffix(PAIRS[suffix]),) if p.is_file())]
    if suffix not in DETACHED:
        return [path]
    try:
        return [path, *data_files(path)]
    except (InputError, OSError):
        return [path]
