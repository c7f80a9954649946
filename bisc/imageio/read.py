"""Reading images and label maps, with every fault of a file told in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.errors import InputError, one_line
from bisc.core.geometry import Geometry
from bisc.core.labels import CYST, KIDNEY
from bisc.core.volume import NativeGrid
from bisc.imageio.axes import check_direction, say_straightened
from bisc.imageio.case import CaseImage
from bisc.imageio.nifti_forms import trusted_forms
from bisc.imageio.series import check_one_stack
from bisc.imageio.whole import check_even_slices, check_whole_nifti

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
NIFTI_SUFFIXES = (".nii.gz", ".nii")
HU_LIMITS = (-32768, 32767)


def image_suffix(path: Path) -> str | None:
    """The image suffix of a file name (`.nii.gz`, ...), or None where it has none of `IMAGE_SUFFIXES`."""
    name = path.name.lower()
    return next((s for s in IMAGE_SUFFIXES if name.endswith(s)), None)


def read_image(path: Path) -> CaseImage:
    """Read a CT image (a file, or a folder with one DICOM series) as int16 HU.

    Returns:
        The image with a canonical int16 (z, y, x) volume.

    Raises:
        InputError: If it cannot be read, ends too early, lacks a slice, is not one 3-D scalar image, holds NaN or
            infinite voxels, or lies on no straight grid.
    """
    image = _read(path)
    stored = sitk.GetArrayViewFromImage(image)
    native = NativeGrid.of(_geometry(image, path))
    return CaseImage(path, native.to_canonical(_as_hu(stored, path)), native)


def read_labels(path: Path) -> CaseImage:
    """Read a label map as uint8 with 0 background, 1 kidney, 2 tumour; cysts (3) become kidney.

    Raises:
        InputError: As `read_image`, and if a value other than 0, 1, 2 or 3 occurs.
    """
    image = _read(path)
    stored = sitk.GetArrayViewFromImage(image)
    native = NativeGrid.of(_geometry(image, path))
    return CaseImage(path, native.to_canonical(_as_labels(stored, path)), native)


def read_stored_geometry(path: Path) -> Geometry:
    """The stored grid of a file from its header alone, by the rules of `read_image`.

    Raises:
        InputError: If the header cannot be read, or places the voxels on no straight 3-D grid.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with trusted_forms(path):
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    size, spacing, origin = reader.GetSize(), reader.GetSpacing(), reader.GetOrigin()
    direction = reader.GetDirection()
    if reader.GetDimension() == 4 and size[3] == 1:
        direction = tuple(np.reshape(direction, (4, 4))[:3, :3].ravel().tolist())
    elif reader.GetDimension() != 3:
        raise InputError(path, f"{reader.GetDimension()} dimensions", "a 3-D image")
    return _make_geometry(size, spacing, origin, direction, path)


def _read(path: Path) -> sitk.Image:
    if not path.exists():
        raise InputError(path, "does not exist", "an image file or a DICOM series folder")
    try:
        with trusted_forms(path):
            image = _read_dicom_series(path) if path.is_dir() else sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if image_suffix(path) in NIFTI_SUFFIXES:
        check_whole_nifti(path, image)
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise InputError(path, f"{image.GetDimension()} dimensions", "a 3-D image", "split it into volumes")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(path, f"{image.GetNumberOfComponentsPerPixel()} values per voxel", "one value (HU)")
    return image


def _read_dicom_series(folder: Path) -> sitk.Image:
    ids = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(ids) != 1:
        raise InputError(folder, f"{len(ids)} DICOM series", "exactly one", "put each series into a folder of its own")
    reader = sitk.ImageSeriesReader()
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), ids[0])
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    check_one_stack(folder, reader, names, image.GetSize()[2])
    if len(names) > 1:
        check_even_slices(folder, reader, len(names))
    return image


def _geometry(image: sitk.Image, path: Path) -> Geometry:
    return _make_geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection(), path)


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
    if image_suffix(path) not in NIFTI_SUFFIXES:  # of those `trusted_forms` has told
        say_straightened(path, geometry.drift)
    return geometry


def _as_hu(stored: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.int16]:
    if np.issubdtype(stored.dtype, np.floating):
        bad = int(stored.size - np.count_nonzero(np.isfinite(stored)))
        if bad:
            raise InputError(path, f"{bad} voxels are NaN or infinite", "finite HU", "repair the export")
        rounded: npt.NDArray[np.int16] = np.clip(np.rint(stored), *HU_LIMITS).astype(np.int16)
        return rounded
    if stored.dtype == np.int16:
        return np.array(stored, dtype=np.int16)  # the view dies with its image: own the voxels
    hu: npt.NDArray[np.int16] = np.clip(stored, *HU_LIMITS).astype(np.int16)
    return hu


def _as_labels(stored: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.uint8]:
    low, high = stored.min(), stored.max()
    labels = stored.astype(np.uint8) if low >= 0 and high <= CYST else np.zeros((0,), np.uint8)
    if labels.size == 0 or (np.issubdtype(stored.dtype, np.floating) and not np.array_equal(labels, stored)):
        some = ", ".join(f"{v:g}" for v in np.unique(stored)[:8].astype(float))
        raise InputError(path, f"label values {some}", "0 background, 1 kidney, 2 tumour (3 cyst)", "remap them")
    if high == CYST:
        labels[labels == CYST] = KIDNEY
    return labels


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = one_line(str(error)).rsplit("ERROR:", 1)[-1].strip()[-200:]
    return InputError(path, f"cannot be read ({reason})", "a NIfTI, NRRD, MHA or DICOM image", "export it again")
