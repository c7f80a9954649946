"""All faults of a data set at once: verify.csv, and a table for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bisc.core.errors import BiscError, InputError

COLUMNS: Final = ("case", "file", "found", "expected", "mend")
FOUND_WIDTH: Final = 72
"""Longer findings are cut on the terminal; verify.csv has them whole."""
Fault = tuple[str, BiscError]
"""A case's name and what is wrong with it."""


def faults_csv(faults: Sequence[Fault]) -> str:
    """One row per fault with `COLUMNS`; the header alone where there is none."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(name, error) for name, error in faults)
    return table.getvalue()


def faults_text(faults: Sequence[Fault], raw: Path) -> str:
    """The table as aligned text, files relative to the data set's folder `raw`."""
    rows = [("case", "file", "found", "mend")]
    for name, error in faults:
        case, file, found, _, mend = _cells(name, error)
        short = found if len(found) <= FOUND_WIDTH else f"{found[: FOUND_WIDTH - 3]}..."
        rows.append((case, file.removeprefix(f"{raw}/"), short, mend))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _cells(name: str, error: BiscError) -> tuple[str, str, str, str, str]:
    if isinstance(error, InputError):
        return name, error.what, " ".join(error.found.split()), error.expected, error.mend
    return name, "", str(error), "", ""
