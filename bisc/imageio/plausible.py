"""Spacings and intensities that no CT has: mistaken units, and voxels that are no Hounsfield units (HU).

Only what cannot be right is refused. The limits lie far from all that was measured (docs/hostile_input.md): a CT
cropped to the body, padded, without contrast medium, or of another part of the body passes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.errors import InputError
from bisc.core.geometry import Geometry
from bisc.imageio.case import CaseImage

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


def check_spacing(path: Path, geometry: Geometry) -> Geometry:
    """Refuse a grid whose spacing can be no CT's in mm; returns it otherwise.

    Raises:
        InputError: Naming the spacing and the limits.
    """
    low, high = SPACING_LIMITS_MM
    if all(low <= s <= high for s in geometry.spacing_mm_zyx):
        return geometry
    spacing = " x ".join(f"{s:g}" for s in geometry.spacing_mm_zyx[::-1])
    raise InputError(
        path,
        f"its spacing is {spacing} mm (x, y, z)",
        f"{low:g} to {high:g} mm",
        "correct the header's spacing or unit (is it in metres, cm or micrometres?)",
    )


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
        if low >= 0:
            mend = (
                "subtract 1024 (or apply the rescale intercept) if it was stored unsigned; invert it if air is bright"
            )
        else:
            mend = "invert it if air is bright, or apply the rescale slope and intercept"
        raise InputError(image.path, f"{shown}, {100 * bright:.0f} % above {BRIGHT_HU}: no CT in HU", HU, mend)
    if low >= 0:
        raise InputError(image.path, f"{shown}, none below 0: no fat and no air", HU, "export the CT unclipped")


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
