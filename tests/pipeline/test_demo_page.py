"""The demo's page from a finished run: the cases that stand for all, and every link."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bisc.core.choices import DECISIONS, DEFAULT_DECISION
from bisc.imageio import read_labels, write_image
from bisc.pipeline.demo import best_median_worst, reports_of, write_demo_page
from bisc.pipeline.evaluate import evaluate_folders
from bisc.pipeline.options import TABLE, PredictionRow
from bisc.pipeline.plan import plan
from bisc.pipeline.rows import merge_rows


def test_best_median_worst_by_hand() -> None:
    """Of four the second is the median; of two the first; each is shown once."""
    scores = {"a": 0.2, "b": 0.9, "c": 0.5, "d": 0.7}
    assert best_median_worst(pd.Series(scores)) == {"Best": "b", "Median": "d", "Worst": "a"}
    assert best_median_worst(pd.Series({"a": 0.2, "b": 0.9})) == {"Best": "b", "Worst": "a"}
    assert best_median_worst(pd.Series({"a": 0.2})) == {"Best": "a"}
    assert best_median_worst(pd.Series(dtype=float)) == {}


def test_the_page_of_a_run(tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions are references shifted by 0, 1 and 8 voxels, so which is best, median and worst is known."""
    out, name = tmp_path / "demo", "Demo"
    names = ["case_00000", "case_00001", "case_00002"]
    for case in names:
        shutil.copytree(tiny_dataset / case, out / "held_out" / case)
    monkeypatch.setenv("BISC_PREPROCESSED", str(out / "preprocessed"))
    shutil.copytree(tiny_dataset, out / "raw" / name)
    plan(out / "raw" / name, only_plan=True)
    for decision in DECISIONS:
        predictions = out / f"predictions_{decision}"
        for shift, case in zip((0, 1, 8), names, strict=True):
            truth = read_labels(out / "held_out" / case / "segmentation.nii.gz")
            for folder in (predictions, predictions / "rough"):
                write_image(folder / f"{case}.nii.gz", np.roll(truth.volume.array, shift, axis=2), truth.native)
            merge_rows(predictions / TABLE, [PredictionRow(case, "ok", 1.0)])
        fine, rough = reports_of(out, decision)
        evaluate_folders(out / "held_out", predictions, fine)
        evaluate_folders(out / "held_out", predictions / "rough", rough)
    for stage in ("rough", "fine"):
        (out / "results" / name / stage / "fold_0").mkdir(parents=True)
        (out / "results" / name / stage / "fold_0" / "progress.png").touch()
    (out / "model.zip").touch()
    (out / "held_out" / names[1] / "imaging.nii.gz").write_bytes(b"lost since")

    page = write_demo_page(out, name, [("bisc_simulate", 1.0)], 2.0).read_text(encoding="utf-8")
    linked = set(re.findall(r'(?:src|href)="([^"#]+)"', page))
    assert {f"figures/{names[0]}_overlay.png", f"figures/{names[2]}_overlay.png", "report.csv"} <= linked
    assert [target for target in linked if not (out / target).is_file()] == []
    assert page.index("<strong>Best</strong>") < page.index("<strong>Worst</strong>") < page.index("<table")
    assert "<strong>Median</strong>" not in page  # whose image cannot be read: its card says so, the others stand
    assert "imaging.nii.gz: cannot be read" in page
    report = pd.read_csv(out / "report.csv").set_index("case")
    assert report["dice_composite"].is_monotonic_decreasing
    assert (out / "report.csv").read_bytes() == reports_of(out, DEFAULT_DECISION)[0].read_bytes()
