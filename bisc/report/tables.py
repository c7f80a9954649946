"""Tables of a report: what they hold, how numbers are written, and the rough-against-fine summary."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bisc.report.style import METRIC_NAMES, STAGE_NAMES

Scores = Mapping[str, Mapping[str, float]]
"""Per stage ("rough", "fine") the values by metric name ("dice_kidney", "dice_tumor", ...)."""
Cell = object
"""Text, a number or None; see `format_cell`."""
NUMERIC = re.compile(r"–|(<\s?)?[-+−]?\d")


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        title: Its heading.
        columns: Column heads.
        rows: One sequence of cells a row, as long as `columns`; the first cell heads its row.
        note: A remark below it, or "".

    Raises:
        ValueError: If a row is longer or shorter than `columns`.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: a row of {len(row)} cells under {len(self.columns)} columns")

    @property
    def numeric(self) -> list[bool]:
        """Per column, whether it goes to the right: numbers, gaps, texts that begin with a digit ("0.95 ± 0.02")."""
        texts = [[format_cell(row[i]) for row in self.rows] for i in range(len(self.columns))]
        return [bool(column) and all(NUMERIC.match(text) for text in column) for column in texts]


def format_cell(value: Cell) -> str:
    """A cell as plain text: whole numbers as they are, others with three digits or so, a dash for gaps."""
    if value is None or value is pd.NA or value is pd.NaT:
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return _format_real(float(value))
    return str(value)


def _format_real(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    digits = 3 if abs(value) <= 1 else 2 if abs(value) < 10 else 1
    return f"{value:.{digits}f}"


def summary_table(scores: Sequence[Scores], title: str = "Rough against fine") -> Table:
    """Mean ± standard deviation and median of the Dice values of all cases, one row a stage.

    Args:
        scores: One a case; values that are missing or NaN are left out of their metric, and the note says how
            many cases counted.
        title: The table's heading.

    Returns:
        A row for "rough", one for "fine", and one for the gain in the cases that have both.
    """
    metrics = ("dice_kidney", "dice_tumor")
    columns = ["Stage"]
    for metric in metrics:
        columns += [METRIC_NAMES[metric], "median"]
    rows: list[list[Cell]] = []
    for stage in ("rough", "fine"):
        row: list[Cell] = [STAGE_NAMES[stage]]
        for metric in metrics:
            row += _mean_and_median(_values(scores, stage, metric))
        rows.append(row)
    gain: list[Cell] = ["Gain"]
    for metric in metrics:
        paired = [
            (s["rough"][metric], s["fine"][metric])
            for s in scores
            if _has(s, "rough", metric) and _has(s, "fine", metric)
        ]
        gains = np.array([fine - rough for rough, fine in paired])
        gain += [f"{gains.mean():+.3f}", f"{np.median(gains):+.3f}"] if gains.size else [None, None]
    counted = ", ".join(f"{METRIC_NAMES[m].removeprefix('Dice ')} {len(_values(scores, 'fine', m))}" for m in metrics)
    note = f"Mean ± standard deviation over cases ({counted}). Kidney includes its tumour, as in KiTS19."
    return Table(title, columns, [*rows, gain], note)


def _has(scores: Scores, stage: str, metric: str) -> bool:
    return math.isfinite(scores.get(stage, {}).get(metric, math.nan))


def _values(scores: Sequence[Scores], stage: str, metric: str) -> list[float]:
    return [s[stage][metric] for s in scores if _has(s, stage, metric)]


def _mean_and_median(values: Sequence[float]) -> list[Cell]:
    if not values:
        return [None, None]
    return [f"{np.mean(values):.3f} ±\u00a0{np.std(values):.3f}", f"{np.median(values):.3f}"]
