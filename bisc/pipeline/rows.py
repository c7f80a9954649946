"""predictions.csv: a row a case, written, read and merged with what other runs write; and what is told of a row."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

import msgspec

from bisc.core.errors import InputError
from bisc.core.flags import LIGHTS, Flag
from bisc.pipeline.options import FAILED, SKIPPED, PredictionRow
from bisc.system.csvfile import open_table
from bisc.system.files import change_text
from bisc.system.paths import check_name

STAMP_MARK: Final = "-"
"""Between a stamp's parts: of the input, of the way its mask was made, and of the mask."""


def rows_csv(rows: Sequence[PredictionRow]) -> str:
    """predictions.csv's text."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(f.name for f in fields(PredictionRow))
    writer.writerows(asdict(row).values() for row in rows)  # None as an empty cell
    return table.getvalue()


def read_rows(path: Path) -> list[PredictionRow]:
    """Rows of an earlier predictions.csv; none where there is no such file. Older ones lack the last columns.

    Raises:
        InputError: If the file is of another form.
    """
    if not path.exists():
        return []
    if not path.is_file():
        raise InputError(path, "is no plain file", "a predictions.csv of bisc_predict", "move it")
    names = [f.name for f in fields(PredictionRow)]
    try:
        with open_table(path) as table:
            if not {*names[: names.index("notes")]} <= {*(table.fieldnames or ())}:
                raise ValueError("a column is missing")
            cells = [{name: row[name] for name in names if row.get(name)} for row in table]
        rows = msgspec.convert(cells, list[PredictionRow], strict=False)
    except (OSError, csv.Error, ValueError) as error:
        raise InputError(path, f"another form ({error})", "a predictions.csv of bisc_predict", "move it") from error
    for row in rows:
        if row.status != SKIPPED:  # the others name no file of ours
            check_name(row.case, path, "move it")
    return rows


def stamp_parts(row: PredictionRow) -> tuple[str, str, str]:
    """A stamp's parts: what the input is, how masks are made, what the mask is; each may be empty."""
    parts = [*row.stamp.split(STAMP_MARK), "", ""]
    return parts[0], parts[1], parts[2]


def mask_changed(row: PredictionRow, folder: Path) -> bool:
    """Whether a mask is there, and none that its row tells of: it was corrected by hand, most likely."""
    known = stamp_parts(row)[2]
    there = {mask_mark(folder / f"{row.case}{end}") for end in (".nii.gz", "_seg.dcm")} - {""}
    return bool(known and there) and known not in there


def mask_mark(mask: Path) -> str:
    """A mask file's content in a few letters; empty where there is none."""
    try:
        return hashlib.blake2b(mask.read_bytes(), digest_size=8).hexdigest()
    except OSError:
        return ""


def made_stamp(row: PredictionRow) -> str:
    """A row's stamp without the mask's mark."""
    return STAMP_MARK.join(filter(None, stamp_parts(row)[:2]))


def mixed(rows: Sequence[PredictionRow]) -> str:
    """What is found where masks were made in several ways: other models, decisions or versions; empty where not."""
    ways = Counter(stamp_parts(row)[1] for row in rows if row.status not in (FAILED, SKIPPED))
    del ways[""]
    if len(ways) < 2:
        return ""
    return f"its masks are of several models, decisions or versions ({', '.join(map(str, sorted(ways.values())))})"


def merge_rows(path: Path, rows: Sequence[PredictionRow]) -> None:
    """Put rows into a predictions.csv that other runs may write to at the same time.

    Each takes the place of an older one of its case, but a skipped input's never that of a prediction; sorted by name.

    Raises:
        InputError: If the file there is of another form, or cannot be written.
    """

    def merged() -> str:
        table = {row.case: row for row in read_rows(path)}
        for row in rows:
            if row.status != SKIPPED or row.case not in table or table[row.case].status in (SKIPPED, FAILED):
                table[row.case] = row
        return rows_csv([table[name] for name in sorted(table)])

    change_text(path, merged)


def light_line(row: PredictionRow) -> str:
    """What is to be said of a mask that is not green, in one line; empty where it is, and where there is none."""
    if row.light in ("", "green"):
        return ""
    try:
        flags = msgspec.json.decode(row.flags, type=list[Flag])
    except msgspec.MsgspecError:  # of a table that was changed by hand
        flags = []
    worst = sorted(flags, key=lambda flag: LIGHTS.index(flag.level), reverse=True)  # stable: red ones first
    return f"{row.case}: {row.light}: " + "; ".join(flag.words for flag in worst if flag.level != "green")
