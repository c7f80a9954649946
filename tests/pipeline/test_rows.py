"""predictions.csv, written and read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bisc.core.errors import InputError
from bisc.evaluation.pairs import read_case_list
from bisc.imageio.case import InputCase
from bisc.imageio.inputs import find_inputs
from bisc.measurement.table import read_table, table_text
from bisc.pipeline.options import PredictionRow
from bisc.pipeline.rows import read_rows, rows_csv
from tests.support.grids import write_itk


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


def test_a_table_that_excel_saved(tmp_path: Path) -> None:
    """A byte order mark is passed over; semicolons are named. Either shows a folder to be an output."""
    rows = [PredictionRow("a", "ok", 1.5, "[]", 12.5, 0.0)]
    path = tmp_path / "out" / "predictions.csv"
    path.parent.mkdir()
    path.write_text("\ufeff" + rows_csv(rows), encoding="utf-8")
    assert read_rows(path) == rows
    assert read_case_list(path) == ("a",)
    assert [case.name for case in _passed(tmp_path)] == ["out"]
    path.write_text("\ufeff" + rows_csv(rows).replace(",", ";"), encoding="utf-8")
    for read in (read_rows, read_case_list):
        with pytest.raises(InputError, match="columns between semicolons, as Excel saves them"):
            read(path)
    assert [case.name for case in _passed(tmp_path)] == ["out"]
    measures = tmp_path / "measures.csv"
    measures.write_text("\ufeff" + table_text([]), encoding="utf-8")
    assert read_table(measures) == []


def _passed(folder: Path) -> list[InputCase]:
    """What of a folder is passed over, beside one image."""
    write_itk(folder / "a.mha", np.zeros((4, 5, 6), np.int16))
    return [case for case in find_inputs(folder) if "an output of bisc_predict" in str(case.fault)]
