"""Files in, masks and predictions.csv out; one bad file never ends the others' run."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from bisc.core.errors import BiscError, InputError, PassedOver, WorkError, one_line
from bisc.core.volume import Volume
from bisc.imageio import files_of, read_image, write_image
from bisc.imageio.case import InputCase
from bisc.imageio.formats.nifti import is_byte_mask
from bisc.imageio.scan import Scan
from bisc.inference.cascade import RoughExcess, offsets_of, upsample_labels
from bisc.inference.kept import roi_arrays
from bisc.inference.model import Model
from bisc.inference.windows import within_memory
from bisc.pipeline.dicom_cases import dicom_files, nameless, results_of
from bisc.pipeline.options import BETWEEN_NOTES, FAILED, SKIPPED, TABLE, PredictionRow, PredictOptions
from bisc.pipeline.rows import merge_rows, read_rows
from bisc.pipeline.segment import segment_case
from bisc.pipeline.study import open_study
from bisc.system.console import collecting, track
from bisc.system.files import atomic_file, make_output_folder, remove_partial
from bisc.system.paths import exists

if TYPE_CHECKING:
    from bisc.pipeline.overlap import Room

ROUGH: Final = "rough"
"""The folder of the rough stage's masks, under the output."""
Complain = Callable[[BiscError], None]


def predict_cases(
    cases: Sequence[InputCase], model: Model, out: Path, options: PredictOptions, complain: Complain
) -> list[PredictionRow]:
    """Predict every case into `out`.

    Args:
        cases: What to predict.
        model: The cascade.
        out: Folder of CASE.nii.gz and predictions.csv, brought up to date after every case; others' rows stay.
        options: How.
        complain: Takes the error of each failed case.

    Returns:
        One row per case, in their order; then one for each input that is no scan.

    Raises:
        InputError: If `out` cannot be written, or would overwrite an input.
    """
    if options.dicom.deidentify:
        cases = [nameless(case) for case in cases]
    make_output_folder(out)
    for folder in (out, out / ROUGH):
        remove_partial(folder)
    none = [case for case in cases if isinstance(case.fault, PassedOver)]  # seen before it was read
    passed = [PredictionRow(case.name, SKIPPED, error=str(case.fault)) for case in none]
    cases = [case for case in cases if case not in none]
    there = {row.case: row for row in read_rows(out / TABLE)}  # also where all is done anew: known before the work
    check_targets(cases, out, there)
    known = there if options.resume else {}
    if passed:
        merge_rows(out / TABLE, passed)

    def row_of(case: InputCase) -> PredictionRow:
        row, stamp = known.get(case.name), _stamp(case, model, options)
        done = row is not None and row.status not in (FAILED, SKIPPED) and row.stamp in ("", stamp)
        if row is None or not done or not _Outputs(out, case, options).are_there(row):
            if case.name in there:
                _remove_companions(out, case)
            row = _predict_or_fail(case, model, out, options, complain, room)
            row = replace(row, source=os.path.realpath(case.origin or case.path), stamp=stamp)
            if options.dicom.deidentify:  # descriptions and places may name a patient
                row = replace(row, source="", notes="", choice="", error=row.error.replace(str(case.path), row.case))
            merge_rows(out / TABLE, [row])
        return row

    room: Room | None = None
    if len(cases) > 1 and options.at_a_time != 1:
        from bisc.pipeline.overlap import Room, cases_at_a_time, overlapping  # not on a single scan's path

        room = Room(options.memory_gb)
        found = overlapping(row_of, cases, options.at_a_time or cases_at_a_time(model))
    else:
        found = ((i, row_of(case)) for i, case in enumerate(cases))
    rows = [row for _, row in sorted(track(found, "predict", len(cases)))]
    if options.report:
        from bisc.pipeline.report import write_index  # not on a plain mask's path

        write_index(out)
    return [*rows, *passed]


