"""Files in, masks and predictions.csv out; one bad file never ends the others' run.

predictions.csv has one row per case of a folder, whichever of its runs came to it last.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from bisc.core.choices import Decision
from bisc.core.errors import BiscError, InputError, PassedOver, WorkError, one_line
from bisc.core.volume import Volume
from bisc.imageio import files_of, read_image, write_image
from bisc.imageio.formats.nifti import is_byte_mask
from bisc.imageio.inputs import ROW_LIST, InputCase
from bisc.inference.cascade import RoughExcess, offsets_of, upsample_labels
from bisc.inference.kept import roi_arrays
from bisc.inference.model import Model
from bisc.pipeline.segment import segment_case, within_memory
from bisc.system.console import collecting, track
from bisc.system.files import atomic_file, change_text, make_output_folder, remove_partial
from bisc.system.paths import check_name, exists

ROUGH: Final = "rough"
"""The folder of the rough stage's masks, under the output."""
TABLE: Final = ROW_LIST
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
BETWEEN_NOTES: Final = " | "


@dataclass(frozen=True)
class PredictOptions:
    """How to predict.

    Attributes:
        decision: 'argmax' or 'calibrated'.
        save_probabilities: Also write CASE_probabilities.npz.
        save_rough: Also write the rough stage's labels, as rough/CASE.nii.gz.
        resume: Keep what a finished earlier run of the same folder holds.
        memory_gb: What this process may take; None: all that is free.
    """

    decision: Decision
    save_probabilities: bool = False
    save_rough: bool = False
    resume: bool = False
    memory_gb: float | None = None


def predict_cases(
    cases: Sequence[InputCase], model: Model, out: Path, options: PredictOptions, complain: Callable[[BiscError], None]
) -> list[PredictionRow]:
    """Predict every case into `out`.

    Args:
        cases: What to predict.
        model: The cascade.
        out: Folder of CASE.nii.gz and predictions.csv, which is brought up to date after every case; the rows of
            other cases, of earlier runs or of runs under way, stay.
        options: How.
        complain: Takes the error of each failed case.

    Returns:
        One row per case, in their order; then one for each input that is no scan.

    Raises:
        InputError: If `out` cannot be written, or would overwrite an input.
    """
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
    rows: list[PredictionRow] = []
    for case in track(cases, "predict"):
        row, stamp = known.get(case.name), _stamp(case, model, options)
        done = row is not None and row.status not in (FAILED, SKIPPED) and row.stamp in ("", stamp)
        if row is None or not done or not all(path.exists() for path in _Outputs(out, case, options).wanted):
            row = _predict_or_fail(case, model, out, options, complain)
            row = replace(row, source=os.path.realpath(case.path), stamp=stamp)
            merge_rows(out / TABLE, [row])
        rows.append(row)
    return [*rows, *passed]


def check_targets(cases: Sequence[InputCase], out: Path, there: Mapping[str, PredictionRow]) -> None:
    """Refuse a run that would write over a file that is no mask of this input, before anything is computed.

    Raises:
        InputError: If a mask would take the place of an input, of another input's mask, or of a file that is no mask.
    """
    # realpath: unlike resolve, it minds no link loops
    inputs = {os.path.realpath(path): path for case in cases for path in (case.path, *case.others)}
    for case in cases:
        target, source = out / f"{case.name}.nii.gz", os.path.realpath(case.path)
        if os.path.realpath(target) in inputs:
            found = "would be overwritten by its own prediction"
            raise InputError(inputs[os.path.realpath(target)], found, "an output folder of its own")
        row = there.get(case.name)
        if row is None or row.status == SKIPPED:
            if exists(target) and not is_byte_mask(target):
                raise InputError(target, "is there and is no mask", "an output folder of its own", "move it away")
        elif row.source and row.source != source and exists(Path(row.source)):
            found = f"would be written over the mask of {row.source}, which has the same name"
            mend = "choose another output folder, or rename one of the two"
            raise InputError(case.path, found, "one name for each patient", mend)


def predict_case(case: InputCase, model: Model, out: Path, options: PredictOptions) -> PredictionRow:
    """Read, run the cascade, write one case.

    Raises:
        InputError: If the image cannot be used.
        WorkError: If it does not fit into the memory.
        RoughExcess: If the rough stage marks more than any patient has; its mask is written where it was asked for.
    """
    begin = time.perf_counter()
    if case.fault is not None:
        raise case.fault
    model = within_memory(model, case.path, options.memory_gb)
    image = read_image(case.path)
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
    found.save(files.mask)
    ml = found.kidney_ml, found.tumor_ml
    ends = [(roi.side, roi.box.start_zyx[::-1], [stop - 1 for stop in roi.box.stop_zyx[::-1]]) for roi in found.rois]
    rois = json.dumps([{"side": side, "first_xyz": first, "last_xyz": last} for side, first, last in ends])
    return PredictionRow(case.name, found.status, _since(begin, model), rois, *ml, found.doubt)


