"""Writing arrays on a native grid, header identical to the file they came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.errors import InputError, WorkError, one_line
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.imageio.read import NIFTI_SUFFIXES, image_suffix
from bisc.imageio.whole import HEADER_BYTES, unpacked_bytes
from bisc.system.files import atomic_file


def write_image(path: Path, canonical: npt.NDArray[np.generic], native: NativeGrid, compress: bool = True) -> None:
    """Write a canonical (z, y, x) array in the native grid's own axis order, whole or not at all.

    Args:
        path: Target; the suffix chooses the format.
        canonical: (z, y, x) array on `native.canonical`; a trailing axis becomes vector components.
        native: The grid to write on; its size, spacing, origin and direction are kept exactly.
        compress: Compress formats that can be (`.nii.gz` always is).

    Raises:
        InputError: If the folder cannot be written, or the disk is full.
        WorkError: If ITK cannot write the file.
    """
    if canonical.shape[:3] != native.canonical.shape_zyx:
        raise ValueError(f"array is {canonical.shape}, its grid {native.canonical.shape_zyx} (z, y, x)")
    image = sitk.GetImageFromArray(native.to_stored(canonical), isVector=canonical.ndim == 4)
    set_geometry(image, native.geometry)
    with atomic_file(path) as scratch:
        try:
            sitk.WriteImage(image, str(scratch), useCompression=compress, compressionLevel=1)
        except RuntimeError as error:
            raise WorkError(f"{path}: cannot be written ({one_line(str(error))[-200:]})") from error
        if image_suffix(path) in NIFTI_SUFFIXES:
            _check_written(path, scratch, canonical.nbytes)


def _check_written(target: Path, scratch: Path, voxel_bytes: int) -> None:
    """ITK's NIfTI writer reports no error when the disk is full: look whether every byte is there."""
    there, promised = unpacked_bytes(scratch), HEADER_BYTES + voxel_bytes
    if there < promised:
        raise InputError(
            target,
            f"cannot be written whole ({there} of {promised} bytes)",
            "room on the disk",
            "free space or choose another folder",
        )


def set_geometry(image: sitk.Image, geometry: Geometry) -> None:
    """Give an ITK image a geometry's spacing, origin and direction."""
    image.SetSpacing(geometry.spacing_mm_zyx[::-1])
    image.SetOrigin(geometry.origin_mm_xyz)
    image.SetDirection(geometry.direction)
