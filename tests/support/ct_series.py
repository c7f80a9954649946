"""A canonical volume written as a DICOM CT series with all the tags a PACS asks for, in any order and in many ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from bisc.core.geometry import Geometry
from bisc.core.volume import Volume

STEM = "1.2.826.0.1.3680043.8.498.18"
Change = Callable[[Dataset, int], None]


def head(grid: Geometry, study: str, series: str, description: str, number: int, patient: str) -> Dataset:
    """What all slices say."""
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.Modality = CTImageStorage, "CT"
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "Doe^Jane", patient, "19500102", "F"
    data.StudyInstanceUID, data.StudyID, data.AccessionNumber = f"{STEM}.1.{study}", study, f"A{study}"
    data.StudyDate, data.StudyTime, data.ReferringPhysicianName = "20240305", "101112", "Roe^Richard"
    data.SeriesInstanceUID, data.SeriesNumber = f"{STEM}.2.{study}.{series}", number
    data.SeriesDescription, data.FrameOfReferenceUID = description, f"{STEM}.3.{study}"
    data.PositionReferenceIndicator, data.PatientPosition = "", "HFS"
    data.Manufacturer, data.InstitutionName = "Maker", "St. Elsewhere"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows, data.Columns = grid.shape_zyx[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, 0, "HU"
    return data


def write_ct(
    folder: Path,
    volume: Volume,
    *,
    study: str = "1",
    series: str = "1",
    description: str = "",
    number: int = 1,
    patient: str = "P1",
    keep: Sequence[int] | None = None,
    name: Callable[[int], str] = "IM{:04d}.dcm".format,
    change: Change = lambda data, i: None,
) -> Path:
    """One file a slice.

    Args:
        folder: Made if need be.
        volume: Canonical HU.
        study, series: Endings of the UIDs.
        description: SeriesDescription.
        number: SeriesNumber.
        patient: PatientID.
        keep: The slices that are written; None: all.
        name: Of slice i's file, relative to the folder.
        change: Last changes of a slice.
    """
    grid = volume.geometry
    turn = grid.direction_matrix
    for i in range(grid.shape_zyx[0]) if keep is None else keep:
        data = head(grid, study, series, description, number, patient)
        data.SOPInstanceUID, data.InstanceNumber = f"{data.SeriesInstanceUID}.{i + 1}", i + 1
        data.PixelSpacing, data.SliceThickness = list(grid.spacing_mm_zyx[1:]), grid.spacing_mm_zyx[0]
        data.ImageOrientationPatient = [round(float(v), 12) for v in (*turn[:, 0], *turn[:, 1])]
        data.ImagePositionPatient = [round(float(v), 8) for v in grid.index_to_physical([i, 0, 0])]
        data.PixelData = np.ascontiguousarray(volume.array[i], dtype="<i2").tobytes()
        change(data, i)
        save(data, folder / name(i))
    return folder


def write_enhanced(path: Path, volume: Volume, order: Sequence[int] | None = None, **tags: str) -> Path:
    """One enhanced file of all slices, stored in any order."""
    grid = volume.geometry
    turn = grid.direction_matrix
    data = head(grid, "1", "9", "", 9, "P1")
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        delattr(data, keyword)
    data.SOPClassUID, data.SOPInstanceUID, data.InstanceNumber = EnhancedCTImageStorage, f"{STEM}.4", 1
    order = list(range(grid.shape_zyx[0]) if order is None else order)
    data.NumberOfFrames = len(order)
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=list(grid.spacing_mm_zyx[1:]), SliceThickness=grid.spacing_mm_zyx[0])],
        PlaneOrientationSequence=[
            item(ImageOrientationPatient=[round(float(v), 12) for v in (*turn[:, 0], *turn[:, 1])])
        ],
        PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=0, RescaleType="HU")],
    )
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[
                item(ImagePositionPatient=[round(float(v), 8) for v in grid.index_to_physical([i, 0, 0])])
            ],
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=i + 1, DimensionIndexValues=[1, i + 1])],
        )
        for i in order
    ]
    data.PixelData = np.ascontiguousarray(volume.array[order], dtype="<i2").tobytes()
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    save(data, path)
    return path


def item(**tags: object) -> Dataset:
    """A data set of these tags."""
    made = Dataset()
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def save(data: Dataset, path: Path) -> None:
    """Write one file."""
    meta = data.file_meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
