"""predictions.csv: one row per case of a folder, whichever of its runs came to it last."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import msgspec

from bisc.core.errors import InputError
from bisc.imageio.inputs import ROW_LIST
from bisc.system.files import change_text
from bisc.system.paths import check_name

TABLE: Final = ROW_LIST
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
BETWEEN_NOTES: Final = " | "


@dataclass(frozen=True)
class PredictionRow:
    """One row of predictions.csv.

    Attributes:
        case: Name.
        status: ok (kidneys on both sides of the mask), one_kidney (on one: solitary or fused), no_kidney or failed;
            skipped: an input that was not taken for a case.
        seconds: Reading, both stages and writing; None where the same bytes are demanded each time.
        rois: JSON list, one per ROI, kidney or not: its side, and first and last voxel (x, y, z) of the ROI in
            canonical LPS order on the image's own grid.
        kidney_ml: Volume of label > 0.
        tumor_ml: Volume of label 2.
        error: What went wrong, or makes the mask doubtful, in one line.
        notes: What was made of the input's oddities (bisc.system.console), one line.
        source: Where the input lay, links followed: another one of the same name is not written over it.
        stamp: Changes with the input's files, the decision rule and the model: what `--continue` may keep.
        choice: Of a DICOM study, which series was predicted, and why the others were not; one line.
        segments: JSON list, one per kidney and per tumour: name, side, volume_ml (a kidney's without its tumours), and
            of a tumour the largest axial and the largest diameter in mm.
    """

    case: str
    status: str
    seconds: float | None = None
    rois: str = "[]"
    kidney_ml: float | None = None
    tumor_ml: float | None = None
    error: str = ""
    notes: str = ""
    source: str = ""
    stamp: str = ""
    choice: str = ""
    segments: str = "[]"


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
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
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


def merge_rows(path: Path, rows: Sequence[PredictionRow]) -> None:
    """Put rows into a predictions.csv that other runs may write to at the same time.

    Each takes the place of an older one of its case, but for one of a skipped input, which never stands in for a
    prediction; all others stay. The order is that of the cases' names.

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
