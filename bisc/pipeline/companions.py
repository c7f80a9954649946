"""What lies beside a mask and is of it: its measures, its surfaces, its page; and none of an older mask's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.errors import InputError
from bisc.core.flags import Flags
from bisc.core.geometry import as_int_triple
from bisc.core.labels import KIDNEY, TUMOR
from bisc.core.volume import Box, Volume
from bisc.inference.cascade import NativeRoi
from bisc.measurement.definitions import OF
from bisc.measurement.intervals import ROOM_MM, diameter_interval_mm, volume_interval_ml
from bisc.measurement.measure import measure
from bisc.measurement.measures import CaseMeasures, Measure, Structure
from bisc.measurement.table import TABLE, put_rows, read_table, rows_of
from bisc.pipeline.meshes import mesh_files, remove_meshes, write_meshes
from bisc.pipeline.options import PredictionRow, PredictOptions
from bisc.pipeline.report import write_page
from bisc.pipeline.report_rows import page_path
from bisc.preprocessing.segments import Segment
from bisc.report.patient.page import PatientPage, case_page

Mask = npt.NDArray[np.bool_]
CLASS: Final = {"kidney": KIDNEY, "tumor": TUMOR}


def write_companions(
    out: Path,
    image: Volume,
    numbered: npt.NDArray[np.uint8],
    segments: Sequence[Segment],
    rois: Sequence[NativeRoi],
    row: PredictionRow,
    options: PredictOptions,
    flags: Flags,
    provenance: Mapping[str, str],
    remarks: Sequence[str],
) -> None:
    """Write what is asked for beside a mask.

    Args:
        out: The masks' folder.
        image: Its canonical HU.
        numbered: (z, y, x) segment numbers on the same grid.
        segments: In their order; none where no kidney was found.
        rois: The softmax that the mask was cut out of, for the sizes' intervals.
        row: The case's, as far as it is known.
        options: What is asked for.
        flags: What the mask says of its trustworthiness.
        provenance: What made it, label and value.
        remarks: What was said of the scan, without a patient's name.
    """
    case = row.case
    if options.mesh is not None:
        form, space = options.mesh.form, options.mesh.space
        write_meshes(out, case, numbered, segments, image.geometry, form, space)
    if not options.measure and not options.report:
        return
    found = with_intervals(measure(case, numbered, segments, image.geometry, image), numbered, rois, image)
    if options.measure:
        put_rows(out / TABLE, case, rows_of(found))
    if options.report:
        page = PatientPage(image, numbered, segments, found, flags, provenance=provenance, remarks=remarks)
        write_page(out, case, page, case_page(page), row)


def remove_companions(out: Path, case: str) -> None:
    """Remove what an older run left of a case: beside another mask it would be taken for that mask's own."""
    remove_meshes(out, case)
    page_path(out, case).unlink(missing_ok=True)
    with suppress(InputError):  # another version's table, which none of these rows are in
        if any(row["case"] == case for row in read_table(out / TABLE)):
            put_rows(out / TABLE, case, [])


def are_there(out: Path, row: PredictionRow, options: PredictOptions) -> bool:
    """Whether all is there that is asked for beside the mask of a case that ended so."""
    try:
        names = [segment["name"] for segment in json.loads(row.segments)]
    except (ValueError, TypeError, KeyError):  # of a run without companions, or edited
        return False
    if options.measure and {one["structure"] for one in read_table(out / TABLE) if one["case"] == row.case} != {*names}:
        return False
    if options.report and not page_path(out, row.case).is_file():
        return False
    mesh = options.mesh
    return mesh is None or all(path.exists() for path in mesh_files(out, row.case, names, mesh.form, mesh.space))


def with_intervals(
    found: CaseMeasures, numbered: npt.NDArray[np.uint8], rois: Sequence[NativeRoi], image: Volume
) -> CaseMeasures:
    """The same measures, volumes and diameters with the interval that the softmax gives them (`NOMINAL`)."""
    structures = [
        Structure(one.segment, {**one.measures, **_intervals(one.segment, one.measures, numbered, rois, image)})
        for one in found.structures
    ]
    return replace(found, structures=tuple(structures))


def _intervals(
    segment: Segment,
    measures: Mapping[str, Measure],
    numbered: npt.NDArray[np.uint8],
    rois: Sequence[NativeRoi],
    image: Volume,
) -> dict[str, Measure]:
    """Those of its measures that have one and are not withheld."""
    mm = image.geometry.spacing_mm_zyx
    own = numbered == segment.number
    box = Box.of_mask(own)
    assert box is not None  # no segment is empty
    room = as_int_triple(np.ceil(np.divide(ROOM_MM, mm)))
    near = box.padded(room).clipped(image.geometry.shape_zyx)
    assert near is not None  # it holds the segment
    at, organ = near.to_slices(), segment.organ
    p, own = _probability(rois, near, CLASS[organ]), own[at]
    other = (numbered[at] > 0) & ~own
    found = {"volume_ml": volume_interval_ml(p, own, mm, organ, other)}
    if organ == "tumor":
        found["axial_mm"] = diameter_interval_mm(p, own, mm, organ, other)
        found["diameter_mm"] = diameter_interval_mm(p, own, mm, organ, other, axial=False)
    done = {}
    for name, interval in found.items():
        if measures[name].value is not None:
            low, high = (round(end, OF[organ][name].decimals) for end in interval)
            done[name] = replace(measures[name], low=low, high=high)
    return done


def _probability(rois: Sequence[NativeRoi], near: Box, label: int) -> npt.NDArray[np.float32]:
    """(z, y, x) softmax of a class within a box; 0 outside of all ROIs, which hold the same where they meet."""
    out = np.zeros(near.shape_zyx, np.float32)
    for roi in rois:
        both = near.meeting(roi.box)
        if both is not None:
            out[both.within(near).to_slices()] = roi.probabilities[label][both.within(roi.box).to_slices()]
    return out
