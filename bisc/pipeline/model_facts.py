"""What is known of a trained model beside its weights: the data it saw, its validation, evaluations given by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pandas as pd

from bisc.core.choices import DECISIONS, Decision
from bisc.core.errors import BiscError, InputError, one_line
from bisc.evaluation.aggregate import SUMMARY_COLUMNS, read_report, summarise
from bisc.evaluation.cases import METRICS
from bisc.inference.record import Score, Spread, TrainingData, Trial, Validation
from bisc.pipeline.validated import outdated
from bisc.planners.dataset import load_plan
from bisc.planners.fingerprint import Fingerprint
from bisc.planners.plan import Plan
from bisc.planners.source import load_source
from bisc.simulation.dataset import RECORD as SIMULATED
from bisc.simulation.dataset import SimulationRecord
from bisc.system.console import notice
from bisc.system.jsonfile import load_json
from bisc.system.paths import VALIDATION, fold_folder

MEASURED: Final = ("dataset", "n_cases", "target_spacing_mm_zyx", "intensity", "roi")
"""What of a plan comes of the voxels themselves: another data set would have other figures."""
DIGITS: Final = 6
"""Significant digits of figures, as in the reports."""


def training_data(plan: Plan, preprocessed: Path) -> TrainingData:
    """What a model's data set was like.

    Args:
        plan: The model's.
        preprocessed: Where the data set's fingerprint may lie; one of other data, or none, tells nothing.
    """
    known = TrainingData(dataset=plan.dataset[:200], n_cases=plan.n_cases, label_note=plan.label_note[:4000])
    fingerprint = _fingerprint(plan, preprocessed)
    if fingerprint is None:
        return known
    n_simulated, simulation = _simulated(preprocessed, plan.n_cases)
    return msgspec.structs.replace(
        known,
        n_with_tumor=sum(case.tumor_ml > 0.0 for case in fingerprint.cases),
        n_simulated=n_simulated,
        n_real=None if n_simulated is None else 0,
        simulation=simulation,
        spacing_mm_zyx=_spread([case.spacing_mm_zyx for case in fingerprint.cases]),
        shape_zyx=_spread([case.shape_zyx for case in fingerprint.cases]),
    )


def _fingerprint(plan: Plan, preprocessed: Path) -> Fingerprint | None:
    try:
        there = load_plan(preprocessed)
        fingerprint = load_json(preprocessed / "fingerprint.json", Fingerprint, "")
    except BiscError:
        return None
    same = all(getattr(plan, key) == getattr(there, key) for key in MEASURED)
    return fingerprint if same and len(fingerprint.cases) == plan.n_cases else None


def _simulated(preprocessed: Path, n_cases: int) -> tuple[int | None, str]:
    """How many cases bisc_simulate made, and how; None where nothing says so: real ones bear no mark that they are."""
    try:
        made = load_json(load_source(preprocessed) / SIMULATED, SimulationRecord, "")
    except BiscError:
        return None, ""
    how = "drawn anatomy" if made.labels_dir is None else "painted on given label maps"
    return n_cases, f"simulator version {made.version}, variety {made.variety[:40]}, {how}"


def _spread(values: Sequence[Sequence[float]]) -> Spread:
    array = np.asarray(values, dtype=np.float64)
    least, median, most = (
        [_rounded(float(v)) for v in reduced] for reduced in (array.min(0), np.median(array, 0), array.max(0))
    )
    return msgspec.convert({"least": least, "median": median, "most": most}, Spread)


def validations(results: Path, folds: Sequence[int], preprocessed: Path | None = None) -> list[Validation]:
    """Scores of the folds that were validated, by fold and decision; arguments as `outdated`.

    Raises:
        InputError: If a report is there and cannot be used.
    """
    found = []
    for fold in folds:
        folder = fold_folder(results, "fine", fold)
        reports: dict[Decision, Path] = {d: folder / VALIDATION / f"report_{d}.csv" for d in DECISIONS}
        there = {decision: path for decision, path in reports.items() if path.is_file()}
        other = outdated(results, fold, preprocessed) if there else None
        if other:
            notice(folder / VALIDATION, f"is of {other}", f"left out; bisc_train fine {fold} --continue renews it")
            continue
        for decision, path in there.items():
            scores, n_failed = _scores(summarise(read_report(path)))
            found.append(
                Validation(fold=fold, decision=decision, scores=scores, n_failed=n_failed, checked=other == "")
            )
    return found


def trial(given: str) -> Trial:
    """Figures of an evaluation.

    Args:
        given: A report_summary.csv of bisc_evaluate, or LABEL=FILE; without a label it is called by its file's stem.

    Raises:
        InputError: If it cannot be read, or is no summary.
    """
    label, separator, rest = given.partition("=")
    path = Path(rest if separator and not Path(given).exists() else given)
    name = label if path == Path(rest) and separator else path.stem
    mend = "give a report_summary.csv, or LABEL=report_summary.csv"
    expected = f"columns {', '.join(SUMMARY_COLUMNS)}"
    try:
        table = pd.read_csv(path)
        missing = [column for column in SUMMARY_COLUMNS if column not in table.columns]
        if missing:
            raise InputError(path, f"no column {', '.join(missing)}", expected, mend)
        if len(table) > 10 * len(METRICS) or set(table["metric"]) - set(METRICS) or table.empty:
            raise InputError(path, "rows that are not one per metric", "a summary of bisc_evaluate", mend)
        scores, n_failed = _scores(table)
    except (OSError, ValueError, TypeError, OverflowError, msgspec.ValidationError) as error:
        raise InputError(path, one_line(f"cannot be read ({error})"), expected, mend) from error
    if not one_line(name) or len(name) > 200:
        raise InputError(path, "a label that is empty or longer than 200 characters", "a short one", mend)
    return Trial(name=one_line(name), scores=scores, n_failed=n_failed)


def _scores(summary: pd.DataFrame) -> tuple[list[Score], int]:
    """The rows of a summary, and how many cases failed, which is the same in each."""
    rows = summary.to_dict("records")
    scores = [
        msgspec.convert(
            {
                "metric": str(row["metric"]),
                "n": int(row["n"]),
                **{key: _number(row[key]) for key in ("mean", "std", "median")},
            },
            Score,
        )
        for row in rows
    ]
    return scores, int(rows[0]["n_failed"])


def _number(value: float) -> float | None:
    """A figure of a table, rounded; None for no value."""
    return None if math.isnan(value) else _rounded(float(value))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
