"""UIDs of what is written, and headers of a source without whom it is of (PS3.15, basic profile).

Every UID is derived from what an object holds and is of: the same input and model give the same UIDs, so that an
object that is sent again is the same object. For headers without identity there is a list not of what is removed but of
what stays: how the image lies and is stored. UIDs are replaced, one for one, by others that only who has the first can
find.
"""

from __future__ import annotations

import uuid
from typing import Final

from pydicom.dataset import Dataset

NAMESPACE: Final = uuid.UUID("6f1c5f5c-3d5e-5d0b-9a52-0c2f6d0b7a11")
EMPTY: Final = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Of the patient and the study; must be there, may be empty (type 2)."""

KEPT: Final = (
    "SOPClassUID", "Modality", "ImageType", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelSpacing",
    "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope",
    "RescaleIntercept", "InstanceNumber", "PatientPosition",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""The groups are `bisc.report.dicom.origin`'s own, which hold no more than places."""
UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
METHOD: Final = "Only geometry and pixel description kept; UIDs replaced (PS3.15 basic profile)"


def without_identity(image: Dataset) -> Dataset:
    """A header's copy that holds `KEPT` alone, its UIDs replaced, patient and study empty."""
    clean = _only(image, KEPT)
    for keyword in EMPTY:
        setattr(clean, keyword, "")
    for keyword in UIDS:
        setattr(clean, keyword, derived_uid("deidentified", keyword, str(image.get(keyword, ""))))
    clean.PatientIdentityRemoved, clean.DeidentificationMethod = "YES", METHOD
    return clean


def mark_removed(made: Dataset) -> None:
    """Say in an object made of clean headers that identity was removed."""
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientIdentityRemoved, made.DeidentificationMethod = "YES", METHOD
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    made.DeidentificationMethodCodeSequence = [code]


def _only(dataset: Dataset, keywords: tuple[str, ...]) -> Dataset:
    clean = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            setattr(clean, keyword, dataset[keyword].value)
    return clean


def derived_uid(kind: str, *parts: str) -> str:
    """A UID of what `kind` and `parts` say, and of nothing else (PS3.5, B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, chr(0).join([kind, *parts])).int}"
