"""A structured report by template TID 1500: the volumes and diameters that a mask gives, for the segments of a SEG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from bisc.preprocessing.segments import Segment, Sizes
from bisc.report.dicom.codes import (
    AT_LEAST,
    AXIAL_DIAMETER,
    CATEGORY,
    COMMENT,
    CT,
    DIAMETER,
    EVALUATIONS,
    KIDNEY,
    ML,
    MM,
    SIDES,
    VOLUME,
    type_of,
)
from bisc.report.dicom.identity import derived_uid
from bisc.report.dicom.origin import MANUFACTURER, Maker, Origin
from bisc.report.dicom.seg import tracking_uid


def structured_report(
    origin: Origin,
    seg: Dataset,
    segments: Sequence[Segment],
    sizes: Mapping[int, Sizes],
    maker: Maker,
    told: Sequence[str] = (),
) -> Dataset:
    """A Comprehensive SR (PS3.16, TID 1500) with one measurement group (TID 1411) for each segment.

    Args:
        origin: The source series.
        seg: The Segmentation object that the groups refer to.
        segments: Its segments.
        sizes: By segment number.
        maker: Who measured.
        told: Comments on the whole, under 'Qualitative Evaluations' (row 12 of the template).
    """
    import highdicom as hd

    uid = derived_uid(
        "sr", str(seg.SOPInstanceUID), maker.version, *(str(sizes[one.number]) for one in segments), *told
    )
    device = hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid("device", maker.model, maker.checksum, maker.version),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=maker.model,
            serial_number=maker.checksum,
        ),
    )
    algorithm = hd.sr.AlgorithmIdentification(
        name=MANUFACTURER, version=maker.version, parameters=[f"model={maker.model}", f"checksum={maker.checksum}"]
    )
    groups = []
    for segment in segments:
        side = SIDES.get(segment.side)
        groups.append(
            hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=hd.sr.TrackingIdentifier(
                    uid=tracking_uid(segment, str(seg.SOPInstanceUID)), identifier=segment.name
                ),
                referenced_segment=hd.sr.ReferencedSegment(
                    seg.SOPClassUID,
                    seg.SOPInstanceUID,
                    segment.number,
                    source_series=hd.sr.SourceSeriesForSegmentation(origin.first.SeriesInstanceUID),
                ),
                finding_category=CATEGORY[segment.organ],
                finding_type=type_of(segment),
                finding_sites=[hd.sr.FindingSite(KIDNEY, laterality=side)],
                algorithm_id=algorithm,
                measurements=[
                    hd.sr.Measurement(name=name, value=value, unit=unit)
                    for name, value, unit in _measured(sizes[segment.number])
                ],
            )
        )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=CT,
        imaging_measurements=groups,
    )
    if told:
        contains = hd.sr.RelationshipTypeValues.CONTAINS
        said = hd.sr.ContainerContentItem(EVALUATIONS, relationship_type=contains)
        said.ContentSequence = hd.sr.ContentSequence(
            [hd.sr.TextContentItem(COMMENT, words, relationship_type=contains) for words in told]
        )
        report[0].ContentSequence.append(said)
    made: Dataset = hd.sr.ComprehensiveSR(
        evidence=[*origin.images, seg],
        content=report,
        **maker.of_object("sr", uid),
        series_description="Kidney and tumour measurements (BiSC-UNet)",
        is_complete=True,
    )
    return made


def _measured(sizes: Sizes) -> list[tuple[Code, float, Code]]:
    """What stands in the report of one structure: name, value, unit."""
    found = [(VOLUME, sizes.volume_ml, ML)]
    if sizes.axial_mm is not None:
        found.append((AXIAL_DIAMETER, sizes.axial_mm, MM))
    if sizes.diameter_mm is not None:
        found.append((DIAMETER, sizes.diameter_mm, MM))
    return [(AT_LEAST[name], value, unit) for name, value, unit in found] if sizes.cut else found
