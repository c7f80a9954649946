"""Runs compared patient by patient: their reports, cross-validations or folders of predictions, each with the first."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pandas as pd

from bisc.core.errors import BiscError, InputError
from bisc.evaluation.aggregate import write_report
from bisc.evaluation.answers import case_table, measure_table, notes, sentence, size_table, volume_table
from bisc.evaluation.comparison import PRIMARY, REFERENCE, ComparedPair, adjust, compare_pair, primary_row
from bisc.evaluation.crossval import REPORT, TRAIN, evaluate_cross_validation
from bisc.evaluation.matched import Run, match, read_run
from bisc.evaluation.pairs import PREDICTION_NAMES, REFERENCE_NAMES, find_pairs
from bisc.imageio import IMAGE_SUFFIXES
from bisc.pipeline.evaluate import evaluate_folders, with_stale_notes
from bisc.report.compare_page import write_compare_page
from bisc.system.files import remove_partial
from bisc.system.paths import Folders, absence, find_dataset, name_fault

Tell = Callable[[str], object]
PAGE: Final = "compare.html"
FOLDS: Final = f"fine/fold_*/{REPORT}"
REPORT_NAME: Final = "report.csv"
NAMES: Final = "--names"
COPY_S: Final = 10.0
"""What was copied together may be newer by this."""
EXPECTED: Final = "a report.csv, a folder that holds one, or the results of a trained data set"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came of comparing runs.

    Attributes:
        pairs: The first run with each other, in the order given.
        answers: Of each pair a sentence on the primary measure.
        notes: Of all pairs what a reader has to mind.
        measures, sizes, volumes, cases: The tables of compare.csv, compare_sizes.csv, compare_volumes.csv and
            compare_cases.csv (docs/reference/evaluation.md).
        errors: What was wrong with files of failed cases, where predictions were scored first.
        written: The files; none without an output folder.
    """

    pairs: tuple[ComparedPair, ...]
    answers: tuple[str, ...]
    notes: tuple[str, ...]
    measures: pd.DataFrame
    sizes: pd.DataFrame
    volumes: pd.DataFrame
    cases: pd.DataFrame
    errors: tuple[BiscError, ...] = ()
    written: tuple[Path, ...] = ()


def compare(
    *runs: str | Path,
    output: str | Path | None = None,
    datasets: Sequence[str | Path] = (),
    reference: str | Path | None = None,
    names: Sequence[str] = (),
    missing_as_worst: bool = False,
    primary: str = PRIMARY,
    seed: int = 0,
    n_workers: int = 1,
    tell: Tell = lambda _: None,
) -> Comparison:
    """Compare two runs or more over the patients they share, each with the first.

        result = bisc.compare("ours/report.csv", "nnunet/report.csv", output="compare")
        print(result.answers[0])

    Args:
        runs: Reports of bisc_evaluate, folders that hold one, or results of trained data sets; with `reference`,
            folders of predictions.
        output: The folder for compare.html and the tables; None writes nothing.
        datasets: Trained data sets by name or path, behind `runs`: the reports of their folds.
        reference: Score the runs first, against these references; their reports are written into `output`.
        names: What to call the runs; none: by their files or folders.
        missing_as_worst: Count cases that one run of two lacks with the worst scores there; else they are left out.
        primary: The measure that the answer rests on.
        seed: Of the bootstrap's draws.
        n_workers: Cases scored at a time.
        tell: Takes a line about what is not scored or gathered.

    Raises:
        InputError: If a run cannot be used, two share no patient, or they were scored against different references.
    """
    out = None if output is None else _output(Path(output))
    folders = [Path(run) for run in runs]
    called = _names([*folders, *(Path(name) for name in datasets)], names)
    errors: list[BiscError] = []
    if reference is not None:
        loaded, errors = _scored(called, folders, Path(reference), out, missing_as_worst, n_workers, tell, datasets)
    else:
        loaded = [_load(name, path, tell) for name, path in zip(called, folders, strict=False)]
        loaded += [_folds(name, str(given), tell) for name, given in zip(called[len(folders) :], datasets, strict=True)]
    first, *others = loaded
    pairs = tuple(
        adjust([compare_pair(first.name, run.name, match(first, run, missing_as_worst), seed) for run in others])
    )
    result = Comparison(
        pairs,
        tuple(sentence(primary_row(pair, primary)) for pair in pairs),
        tuple(dict.fromkeys(note for pair in pairs for note in notes(pair, missing_as_worst))),
        measure_table(pairs, primary),
        size_table(pairs),
        volume_table(pairs),
        case_table(pairs),
        tuple(errors),
    )
    return result if out is None else _write(result, out, primary, missing_as_worst)


def _write(result: Comparison, out: Path, primary: str, missing_as_worst: bool) -> Comparison:
    remove_partial(out)
    tables = {
        "compare.csv": result.measures,
        "compare_sizes.csv": result.sizes,
        "compare_volumes.csv": result.volumes,
        "compare_cases.csv": result.cases,
    }
    for name, table in tables.items():
        write_report(out / name, table)
    page = write_compare_page(out / PAGE, result.pairs, primary, missing_as_worst)
    return replace(result, written=(page, *(out / name for name in tables)))


