"""Reading images and label maps, with every fault of a file told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.errors import InputError, one_line
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.imageio.axes import check_direction, say_straightened
from bisc.imageio.case import CaseImage
from bisc.imageio.dicom import is_dicom, read_stack
from bisc.imageio.folders import check_nameable
from bisc.imageio.header import checked_reader
from bisc.imageio.label_map import LabelReader, meaning_for
from bisc.imageio.label_names import LabelMeaning
from bisc.imageio.nifti_forms import check_forms
from bisc.imageio.nifti_header import NiftiHeader, check_nifti_header
from bisc.imageio.plausible import check_spacing
from bisc.imageio.slabs import STREAMED_SUFFIXES, ArraySlabs, FileSlabs, ImageSlabs, Slabs, converted, is_large
from bisc.imageio.stand_in import stand_in
from bisc.imageio.text_headers import check_whole_meta
from bisc.imageio.whole import check_alone, check_whole_nifti, is_sound_gzip
from bisc.system.paths import absence

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
NIFTI_SUFFIXES = (".nii.gz", ".nii")
META_SUFFIXES = (".mha", ".mhd")
HU_LIMITS = (-32768, 32767)
COMPLEX_PIXELS = (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)


def image_suffix(path: Path) -> str | None:
    """The image suffix of a file name (`.nii.gz`, ...), or None where it has none of `IMAGE_SUFFIXES`."""
    name = path.name.lower()
    return next((s for s in IMAGE_SUFFIXES if name.endswith(s)), None)


def read_image(path: str | Path) -> CaseImage:
    """Read a CT image (a file, or a folder with one DICOM series) as int16 HU.

    Returns:
        The image with a canonical int16 (z, y, x) volume.

    Raises:
        InputError: If it cannot be read, ends too early, lacks a slice, is not one 3-D scalar image, holds NaN or
            infinite voxels, or lies on no straight grid.

    Example:
        >>> image = bisc.read_image("ct.nii.gz")
    """
    path = Path(path)
    with _trusted(path) as stored:
        source = _open(stored)
        native = NativeGrid.of(source.geometry)
        hu = _as_hu(source.slabs, path, native.order.inverse().flips)
    return CaseImage(path, native.to_canonical(hu), native)


def read_labels(path: Path, meaning: LabelMeaning | None = None) -> CaseImage:
    """Read a label map as uint8 with 0 background, 1 kidney, 2 tumour; cysts become kidney.

    Args:
        path: A file.
        meaning: What its values mean by `--labels` or its data set; None where nothing but itself may say so
            (`bisc.imageio.label_map.meaning_for`).

    Raises:
        InputError: As `read_image`, and if a value occurs that means nothing.
    """
    with _trusted(path) as stored:
        labels_of = LabelReader(path, meaning_for(path, meaning))
        source = _open(stored)
        native = NativeGrid.of(source.geometry)
        mirrored = native.order.inverse().flips
        labels = converted(source.slabs, labels_of, np.uint8, mirrored)
    return CaseImage(path, native.to_canonical(labels), native)


def read_stored_geometry(path: Path) -> Geometry:
    """The stored grid of a file from its header alone, by the rules of `read_image`.

    Raises:
        InputError: If the header cannot be read, or places the voxels on no straight 3-D grid.
    """
    if path.is_dir():
        raise InputError(path, "is a folder", "an image file", "put the file in its place")
    with _trusted(path, voxels=False) as stored:
        reader = _file_reader(stored)
    n_axes, size, direction = reader.GetDimension(), reader.GetSize(), reader.GetDirection()
    if n_axes == 4 and size[3] == 1:  # one volume of a 4-D file, as `_read` takes it
        n_axes, direction = 3, tuple(np.reshape(direction, (4, 4))[:3, :3].ravel().tolist())
    if n_axes != 3:
        raise InputError(path, f"{n_axes} dimensions", "a 3-D image", "split it into volumes")
    _check_one_number(path, reader.GetNumberOfComponents(), reader.GetPixelID())
    return check_spacing(path, _make_geometry(size, reader.GetSpacing(), reader.GetOrigin(), direction, path))


def read_header(path: Path) -> CaseImage:
    """A file's grid from its header alone; every voxel of the volume is 0, and none takes memory.

    Raises:
        InputError: As `read_stored_geometry`.
    """
    native = NativeGrid.of(read_stored_geometry(path))
    return CaseImage(path, native.to_canonical(np.broadcast_to(np.int16(0), native.geometry.shape_zyx)), native)


@dataclass(frozen=True, eq=False)
class _Source:
    """A file that can be used: its stored grid, and its voxels."""

    geometry: Geometry
    slabs: Slabs


def _open(path: Path) -> _Source:
    """A file's grid and voxels; what is large and can be read in parts stays on disk until it is asked for."""
    if path.is_dir() or (image_suffix(path) is None and is_dicom(path)):
        stack, hu = read_stack(path)
        size, spacing = stack.shape_zyx[::-1], stack.spacing_mm_zyx[::-1]
        geometry = _make_geometry(size, spacing, stack.origin_mm_xyz, stack.direction, path)
        return _Source(check_spacing(path, geometry), ArraySlabs(hu))
    reader = _file_reader(path)
    if image_suffix(path) in STREAMED_SUFFIXES and is_large(reader):
        _check_one_number(path, 1, reader.GetPixelID())
        if image_suffix(path) in NIFTI_SUFFIXES:
            check_whole_nifti(path, reader)
        return _Source(_geometry(reader, path), FileSlabs(reader, lambda error: _unreadable(path, error)))
    image = _read(path, reader)
    return _Source(_geometry(image, path), ImageSlabs(image))


