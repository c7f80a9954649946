"""RT Structure Set: each segment's outline, slice by slice, for programs that read no SEG.

Outlines run half-way between voxel centres. A hole is a contour of its own within the outer one; both together are the
segment by the even-odd rule, which is how planning systems fill them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage
from skimage.measure import find_contours

from bisc.core.geometry import Float
from bisc.preprocessing.segments import Segment
from bisc.report.dicom.codes import COLOURS_RGB
from bisc.report.dicom.identity import EMPTY, derived_uid
from bisc.report.dicom.origin import MANUFACTURER, NOT_FOR_CARE, SERIES_NUMBERS, Maker, Origin, item

DECIMALS: Final = 3
LEAST_POINTS: Final = 3


def structure_set(
    origin: Origin, numbered: npt.NDArray[np.uint8], segments: Sequence[Segment], maker: Maker, seg_uid: str
) -> Dataset:
    """An RT Structure Set object (PS3.3, A.19).

    Args:
        origin: The source series.
        numbered: (slices, rows, columns) of the stack, each segment's voxels bearing its number.
        segments: What to outline.
        maker: Who found them.
        seg_uid: Of the same mask's SEG, from which this one's UID is derived.
    """
    uid = derived_uid("rtstruct", seg_uid)
    made = _head(origin, uid, maker)
    first = origin.first
    images = [_reference(image) for image in origin.images]
    series = item(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images)
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    frame = str(first.FrameOfReferenceUID)
    made.ReferencedFrameOfReferenceSequence = [item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])]
    made.StructureSetROISequence, made.ROIContourSequence, made.RTROIObservationsSequence = [], [], []
    for one in segments:
        made.StructureSetROISequence.append(
            item(
                ROINumber=one.number,
                ReferencedFrameOfReferenceUID=frame,
                ROIName=one.name,
                ROIGenerationAlgorithm="AUTOMATIC",
            )
        )
        contours = [
            item(
                ContourImageSequence=[_reference(origin.images[min(i, len(origin.images) - 1)], origin, i)],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=[f"{value:.{DECIMALS}f}" for value in points.ravel()],
            )
            for i, points in _outlines(origin, numbered == one.number)
        ]
        made.ROIContourSequence.append(
            item(ReferencedROINumber=one.number, ROIDisplayColor=list(COLOURS_RGB[one.organ]), ContourSequence=contours)
        )
        made.RTROIObservationsSequence.append(
            item(
                ObservationNumber=one.number,
                ReferencedROINumber=one.number,
                RTROIInterpretedType="ORGAN" if one.organ == "kidney" else "GTV",
                ROIInterpreter="",
            )
        )
    return made


def _outlines(origin: Origin, mask: npt.NDArray[np.bool_]) -> Iterator[tuple[int, Float]]:
    """Of each slice that holds any: its place in the stack, and (points, 3) LPS mm of each outline, in the plane where
    the slice itself says that it lies: planning systems look for a contour's slice there, not on the even stack."""
    stack = origin.stack
    turn = np.reshape(stack.direction, (3, 3))
    _, height, width = stack.spacing_mm_zyx
    for i in np.flatnonzero(mask.any(axis=(1, 2))):
        for outline in find_contours(np.pad(mask[i], 1).astype(np.float32), 0.5):
            points = outline[:-1] - 1.0  # the last point is the first one again
            if len(points) < LEAST_POINTS:
                continue
            in_plane = points[:, ::-1] * (width, height) @ turn[:, :2].T
            yield int(i), np.asarray(stack.frames[i].position_mm_xyz) + in_plane


def _reference(image: Dataset, origin: Origin | None = None, i: int = 0) -> Dataset:
    made = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    if origin is not None and origin.n_frames > 1 and len(origin.images) == 1:
        made.ReferencedFrameNumber = origin.places[i] + 1
    return made


def _head(origin: Origin, uid: str, maker: Maker) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    now = datetime.now(timezone.utc).astimezone()
    made.SOPClassUID, made.SOPInstanceUID = RTStructureSetStorage, uid
    for keyword in EMPTY:
        setattr(made, keyword, "")
    made.StudyInstanceUID = origin.first.StudyInstanceUID
    made.SeriesInstanceUID, made.SeriesNumber = derived_uid("rtstruct series", uid), SERIES_NUMBERS["rtstruct"]
    made.Modality, made.InstanceNumber = "RTSTRUCT", 1
    made.SeriesDescription, made.OperatorsName = "Kidneys and tumours (BiSC-UNet)", ""
    made.Manufacturer, made.ManufacturerModelName = MANUFACTURER, f"{MANUFACTURER} {maker.model}"[:64]
    made.SoftwareVersions, made.DeviceSerialNumber = maker.version, maker.checksum
    made.StructureSetLabel = "KIDNEY_TUMOR"
    made.StructureSetDescription = f"Kidneys and tumours, {NOT_FOR_CARE}"
    made.StructureSetDate, made.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = origin.first.FrameOfReferenceUID, ""
    made.ApprovalStatus = "UNAPPROVED"
    return made
