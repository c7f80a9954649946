"""Single slices that no CT has: blank ones, ones that lack their rescale intercept, ones that stand twice.

What a copy that broke off, an export or a converter loses is a slice more often than a scan; the scan as a whole looks
sound with it (`bisc.imageio.plausible.check_hu`), and an organ that the slice cuts in two is measured wrongly.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.errors import InputError
from bisc.imageio.case import CaseImage
from bisc.imageio.plausible import (
    AIR_HU,
    HU,
    LEAST_TISSUE,
    SAMPLES_PER_AXIS,
    TISSUE_HU,
    check_hu,
    tell_of_lost_grid,
)
from bisc.system.console import notice

AXES: Final = ("axial", "coronal", "sagittal")
Z: Final = 0
LEAST_TISSUE_ACROSS: Final = 0.2
"""Part of the voxels, in both neighbours of a slice that is not axial: between arm and trunk lies air alone, too."""
SPECK: Final = 1e-3
"""A slice with a smaller part of tissue has none: noise, and the table."""
JUMP_HU: Final = 500
"""Of the mean from one slice to the next; 110 at most in real CT along any axis, 1024 where the intercept is lost."""
FILLED_HU: Final = -900
"""Slices of one value at the ends are padding where it is that of air."""
MOST_EQUAL: Final = 0.25
"""Part of the slices."""
MEND: Final = "export or copy it again"

Planes = npt.NDArray[np.int16]
Shares = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def check_scan(image: CaseImage) -> None:
    """All that is looked at in the voxels of a scan before it is worked on; errors and notices of the three."""
    tell_of_lost_grid(image)
    check_hu(image)
    check_slices(image)


def check_slices(image: CaseImage) -> None:
    """Refuse an image with blank slices amid the patient, or with slices to which 1024 were added; tell of equal
    neighbours, and of blank slices at the ends that are no air.

    Looked at are axial slices, and those that lie one behind the other in the file.

    Raises:
        InputError: Naming the first such slices, counted from 1 from the feet, the front or the right.
    """
    array = image.volume.array
    for axis in sorted({Z, int(np.argmax(np.abs(array.strides)))}):
        planes = np.moveaxis(array, axis, 0)
        if len(planes) >= 3:
            _check_along(image, axis, planes)


def _check_along(image: CaseImage, axis: int, planes: Planes) -> None:
    y, x = (-(-n // SAMPLES_PER_AXIS) for n in planes.shape[1:])
    looked_at = np.ascontiguousarray(planes[:, ::y, ::x]).reshape(len(planes), -1)
    blank = looked_at.min(axis=1) == looked_at.max(axis=1)
    for k in np.flatnonzero(blank):
        blank[k] = (planes[k] == planes[k].flat[0]).all()
    if blank.all():
        return  # an empty scan
    low, high = TISSUE_HU
    tissue = np.mean((looked_at >= low) & (looked_at <= high), axis=1)
    blank &= ~_as_beside(looked_at, blank)
    tissue[blank] = 0.0
    _refuse_gaps(image, axis, tissue)
    _refuse_jumps(image, axis, tissue, np.maximum(looked_at, AIR_HU).mean(axis=1))
    _tell_of_filled_ends(image, axis, blank, looked_at[:, 0])
    _tell_of_equals(image, axis, planes, looked_at, blank)


def _as_beside(looked_at: Planes, blank: Flags) -> Flags:
    """Blank slices of the value that most voxels of the nearest slice with more have: a phantom's fat, or air."""
    alike = np.zeros_like(blank)
    whole = np.flatnonzero(~blank)
    for k in np.flatnonzero(blank):
        nearest = looked_at[whole[np.abs(whole - k).argmin()]]
        alike[k] = np.mean(nearest == looked_at[k, 0]) > 0.5
    return alike


def _refuse_gaps(image: CaseImage, axis: int, tissue: Shares) -> None:
    """Slices without tissue between neighbours that have it."""
    enough = np.flatnonzero(tissue >= (LEAST_TISSUE if axis == Z else LEAST_TISSUE_ACROSS))
    for before, after in pairwise(enough.tolist()):
        if after > before + 1 and (tissue[before + 1 : after] < SPECK).all():
            found = f"blank, or of air alone, amid the patient: {_slices(axis, before + 1, after)} of {len(tissue)}"
            raise InputError(image.path, found, "a scan without gaps", MEND)


def _refuse_jumps(image: CaseImage, axis: int, tissue: Shares, means: Shares) -> None:
    for k, jump in enumerate(np.diff(means)):
        dark, bright = (k, k + 1) if jump > 0 else (k + 1, k)
        if abs(jump) > JUMP_HU and means[bright] > 0 and tissue[dark] >= LEAST_TISSUE:
            found = (
                f"{_slices(axis, bright, bright + 1)} has {means[bright]:.0f} HU in the mean, "
                f"the one beside it {means[dark]:.0f}, as without the rescale intercept"
            )
            raise InputError(image.path, found, HU, MEND)


def _tell_of_filled_ends(image: CaseImage, axis: int, blank: Flags, values: Planes) -> None:
    whole = np.flatnonzero(~blank)
    for first, stop in ((0, int(whole[0])), (int(whole[-1]) + 1, len(blank))):
        if first < stop and values[first] > FILLED_HU:
            found = f"{values[first]} HU alone in {_slices(axis, first, stop)} of {len(blank)}"
            notice(image.path, found, "taken as they are; export it again if the patient goes on there")


def _tell_of_equals(image: CaseImage, axis: int, planes: Planes, looked_at: Planes, blank: Flags) -> None:
    """Noise alone makes any two slices of a scanner differ. Where many are equal, the image has none: a phantom, or one
    that was resampled to thinner slices by the nearest neighbour.
    """
    alike = np.flatnonzero((looked_at[1:] == looked_at[:-1]).all(axis=1) & ~blank[1:])
    equal = [int(k) for k in alike if np.array_equal(planes[k], planes[k + 1])]
    if 0 < len(equal) <= MOST_EQUAL * len(planes):
        found = f"{_slices(axis, equal[0], equal[0] + 2)} are equal to the last voxel, {len(equal)} such pairs in all"
        notice(image.path, found, "taken as they are; look whether it was resampled, or put together wrongly")


def _slices(axis: int, first: int, stop: int) -> str:
    """Slices `first` to `stop - 1` from 0, in words."""
    return f"its {AXES[axis]} slice{f's {first + 1} to {stop}' if stop > first + 1 else f' {stop}'}"