def _output(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "is no folder", "a folder for compare.html and the tables", "give one with -o")
    return folder


def _load(name: str, path: Path, tell: Tell) -> Run:
    """A report, or what a folder holds: the folds of a trained data set before a report that may be older."""
    missing = absence(path)
    if missing:
        raise InputError(path, missing, EXPECTED)
    report = path / REPORT_NAME if path.is_dir() else path
    if path.is_dir() and next(path.glob(FOLDS), None) is not None:
        return _folds(name, str(path), tell)
    if not report.is_file():
        raise InputError(path, f"holds no {REPORT_NAME}", EXPECTED, "run bisc_evaluate first, or give -r REF")
    run = read_run(name, report)
    newer = [path for case in run.report["case"] for path in _masks_of(report.parent, case) if _is_newer(path, report)]
    if newer:  # replaced after they were scored
        more = f" and {len(newer) - 1} more" if len(newer) > 1 else ""
        tell(f"{report} is older than {newer[0]}{more}: it scores masks as they were; run bisc_evaluate again")
    return run


def _masks_of(folder: Path, case: str) -> list[Path]:
    """Where a case's mask may lie beside its report."""
    stems = [case, *(f"{case}/{name}" for name in (*PREDICTION_NAMES, *REFERENCE_NAMES))]
    return [folder / f"{stem}{suffix}" for stem in stems for suffix in IMAGE_SUFFIXES]


def _is_newer(mask: Path, report: Path) -> bool:
    return mask.is_file() and mask.stat().st_mtime > report.stat().st_mtime + COPY_S


def _folds(name: str, dataset: str, tell: Tell) -> Run:
    results = Folders.from_environment().results
    folder = find_dataset(results, dataset, FOLDS, "trained data set with validation", TRAIN)
    gathered = with_stale_notes(folder, evaluate_cross_validation(folder))
    for note in gathered.notes:
        tell(f"{name}: {note}")
    return Run(name, folder, gathered.report)


def _scored(
    names: Sequence[str],
    folders: Sequence[Path],
    reference: Path,
    out: Path | None,
    missing_as_worst: bool,
    n_workers: int,
    tell: Tell,
    datasets: Sequence[str | Path],
) -> tuple[list[Run], list[BiscError]]:
    """Score every run against the same references; their reports go to OUT/report_NAME.csv."""
    if datasets:
        raise InputError("-d", "given with -r", "-r with folders of predictions, or -d alone")
    if out is None:
        raise InputError("output", "none, with a reference", "a folder for the reports of the predictions")
    pairings = [find_pairs(reference, folder) for folder in folders]  # what is wrong is known before any is scored
    asked = {pair.case for pairing in pairings for pair in pairing.pairs}
    runs: list[Run] = []
    errors: list[BiscError] = []
    for name, folder in zip(names, folders, strict=True):
        target = out / f"report_{name}.csv"
        done = evaluate_folders(
            reference, folder, target, all_references=missing_as_worst, n_workers=n_workers, tell=tell
        )
        errors += done.errors
        runs.append(Run(name, target, done.report))
    # Of all references only those that some run predicted are cases of this comparison.
    return [Run(run.name, run.source, run.report[run.report["case"].isin(asked)]) for run in runs], errors


def _names(paths: Sequence[Path], given: Sequence[str]) -> list[str]:
    """The names given, or as short ones as tell the runs apart: stems of files, folders', and folders above."""
    if len(paths) < 2:
        raise InputError("RUN", f"{len(paths)} given", "two runs or more", "bisc_compare A B")
    if given and len(given) != len(paths):
        raise InputError(NAMES, f"{len(given)} for {len(paths)} runs", "one a run, in their order")
    names = list(given) or _short([_words(path) for path in paths])
    for name in names:
        fault = "stands for the reference" if name == REFERENCE else name_fault(name)
        if fault:
            raise InputError(NAMES, f"'{name}' {fault}", "plain names, one a run")
    if len(set(names)) < len(names):
        raise InputError(NAMES, ", ".join(names), "names that differ")
    return names


def _short(words: Sequence[Sequence[str]]) -> list[str]:
    for depth in range(1, max(map(len, words)) + 1):
        names = [" ".join(one[-depth:]) for one in words]
        if len(set(names)) == len(names):
            return names
    return [f"{one[-1]} ({i + 1})" for i, one in enumerate(words)]


def _words(path: Path) -> list[str]:
    """The parts of a path that name a run, the best one last: of report.csv its folder, of report_NAME.csv the NAME."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - resolve would give a link's target's name
    parts = list(whole.parts[1:])
    if whole.suffix.lower() == ".csv":
        stem = whole.stem.removeprefix("report_")
        parts = parts[:-1] if stem == "report" else [*parts[:-1], stem]
    return parts or ["run"]