def open_header(path: Path) -> sitk.ImageFileReader:
    """A reader that has read the header of `path`, and no voxel.

    Raises:
        InputError: If it cannot be read.
    """
    with stand_in(path, _check_before_itk(path), voxels=False) as stored:
        return _file_reader(stored)


@contextmanager
def _trusted(path: Path, voxels: bool = True) -> Iterator[Path]:
    """What ITK may read of `path`, whose header means one thing, while the block runs; its `voxels` too or not."""
    header = _check_before_itk(path)
    if header is not None:
        check_forms(path, header)
    with stand_in(path, header, voxels) as stored:
        yield stored


def _check_before_itk(path: Path) -> NiftiHeader | None:
    """Refuse what ITK itself would tell in several lines on stderr, or not at all; the header, if it is NIfTI."""
    missing = absence(path)
    if missing:
        raise InputError(path, missing, "an image file or a DICOM series folder", "mend the path or the link")
    check_nameable(path)
    if not path.is_dir() and not path.is_file():
        raise InputError(path, "is a pipe or a device", "an image file or a DICOM series folder", "copy it to a file")
    if image_suffix(path) in NIFTI_SUFFIXES and not path.is_dir():
        check_alone(path)
        return check_nifti_header(path)
    return None


def _check_one_number(path: Path, n_components: int, pixel_id: int) -> None:
    if pixel_id in COMPLEX_PIXELS:
        raise InputError(path, "complex voxels", "one real value (HU)", "export the CT itself")
    if n_components != 1:
        raise InputError(path, f"{n_components} values per voxel", "one value (HU)", "export one channel")


def _read(path: Path, reader: sitk.ImageFileReader) -> sitk.Image:
    """The whole of a file, by its `reader`, as one 3-D image of one value a voxel."""
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if image_suffix(path) in NIFTI_SUFFIXES:
        check_whole_nifti(path, image)
    elif image_suffix(path) in META_SUFFIXES:
        check_whole_meta(path)
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise InputError(path, f"{image.GetDimension()} dimensions", "a 3-D image", "split it into volumes")
    _check_one_number(path, image.GetNumberOfComponentsPerPixel(), image.GetPixelID())
    return image


def _file_reader(path: Path) -> sitk.ImageFileReader:
    suffix = image_suffix(path)
    if suffix is None:
        raise InputError(path, "no image by its name", f"a name that ends in {', '.join(IMAGE_SUFFIXES)}")
    try:
        return checked_reader(path, suffix)
    except RuntimeError as error:
        raise _unreadable(path, error) from error


def _geometry(image: sitk.Image | sitk.ImageFileReader, path: Path) -> Geometry:
    return check_spacing(
        path, _make_geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection(), path)
    )


def _make_geometry(
    size: tuple[int, ...],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    direction: tuple[float, ...],
    path: Path,
) -> Geometry:
    try:
        geometry = Geometry(
            (size[2], size[1], size[0]),
            (spacing[2], spacing[1], spacing[0]),
            (origin[0], origin[1], origin[2]),
            tuple(direction),
        )
    except ValueError as error:
        raise InputError(
            path, f"unusable geometry ({error})", "positive sizes and spacings, orthogonal axes"
        ) from error
    check_direction(path, geometry.direction_matrix)
    if image_suffix(path) not in NIFTI_SUFFIXES:  # of those `check_forms` has told
        say_straightened(path, geometry.drift)
    return geometry


def _as_hu(slabs: Slabs, path: Path, mirrored: tuple[bool, bool, bool]) -> npt.NDArray[np.int16]:
    bad = 0

    def convert(slab: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
        nonlocal bad
        if np.issubdtype(slab.dtype, np.floating):
            finite = np.isfinite(slab)
            bad += int(slab.size - np.count_nonzero(finite))
            slab = np.rint(slab, where=finite, out=np.zeros_like(slab))
        return slab if slab.dtype == np.int16 else np.clip(slab, *HU_LIMITS).astype(np.int16)

    hu = converted(slabs, convert, np.int16, mirrored)
    if bad:
        raise InputError(path, f"{bad} voxels are NaN or infinite", "finite HU", "repair the export")
    return hu


def _unreadable(path: Path, error: Exception) -> InputError:
    if image_suffix(path) in NIFTI_SUFFIXES and not is_sound_gzip(path):
        return InputError(path, "cannot be read (damaged gzip)", "a sound gzip file", "copy or export it again")
    reason = one_line(str(error)).rsplit("ERROR:", 1)[-1].strip()[-200:]
    if reason.startswith("Unable to determine ImageIO reader"):
        reason = "no image by its content"
    return InputError(path, f"cannot be read ({reason})", "a NIfTI, NRRD, MHA or DICOM image", "export it again")
