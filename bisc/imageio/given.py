"""Images that lie in memory: SimpleITK's, nibabel's, and plain arrays with their place."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.errors import InputError, one_line
from bisc.core.geometry import Float, as_triple
from bisc.core.volume import NativeGrid
from bisc.imageio.case import CaseImage
from bisc.imageio.formats.nifti_header import LAYOUTS, NIFTI1_BYTES, NIFTI2_BYTES, check_place
from bisc.imageio.images import as_hu
from bisc.imageio.plausible import AGAIN, check_rounding, straight_grid
from bisc.system.console import notice

Axes = Literal["zyx", "xyz", "canonical"]
"""How a giver's arrays are indexed: slowest axis of the stored grid first, as ITK has it, or last, as in nibabel; or as
`CaseImage.volume` is."""
ARRAY: Final = Path("array")
FORMS: Final = "a path, a SimpleITK or nibabel image, or an array with its affine or spacing"


def image_given(
    image: object, spacing_mm: Sequence[float] | None = None, affine: npt.ArrayLike | None = None
) -> tuple[CaseImage, Axes]:
    """Any of `FORMS` that lies in memory as a canonical int16 HU image, and how its giver indexes arrays.

    Args:
        image: A `CaseImage`, or an image in memory; paths are read elsewhere.
        spacing_mm: Of a (z, y, x) LPS array.
        affine: (4, 4) of an (i, j, k) array: voxel index to RAS mm, as nibabel has it.

    Raises:
        InputError: If it is none of these, or cannot be used; see `read_image`.
    """
    placed = spacing_mm is not None or affine is not None
    if isinstance(image, np.ndarray):
        if (spacing_mm is None) == (affine is None):
            found = "no affine and no spacing" if affine is None else "an affine and a spacing"
            raise InputError(ARRAY, found, "one of them, in mm", "say where it lies")
        if affine is not None:
            return _of_affine(ARRAY, image, affine)
        notice(ARRAY, "a spacing without directions", "taken as (z, y, x) in LPS; make sure that left is left")
        return _made(ARRAY, image, "zyx", spacing_mm)
    if placed:  # a path, too
        raise InputError("image", "given with an affine or a spacing, and has its own", "one", "leave it out")
    if isinstance(image, CaseImage):
        return image, "canonical"
    if isinstance(image, sitk.Image):
        return _of_itk(image)
    if hasattr(image, "affine") and hasattr(image, "dataobj"):
        return _of_nibabel(image)
    raise InputError("image", f"of type {type(image).__name__}", FORMS)


def _of_itk(image: sitk.Image) -> tuple[CaseImage, Axes]:
    name = Path("SimpleITK image")
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        n = f"{image.GetDimension()} dimensions, {image.GetNumberOfComponentsPerPixel()} values per voxel"
        raise InputError(name, n, "a 3-D image of one value (HU)", "give one volume")
    array = sitk.GetArrayFromImage(image)
    return _made(name, array, "zyx", image.GetSpacing()[::-1], image.GetOrigin(), image.GetDirection())


def _of_nibabel(image: Any) -> tuple[CaseImage, Axes]:
    """Its header is held to the rules of a file's: nibabel believes the sform and makes an orientation up where there
    is none."""
    name, header = Path("nibabel image"), image.header
    n_bytes = {"n+1": NIFTI1_BYTES, "ni1": NIFTI1_BYTES, "n+2": NIFTI2_BYTES, "ni2": NIFTI2_BYTES}.get(_magic(header))
    if n_bytes:
        fields = np.frombuffer(header.binaryblock, LAYOUTS[n_bytes].newbyteorder(header.endianness), 1)[0]
        if not int(fields["sform_code"]) > 0 and not int(fields["qform_code"]) > 0:
            found, mend = "no orientation in its header", "give its path, which is taken as LPS, or an array and affine"
            raise InputError(name, f"{found} (sform and qform codes are 0)", "one of them", mend)
        check_place(name, fields)
    try:
        array = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error) as error:  # read now, from a file that is damaged
        raise InputError(name, f"its voxels cannot be read ({one_line(str(error))})", "a sound file", AGAIN) from error
    return _of_affine(name, array, image.affine)


def _magic(header: Any) -> str:
    try:
        return bytes(header["magic"]).decode("ascii", "replace")[:3]
    except (KeyError, ValueError, TypeError):  # of another format
        return ""


def _of_affine(name: Path, array: npt.NDArray[Any], affine: npt.ArrayLike | None) -> tuple[CaseImage, Axes]:
    """NIfTI's space is RAS, ours LPS: x and y change their sign."""
    try:
        matrix: Float = np.asarray(affine, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(())
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or matrix[3].tolist() != [0, 0, 0, 1]:
        raise InputError(name, "an unusable affine", "(4, 4) finite numbers, (0, 0, 0, 1) last", "give RAS mm")
    lps = np.diag([-1.0, -1.0, 1.0]) @ matrix[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    if not spacing.all():
        raise InputError(name, "an axis of its affine has length 0", "three axes", "correct the affine")
    direction = (lps[:, :3] / spacing).ravel().tolist()
    stored = array.transpose() if array.ndim == 3 else array
    return _made(name, stored, "xyz", spacing[::-1].tolist(), lps[:, 3].tolist(), direction)


def _made(
    name: Path,
    array: npt.NDArray[Any],
    axes: Axes,
    spacing_mm_zyx: Any,
    origin_mm_xyz: Sequence[float] = (0.0, 0.0, 0.0),
    direction: Sequence[float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
) -> tuple[CaseImage, Axes]:
    """The image of a stored (z, y, x) array, if its voxels can be HU and its grid a scan's."""
    if array.ndim != 3 or 0 in array.shape:
        raise InputError(name, f"of shape {array.shape}", "three axes, none of them empty", "give one volume")
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(name, "a masked array", "a plain one", "give it .filled(-1000), or what lies under its mask")
    if array.dtype.kind not in "iuf":
        raise InputError(name, f"voxels of type {array.dtype}", "HU, whole or floating numbers", "convert it")
    hu, n_bad = as_hu(array)
    if n_bad:
        raise InputError(name, f"{n_bad} voxels are NaN or infinite", "finite HU", "repair them")
    if array.dtype.kind == "f":
        check_rounding(name, float(array.min()), float(array.max()))
    try:
        spacing_mm_xyz = as_triple(spacing_mm_zyx)[::-1]
    except (TypeError, ValueError) as error:
        raise InputError(name, f"the spacing {spacing_mm_zyx}", "three numbers in mm", "say where it lies") from error
    native = NativeGrid.of(straight_grid(name, array.shape[::-1], spacing_mm_xyz, origin_mm_xyz, direction))
    return CaseImage(name, native.to_canonical(hu), native), axes
