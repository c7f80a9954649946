"""predictions.csv, written and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisc.core.errors import InputError
from bisc.pipeline.options import PredictionRow
from bisc.pipeline.rows import read_rows, rows_csv


def test_the_table_round_trips(tmp_path: Path) -> None:
    """Commas, quotes and empty volumes."""
    rows = [
        PredictionRow("a", "ok", 1.5, '[{"side": "left"}]', 12.5, 0.0),
        PredictionRow("b", "failed", 0.1, error='b.nii: "quoted", with a comma'),
    ]
    path = tmp_path / "predictions.csv"
    path.write_text(rows_csv(rows))
    assert read_rows(path) == rows
    header = path.read_text().splitlines()[0]
    columns = ["case", "status", "seconds", "rois", "kidney_ml", "tumor_ml", "error", "notes", "source", "stamp",
               "choice", "segments", "patient_id", "accession_number", "study_uid", "series_uid",
               "light", "risk", "flags"]  # fmt: skip
    assert header.split(",") == columns
    path.write_text("case,status\na,ok\n")
    with pytest.raises(InputError, match="another form"):
        read_rows(path)
