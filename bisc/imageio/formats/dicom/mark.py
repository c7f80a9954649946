"""What one DICOM file is of: the identity by which files are put together, and nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import SecondaryCaptureImageStorage

from bisc.core.errors import InputError
from bisc.imageio.formats.dicom.folder import no_image
from bisc.imageio.formats.dicom.tags import read_header, text


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
            _numbers(place),
            (text(path, data, "StudyDate"), text(path, data, "StudyTime"), study),
            may_be_slice,
        )
    except InputError:
        return None


def _numbers(position: str) -> tuple[float, ...]:
    try:
        found = tuple(float(one) for one in position.split("\\"))
    except ValueError:
        return ()
    return found if len(found) == 3 else ()
