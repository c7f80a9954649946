"""From rows to tables: report.csv, its summary, the folds' reports joined, and the paper's table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Final

import pandas as pd

from bisc.core.errors import InputError, one_line
from bisc.evaluation.cases import COLUMNS, COUNTS, METRICS, CaseScores
from bisc.system.files import write_text

FOLD: Final = "fold"
SUMMARY_COLUMNS: Final = ("metric", "mean", "std", "median", "n", "n_failed")
LOSS_NAMES: Final = {"balanced_ce": "BCE", "ce": "CE", "dice_ce": "Dice+CE"}
"""The paper's names of the losses, in the order of its table 1 (`dice_ce` is not in the paper)."""


def to_frame(scores: Sequence[CaseScores]) -> pd.DataFrame:
    """One row per case with `COLUMNS`; counts are nullable integers, other metrics float64."""
    return _typed(pd.DataFrame([astuple(row) for row in scores], columns=list(COLUMNS)))


def write_report(path: Path, report: pd.DataFrame) -> None:
    """Write a report whole or not at all: six significant digits, an empty cell for what has no value."""
    write_text(path, report.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def read_report(path: Path, with_fold: bool = False) -> pd.DataFrame:
    """Read a report.csv; columns beyond `COLUMNS` are dropped, names of cases stay text ("00012").

    Args:
        path: The file.
        with_fold: Keep the column `fold` of a cross-validation, as whole numbers, where it has one.

    Raises:
        InputError: If it cannot be read, lacks a column, or a metric is no number.
    """
    mend = "evaluate again"
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [name for name in COLUMNS if name not in raw.columns]
        if missing:
            raise InputError(path, f"no column {', '.join(missing)}", "a report of bisc_evaluate", mend)
        report = _typed(raw[list(COLUMNS)])
        if with_fold and FOLD in raw.columns:
            report[FOLD] = pd.to_numeric(raw[FOLD], errors="raise").astype("int64")
        return report
    except (OSError, ValueError, TypeError, OverflowError) as error:  # pandas' own derive from ValueError
        raise InputError(path, one_line(f"cannot be read ({error})"), "a report of bisc_evaluate", mend) from error


def summarise(report: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation, median and numbers of cases of every metric, one row each (`SUMMARY_COLUMNS`).

    The standard deviation is that of the cases at hand (divided by n, numpy's default), so one case has 0
    and not nothing; the paper does not say which it reports, and on 210 cases the two differ by 0.24 %.
    Cells without a value do not count, and n says how many remain; of none, mean, std and median are NaN. n_failed, the
    same in each row, says how many cases are `missing` or `failed`: they count with the worst scores, or, where the
    reference was at fault, not at all.
    """
    metrics = report[list(METRICS)].astype("float64")
    summary: pd.DataFrame = pd.DataFrame(
        {
            "metric": list(METRICS),
            "mean": metrics.mean().to_numpy(),
            "std": metrics.std(ddof=0).to_numpy(),
            "median": metrics.median().to_numpy(),
            "n": metrics.count().to_numpy(),
            "n_failed": int((report["status"] != "ok").sum()),
        }
    )
    return summary


def summary_path(report_path: Path) -> Path:
    """report.csv -> report_summary.csv, beside it."""
    return report_path.with_name(f"{report_path.stem}_summary.csv")


def write_with_summary(path: Path, report: pd.DataFrame) -> list[Path]:
    """Write a report and, beside it, its summary; returns both paths."""
    write_report(path, report)
    write_report(summary_path(path), summarise(report))
    return [path, summary_path(path)]


def merge_reports(reports: Sequence[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    """The rows of several folds one below the other, the column `fold` at the end; no folds give no rows."""
    frames = [report[list(COLUMNS)].assign(**{FOLD: fold}) for fold, report in reports]
    none: pd.DataFrame = to_frame([]).assign(**{FOLD: pd.Series(dtype="int64")})
    merged: pd.DataFrame = pd.concat(frames, ignore_index=True) if frames else none
    return merged


def summarise_folds(merged: pd.DataFrame) -> pd.DataFrame:
    """`summarise` for each fold of a merged report, with the column `fold` in front."""
    parts = [summarise(rows).assign(**{FOLD: fold})[[FOLD, *SUMMARY_COLUMNS]] for fold, rows in merged.groupby(FOLD)]
    summaries: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return summaries


def table1(reports: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The paper's table 1: a row per loss, mean and standard deviation of Dice over cases as "0.954(0.070)".

    Args:
        reports: A report by the name of its loss (`balanced_ce`, `ce`, `dice_ce`; another stands for itself).

    Returns:
        Columns "Network", "Dice kidney(std)", "Dice tumor(std)", the rows in the order of `LOSS_NAMES`.
    """
    order = [*LOSS_NAMES, *sorted(reports.keys() - LOSS_NAMES.keys())]
    rows = [
        {
            "Network": f"BiSC-UNet({LOSS_NAMES.get(loss, loss)})",
            "Dice kidney(std)": mean_and_std(reports[loss], "dice_kidney"),
            "Dice tumor(std)": mean_and_std(reports[loss], "dice_tumor"),
        }
        for loss in order
        if loss in reports
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=["Network", "Dice kidney(std)", "Dice tumor(std)"])
    return table


def mean_and_std(report: pd.DataFrame, metric: str) -> str:
    """ "0.954(0.070)", the mean and standard deviation (as `summarise`) of one metric."""
    values = report[metric].astype("float64")
    return f"{values.mean():.3f}({values.std(ddof=0):.3f})"


def _typed(raw: pd.DataFrame) -> pd.DataFrame:
    """Text, floats and nullable integers in their columns; an empty cell is no value."""
    out: pd.DataFrame = pd.DataFrame(index=raw.index)
    for name in COLUMNS:
        if name in METRICS:
            values = pd.to_numeric(raw[name], errors="raise")
            out[name] = values.astype("Int64" if name in COUNTS else "float64")
        else:
            out[name] = raw[name].astype(str)
    return out
