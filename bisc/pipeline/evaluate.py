"""Predictions scored: one against its reference, folders of them, or the cross-validation of what was trained."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from bisc.core.errors import BiscError, InputError
from bisc.core.geometry import as_triple
from bisc.core.labels import N_CLASSES
from bisc.evaluation.aggregate import to_frame, write_with_summary
from bisc.evaluation.cases import COUNTS, CaseScores, score_arrays, score_images, score_pairs
from bisc.evaluation.crossval import REPORT, TRAIN, CrossValidation, evaluate_cross_validation, write_cross_validation
from bisc.evaluation.odd_labels import odd_pairs
from bisc.evaluation.pairs import Pair, Pairing, find_pairs
from bisc.imageio import read_labels
from bisc.imageio.label_gaps import tell_of_label_map
from bisc.imageio.label_names import LabelMeaning
from bisc.pipeline.options import TABLE
from bisc.pipeline.parts import Part, stamp_of
from bisc.pipeline.rows import mixed, read_rows
from bisc.pipeline.workers import case_workers
from bisc.system.files import remove_partial
from bisc.system.paths import CHECKPOINT_LAST, Folders, find_dataset

Array = npt.NDArray[np.generic]
Tell = Callable[[str], object]


def evaluate(
    reference: str | Path | Array,
    prediction: str | Path | Array,
    *,
    spacing: Sequence[float] | None = None,
    case: str = "",
) -> CaseScores:
    """Score one prediction against its reference: every column of report.csv, as a typed row.

        row = bisc.evaluate("case_00000/segmentation.nii.gz", "out/case_00000.nii.gz")
        row.dice_kidney, row.hd95_tumor_mm

    Args:
        reference: A label map's file, or an array of 0 background, 1 kidney, 2 tumour.
        prediction: The same. Two files may be stored in different axis orders: what counts is that their voxels lie
            in the same places. Two arrays must have one shape and one order of axes, whichever it is.
        spacing: Voxel spacing in mm in the arrays' own order of axes; None for files, which have theirs.
        case: The row's name; empty: the reference file's.

    Returns:
        The scores. `bisc.evaluation.cases.CaseScores` says what each is, and what it is for empty masks.

    Raises:
        InputError: If a file cannot be read, has other labels or lies on another grid; if arrays differ in shape, hold
            other values, or have no spacing; if one is a file and the other an array.
    """
    files = [Path(given) for given in (reference, prediction) if isinstance(given, (str, Path))]
    if not files:
        return _score_given(np.asarray(reference), np.asarray(prediction), spacing, case)
    if len(files) == 1 or spacing is not None:
        raise InputError(files[0], "given with an array, or with a spacing", "two files, or two arrays and spacing")
    for file in files:
        if file.is_dir():
            raise InputError(file, "is a folder", "one label map's file", "bisc_evaluate scores folders")
    (pair,) = find_pairs(files[0], files[1]).pairs
    truth, found = read_labels(pair.reference, pair.reference_labels), read_labels(files[1], pair.prediction_labels)
    for labels in (truth, found):
        tell_of_label_map(labels)
    return score_images(case or pair.case, truth, found)


def _score_given(
    reference: npt.NDArray[Any], prediction: npt.NDArray[Any], spacing: Sequence[float] | None, case: str
) -> CaseScores:
    try:
        mm = as_triple(() if spacing is None else spacing)
    except (TypeError, ValueError):
        mm = (0.0, 0.0, 0.0)
    if not all(0.0 < one < np.inf for one in mm):
        raise InputError("spacing", str(spacing), "three numbers above 0: mm along each axis of the arrays")
    for what, array in (("reference", reference), ("prediction", prediction)):
        if array.ndim != 3 or array.dtype.kind not in "uib" or array.size == 0:
            raise InputError(what, f"{array.dtype} of shape {array.shape}", "whole numbers in three axes")
        if int(array.min()) < 0 or int(array.max()) >= N_CLASSES:
            raise InputError(what, f"values {array.min()} to {array.max()}", "0 background, 1 kidney, 2 tumour")
    if reference.shape != prediction.shape:
        raise InputError("prediction", f"shape {prediction.shape}", f"{reference.shape}, as the reference")
    return score_arrays(case, reference.astype(np.uint8), prediction.astype(np.uint8), mm)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Many cases scored.

    Attributes:
        report: A row per case (`bisc.evaluation.aggregate.to_frame`).
        pairs: What was scored, in the rows' order.
        errors: What was wrong with the files of failed cases.
        written: report.csv and report_summary.csv; nothing for a part.
    """

    report: pd.DataFrame
    pairs: tuple[Pair, ...]
    errors: tuple[BiscError, ...]
    written: tuple[Path, ...]


