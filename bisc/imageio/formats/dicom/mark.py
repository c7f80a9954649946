"""What one DICOM file is of: the identity by which files are put together, and nothing else of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from bisc.core.errors import InputError
from bisc.imageio.formats.dicom.folder import no_image
from bisc.imageio.formats.dicom.planes import Plane, plane_of
from bisc.imageio.formats.dicom.tags import read_header, text

TURN_AND_SPACING: Final = (("ImageOrientationPatient", 6), ("PixelSpacing", 2))


@dataclass(frozen=True)
class Mark:
    """A file's UIDs and kind; empty texts where it has none.

    Attributes:
        patient: PatientID.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        number: SeriesNumber.
        instance: SOPInstanceUID.
        place_mm_xyz: ImagePositionPatient; empty where there is none, or no three numbers.
        when: StudyDate and StudyTime, then the study's UID: what studies are ordered by.
        person: PatientName's letters and PatientBirthDate; programs differ in what they put between letters.
        reference: FrameOfReferenceUID.
        plane: Where it lies; None for what may be no single slice, or lacks what tells it.
        may_be_slice: Whether it may be a slice of a CT: an image of that modality, no localizer by its ImageType, no
            screenshot without a place.
    """

    patient: str
    study: str
    series: str
    number: str
    instance: str
    place_mm_xyz: tuple[float, ...]
    when: tuple[str, str, str]
    person: tuple[str, str]
    reference: str
    plane: Plane | None
    may_be_slice: bool


def mark_of(path: Path) -> Mark | None:
    """A file's mark; None where its header cannot be read, or is of no slice and of no study (a medium's index)."""
    try:
        data = read_header(path)
        study = text(path, data, "StudyInstanceUID")
        place = text(path, data, "ImagePositionPatient")
        may_be_slice = (
            not no_image(path, data)
            and "LOCALIZER" not in text(path, data, "ImageType").upper()
            and (bool(place) or text(path, data, "SOPClassUID") != SecondaryCaptureImageStorage)
        )
        if not may_be_slice and not study:
            return None
        return Mark(
            text(path, data, "PatientID"),
            study,
            text(path, data, "SeriesInstanceUID"),
            text(path, data, "SeriesNumber"),
            text(path, data, "SOPInstanceUID"),
            _numbers(place, 3),
            (text(path, data, "StudyDate"), text(path, data, "StudyTime"), study),
            (_letters(text(path, data, "PatientName")), text(path, data, "PatientBirthDate")),
            text(path, data, "FrameOfReferenceUID"),
            _plane(path, data, _numbers(place, 3)) if may_be_slice else None,
            may_be_slice,
        )
    except InputError:
        return None


def _plane(path: Path, data: Dataset, place_mm_xyz: tuple[float, ...]) -> Plane | None:
    turn, spacing = (_numbers(text(path, data, tag), n) for tag, n in TURN_AND_SPACING)
    size = _numbers(f"{text(path, data, 'Rows')}\\{text(path, data, 'Columns')}", 2)
    if not (place_mm_xyz and turn and spacing and size):
        return None
    x, y, z = place_mm_xyz
    return plane_of((x, y, z), turn, (spacing[0], spacing[1]), (int(size[0]), int(size[1])))


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _numbers(values: str, n: int) -> tuple[float, ...]:
    """So many finite numbers; none where they are not."""
    try:
        found = tuple(float(one) for one in values.split("\\"))
    except ValueError:
        return ()
    return found if len(found) == n and all(map(isfinite, found)) else ()
