"""All faults and notes of a data set at once: verify.csv, a table for the terminal, a line of what is not used."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bisc.core.errors import BiscError, InputError, one_line

COLUMNS: Final = ("case", "file", "found", "expected", "mend", "level")
FOUND_WIDTH: Final = 72
"""Longer findings are cut on the terminal; verify.csv has them whole."""
NAMED: Final = 3
"""Files that the summary names per reason; verify.csv names all."""
Fault = tuple[str, BiscError]
"""A case's name and what is wrong with it."""
Note = tuple[str, InputError | str]
"""A case's name, or nothing where a file belongs to none, and what is to be known of it: no fault."""


def faults_csv(faults: Sequence[Fault], notes: Sequence[Note] = ()) -> str:
    """One row per fault and per note with `COLUMNS`; the header alone where there is none."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((*_cells(name, error), "fault") for name, error in faults)
    writer.writerows((*_cells(name, note), "note") for name, note in notes)
    return table.getvalue()


def faults_text(faults: Sequence[Note | Fault], raw: Path) -> str:
    """The table as aligned text, files relative to the data set's folder `raw`."""
    rows = [("case", "file", "found", "mend")]
    for name, error in faults:
        case, file, found, _, mend = _cells(name, error)
        short = found if len(found) <= FOUND_WIDTH else f"{found[: FOUND_WIDTH - 3]}..."
        rows.append((case, file.removeprefix(f"{raw}/"), short, mend))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def unused_line(notes: Sequence[tuple[str, InputError]], raw: Path) -> str:
    """What of a data set is not used, by reason, in one line."""
    by_reason: dict[str, list[str]] = {}
    for _, note in notes:
        by_reason.setdefault(note.found, []).append(note.what.removeprefix(f"{raw}/"))
    parts = []
    for reason, files in by_reason.items():
        more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
        parts.append(f"{', '.join(files[:NAMED])}{more} ({reason})")
    return one_line("; ".join(parts))


def _cells(name: str, error: BiscError | str) -> tuple[str, str, str, str, str]:
    if isinstance(error, InputError):
        return name, error.what, " ".join(error.found.split()), error.expected, error.mend
    return name, "", str(error), "", ""