def evaluate_folders(
    reference: Path,
    prediction: Path,
    output: Path | None = None,
    *,
    all_references: bool = False,
    labels: tuple[LabelMeaning | None, LabelMeaning | None] = (None, None),
    n_workers: int = 1,
    scheduler: str | None = None,
    part: Part | None = None,
    tell: Tell = lambda _: None,
) -> Evaluation:
    """Score every prediction that has a reference, and write report.csv and its summary.

    Args:
        reference: A label map, a folder of them, a KiTS or nnU-Net data set.
        prediction: A label map, or a folder with CASE.nii.gz or CASE/segmentation.nii.gz.
        output: A .csv file or a folder; None: report.csv in `prediction`, here for a single file.
        all_references: Score every reference; one without a prediction counts as missing, with the worst scores.
        labels: What the values of references and of predictions mean; None: as a dataset.json beside them says.
        n_workers: Cases scored at a time; 1 works in this process.
        scheduler: Of the workers, as for `bisc.pipeline.workers.case_workers`; None: this machine.
        part: One part of the cases, whose rows it keeps; or all parts, scored by other runs, to be joined.
        tell: Takes a line about what is not scored.

    Raises:
        InputError: If nothing can be scored; a single case's fault is in `errors`, and its row has the worst scores.
        WorkError: If a part that is to be joined is missing, or the scheduler is lost.
    """
    pairing = find_pairs(reference, prediction, all_references, labels)
    target = _target(output, prediction if prediction.is_dir() else Path())
    remove_partial(target.parent)
    _tell_unmatched(pairing, reference, tell)
    pairs = list(pairing.pairs) if part is None else part.share(pairing.pairs, lambda pair: pair.case)
    asked = {pair.case: _stamp(pair) for pair in pairs} if part is not None else {}
    if part is not None and part.number is None:
        joined = part.join(target.parent, target.stem, asked)
        report = to_frame([_scores(case.result) for case in joined.cases])
        _tell_odd(report, tell)
        return Evaluation(report, pairing.pairs, tuple(joined.errors), tuple(write_with_summary(target, report)))
    _tell_mixed(prediction, pairs, tell)
    # A case takes half a second, and so does starting a worker: fewer than four cases each are not worth one.
    n_workers, inputs = max(1, min(n_workers, -(-len(pairs) // 4))), [reference, prediction]
    images = (pair.reference for pair in pairs)
    with case_workers(images, n_workers, tell, scheduler, target.parent, inputs) as pool:
        scored = score_pairs(pairs, pool)
    report = to_frame([one.scores for one in scored])
    _tell_odd(report, tell)
    faults = [(one.scores.case, one.error) for one in scored if one.error is not None]
    if part is not None:
        rows = {one.scores.case: _plain(one.scores) for one in scored}
        part.keep(target.parent, target.stem, asked, faults, rows)
    written = write_with_summary(target, report) if part is None else []
    return Evaluation(report, tuple(pairs), tuple(error for _, error in faults), tuple(written))


def _tell_mixed(prediction: Path, pairs: Sequence[Pair], tell: Tell) -> None:
    scored = {pair.case for pair in pairs}
    with suppress(InputError):  # another program's table
        if found := mixed([row for row in read_rows(prediction / TABLE) if row.case in scored]):
            tell(f"{prediction / TABLE}: {found}: the means are of them together")


def _stamp(pair: Pair) -> str:
    meanings = [meaning and meaning.key for meaning in (pair.reference_labels, pair.prediction_labels)]
    return stamp_of([pair.reference, pair.prediction], *meanings)


def _plain(scores: CaseScores) -> dict[str, object]:
    """A row for a note: JSON has no NaN."""
    return {name: None if value != value else value for name, value in asdict(scores).items()}


def _scores(row: Mapping[str, Any]) -> CaseScores:
    """The row again, to the last bit."""
    values: dict[str, Any] = {n: math.nan if value is None and n not in COUNTS else value for n, value in row.items()}
    return CaseScores(**values)


def cross_validation(
    dataset: str | Path | None = None, output: Path | None = None, plan_name: str | None = None
) -> tuple[Path, CrossValidation, list[Path]]:
    """Gather the validated folds of a trained data set and write their reports.

    Args:
        dataset: A name under the results folder, or a path; None: the only one there is.
        output: As for `evaluate_folders`; None: report.csv in the data set's results.
        plan_name: Of one of its plans; None: the default one.

    Returns:
        The data set's results, what the folds show, and the files written.

    Raises:
        InputError: If no fold is validated, or a report cannot be used.
    """
    name = None if dataset is None else str(dataset)
    results = Folders.from_environment().results
    marker = f"fine/fold_*/{REPORT}"
    folder = find_dataset(results, name, marker, "trained data set with validation", TRAIN, plan_name)
    target = _target(output, folder)
    remove_partial(target.parent)
    result = with_stale_notes(folder, evaluate_cross_validation(folder, lambda run: _other_plan(folder, run)))
    return folder, result, write_cross_validation(result, target)


def _other_plan(results: Path, run: Path) -> str:
    """How the plan that a run moved aside was trained with differs from the present one; empty where nobody knows."""
    from bisc.inference.sources import Folder
    from bisc.network.checkpoint import CASCADE_KEYS, differences, load_checkpoint

    try:
        before, now = load_checkpoint(run / CHECKPOINT_LAST).plan, Folder(results).plan()
    except BiscError:
        return ""
    return differences(before, msgspec.to_builtins(now), CASCADE_KEYS)


def with_stale_notes(results: Path, gathered: CrossValidation) -> CrossValidation:
    """A note more for each fold whose scores are of networks or cases that are others now."""
    from bisc.pipeline.validated import outdated  # reads checkpoints

    folds = sorted({int(k) for k in gathered.report["fold"]})
    again = [
        f"fold {k}: its scores are of {other}: bisc_train fine {k} --continue renews them"
        for k in folds
        if (other := outdated(results, k))
    ]
    return replace(gathered, notes=(*gathered.notes, *again))


def _target(output: Path | None, default_folder: Path) -> Path:
    """Where report.csv goes; known and refused before the work begins."""
    if output is None:
        return default_folder / "report.csv"
    if output.is_dir():
        return output / "report.csv"
    if output.suffix.lower() != ".csv":
        raise InputError(output, f"ends in '{output.suffix}'", "a file ending in .csv, or a folder that exists")
    return output


def _tell_unmatched(pairing: Pairing, reference: Path, tell: Tell) -> None:
    real = os.path.realpath
    same = [one.case for one in pairing.pairs if one.prediction and real(one.reference) == real(one.prediction)]
    if same:
        tell(f"are the references themselves, scored against themselves: {_list(same)}")
    if pairing.without_reference:
        tell(f"no reference in {reference}, so not scored: {_list(pairing.without_reference)}")
    if pairing.without_prediction:
        n = len(pairing.without_prediction)
        tell(f"references without a prediction, not scored: {n} (--all-references counts them as missing)")
    if pairing.passed_over:
        tell(f"no label map by name or layout, so not used: {_list([str(path) for path in pairing.passed_over])}")


def _tell_odd(report: pd.DataFrame, tell: Tell) -> None:
    for line in odd_pairs(report):
        tell(line)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
