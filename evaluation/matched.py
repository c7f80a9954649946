"""The same patients in two reports: which rows belong together, and whether they were scored against one reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from bisc.core.errors import InputError
from bisc.evaluation.aggregate import FOLD, read_report
from bisc.evaluation.cases import METRICS

REFERENCE_COLUMNS: Final = ("volume_kidney_ref_ml", "volume_tumor_ref_ml", "tumors_ref")
"""What of a row is the reference's alone: the same in every report of it."""
ROUNDING: Final = 2e-5
"""Reports hold six significant digits: two that are rounded from one number differ by no more, relatively."""
EXPECTED: Final = "a report of bisc_evaluate"


@dataclass(frozen=True)
class Row:
    """A case's row of a report: its status, its metrics (NaN for an empty cell), and its fold where it has one."""

    status: str
    values: dict[str, float]
    fold: int | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """One run to compare.

    Attributes:
        name: What tables and plots call it.
        source: The file or folder its rows come from, for messages.
        report: A row a case (`bisc.evaluation.aggregate.read_report`), with the column `fold` where it is a
            cross-validation; each case once.
    """

    name: str
    source: Path
    report: pd.DataFrame

    def __post_init__(self) -> None:
        """Raises InputError if a case is there twice, or a value is none that a report can hold."""
        _check(self.report, self.source)

    def rows(self) -> dict[str, Row]:
        """Every case's row."""
        numbers = self.report[list(METRICS)].to_numpy(dtype="float64", na_value=math.nan).tolist()
        folds = [int(fold) for fold in self.report[FOLD]] if FOLD in self.report.columns else [None] * len(numbers)
        return {
            str(case): Row(str(status), dict(zip(METRICS, values, strict=True)), fold)
            for case, status, values, fold in zip(
                self.report["case"], self.report["status"], numbers, folds, strict=True
            )
        }


@dataclass(frozen=True, eq=False)
class Matched:
    """Two runs' rows of the same patients.

    Attributes:
        rows: Both rows of each case, by name, in the order of the names.
        only_a, only_b: Cases that the other lacks.
        other_fold: Cases that both have, in different folds: their networks had seen different patients.
    """

    rows: dict[str, tuple[Row, Row]]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    other_fold: tuple[str, ...]


def read_run(name: str, path: Path) -> Run:
    """A run whose report.csv lies at `path`; raises InputError where it cannot be used."""
    return Run(name, path, read_report(path, with_fold=True))


def match(a: Run, b: Run, missing_as_worst: bool = False) -> Matched:
    """Find the patients whom both runs have.

    Args:
        a: The first run.
        b: The second.
        missing_as_worst: Also take those that one run lacks, with the worst scores there; see `_worst`.

    Raises:
        InputError: If there are none, or the reference of a case is not the same in both.
    """
    of_a, of_b = a.rows(), b.rows()
    both = [case for case in of_a if case in of_b]
    only_a, only_b = (tuple(case for case in x if case not in y) for x, y in ((of_a, of_b), (of_b, of_a)))
    _check_references(a, b, [(case, of_a[case], of_b[case]) for case in both])
    other_fold = tuple(case for case in both if _apart(of_a[case], of_b[case]))
    rows = {case: (of_a[case], of_b[case]) for case in both if case not in other_fold}
    if not rows:
        mend = "remove the column fold to pair by case alone" if both else "name the same case alike in both"
        found = "its cases are in other folds than those" if both else "no case is among those"
        raise InputError(b.source, f"{found} of {a.source}", "the same patients in both", mend)
    if missing_as_worst:
        rows |= {case: (of_a[case], _worst(of_a[case])) for case in only_a}
        rows |= {case: (_worst(of_b[case]), of_b[case]) for case in only_b}
    return Matched({case: rows[case] for case in sorted(rows)}, only_a, only_b, other_fold)


def _apart(a: Row, b: Row) -> bool:
    return a.fold is not None and b.fold is not None and a.fold != b.fold


def _worst(other: Row) -> Row:
    """A row for a case that a run lacks, as bisc_evaluate scores what is missing, by the other run's row.

    The distance that stands for 'nothing to measure' is the image's diagonal, which a report holds only where the
    other run has no prediction either; else the distance is infinite. Where the reference cannot be read there is
    nothing to score against.
    """
    if math.isnan(other.values["dice_kidney"]):
        return Row("missing", other.values, other.fold)
    kept = {name: other.values[name] for name in REFERENCE_COLUMNS}
    far = {name: other.values[name] if other.status != "ok" else math.inf for name in METRICS if "hd95_" in name}
    return Row("missing", {**dict.fromkeys(METRICS, 0.0), **kept, **far}, other.fold)


def _check(report: pd.DataFrame, source: Path) -> None:
    names = report["case"]
    if not len(report):
        raise InputError(source, "holds no case", EXPECTED)
    if (names.str.strip() == "").any():
        raise InputError(source, "a row without a case's name", EXPECTED)
    twice = sorted(set(names[names.duplicated()]))
    if twice:
        found = f"{_some(twice)} twice or more"
        raise InputError(source, found, "one row a case: a patient counts once", "remove all but one")
    for name in METRICS:
        values = report[name].to_numpy(dtype="float64", na_value=math.nan)
        top = 1.0 if "dice_" in name else math.inf if name.startswith("hd95_") else np.finfo(np.float64).max
        wrong = (values < 0.0) | (values > top)
        if wrong.any():
            where = names[wrong].iloc[0]
            bound = "0 to 1" if top == 1.0 else "0 or more"
            raise InputError(source, f"{name} {values[wrong][0]:g} of {where}", f"{bound}, as bisc_evaluate writes it")


def _check_references(a: Run, b: Run, both: Sequence[tuple[str, Row, Row]]) -> None:
    """Scores against different references say nothing of the runs: refused, by what reports hold of the reference."""
    differ = []
    for case, row_a, row_b in both:
        for name in REFERENCE_COLUMNS:
            x, y = row_a.values[name], row_b.values[name]
            if not (math.isnan(x) or math.isnan(y)) and not math.isclose(x, y, rel_tol=ROUNDING, abs_tol=1e-6):
                differ.append(f"{name} of {case} is {y:g} and not {x:g}")
                break
    if differ:
        more = f" (and {len(differ) - 1} cases more of {len(both)})" if len(differ) > 1 else ""
        raise InputError(
            b.source,
            f"scored against another reference than {a.source}: {differ[0]}{more}",
            "the same references in both",
            "score both anew against one set: bisc_compare A B -r REF",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
