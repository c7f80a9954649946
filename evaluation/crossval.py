"""The cross-validation of a trained data set: its folds joined, its losses and decision rules compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd

from bisc.core.choices import DECISIONS
from bisc.core.errors import InputError, one_line
from bisc.core.limits import Word
from bisc.evaluation.aggregate import (
    mean_and_std,
    merge_reports,
    read_report,
    summarise_folds,
    table1,
    write_report,
    write_with_summary,
)
from bisc.evaluation.tables import remove_table, write_table
from bisc.system.jsonfile import read_document

REPORT: Final = "validation/report.csv"
FOLD: Final = re.compile(r"fold_\d+")
TRAIN: Final = "run bisc_train fine 0 first"
TRAIN_AGAIN: Final = "train this fold again"


class RunFacts(msgspec.Struct, frozen=True):
    """What of a run's run.json is needed here; its other keys are its own affair. Older ones have fewer."""

    fold: int
    loss: Word
    preset: str = ""
    optimizer: str = ""
    learning_rate: float = 0.0
    epochs: int = 0
    iterations: int = 0
    patch_size_zyx: tuple[int, int, int] = (0, 0, 0)
    batch_size: int = 0
    base_features: int = 0
    norm: str = ""
    edges: str = "branches"
    packing: int = 1
    augment: bool = False
    decoys: bool = False
    decoy_share: float = 0.15

    def unlike(self, other: RunFacts) -> list[str]:
        """What differs from another run beside fold and loss, in words."""
        pairs = [(key, getattr(self, key), getattr(other, key)) for key in COMPARED]
        pairs.append(("decoys", self.decoys and self.decoy_share, other.decoys and other.decoy_share))
        steps = (self.epochs * self.iterations, other.epochs * other.iterations)
        if max(steps) > STEPS_ALIKE * min(steps):
            pairs.append(("steps", *steps))
        return [one_line(f"{key} {one} and {two}") for key, one, two in pairs if one != two]


_APART: Final = ("fold", "loss", "epochs", "iterations", "decoys", "decoy_share")
COMPARED: Final = tuple(key for key in RunFacts.__struct_fields__ if key not in _APART)
STEPS_ALIKE: Final = 1.25
"""Runs of equal minutes differ by this much in their steps, on a machine that does other things too."""


