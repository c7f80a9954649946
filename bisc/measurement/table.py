"""measures.csv: a row for each kidney and tumour."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.measurement.definitions import OF
from bisc.measurement.measures import CaseMeasures, Measure, Structure
from bisc.system.csvfile import open_table
from bisc.system.files import change_text

TABLE: Final = "measures.csv"
NAMES: Final = tuple(dict.fromkeys([*OF["kidney"], *OF["tumor"]]))
"""Of all measures; volume_ml is a kidney's and a tumour's."""
RANGED: Final = tuple(
    name
    for name in NAMES
    if name in ("volume_ml", "organ_ml", "tumor_ml", "equivalent_mm", "axial_mm", "diameter_mm")
    or (name.startswith(("renal", "dap", "padua")) and name not in ("renal_a", "renal_h"))
)
"""Those that may have an interval: columns NAME_low and NAME_high."""
LINES: Final = ("length_mm", "axial_mm", "diameter_mm")
"""Those with end points: columns NAME_ends, JSON [[x, y, z], [x, y, z]] in LPS mm."""
COLUMNS: Final = (
    "case", "structure", "organ", "side", *NAMES, *(f"{name}{end}" for name in RANGED for end in ("_low", "_high")),
    *(f"{name}_ends" for name in LINES), "proxies", "withheld", "cautions", "notes", "stamp",
)  # fmt: skip


def rows_of(case: CaseMeasures, stamp: str = "") -> list[dict[str, str]]:
    """A case's rows; none where nothing was found. `stamp` tells what was measured."""
    return [_row(case, structure) | {"stamp": stamp} for structure in case.structures]


def table_text(rows: Iterable[Mapping[str, str]]) -> str:
    """The whole file."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of an earlier file, in its order; none where there is none.

    Raises:
        InputError: If it is of another form.
    """
    if not path.exists():
        return []
    try:
        with open_table(path) as table:
            if tuple(table.fieldnames or ()) != COLUMNS:
                raise ValueError("its columns differ")
            rows = list(table)
            if any(None in row or None in row.values() for row in rows):
                raise ValueError("a row is of another length")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(path, f"another form ({error})", "a measures.csv of this version", "move it") from error
    return rows


def put_rows(table: Path, case: str, rows: Sequence[dict[str, str]]) -> None:
    """`put_cases` of one case."""
    put_cases(table, {case: rows})


def put_cases(table: Path, cases: Mapping[str, Sequence[dict[str, str]]]) -> None:
    """Put cases' rows in the place of their older ones, in a table that other processes may write to.

    Raises:
        InputError: If the file there is of another form.
    """

    def merged() -> str:
        others = [row for row in read_table(table) if row["case"] not in cases]
        new = [row for rows in cases.values() for row in rows]
        return table_text(sorted([*others, *new], key=lambda row: row["case"]))  # stable: structures keep their order

    change_text(table, merged)


def _row(case: CaseMeasures, structure: Structure) -> dict[str, str]:
    segment, measures = structure.segment, structure.measures
    row = {"case": case.case, "structure": segment.name, "organ": segment.organ, "side": segment.side}
    for name, one in measures.items():
        row[name] = _shown(one.value)
        if name in RANGED:
            row |= {f"{name}_low": _shown(one.low), f"{name}_high": _shown(one.high)}
        if one.ends is not None:
            row[f"{name}_ends"] = json.dumps([[round(mm, 2) for mm in end] for end in one.ends])
    row["proxies"] = " ".join(name for name, one in measures.items() if one.proxy)
    row["withheld"] = _told({name: one for name, one in measures.items() if one.value is None})
    row["cautions"] = _told({name: one for name, one in measures.items() if one.value is not None and one.why})
    row["notes"] = " | ".join(case.notes)
    return row


def _shown(value: float | str | None) -> str:
    return "" if value is None else str(value)


def _told(measures: dict[str, Measure]) -> str:
    return json.dumps({name: one.why for name, one in measures.items()}) if measures else ""
