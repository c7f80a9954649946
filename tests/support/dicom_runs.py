"""bisc_predict on DICOM studies with the stub's networks: a study as a medium holds it, and a run of the command."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np

from bisc.cli import predict
from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from tests.imageio.test_studies import dose_report, scout
from tests.support.ct_series import write_ct
from tests.support.stub_model import kidneys

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((48, 80, 96), (3.0, 4.0, 4.0), (-190.0, -160.0, -700.0), LPS)


def patient() -> Volume:
    return kidneys(GRID)[0]


def run(tmp_path: Path, *more: str, source: str = "in", status: int = 0) -> dict[str, dict[str, str]]:
    argv = ["-i", str(tmp_path / source), "-o", str(tmp_path / "out"), "-m", "stub", "--device", "cpu", *more]
    assert predict.main(argv) == status
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def study(folder: Path) -> Path:
    """A patient's study as a medium holds it: shuffled, with a scout, a second phase, a copy and a dose report."""
    order = np.random.default_rng(7).permutation(GRID.shape_zyx[0])
    write_ct(folder, patient(), description="venous", number=3, name=lambda i: f"D{i % 3}/{order[i]:04d}")
    other, _ = kidneys(GRID, centres_x_mm=(), tumor_at=None)
    write_ct(folder, other, series="2", description="nativ", number=2, name=lambda i: f"D{i % 3}/{order[i] + 500}")
    write_ct(folder / "D0", patient(), series="3", description="Topo", keep=[0], name=lambda i: "T", change=scout)
    write_ct(folder / "D1", patient(), series="4", keep=[0], number=99, name=lambda i: "R", change=dose_report)
    shutil.copy(folder / "D0" / f"{order[3]:04d}", folder / "D2" / "copy")
    return folder