@dataclass(frozen=True)
class Run:
    """One validated training run of the fine stage, and what its run.json says of it."""

    folder: Path
    facts: RunFacts

    @property
    def fold(self) -> int:
        """Its number."""
        return self.facts.fold

    @property
    def loss(self) -> str:
        """By name."""
        return self.facts.loss

    @classmethod
    def at(cls, folder: Path) -> Run:
        """Raises InputError if run.json cannot be used."""
        path = folder / "run.json"
        try:
            facts = msgspec.json.decode(read_document(path, "run.json", TRAIN_AGAIN), type=RunFacts)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(path, str(error), 'keys "fold" and "loss"', TRAIN_AGAIN) from error
        return cls(folder, facts)

    def report(self, decision: str = "") -> Path:
        """The report of its validation cases, under one of `bisc.core.choices.DECISIONS` where one is named."""
        return self.folder / (REPORT.replace(".csv", f"_{decision}.csv") if decision else REPORT)


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What a cross-validation shows.

    Attributes:
        report: Every fold's rows with the column `fold` at the end.
        losses: Table 1, where runs of two losses or more share a fold.
        losses_title: Which folds it rests on; empty without a table.
        decisions: Dice under both decision rules, where every fold has both reports.
        notes: What a reader should know, each one line.
    """

    report: pd.DataFrame
    losses: pd.DataFrame | None
    losses_title: str
    decisions: pd.DataFrame | None
    notes: tuple[str, ...]


def evaluate_cross_validation(
    results_folder: Path, other_plan: Callable[[Path], str] = lambda _: ""
) -> CrossValidation:
    """Gather the validation reports of a data set's fine stage.

    Args:
        results_folder: RESULTS/NAME, with fine/fold_K/{run.json,validation/report.csv}; runs moved aside
            lie in fine/previous/*/ with the same files and serve the comparison of losses alone.
        other_plan: In words, how the plan of a run moved aside differs from that of the present ones.

    Raises:
        InputError: If no fold has a report, or a report or run.json is unusable.
    """
    fine = results_folder / "fine"
    current = [Run.at(folder) for folder in _validated(fine.glob("fold_*")) if FOLD.fullmatch(folder.name)]
    for run in current:
        if run.folder.name != f"fold_{run.fold}":
            raise InputError(run.folder / "run.json", f"is of fold {run.fold}", run.folder.name, "name the folder so")
    if not current:
        raise InputError(fine, "no fold with validation/report.csv", "at least one", TRAIN)
    previous, left_out = _usable(_validated(fine.glob("previous/*")))
    report = _merged(current)
    losses, title, unlike = _compare_losses(current, previous, other_plan)
    notes = (*_notes(fine, current, report), *left_out, *unlike)
    return CrossValidation(report, losses, title, _compare_decisions(current), notes)


def write_cross_validation(result: CrossValidation, report_path: Path) -> list[Path]:
    """Write the report and, beside it, its summary, the folds' and what tables there are; returns paths."""
    folds = report_path.with_name(f"{report_path.stem}_folds.csv")
    written = write_with_summary(report_path, result.report)
    write_report(folds, summarise_folds(result.report))
    written.append(folds)
    title = "Decision rules: mean(std) over the cases of all folds."
    tables = (("table1", result.losses, result.losses_title), ("decisions", result.decisions, title))
    for name, table, words in tables:
        if table is not None:
            written += write_table(report_path.with_name(name), table, words)
        else:  # one of before is of other runs than this report
            remove_table(report_path.with_name(name))
    return written


def _validated(folders: Iterable[Path]) -> list[Path]:
    return sorted(folder for folder in folders if (folder / REPORT).is_file())


def _usable(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs among older `folders`, and a note for each whose run.json cannot be used: they are a mere extra."""
    runs, notes = [], []
    for folder in folders:
        try:
            runs.append(Run.at(folder))
        except InputError as error:
            notes.append(f"left out of the comparison: {error}")
    return runs, notes


def _compare_losses(
    current: Sequence[Run], previous: Sequence[Run], other_plan: Callable[[Path], str]
) -> tuple[pd.DataFrame | None, str, list[str]]:
    """Table 1 over the folds that all losses have, its title, and a note for each run that is left out.

    Of several runs with one loss and fold a current one wins, then the newest; of those moved aside the ones that
    differ from the fold's current run in nothing but the loss.
    """
    chosen: dict[str, dict[int, Run]] = {}
    notes = []
    for run in [*current, *sorted(previous, key=lambda run: -run.report().stat().st_mtime)]:
        if run.fold in chosen.get(run.loss, {}):
            continue
        present = next((one for one in current if one.fold == run.fold), current[0])
        differing = run.facts.unlike(present.facts)
        if run is not present and not differing and (plan := other_plan(run.folder)):
            differing = [f"the plan, {plan}"]
        if differing:
            name = f"{run.folder.parent.name}/{run.folder.name}"
            notes.append(f"{name}, trained with {run.loss}, is not compared: it differs in {', '.join(differing)}")
            continue
        chosen.setdefault(run.loss, {})[run.fold] = run
    folds = sorted(set.intersection(*(set(runs) for runs in chosen.values())))
    if len(chosen) < 2 or not folds:
        return None, "", notes
    reports = {loss: _merged([runs[fold] for fold in folds]) for loss, runs in chosen.items()}
    cases = {frozenset(report["case"]) for report in reports.values()}
    n = str(len(next(iter(cases)))) if len(cases) == 1 else "not the same for each loss"
    listing = ", ".join(str(fold) for fold in folds)
    title = f"Table 1. The dice coefficient of kidney and renal tumors; folds: {listing}; cases: {n}."
    return table1(reports), title, notes


def _compare_decisions(runs: Sequence[Run]) -> pd.DataFrame | None:
    """Dice under each decision rule, or None where a fold lacks one of the reports."""
    if not all(run.report(decision).is_file() for run in runs for decision in DECISIONS):
        return None
    rows: list[dict[str, str | int]] = []
    for decision in DECISIONS:
        report = _merged(runs, decision)
        dice = {f"{name}(std)": mean_and_std(report, name) for name in ("dice_kidney", "dice_tumor", "dice_composite")}
        rows.append({"decision": decision, **dice, "n": len(report)})
    return pd.DataFrame(rows)


def _merged(runs: Iterable[Run], decision: str = "") -> pd.DataFrame:
    by_fold = {run.fold: run for run in runs}
    return merge_reports([(fold, read_report(by_fold[fold].report(decision))) for fold in sorted(by_fold)])


def _notes(fine: Path, current: Sequence[Run], report: pd.DataFrame) -> tuple[str, ...]:
    notes = []
    others = sorted(path.name for path in _validated(fine.glob("fold_*")) if not FOLD.fullmatch(path.name))
    if others:
        notes.append(f"no fold by name, so left out: {', '.join(others)}")
    open_folds = sorted(p.name for p in fine.glob("fold_*") if p.is_dir() and not (p / REPORT).is_file())
    if open_folds:
        notes.append(f"not validated yet and left out: {', '.join(open_folds)}")
    losses = sorted({run.loss for run in current})
    if len(losses) > 1:
        notes.append(f"the folds differ in their loss ({', '.join(losses)}): the overall report mixes them")
    for run in current[1:]:
        if differing := run.facts.unlike(current[0].facts):
            names = f"fold {run.fold} and fold {current[0].fold}"
            notes.append(f"{names} differ in {', '.join(differing)}: the overall report mixes them")
            break
    twice = sorted(set(report.loc[report["case"].duplicated(), "case"]))
    if twice:
        notes.append(f"{len(twice)} cases are in several folds ({', '.join(twice[:3])}): were the splits changed?")
    return tuple(notes)
