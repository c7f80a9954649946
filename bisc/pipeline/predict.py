"""Files in, masks and predictions.csv out; one bad file never ends the others' run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bisc.core.errors import BiscError, PassedOver, WorkError, one_line
from bisc.core.volume import Volume
from bisc.imageio import read_image, write_image
from bisc.imageio.case import InputCase
from bisc.imageio.scan import Scan
from bisc.inference.cascade import RoughExcess, offsets_of, upsample_labels
from bisc.inference.kept import grid_arrays, roi_arrays
from bisc.inference.model import Model
from bisc.inference.windows import within_memory
from bisc.pipeline.dicom_cases import dicom_files, results_of, without_places
from bisc.pipeline.options import BETWEEN_NOTES, FAILED, SKIPPED, TABLE, PredictionRow, PredictOptions
from bisc.pipeline.predict_run import (
    Outputs,
    begin_run,
    case_stamp,
    end_run,
    has_companions,
    remove_companions,
    remove_outputs,
)
from bisc.pipeline.rows import STAMP_MARK, made_stamp, mask_changed, mask_mark, merge_rows
from bisc.pipeline.segment import segment_case
from bisc.pipeline.study import open_study
from bisc.system.console import collecting, notice, track
from bisc.system.files import atomic_file

if TYPE_CHECKING:
    from bisc.pipeline.overlap import Room

Complain = Callable[[BiscError], None]


def predict_cases(
    cases: Sequence[InputCase],
    model: Model,
    out: Path,
    options: PredictOptions,
    complain: Complain,
    whole: bool = True,
) -> list[PredictionRow]:
    """Predict every case into `out`.

    Args:
        cases: What to predict.
        model: The cascade.
        out: Folder of CASE.nii.gz and predictions.csv, brought up to date after every case; others' rows stay.
        options: How.
        complain: Takes the error of each failed case.
        whole: Whether these are all cases of the run; else the index of pages is left to whoever has them all.

    Returns:
        One row per case, in their order; then one for each input that is no scan.

    Raises:
        InputError: If `out` cannot be written, or would overwrite an input.
    """
    run = begin_run(cases, out, options)
    room: Room | None = None

    def row_of(case: InputCase) -> PredictionRow:
        return predict_or_keep(case, model, out, options, complain, run.before.get(case.name), room)

    if len(run.cases) > 1 and options.at_a_time != 1:
        from bisc.pipeline.overlap import Room, cases_at_a_time, overlapping  # not on a single scan's path

        room = Room(options.memory_gb)
        found = overlapping(row_of, run.cases, options.at_a_time or cases_at_a_time(model))
    else:
        found = ((i, row_of(case)) for i, case in enumerate(run.cases))
    rows = [row for _, row in sorted(track(found, "predict", len(run.cases)))]
    if whole:
        end_run(out, options, run.before)
    return [*rows, *run.passed]


def predict_or_keep(
    case: InputCase,
    model: Model,
    out: Path,
    options: PredictOptions,
    complain: Complain,
    before: PredictionRow | None,
    room: Room | None = None,
) -> PredictionRow:
    """One case of a run, or its row of `before` where that is kept; the table is up to date afterwards.

    A mask that was corrected by hand is kept, whatever else is asked for.
    """
    row, stamp = before if options.resume else None, case_stamp(case, model, options)
    done = row is not None and row.status not in (FAILED, SKIPPED) and made_stamp(row) in ("", stamp)
    outputs = Outputs(out, case, options)
    if row is not None and mask_changed(row, out):
        mend = (
            "bisc_measure and bisc_report make them anew" if has_companions(options) else "its volumes there are older"
        )
        notice(
            outputs.told,
            "changed since it was predicted",
            f"kept, and nothing beside it is made or brought up to date; {mend}",
        )
        return row
    if row is None or not done or not outputs.are_there(row):
        remove_companions(out, case)
        outputs.remove_parts()
        for path in dicom_files(out, case.name, options.dicom) if before is not None else ():
            path.unlink(missing_ok=True)  # of an older mask, of which this run may make fewer
        row = _predict_or_fail(case, model, out, options, complain, room)
        stamp = STAMP_MARK.join(filter(None, (stamp, mask_mark(outputs.told))))
        row = replace(row, source=os.path.realpath(case.origin or case.path), stamp=stamp)
        if options.dicom.deidentify:  # descriptions and places may name a patient
            row = replace(row, source="", notes="", choice="", error=without_places(row.error, case))
        merge_rows(out / TABLE, [row])
    return row


def predict_case(
    case: InputCase,
    model: Model,
    out: Path,
    options: PredictOptions,
    complain: Complain = lambda _: None,
    room: Room | None = None,
) -> PredictionRow:
    """Read, run the cascade, write one case; what cannot be a DICOM result is NIfTI, and `complain` is told.
    `room` is what it shares with cases in work at the same time.

    Raises:
        InputError: If the image cannot be used.
        WorkError: If it does not fit into the memory.
        RoughExcess: If the rough stage marks more than any patient has; its mask is written where it was asked for.
    """
    begin = time.perf_counter()
    if case.fault is not None:
        raise case.fault
    study = open_study(case, options.dicom.series, options.dicom.phase, model) if case.files else None
    size = None if study is None else study.size()
    if room is None:
        fitting = within_memory(model, case.path, options.memory_gb, size)
        return _predicted(case, study, fitting, out, options, complain, begin)
    with room.model_for(model, case.path, size) as fitting:
        return _predicted(case, study, fitting, out, options, complain, begin)


def _predicted(
    case: InputCase,
    study: Scan | None,
    model: Model,
    out: Path,
    options: PredictOptions,
    complain: Complain,
    begin: float,
) -> PredictionRow:
    image = read_image(case.path) if study is None else study.read()
    files = Outputs(out, case, options)

    def save_rough(rough: Volume) -> None:
        labels = upsample_labels(rough, image.volume.geometry, offsets_of(model.rough, options.decision))
        write_image(files.rough, labels, image.native)

    try:
        found, result = segment_case(image, model, options.decision)
    except RoughExcess as excess:
        if options.save_rough and excess.rough is not None:
            save_rough(excess.rough)
        raise RoughExcess(f"{case.path}: {excess}") from excess
    if options.save_rough:
        save_rough(result.rough)
    if options.save_probabilities:
        with atomic_file(files.probabilities) as scratch:
            arrays = roi_arrays(result.native, np.float16) | grid_arrays(image.volume.geometry)
            np.savez_compressed(scratch, **arrays)  # type: ignore[arg-type]
    more = {"error": found.doubt}
    if options.dicom.form != "dicomseg":
        found.save(files.mask)  # first: what is of it is never older than it is
    if study is not None or options.dicom.form != "nifti" or has_companions(options):
        more = results_of(out, case, study, image, found, result, model, options, complain)
    if options.dicom.form == "dicomseg" and more["error"] != found.doubt:
        found.save(files.mask)
    ml = found.kidney_ml, found.tumor_ml
    ends = [(roi.side, roi.box.start_zyx[::-1], [stop - 1 for stop in roi.box.stop_zyx[::-1]]) for roi in found.rois]
    rois = json.dumps([{"side": side, "first_xyz": first, "last_xyz": last} for side, first, last in ends])
    flags = json.dumps([asdict(flag) for flag in found.flags.flags], ensure_ascii=False)
    row = PredictionRow(case.name, found.status, _since(begin, model), rois, ml[0], ml[1])
    row = replace(row, light=found.flags.light, risk=found.flags.risk, flags=flags)
    return replace(row, **more)  # type: ignore[arg-type]  # columns of text


def _predict_or_fail(
    case: InputCase, model: Model, out: Path, options: PredictOptions, complain: Complain, room: Room | None
) -> PredictionRow:
    begin, fault = time.perf_counter(), None
    with collecting() as notes:
        try:
            row = predict_case(case, model, out, options, complain, room)
        except BiscError as error:
            fault = error
        except Exception as error:  # noqa: BLE001 - one broken case must not end the others
            fault = WorkError(one_line(f"{case.path}: {type(error).__name__}: {error}"))
    if fault is not None:
        remove_outputs(out, case, options, keep_rough=isinstance(fault, RoughExcess) and options.save_rough)
        if isinstance(fault, PassedOver):
            row = PredictionRow(case.name, SKIPPED, error=str(fault))
        else:
            row = PredictionRow(case.name, FAILED, _since(begin, model), error=str(fault))
            complain(fault)
    return replace(row, notes=BETWEEN_NOTES.join(notes))


def _since(begin: float, model: Model) -> float | None:
    return None if model.device.deterministic else round(time.perf_counter() - begin, 2)
