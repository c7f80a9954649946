"""The runs of a data set: what each needs, and what it has come to by what lies in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd

from bisc.core.choices import STAGES
from bisc.core.errors import InputError
from bisc.evaluation.aggregate import read_report
from bisc.evaluation.crossval import REPORT
from bisc.system.files import write_text
from bisc.system.paths import fold_folder
from bisc.system.schedule import Schedule

TABLE: Final = "training.csv"
COLUMNS: Final = (
    *("stage", "fold", "state", "device", "starts", "seconds", "steps", "score"),
    *("dice_kidney", "dice_tumor"),
)


@dataclass(frozen=True)
class Run:
    """One stage of one fold; its process and its folder."""

    stage: str
    fold: int

    def __str__(self) -> str:
        return f"{self.stage} {self.fold}"

    def folder(self, results: Path) -> Path:
        """Of its checkpoints and logs."""
        return fold_folder(results, self.stage, self.fold)


def needs_of(folds: Sequence[int], validate: bool) -> dict[Run, tuple[Run, ...]]:
    """The runs of these folds, all rough ones first, and what each needs.

    The fine stage trains on the labels' ROIs; its validation is what goes through the rough stage of its fold, whose
    offsets are fitted at the rough run's own end. Without validation no run needs another.
    """
    runs = [Run(stage, fold) for stage in STAGES for fold in folds]
    return {run: (Run("rough", run.fold),) if validate and run.stage == "fine" else () for run in runs}


class _Length(msgspec.Struct):
    """What of run.json is needed here."""

    epochs: int
    iterations: int


def part_done(folder: Path) -> float:
    """The part of its steps that a run has done by the last row of its log, 0 to 1."""
    try:
        length = msgspec.json.decode((folder / "run.json").read_bytes(), type=_Length)
        steps = int(_log(folder)["step"].iloc[-1])
    except (OSError, ValueError, KeyError, IndexError):  # not there yet, or damaged: the run itself will say so
        return 0.0
    return min(1.0, steps / max(1, length.epochs * length.iterations))


def _log(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "log.csv")


def table_of(schedule: Schedule[Run], results: Path, validate: bool) -> pd.DataFrame:
    """A row a run, in the order of their stages and folds; what is not known is empty.

    Columns:
        state: done, failed (also after restarts), refused (bad input), left out (what it needs is not done), waiting.
        device, starts: Where it ran last, and how many times it was begun by this command.
        seconds: Of training, by log.csv: steps, waiting for batches, validation on patches. Neither the start of the
            process nor the validation through the cascade; none of a deterministic run.
        steps, score: Optimiser steps, and mean Dice of kidney and tumour on the validation patches, of the last epoch.
        dice_kidney, dice_tumor: Means over the fold's validation cases through the cascade; fine stage, done, alone.
    """
    rows = []
    for run, state in schedule.state.items():
        folder = run.folder(results)
        row = {"stage": run.stage, "fold": run.fold, "state": "interrupted" if state == "running" else state}
        row |= {"device": schedule.place.get(run), "starts": schedule.starts[run], **_trained(folder)}
        if state == "done" and run.stage == "fine" and validate:
            row |= _validated(folder)
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=[*COLUMNS]).astype({"steps": "Int64"})


def _trained(folder: Path) -> dict[str, float]:
    try:
        log = _log(folder)
        steps = log["step"].diff().fillna(log["step"])
        seconds = (log["step_s"] + log["wait_s"]) * steps + log["validation_s"]
        last = log.iloc[-1]
        return {"seconds": seconds.sum(skipna=False), "steps": int(last["step"]), "score": float(last["score"])}
    except (OSError, ValueError, KeyError, IndexError, TypeError):  # no epoch yet, or damaged: nothing is known of it
        return {}


def _validated(folder: Path) -> dict[str, float]:
    try:
        report = read_report(folder / REPORT)
    except InputError:
        return {}
    return {name: float(report[name].mean()) for name in ("dice_kidney", "dice_tumor")}


def write_runs(path: Path, table: pd.DataFrame) -> Path:
    """training.csv; the rows of other runs that an earlier command left stay."""
    with suppress(OSError, ValueError, KeyError):  # not there, or another form
        before = pd.read_csv(path)[[*COLUMNS]].astype({"steps": "Int64"})
        now = {*zip(table["stage"], table["fold"], strict=True)}
        others = [pair not in now for pair in zip(before["stage"], before["fold"], strict=True)]
        if any(others):
            table = pd.concat([before[others], table]).sort_values("fold", kind="stable")
            table = pd.concat([table[table["stage"] == stage] for stage in STAGES])
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return path


def lines_of(table: pd.DataFrame) -> list[list[str]]:
    """The table for the terminal, its head first; a dash for what is not known."""
    head = ["run", *COLUMNS[2:]]
    forms = {"seconds": "{:.0f}", "score": "{:.3f}", "dice_kidney": "{:.3f}", "dice_tumor": "{:.3f}"}
    rows = [
        [f"{row['stage']} {row['fold']}"]
        + ["-" if pd.isna(row[name]) else forms.get(name, "{}").format(row[name]) for name in COLUMNS[2:]]
        for row in table.to_dict("records")
    ]
    return [head, *rows]
