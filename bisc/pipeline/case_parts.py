"""Predictions and pages in parts: a job array's runs of one command, and the run that joins them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import msgspec

from bisc.core.errors import BiscError, InputError, PassedOver, WorkError
from bisc.imageio import files_of
from bisc.imageio.case import InputCase
from bisc.inference.model import Model
from bisc.pipeline.dicom_cases import nameless, without_places
from bisc.pipeline.options import FAILED, SKIPPED, TABLE, PredictionRow, PredictOptions
from bisc.pipeline.parts import Part, PartCase, stamp_of
from bisc.pipeline.predict import Complain, predict_cases
from bisc.pipeline.predict_run import Outputs, begin_run, case_stamp, end_run
from bisc.pipeline.report import PageJob, ReportOptions, Run, begin_pages, end_pages, page_or_fault
from bisc.pipeline.report_rows import page_path, row_in
from bisc.pipeline.rows import made_stamp, merge_rows
from bisc.report.patient.index import IndexRow
from bisc.system.console import notice, track

ROWS: Final = Path(TABLE).stem
PAGES: Final = "pages"


def predict_part(
    cases: Sequence[InputCase], model: Model, out: Path, options: PredictOptions, complain: Complain, part: Part
) -> list[PredictionRow]:
    """`bisc.pipeline.predict.predict_cases` of one part of the cases; or of all that other runs have predicted, joined.

    Args:
        cases, model, out, options, complain: As there; the same ones for each part and for joining.
        part: Which.

    Raises:
        InputError: As there.
        WorkError: If a part that is to be joined is missing.
    """
    if part.number is None:
        return _join_predictions(cases, model, out, options, complain, part)
    errors: list[tuple[str, BiscError]] = []
    hidden = options.dicom.deidentify
    scans = [case for case in cases if not isinstance(case.fault, PassedOver)]  # joining tells of the others
    mine = part.share(scans, lambda case: nameless(case).name if hidden else case.name)

    def note(error: BiscError) -> None:
        errors.append(("", _without_places(error, mine) if hidden else error))
        complain(error)

    rows = predict_cases(mine, model, out, options, note, whole=False)
    stamps = {
        row.case: made_stamp(row) or case_stamp(case, model, options) for case, row in zip(mine, rows, strict=True)
    }
    stamps = {name: _asked(stamp, options) for name, stamp in stamps.items()}
    how = f"{model.device.precision} on {model.device.kind}"
    part.keep(out, ROWS, stamps, errors, {row.case: asdict(row) for row in rows}, how)
    return rows


def _without_places(error: BiscError, cases: Sequence[InputCase]) -> BiscError:
    """The same without what may name a patient."""
    hidden = [nameless(case) for case in cases if str(case.path) in str(error)]

    def said(words: str) -> str:
        return functools.reduce(without_places, hidden, words)

    if isinstance(error, InputError):
        return InputError(*map(said, (error.what, error.found, error.expected, error.mend)))
    return WorkError(said(str(error)))


def _join_predictions(
    cases: Sequence[InputCase], model: Model, out: Path, options: PredictOptions, complain: Complain, part: Part
) -> list[PredictionRow]:
    """The notes have the rows too, should a disk without locks have lost any."""
    run = begin_run(cases, out, options)
    by_name = {case.name: case for case in run.cases}

    def is_there(done: PartCase) -> bool:
        row = msgspec.convert(done.result, PredictionRow)
        return row.status in (FAILED, SKIPPED) or Outputs(out, by_name[done.name], options).are_there(row)

    stamps = {case.name: _asked(case_stamp(case, model, options), options) for case in run.cases}
    joined = part.join(out, ROWS, stamps, is_there)
    rows = [msgspec.convert(case.result, PredictionRow) for case in joined.cases]
    merge_rows(out / TABLE, rows)
    for error in joined.errors:
        complain(error)
    if len(joined.ways) > 1:
        found = f"its parts were computed in {' and '.join(joined.ways)}"
        notice(out, found, "masks of the two may differ in single voxels; --precision for all parts alike")
    end_run(out, options, run.before)
    return [*rows, *run.passed]


def _asked(stamp: str, options: PredictOptions) -> str:
    return stamp_of([], stamp, replace(options, resume=False, memory_gb=None, at_a_time=None))


def report_part(
    source: Path, prediction: Path, out: Path | None, options: ReportOptions, complain: Complain, part: Part
) -> list[IndexRow]:
    """`bisc.pipeline.report.report_cases` of one part of the pages, without the index; or all, joined: the index.

    Args and errors as there and as of `predict_part`.
    """
    run = begin_pages(source, prediction, out, options)
    jobs = part.share(run.jobs, lambda job: job.name)
    stamps = {job.name: _stamp(job) for job in jobs}
    if part.number is None:
        joined = part.join(run.folder, PAGES, stamps, lambda done: _has_page_or_reason(run, done))
        for error in joined.errors:
            complain(error)
        return end_pages(run, [_row(run.folder, done) for done in joined.cases])
    errors: list[tuple[str, BiscError]] = []

    rows = []
    for job in track(jobs, "report"):
        faults: list[BiscError] = []
        rows.append(page_or_fault(job, faults.append))
        for fault in faults:
            complain(fault)
            errors.append((job.name, fault))
    part.keep(run.folder, PAGES, stamps, errors, {row.case: msgspec.to_builtins(row) for row in rows if not row.page})
    return rows


def _stamp(job: PageJob) -> str:
    files = [] if job.case.fault is not None else job.case.files or files_of(job.case.path)
    return stamp_of([job.mask, *files], job.row, replace(job.options, provenance={}))


def _has_page_or_reason(run: Run, done: PartCase) -> bool:
    return done.result is not None or page_path(run.folder, done.name).exists()


def _row(folder: Path, done: PartCase) -> IndexRow:
    """Of a case that has a page it stands in the page."""
    if done.result is None:
        row = row_in(page_path(folder, done.name))
        if row is not None:
            return row
    return msgspec.convert(done.result, IndexRow)
