"""Grids and intensities that no CT has, whatever its format: headers that promise too much, axes that do not meet at
right angles, mistaken units, and voxels that are no Hounsfield units (HU).

Only what cannot be right is refused. The limits lie far from all that was measured
(docs/reference/hostile_input.md): a CT cropped to the body, padded, without contrast medium, or of
another part of the body passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.core.geometry import MAX_DRIFT, ROUNDING_DRIFT, SHEAR_TOLERANCE_DEG, Float, Geometry
from bisc.imageio.case import CaseImage
from bisc.system.console import notice

MAX_VOXELS: Final = 1 << 31
"""1024 x 1024 x 2048, four gigabytes of int16: eight times the largest scan of KiTS19 (512 x 512 x 1059)."""
MAX_EXPANSION: Final = 1032
"""Deflate, which gzip and zlib are made of, packs no more than 1032 bytes into one."""
MAX_NUMBER: Final = 1e9
"""For positions, spacings, cosines and rescale: squares of larger ones may overflow."""
COMPLEX_PIXELS: Final = (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
NO_ORIENTATION: Final = ("no orientation in its header", "taken as LPS; make sure that left is left")
"""A notice's two parts."""
MEND_SHEAR: Final = "resample it onto a straight grid, or convert the DICOM series again with dcm2niix (its _Tilt file)"
AGAIN: Final = "copy or export it again"
HU_LIMITS: Final = (-32768, 32767)
"""Of int16, in which images are held."""
AIR_HU: Final = -1024

SPACING_LIMITS_MM: Final = (0.1, 20.0)
"""KiTS19 spans 0.44 to 5 mm; metres would be 0.0008, centimetres 0.08, micrometres 800."""
SAMPLES_PER_AXIS: Final = 64
"""At most; every n-th voxel is looked at, so that the check costs the same for the largest CT as for a small one."""
PADDING_HU: Final = -1500
"""At and below lies what scanners and programs fill in outside the round field of view (-2000, -3024)."""
BRIGHT_HU: Final = 850
MOST_BRIGHT: Final = 0.05
"""Part of the voxels. Real CT has 0.1 % there (cortical bone, metal); the same CT stored with 1024 added 28 %
and more, that of the body, and inverted 34 % and more, the air around it."""
MOST_WRAPPED: Final = 0.1
"""Part of the voxels at int16's end; where it is reached, they were larger, as negative HU that lost their sign are."""
LEAST_RANGE: Final = 50
"""Fat alone lies 100 HU below muscle. Air by itself may be as even as this."""
NO_AIR_HU: Final = -500
PICTURE_MAX: Final = 255
TISSUE_HU: Final = (-200, 300)
LEAST_TISSUE: Final = 0.01
"""Part of the voxels; 27 % and more in real CT of the trunk."""
KIDNEY_LIMITS_HU: Final = (-150.0, 600.0)
"""For the median of the voxels labelled kidney or tumour: 14 HU in a real CT without contrast medium, 40 to 167 in 24
slices of KiTS19."""
HU: Final = "Hounsfield units (air -1000, fat -100, water 0)"


def check_header(path: Path, header: sitk.ImageFileReader, n_file_bytes: int, voxel_bytes: int) -> None:
    """Refuse a header that is not of one 3-D image with one number a voxel, or that promises more voxels than the file
    can hold, packed as tightly as can be: ITK allocates what a header asks for.

    Args:
        path: Named in the error.
        header: After `ReadImageInformation`; a fourth axis of size 1 is none.
        n_file_bytes: Of the files that hold it.
        voxel_bytes: Of one stored number.

    Raises:
        InputError: Also if there are more than `MAX_VOXELS`, or none.
    """
    size, n_numbers = header.GetSize(), header.GetNumberOfComponents()
    shape = " x ".join(map(str, size))
    n_voxels = prod(map(int, size)) * n_numbers
    if n_voxels < 1:
        raise InputError(path, f"cannot be read (size {shape})", "a size of at least one voxel", AGAIN)
    if n_voxels > MAX_VOXELS:
        raise InputError(path, f"its header promises {shape} voxels", f"at most {MAX_VOXELS}", "crop or resample it")
    promised = n_voxels * voxel_bytes
    if promised > MAX_EXPANSION * n_file_bytes:
        found = f"cannot be read (its header promises {shape} voxels, {promised} bytes, in a file of {n_file_bytes})"
        raise InputError(path, found, "a whole file", AGAIN)
    if len(size) != 3 and not (len(size) == 4 and size[3] == 1):
        raise InputError(path, f"{len(size)} dimensions", "a 3-D image", "split it into volumes")
    if header.GetPixelID() in COMPLEX_PIXELS:
        raise InputError(path, "complex voxels", "one real value (HU)", "export the CT itself")
    if n_numbers != 1:
        raise InputError(path, f"{n_numbers} values per voxel", "one value (HU)", "export one channel")


