"""Where a scan shows nothing, though its grid goes on: what a scanner fills in beyond a round field of view. Pure
functions."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.volume import Box, Volume

Mask = npt.NDArray[np.bool_]

SAMPLES: Final = 64
"""Slices looked at: enough to know what is filled in, and next to no work."""
AIR_HU: Final = -1024
"""Darker is what a scanner fills in; so may this be, and all up to `GAS_HU`, where nothing in the image is darker."""
GAS_HU: Final = -1000
"""As dark as air itself."""
GOES_ON: Final = 0.9
"""Where this much of a round field of view's rim has the value that stands beyond it, nothing was filled in."""


def beyond_field(image: Volume, box: Box) -> Mask | None:
    """What of a box is filled in; None where nothing is.

    Filled in is what is darker than any air, or as dark as nothing else in the image, and hangs together with its
    slice's border (gas in a bowel does not, nor does a lung), and all beyond a round field of view in which one value
    stands.

    Args:
        image: Canonical (z, y, x) HU.
        box: Within the image.

    Returns:
        (z, y, x) of the box.
    """
    in_slice = box.to_slices()[1:]
    beyond = round_mm(image)[in_slice] < 0
    filled = np.repeat((beyond & (beyond.any() and is_round(image)))[None], box.shape_zyx[0], axis=0)
    part = image.array[box.to_slices()]
    if part.min() <= GAS_HU:  # seldom near a kidney; else the rest of the image need not be looked at
        darkest = max(int(image.array.min()), AIR_HU - 1)
        for z, here in enumerate(part <= darkest):
            if here.any():
                filled[z] |= here & _with_border(image.array[box.start_zyx[0] + z] <= darkest)[in_slice]
    return filled if filled.any() else None


def round_mm(image: Volume) -> npt.NDArray[np.float64]:
    """(y, x): how far within the round field of view a voxel lies that just fills the grid; below 0 beyond it."""
    (_, dy, dx), (_, ny, nx) = image.geometry.spacing_mm_zyx, image.array.shape
    y, x = ((np.arange(n) - (n - 1) / 2) * d for n, d in ((ny, dy), (nx, dx)))
    return np.asarray(min(ny * dy, nx * dx) / 2 - np.hypot(y[:, None], x))


def is_round(image: Volume) -> bool:
    """Whether one value stands beyond the round field of view that just fills the grid, and does not go on in it."""
    slices, within_mm = image.array[:: max(1, len(image.array) // SAMPLES)], round_mm(image)
    voxel_mm = max(image.geometry.spacing_mm_zyx[1:])
    beyond, rim = slices[:, within_mm < -voxel_mm], slices[:, np.abs(within_mm - 2 * voxel_mm) < voxel_mm]
    if not beyond.size or not rim.size or (beyond != beyond.flat[0]).any():
        return False
    return float((rim == beyond.flat[0]).mean()) < GOES_ON


def _with_border(dark: Mask) -> Mask:
    """Of a (y, x) slice's dark parts, those that reach its border."""
    parts, _ = ndimage.label(dark)
    at_border = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    return np.asarray(dark & np.isin(parts, at_border[at_border > 0]))