def _predict_or_fail(
    case: InputCase, model: Model, out: Path, options: PredictOptions, complain: Callable[[BiscError], None]
) -> PredictionRow:
    begin, fault = time.perf_counter(), None
    with collecting() as notes:
        try:
            row = predict_case(case, model, out, options)
        except BiscError as error:
            fault = error
        except Exception as error:  # noqa: BLE001 - one broken case must not end the others
            fault = WorkError(one_line(f"{case.path}: {type(error).__name__}: {error}"))
    if fault is not None:
        files = _Outputs(out, case, options)
        fresh = {files.rough} & set(files.wanted) if isinstance(fault, RoughExcess) else set()  # shows what is wrong
        for path in {files.mask, files.rough, files.probabilities} - fresh:
            path.unlink(missing_ok=True)  # an older run's, beside a row that says 'failed', would be taken for its own
        if isinstance(fault, PassedOver):
            row = PredictionRow(case.name, SKIPPED, error=str(fault))
        else:
            row = PredictionRow(case.name, FAILED, _since(begin, model), error=str(fault))
            complain(fault)
    return replace(row, notes=BETWEEN_NOTES.join(notes))


def _stamp(case: InputCase, model: Model, options: PredictOptions) -> str:
    """What a prediction depends on, in a few letters: its files' sizes and times, the decision, all weights."""
    try:
        stats = [file.stat() for file in files_of(case.path)]
    except OSError:
        return ""
    weights = [(fold.mark, fold.offsets) for fold in (*model.rough, *model.fine)]
    parts = [[(s.st_size, s.st_mtime_ns) for s in stats], options.decision, weights, *["mirrored"] * model.mirror]
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _since(begin: float, model: Model) -> float | None:
    return None if model.device.deterministic else round(time.perf_counter() - begin, 2)


class _Outputs:
    """The files of one case, and which of them a finished one has."""

    def __init__(self, out: Path, case: InputCase, options: PredictOptions) -> None:
        self.mask = out / f"{case.name}.nii.gz"
        self.rough = out / ROUGH / self.mask.name
        self.probabilities = out / f"{case.name}_probabilities.npz"
        asked = {self.mask: True, self.rough: options.save_rough, self.probabilities: options.save_probabilities}
        self.wanted = [path for path, wanted in asked.items() if wanted]


@dataclass(frozen=True)
class PredictionRow:
    """One row of predictions.csv.

    Attributes:
        case: Name.
        status: ok (kidneys on both sides of the mask), one_kidney (on one: solitary or fused), no_kidney or failed;
            skipped: an input that was not taken for a case.
        seconds: Reading, both stages and writing; None where the same bytes are demanded each time.
        rois: JSON list, one per ROI, kidney or not: its side, and first and last voxel (x, y, z) of the ROI in
            canonical LPS order on the image's own grid.
        kidney_ml: Volume of label > 0.
        tumor_ml: Volume of label 2.
        error: What went wrong, or makes the mask doubtful, in one line.
        notes: What was made of the input's oddities (bisc.system.console), one line.
        source: Where the input lay, links followed: another one of the same name is not written over it.
        stamp: Changes with the input's files, the decision rule and the model: what `--continue` may keep.
    """

    case: str
    status: str
    seconds: float | None = None
    rois: str = "[]"
    kidney_ml: float | None = None
    tumor_ml: float | None = None
    error: str = ""
    notes: str = ""
    source: str = ""
    stamp: str = ""


def rows_csv(rows: Sequence[PredictionRow]) -> str:
    """predictions.csv's text."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(f.name for f in fields(PredictionRow))
    writer.writerows(asdict(row).values() for row in rows)  # None as an empty cell
    return table.getvalue()


def read_rows(path: Path) -> list[PredictionRow]:
    """Rows of an earlier predictions.csv; none where there is no such file. Older ones lack the last columns.

    Raises:
        InputError: If the file is of another form.
    """
    if not path.exists():
        return []
    if not path.is_file():
        raise InputError(path, "is no plain file", "a predictions.csv of bisc_predict", "move it")
    names = [f.name for f in fields(PredictionRow)]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if not {*names[: names.index("notes")]} <= {*(table.fieldnames or ())}:
                raise ValueError("a column is missing")
            cells = [{name: row[name] for name in names if row.get(name)} for row in table]
        rows = msgspec.convert(cells, list[PredictionRow], strict=False)
    except (OSError, csv.Error, ValueError) as error:
        raise InputError(path, f"another form ({error})", "a predictions.csv of bisc_predict", "move it") from error
    for row in rows:
        if row.status != SKIPPED:  # the others name no file of ours
            check_name(row.case, path, "move it")
    return rows


def merge_rows(path: Path, rows: Sequence[PredictionRow]) -> None:
    """Put rows into a predictions.csv that other runs may write to at the same time.

    Each takes the place of an older one of its case, but for one of a skipped input, which never stands in for a
    prediction; all others stay. The order is that of the cases' names.

    Raises:
        InputError: If the file there is of another form, or cannot be written.
    """

    def merged() -> str:
        table = {row.case: row for row in read_rows(path)}
        for row in rows:
            if row.status != SKIPPED or row.case not in table or table[row.case].status in (SKIPPED, FAILED):
                table[row.case] = row
        return rows_csv([table[name] for name in sorted(table)])

    change_text(path, merged)