def itk_grid(path: Path, header: sitk.ImageFileReader, drift: float | None = None) -> Geometry:
    """The stored grid of a header that `check_header` found sound; `drift` and errors as `straight_grid`."""
    n_axes = header.GetDimension()
    direction = np.reshape(header.GetDirection(), (n_axes, n_axes))[:3, :3].ravel().tolist()
    return straight_grid(path, header.GetSize()[:3], header.GetSpacing()[:3], header.GetOrigin()[:3], direction, drift)


def straight_grid(
    path: Path,
    size_xyz: Sequence[int],
    spacing_mm_xyz: Sequence[float],
    origin_mm_xyz: Sequence[float],
    direction: Sequence[float],
    drift: float | None = None,
) -> Geometry:
    """A grid as stored; a notice tells of one that is a little bent, and taken for the nearest orthonormal one
    (`Geometry.orthonormal`), where float32's rounding does not explain it.

    Args:
        path: Named in errors and the notice.
        size_xyz: Voxels per index axis.
        spacing_mm_xyz: Per index axis.
        origin_mm_xyz: LPS mm of the first voxel.
        direction: Nine cosines, row-major.
        drift: How far from orthonormal the file's own direction is, where `direction` is straightened already.

    Raises:
        InputError: If the axes meet at no right angles, or a spacing can be no CT's in mm.
    """
    (x, y, z), (dx, dy, dz), (ox, oy, oz) = size_xyz, spacing_mm_xyz, origin_mm_xyz
    try:
        geometry = Geometry((z, y, x), (dz, dy, dx), (ox, oy, oz), tuple(direction))
    except ValueError as error:
        expected = "positive sizes and spacings, orthogonal axes"
        raise InputError(path, f"unusable geometry ({error})", expected) from error
    if not all(abs(mm) <= MAX_NUMBER for mm in origin_mm_xyz):
        at = ", ".join(f"{mm:g}" for mm in origin_mm_xyz)
        raise InputError(path, f"its origin is ({at}) mm", f"numbers of at most {MAX_NUMBER:g}", "correct the header")
    check_direction(path, geometry.direction_matrix)
    drift = geometry.drift if drift is None else drift
    if drift > ROUNDING_DRIFT:
        found = f"its direction matrix is off by {drift:.1e}"
        notice(path, found, "taken as the nearest one with axes at right angles")
    low, high = SPACING_LIMITS_MM
    if not all(low <= s <= high for s in spacing_mm_xyz):
        spacing = " x ".join(f"{s:g}" for s in spacing_mm_xyz)
        mend = "correct the header's spacing or unit (is it in metres, cm or micrometres?)"
        raise InputError(path, f"its spacing is {spacing} mm (x, y, z)", f"{low:g} to {high:g} mm", mend)
    return geometry


def check_direction(path: Path, direction: Float) -> None:
    """Refuse a (3, 3) direction, columns the axes, that is too far from orthonormal to be rounding.

    Raises:
        InputError: Naming the angle by which two axes miss a right angle, or the length of an axis.
    """
    straight = f"axes of unit length at right angles (to {SHEAR_TOLERANCE_DEG:g} degrees)"
    lengths = np.linalg.norm(direction, axis=0)
    unit = direction / lengths
    cosine = float(np.abs(unit.T @ unit)[np.triu_indices(3, 1)].max())
    lean = np.rad2deg(np.arcsin(min(1.0, cosine)))
    if lean > SHEAR_TOLERANCE_DEG:
        found = f"its axes miss a right angle by {lean:.3g} degrees (a sheared grid, as of a tilted gantry)"
        raise InputError(path, found, straight, MEND_SHEAR)
    odd = float(lengths[np.argmax(np.abs(lengths - 1.0))])
    if abs(odd**2 - 1.0) > MAX_DRIFT:
        raise InputError(path, f"an axis of its direction has length {odd:.4g}", straight, "correct the header")


