"""What DICOM files are made to say otherwise, for the table of forms."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    EnhancedCTImageStorage,
)

from tests.support.dicom_forms import (
    SHAPE,
    SPACING_ZYX,
    STEM,
    Change,
    gone,
    put,
)

N = SHAPE[0]
ALL = tuple(range(N))
DOWN = ALL[::-1]
SHUFFLED = tuple(int(i) for i in np.random.default_rng(5).permutation(N))
LACKING = tuple(i for i in ALL if i != 4)
NO_SPACING, NO_PLACE = "no PixelSpacing (0028,0030)", "lacks ImagePositionPatient (0020,0032)"
UNSIGNED: dict[str, Any] = {"kind": "uint16", "intercept": lambda i: -1024.0}
ENHANCED: dict[str, Any] = {"storage": EnhancedCTImageStorage, "frames": ALL}


def on(slices: tuple[int, ...], change: Change) -> Change:
    return lambda data, i: change(data, i) if i in slices else None


def moved(part_of_slice: float, axis: int = 2) -> Change:
    """A slice beside its place: along the stack (axis 2), or in plane."""

    def change(data: Dataset, i: int) -> None:
        place = list(data.ImagePositionPatient)
        place[axis] += part_of_slice * SPACING_ZYX[2 - axis]
        data.ImagePositionPatient = place

    return change


def own_uid(i: int) -> str:
    return f"{STEM}.8.{i}"


def halved(i: int) -> float:
    """Slopes that differ, and give whole HU."""
    return 1.0 / (1 + i % 2)


def rounded(decimals: int) -> Change:
    def change(data: Dataset, i: int) -> None:
        data.ImagePositionPatient = [round(float(v), decimals) for v in data.ImagePositionPatient]

    return change


def drifting(data: Dataset, i: int) -> None:
    """Each gap 3.5 % of a slice wider than the one before."""
    place = list(data.ImagePositionPatient)
    place[2] += 0.0175 * i * (i - 1) * SPACING_ZYX[0]
    data.ImagePositionPatient = place


def in_groups(keyword: str, **tags: object) -> Change:
    """A functional group of its own for each frame."""

    def change(group: Dataset, i: int) -> None:
        item = Dataset()
        put(**tags)(item, i)
        setattr(group, keyword, Items([item]))

    return change


RESCALE = "PixelValueTransformationSequence"


def shared_rescale(data: Dataset, i: int) -> None:
    in_groups(RESCALE, RescaleSlope=1, RescaleIntercept=-5, RescaleType="HU")(data.SharedFunctionalGroupsSequence[0], i)


SHARED = {**ENHANCED, "change": shared_rescale, "change_frame": gone(RESCALE)}


def fewer_frames(data: Dataset, i: int) -> None:
    """The last frame is not spoken of."""
    data.PerFrameFunctionalGroupsSequence.pop()
    data.NumberOfFrames = SHAPE[0] - 1


def flat_measures(data: Dataset, i: int) -> None:
    """An enhanced file whose pixel measures and orientation stand outside of its groups."""
    shared = data.SharedFunctionalGroupsSequence[0]
    data.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    data.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    data.SliceThickness = SPACING_ZYX[0]
    del data.SharedFunctionalGroupsSequence


def plain_multi_frame(data: Dataset, i: int) -> None:
    """A file of the plain class with many frames, one position and a thickness."""
    flat_measures(data, i)
    del data.PerFrameFunctionalGroupsSequence
    data.ImagePositionPatient = [0, 0, 0]
    data.RescaleSlope, data.RescaleIntercept = 1, 0


def padded(value: int) -> Change:
    """PixelPaddingValue in the air outside of the body, as scanners fill what lies outside the field of view."""

    def change(data: Dataset, i: int) -> None:
        stored = np.frombuffer(data.PixelData, f"<{'ui'[data.PixelRepresentation]}2").copy().reshape(SHAPE[1:])
        stored[:2] = np.array(value % 65536, np.uint16).astype(stored.dtype)
        data.PixelData = stored.tobytes()
        data.add_new(0x00280120, "US", value % 65536)

    return change


def twelve_bits(data: Dataset, i: int) -> None:
    data.BitsStored, data.HighBit = 12, 11


def half_signed(data: Dataset, i: int) -> None:
    """Every second slice signed, the others unsigned, with another intercept."""
    stored = np.frombuffer(data.PixelData, "<i2")
    if i % 2:
        data.PixelData = (stored + 1024).astype("<u2").tobytes()
        data.PixelRepresentation, data.RescaleIntercept = 0, -1024


def eight_and_sixteen(data: Dataset, i: int) -> None:
    """32 bits for some slices."""
    if i % 3 == 0:
        data.PixelData = np.frombuffer(data.PixelData, "<i2").astype("<i4").tobytes()
        data.BitsAllocated, data.BitsStored, data.HighBit = 32, 32, 31
