"""One plane of a DICOM image: where the file says it lies, and how its stored values become HU.

Every number is the frame's own. What the per-frame groups of an enhanced file do not give is looked for in its shared
groups, then in the file's flat tags (PS3.3, C.7.6.16); of a file of one frame the flat tags are all there is.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from bisc.core.errors import InputError
from bisc.core.geometry import Float, Triple
from bisc.imageio.formats.dicom.rescale import mapped, rescale_of
from bisc.imageio.formats.dicom.tags import AGAIN, items, name_of, number, numbers, text

MAX_FRAMES: Final = 1 << 14
"""A header may promise any number; a CT of the whole body has 2000 slices."""
GREY: Final = ("MONOCHROME1", "MONOCHROME2")
"""Which of the two tells how values are shown, not what they are: rescale makes HU of both (PS3.3, C.7.6.3.1.2)."""


@dataclass(frozen=True)
class Frame:
    """One plane.

    Attributes:
        path: Its file.
        index: Its place in the file, 0 for the first.
        shape_yx: Rows and columns.
        position_mm_xyz: LPS mm of its first pixel's centre; None where the file does not say.
        turn: Direction cosines of its rows and of its columns, six numbers in LPS; None likewise.
        spacing_mm_yx: Distance of its rows, and of its columns.
        thickness_mm: What the file says of it; None where it says nothing.
        step_mm: Distance of neighbouring slices as the file states it; None likewise.
        rescale: Slope and intercept, HU = slope * stored + intercept; None where the file does not say.
        tilt: What the file says of the gantry's.
        phase: What may tell two images of one place apart, tag by tag.
        instance: SOPInstanceUID of its file; empty where it has none.
        n_images: How many images its acquisition gave, as the file says; None where it does not.
        number: InstanceNumber; None where it has none, or its file has one for many frames.
        field_mm: ReconstructionDiameter; None likewise.
        units: Of RealWorldValueMappingSequence, where that knows others than HU alone; empty else.
        n_in_series: How many files its series has, as the file says; None where it does not.
    """

    path: Path
    index: int
    shape_yx: tuple[int, int]
    position_mm_xyz: Triple | None
    turn: tuple[float, ...] | None
    spacing_mm_yx: tuple[float, float] | None
    thickness_mm: float | None
    step_mm: float | None
    rescale: tuple[float, float] | None
    tilt: str
    phase: dict[str, str]
    instance: str = ""
    n_images: int | None = None
    number: int | None = None
    field_mm: float | None = None
    units: str = ""
    n_in_series: int | None = None


PHASE_TAGS: Final = (
    "AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionTime", "ContentTime",
    "EchoNumbers", "ConvolutionKernel", "KVP", "ImageType", "StackID", "ContrastBolusAgent", "AcquisitionDate",
    "SeriesNumber", "SeriesDescription", "ProtocolName", "AcquisitionDateTime", "SeriesTime", "SeriesDate",
    "PatientName", "StudyDate", "PatientPosition", "ManufacturerModelName", "FilterType", "ReconstructionAlgorithm",
    "ScanOptions",
)  # fmt: skip
OF_FRAMES: Final = {
    "AcquisitionNumber": "FrameAcquisitionNumber",
    "AcquisitionDateTime": "FrameAcquisitionDateTime",
    "ImageType": "FrameType",
}
"""What an enhanced file calls them of a frame."""
UNASSIGNED: Final = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")
"""What was left of classic slices that were put into one file."""
PHASE_MACROS: Final = (
    "FrameContentSequence", "CTReconstructionSequence", "CTXRayDetailsSequence", "CTImageFrameTypeSequence", *UNASSIGNED
)  # fmt: skip


def frames_of(path: Path, data: Dataset) -> list[Frame]:
    """The frames of a file in stored order, from its header.

    Raises:
        InputError: If a number is none, or a file of many frames does not have as many groups as frames.
    """
    rows, columns = number(path, data, "Rows"), number(path, data, "Columns")
    if not rows or not columns:
        raise InputError(path, "no Rows and Columns", "an image", AGAIN)
    n = number(path, data, "NumberOfFrames") or 1.0
    if not 1 <= n <= MAX_FRAMES:
        raise InputError(path, f"NumberOfFrames is {n:g}", f"1 to {MAX_FRAMES}", AGAIN)
    shared = items(path, data, "SharedFunctionalGroupsSequence")[:1]
    groups = items(path, data, "PerFrameFunctionalGroupsSequence")
    if groups and len(groups) != n:
        found = f"{len(groups)} per-frame functional groups for {n:.0f} frames"
        raise InputError(path, found, "a group for each frame", AGAIN)
    size = int(rows), int(columns)
    # A position outside of the groups is that of one frame; many cannot all lie there.
    placing = [data] if n == 1 else []
    return [_frame(path, i, size, [*groups[i : i + 1], *shared], data, placing) for i in range(int(n))]


def check_ct(path: Path, data: Dataset) -> None:
    """Refuse a file whose stored values are no CT's: another modality, colours, another unit than HU.

    Raises:
        InputError: Saying what they are.
    """
    modality, samples = text(path, data, "Modality"), number(path, data, "SamplesPerPixel")
    if modality not in ("", "CT", "OT"):
        raise InputError(path, f"modality {modality}", "CT", "give the CT series")
    if samples not in (None, 1.0):
        raise InputError(path, f"{samples:g} values per voxel", "one value (HU)", "export the CT itself")
    shown = text(path, data, "PhotometricInterpretation")
    if shown not in GREY:
        raise InputError(path, f"{name_of('PhotometricInterpretation')} is '{shown}'", " or ".join(GREY), AGAIN)
    if data.get("ModalityLUTSequence"):
        raise InputError(path, "a table makes its values (ModalityLUTSequence)", "a rescale slope and intercept", AGAIN)


def _frame(
    path: Path, index: int, size: tuple[int, int], groups: list[Dataset], data: Dataset, placing: list[Dataset]
) -> Frame:
    measures = _macro(path, groups, data, "PixelMeasuresSequence")
    places = [*_macro(path, groups, None, "PlanePositionSequence"), *placing]
    position = _first(path, places, "ImagePositionPatient", 3)
    turn = _first(path, _macro(path, groups, data, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = _first(path, measures, "PixelSpacing", 2)
    if spacing is not None and min(spacing) <= 0:
        raise InputError(path, f"{name_of('PixelSpacing')} is {spacing[0]:g} x {spacing[1]:g}", "mm above 0", AGAIN)
    thickness = _first(path, measures, "SliceThickness", 1)
    step = _first(path, measures, "SpacingBetweenSlices", 1)
    macros = {keyword: _macro(path, groups, None, keyword) for keyword in PHASE_MACROS}
    phase = _phase(path, [*(item for found in macros.values() for item in found), data])
    own = [*(item for keyword in UNASSIGNED for item in macros[keyword]), *placing]
    table = mapped(path, [*groups, data])
    geometry = _macro(path, groups, data, "CTGeometrySequence")
    return Frame(
        path,
        index,
        size,
        None if position is None else (position[0], position[1], position[2]),
        turn,
        None if spacing is None else (spacing[0], spacing[1]),
        thickness[0] if thickness else None,
        abs(step[0]) if step else None,  # some writers give a direction by its sign
        rescale_of(path, _macro(path, groups, data, "PixelValueTransformationSequence"), table),
        next((tilt for tilt in (text(path, place, "GantryDetectorTilt") for place in geometry) if tilt), ""),
        phase | ({"SliceThickness": f"{thickness[0]:g}"} if thickness else {}),
        text(path, data, "SOPInstanceUID"),
        _count(path, [data], "ImagesInAcquisition"),
        _count(path, own, "InstanceNumber"),
        _length(path, _macro(path, groups, data, "CTReconstructionSequence"), "ReconstructionDiameter"),
        table.units,
        _count(path, [data], "NumberOfSeriesRelatedInstances"),
    )


def _macro(path: Path, groups: list[Dataset], data: Dataset | None, keyword: str) -> list[Dataset]:
    """Where a macro's tags may stand, the first that counts first; the file's flat tags (`data`) last."""
    found = [item for group in groups for item in items(path, group, keyword)[:1]]
    return found if data is None else [*found, data]


def _first(path: Path, places: list[Dataset], keyword: str, n: int) -> tuple[float, ...] | None:
    found = (numbers(path, place, keyword, n) for place in places)
    return next((value for value in found if value is not None), None)


def _length(path: Path, places: list[Dataset], keyword: str) -> float | None:
    """A length that is compared alone: what is no number above 0 is none."""
    for place in places:
        with suppress(ValueError):
            value = float(text(path, place, keyword))
            return value if isfinite(value) and value > 0 else None
    return None


def _count(path: Path, places: list[Dataset], keyword: str) -> int | None:
    """A whole number that is compared alone: what is none is not there."""
    found = next((value for value in (text(path, place, keyword) for place in places) if value), "")
    return int(found) if found.isdecimal() else None


def _phase(path: Path, places: list[Dataset]) -> dict[str, str]:
    found = {}
    for keyword in PHASE_TAGS:
        words = [OF_FRAMES[keyword], keyword] if keyword in OF_FRAMES else [keyword]
        told = (text(path, place, word) for place in places for word in words)
        value = next((value for value in told if value), "")
        if value:
            found[keyword] = value
    return found


def cosines(turn: tuple[float, ...]) -> tuple[Float, Float]:
    """Rows' and columns' direction of six numbers."""
    return np.asarray(turn[:3]), np.asarray(turn[3:])


def named(frame: Frame) -> str:
    """Its file, and which of the file's frames it is."""
    return f"{frame.path.name}{f' frame {frame.index + 1}' if frame.index else ''}"


def of_frame(frame: Frame) -> str:
    """Which of its file's frames it is, for messages that begin with the file; empty for the first."""
    return f"frame {frame.index + 1}: " if frame.index else ""