def check_hu(image: CaseImage) -> None:
    """Refuse an image whose voxels cannot be HU: unsigned with 1024 added, inverted, or scaled to a picture's greys.

    An image of one value (an empty scan) passes: nothing in it is wrong.

    Raises:
        InputError: Saying what stands there, and how to store HU.
    """
    voxels = sample(image.volume.array)
    inside = voxels[voxels > PADDING_HU]
    if inside.size == 0 or inside.min() == inside.max():
        return
    low, high = int(inside.min()), int(inside.max())
    bright = np.count_nonzero(inside > BRIGHT_HU) / inside.size
    shown = f"voxels of {low} to {high}"
    if low >= 0 and high <= PICTURE_MAX:
        what = "scaled to 0..1" if high <= 1 else "a picture's grey values"
        raise InputError(image.path, f"{shown}, none below 0: {what}", HU, "export the CT itself, not a picture of it")
    if high - low < LEAST_RANGE and low > NO_AIR_HU:
        raise InputError(image.path, f"{shown}: normalised", HU, "export the CT before it was normalised")
    if bright > MOST_BRIGHT:
        if low >= 0 and np.count_nonzero(voxels == HU_LIMITS[1]) >= MOST_WRAPPED * voxels.size:
            mend = "negative HU were written as unsigned numbers (-100 as 65436): store the same bits as int16 (int32)"
        elif low >= 0:
            mend = (
                "subtract 1024 (or apply the rescale intercept) if it was stored unsigned; invert it if air is bright"
            )
        else:
            mend = "invert it if air is bright, or apply the rescale slope and intercept"
        raise InputError(image.path, f"{shown}, {100 * bright:.0f} % above {BRIGHT_HU}: no CT in HU", HU, mend)
    if low >= 0:
        raise InputError(image.path, f"{shown}, none below 0: no fat and no air", HU, "export the CT unclipped")


def check_rounding(path: Path, low: float, high: float) -> None:
    """Refuse voxels whose least and greatest value differ, and are one when rounded to HU: what was read is empty.

    Raises:
        InputError: Saying what stands there.
    """
    if low < high and round(low) == round(high):
        mend = "export the CT before it was normalised"
        raise InputError(path, f"voxels of {low:.3g} to {high:.3g}: normalised", HU, mend)


def tell_of_lost_grid(image: CaseImage) -> None:
    """Give notice of a grid that a program writes where it knows of none: 1 mm along each axis, from 0 mm on."""
    grid = image.native.geometry
    if grid.spacing_mm_zyx == (1.0, 1.0, 1.0) and not any(grid.origin_mm_xyz):
        found = "its spacing is 1 x 1 x 1 mm and its origin 0, as in a header that lost its grid"
        notice(image.path, found, "taken as it stands; if it was lost, every mm and ml, and left and right, are wrong")


def doubt_of_scan(image: CaseImage) -> str:
    """Why nothing can be found in an image that breaks no rule, in one line; empty where there is no such reason."""
    voxels = sample(image.volume.array)
    if voxels.min() == voxels.max() and (image.volume.array == voxels[0]).all():
        return (
            f"implausible: every voxel is {voxels[0]} HU, an empty scan; export it again if there was a patient in it"
        )
    low, high = TISSUE_HU
    tissue = np.count_nonzero((voxels >= low) & (voxels <= high)) / voxels.size
    if tissue >= LEAST_TISSUE:
        return ""
    return (
        f"implausible: {100 * tissue:.1f} % of the voxels lie between {low} and {high} HU, where fat and organs do; "
        "check the rescale intercept if there is a patient in it"
    )


def doubt_of_extent(image: CaseImage) -> str:
    """Why no number of an image's mask is an organ's, in one line; empty where it has more than one axial slice."""
    geometry = image.volume.geometry
    if geometry.shape_zyx[0] > 1:
        return ""
    thick_mm = geometry.spacing_mm_zyx[0]
    return f"implausible: one axial slice of {thick_mm:.4g} mm alone, and a kidney is 110 mm long; give the whole scan"


def check_kidney_hu(path: Path, median_hu: float) -> None:
    """Refuse a training image whose labelled kidneys are no tissue: it is no CT in HU, or another patient's.

    Args:
        path: The image.
        median_hu: Median of its voxels labelled kidney or tumour.

    Raises:
        InputError: Naming the median and the limits.
    """
    low, high = KIDNEY_LIMITS_HU
    if not low <= median_hu <= high:
        raise InputError(
            path,
            f"{median_hu:.0f} HU in the middle of what is labelled kidney and tumour",
            f"{low:.0f} to {high:.0f} HU",
            "check that image and label map belong together, and that the image is in HU",
        )


def sample(array: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Voxels of a (z, y, x) array, evenly spread, as a flat array; at most `SAMPLES_PER_AXIS` cubed of them."""
    z, y, x = (-(-n // SAMPLES_PER_AXIS) for n in array.shape)
    return np.ascontiguousarray(array[::z, ::y, ::x]).ravel()