def check_targets(cases: Sequence[InputCase], out: Path, there: Mapping[str, PredictionRow]) -> None:
    """Refuse a run that would write over a file that is no mask of this input, before anything is computed.

    Raises:
        InputError: If a mask would take the place of an input, of another input's mask, or of a file that is no mask.
    """
    # realpath: unlike resolve, it minds no link loops
    inputs = {os.path.realpath(path): path for case in cases for path in (case.path, *case.others)}
    for case in cases:
        target, source = out / f"{case.name}.nii.gz", os.path.realpath(case.origin or case.path)
        if os.path.realpath(target) in inputs:
            found, what = "would be overwritten by its own prediction", inputs[os.path.realpath(target)]
            raise InputError(what, found, "an output folder of its own")
        row = there.get(case.name)
        if row is None or row.status == SKIPPED:
            if exists(target) and not is_byte_mask(target):
                raise InputError(target, "is there and is no mask", "an output folder of its own", "move it away")
        elif row.source and row.source != source and exists(Path(row.source)):
            found = f"would be written over the mask of {row.source}, which has the same name"
            mend = "choose another output folder, or rename one of the two"
            raise InputError(case.path, found, "one name for each patient", mend)


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
    files = _Outputs(out, case, options)

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
            np.savez_compressed(scratch, **roi_arrays(result.native, np.float16))  # type: ignore[arg-type]
    more = {"error": found.doubt}
    if study is not None or options.dicom.form != "nifti" or _has_companions(options):
        more = results_of(out, case, study, image, found, result, model, options, complain)
    if options.dicom.form != "dicomseg" or more["error"] != found.doubt:
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
        files = _Outputs(out, case, options)
        fresh = {files.rough} if isinstance(fault, RoughExcess) and options.save_rough else set()  # shows what is wrong
        for path in files.asked.keys() - fresh:
            path.unlink(missing_ok=True)  # an older run's, beside a row that says 'failed', would be taken for its own
        _remove_companions(out, case)
        if isinstance(fault, PassedOver):
            row = PredictionRow(case.name, SKIPPED, error=str(fault))
        else:
            row = PredictionRow(case.name, FAILED, _since(begin, model), error=str(fault))
            complain(fault)
    return replace(row, notes=BETWEEN_NOTES.join(notes))


def _stamp(case: InputCase, model: Model, options: PredictOptions) -> str:
    """What a prediction depends on, in a few letters: files' sizes and times, decision, weights, what is dropped."""
    try:
        stats = [file.stat() for file in case.files or files_of(case.path)]
    except OSError:
        return ""
    weights = [(fold.mark, fold.offsets) for fold in (*model.rough, *model.fine)]
    smallest_ml = model.smallest_tumor_ml(options.decision)
    ways = {
        f"tumours from {smallest_ml} ml": smallest_ml > 0.0,
        "mirrored": model.mirror,
        "edges": any(fold.edges for fold in model.fine),
        "identifiers": options.dicom.identifiers,
    }
    asked = [*(way for way, on in ways.items() if on), *filter(None, [options.dicom.series, options.dicom.phase])]
    parts = [[(s.st_size, s.st_mtime_ns) for s in stats], options.decision, weights, *asked]
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _since(begin: float, model: Model) -> float | None:
    return None if model.device.deterministic else round(time.perf_counter() - begin, 2)


class _Outputs:
    """The files of one case, and which of them are asked for."""

    def __init__(self, out: Path, case: InputCase, options: PredictOptions) -> None:
        self.out, self.case, self.options = out, case.name, options
        self.mask, self.rough = out / f"{case.name}.nii.gz", out / ROUGH / f"{case.name}.nii.gz"
        self.probabilities = out / f"{case.name}_probabilities.npz"
        self.asked = {self.mask: options.dicom.form != "dicomseg", self.rough: options.save_rough}
        self.asked |= {self.probabilities: options.save_probabilities}
        self.asked |= dicom_files(out, case.name, options.dicom) if case.files else {}

    def are_there(self, row: PredictionRow) -> bool:
        """Whether a case that ended so has all that is asked for; a SEG of no kidney is none."""
        none = ".dcm" if row.status == "no_kidney" else ""
        files = [path for path, asked in self.asked.items() if asked and path.suffix != none]
        if not all(path.exists() for path in files):
            return False
        if not _has_companions(self.options):
            return True
        from bisc.pipeline.companions import are_there  # not on a plain mask's path

        return are_there(self.out, row, self.options)


def _has_companions(options: PredictOptions) -> bool:
    """Whether anything is asked for that is measured of the mask."""
    return options.mesh is not None or options.measure or options.report


def _remove_companions(out: Path, case: InputCase) -> None:
    from bisc.pipeline.companions import remove_companions  # not on a plain mask's path

    remove_companions(out, case.name)
