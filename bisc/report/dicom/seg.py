"""DICOM SEG: the mask as segments that refer to the slices they were found in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from bisc.core.flags import Light
from bisc.preprocessing.segments import Segment
from bisc.report.dicom.codes import AI, CATEGORY, COLOURS_RGB, KIDNEY, SIDES, type_of
from bisc.report.dicom.identity import derived_uid
from bisc.report.dicom.origin import MANUFACTURER, NOT_FOR_CARE, Maker, Origin

LIGHT: Final[dict[Light, str]] = {"green": "", "amber": ", amber: look before use", "red": ", red: do not use unseen"}
MOST_LETTERS: Final = 1024
"""Of a text (VR ST)."""


def segmentation(
    origin: Origin,
    numbered: npt.NDArray[np.uint8],
    segments: Sequence[Segment],
    maker: Maker,
    labelmap: bool = False,
    light: Light = "green",
    told: Sequence[str] = (),
) -> Dataset:
    """A Segmentation object (PS3.3, A.51) of every segment.

    Args:
        origin: The source series.
        numbered: (slices, rows, columns) of the stack, as stored: each segment's voxels bear its number.
        segments: At least one; none is empty.
        maker: Who found them.
        labelmap: One plane of numbers (LABELMAP, run-length coded) instead of one plane of bits for each segment.
        light: The series' name bears it where it is not green.
        told: Why, a sentence each, for each segment's description.
    """
    import highdicom as hd

    frames = np.zeros((origin.n_frames, *numbered.shape[1:]), np.uint8)
    frames[list(origin.places)] = numbered
    uid = seg_uid(origin, numbered, maker, labelmap)
    made: Dataset = hd.seg.Segmentation(
        source_images=list(origin.images),
        pixel_array=frames,
        segmentation_type="LABELMAP" if labelmap else "BINARY",
        segment_descriptions=[_described(segment, uid, maker, told) for segment in segments],
        **maker.of_object("seg", uid),
        content_label="KIDNEY_TUMOR",
        content_description=f"Kidneys and tumours, {NOT_FOR_CARE}",
        series_description="Kidneys and tumours (BiSC-UNet)" + LIGHT[light],
        transfer_syntax_uid=RLELossless if labelmap else ExplicitVRLittleEndian,
        omit_empty_frames=True,
    )
    _settle_organization(made, derived_uid("seg dimensions", uid))
    return made


def seg_uid(origin: Origin, numbered: npt.NDArray[np.uint8], maker: Maker, labelmap: bool) -> str:
    """Changes with the source, the mask, the model and the form."""
    digest = hashlib.sha256(numbered.tobytes()).hexdigest()
    return derived_uid("seg", *origin.instances(), digest, maker.model, maker.checksum, maker.version, str(labelmap))


def tracking_uid(segment: Segment, uid: str) -> str:
    """Of one segment of the SEG called `uid`."""
    return derived_uid("segment", uid, str(segment.number))


def _described(segment: Segment, uid: str, maker: Maker, told: Sequence[str]) -> Any:
    import highdicom as hd

    algorithm = hd.AlgorithmIdentificationSequence(
        name=MANUFACTURER,
        family=AI,
        version=maker.version,
        source=MANUFACTURER,
        parameters={"model": maker.model, "checksum": maker.checksum},
    )
    described = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.name,
        segmented_property_category=CATEGORY[segment.organ],
        segmented_property_type=type_of(segment),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=tracking_uid(segment, uid),
        tracking_id=segment.name,
        anatomic_regions=None if segment.organ == "kidney" else [KIDNEY],
        display_color=hd.color.CIELabColor.from_rgb(*COLOURS_RGB[segment.organ]),
    )
    if told:
        described.SegmentDescription = " ".join(told)[:MOST_LETTERS]
    if segment.side in SIDES:
        side = hd.sr.CodedConcept.from_code(SIDES[segment.side])
        if segment.organ == "kidney":
            described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
        else:
            described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [side]
    return described


def _settle_organization(made: Dataset, uid: str) -> None:
    """A UID of its own for the frames' order, instead of a random one."""
    for item in [*made.get("DimensionOrganizationSequence", []), *made.get("DimensionIndexSequence", [])]:
        item.DimensionOrganizationUID = uid
