"""Reports, summaries, tables, and the cross-validation's folders."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bisc.cli.evaluate import main
from bisc.core.errors import InputError
from bisc.evaluation.aggregate import (
    merge_reports,
    read_report,
    summarise,
    summarise_folds,
    summary_path,
    table1,
    to_frame,
    write_report,
)
from bisc.evaluation.cases import COLUMNS, METRICS, CaseScores, score_arrays, unscored
from bisc.evaluation.crossval import evaluate_cross_validation
from bisc.evaluation.tables import summary_text, to_markdown

EMPTY = np.zeros((1, 1, 1), np.uint8)


def scores(case: str, kidney: float = 1.0, tumor: float = 1.0) -> CaseScores:
    perfect = score_arrays(case, EMPTY, EMPTY, (1.0, 1.0, 1.0))
    return replace(perfect, dice_kidney=kidney, dice_tumor=tumor, dice_composite=(kidney + tumor) / 2)


def report(*values: tuple[float, float], start: int = 0) -> pd.DataFrame:
    return to_frame([scores(f"{start + i:05d}", *pair) for i, pair in enumerate(values)])


def metric(summary: pd.DataFrame, name: str) -> list[float]:
    return [float(v) for v in list(summary.set_index("metric").loc[name])]


def test_summary_by_hand() -> None:
    summary = summarise(report((0.9, 0.2), (0.8, 0.8), (0.7, 0.8)))
    assert list(summary.columns) == ["metric", "mean", "std", "median", "n", "n_failed"]
    assert list(summary["metric"]) == list(METRICS)
    # mean 2.4 / 3 = 0.8; squares of the differences 0.01, 0, 0.01: std sqrt(0.02 / 3)
    assert metric(summary, "dice_kidney") == pytest.approx([0.8, (0.02 / 3) ** 0.5, 0.8, 3, 0])
    # mean 1.8 / 3 = 0.6; squares 0.16, 0.04, 0.04: std sqrt(0.24 / 3)
    assert metric(summary, "dice_tumor") == pytest.approx([0.6, 0.08**0.5, 0.8, 3, 0])


def test_one_case_has_no_spread() -> None:
    assert metric(summarise(report((0.9, 0.2))), "dice_kidney") == pytest.approx([0.9, 0.0, 0.9, 1, 0])


def test_cells_without_a_value_do_not_count() -> None:
    frame = to_frame([scores("a", 0.5), unscored("b")])
    assert metric(summarise(frame), "dice_kidney") == [0.5, 0.0, 0.5, 1, 1]
    assert metric(summarise(frame), "tumors_ref") == [0.0, 0.0, 0.0, 1, 1]
    assert np.isnan(metric(summarise(to_frame([unscored("b")])), "dice_kidney")[0])


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    frame = to_frame([scores("00012", 1 / 3), unscored("NA")])
    write_report(tmp_path / "report.csv", frame)
    lines = (tmp_path / "report.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[1].startswith("00012,ok,0.333333,1,0.666667,")
    assert lines[2] == "NA,failed" + "," * len(METRICS)
    pd.testing.assert_frame_equal(read_report(tmp_path / "report.csv"), frame, rtol=1e-5)
    assert summary_path(tmp_path / "report.csv").name == "report_summary.csv"


WITH = ",".join(COLUMNS) + "\na,ok"


@pytest.mark.parametrize("text", ["", "case,status\na,ok\n", WITH + ",x" * len(METRICS), WITH + ",inf" * len(METRICS)])
def test_a_report_that_is_none(tmp_path: Path, text: str) -> None:
    """Empty, without its columns, with words for numbers, with infinitely many tumours."""
    (tmp_path / "report.csv").write_text(text)
    with pytest.raises(InputError, match=r"report\.csv"):
        read_report(tmp_path / "report.csv")


def test_folds_are_joined() -> None:
    merged = merge_reports([(0, report((0.9, 0.5))), (1, report((0.7, 0.5), (0.5, 0.5), start=1))])
    assert list(merged.columns) == [*COLUMNS, "fold"]
    assert list(merged["fold"]) == [0, 1, 1]
    folds = summarise_folds(merged)
    kidney = folds[folds["metric"] == "dice_kidney"]
    assert list(kidney["mean"]) == pytest.approx([0.9, 0.6])
    assert list(merge_reports([]).columns) == [*COLUMNS, "fold"]


def test_table1_is_laid_out_as_the_papers() -> None:
    table = table1({"ce": report((0.942, 0.736)), "balanced_ce": report((0.9, 0.5), (1.0, 0.9))})
    assert to_markdown(table) == (
        "| Network | Dice kidney(std) | Dice tumor(std) |\n"
        "| --- | --- | --- |\n"
        "| BiSC-UNet(BCE) | 0.950(0.050) | 0.700(0.200) |\n"
        "| BiSC-UNet(CE) | 0.942(0.000) | 0.736(0.000) |\n"
    )


def test_the_terminals_table() -> None:
    text = summary_text(to_frame([scores("a", 0.5), unscored("b")]))
    assert text.startswith(
        "2 cases (1 ok, 1 failed)\n1 of 2 cases failed: 1 in no mean, since there was nothing to score against: "
        "the means are those of the others\nmetric "
    )
    assert "dice_kidney            0.500  0.000   0.500  1" in text


def add_run(folder: Path, loss: str, fold: int, frame: pd.DataFrame, age_s: int = 0, **facts: Any) -> None:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"loss": loss, "fold": fold, "stage": "fine", "epochs": 20} | facts))
    target = folder / "validation" / "report.csv"
    write_report(target, frame)
    os.utime(target, (1e9 - age_s, 1e9 - age_s))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folds trained with the balanced loss; of fold 0 two older runs with plain cross-entropy."""
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path))
    fine = tmp_path / "Small" / "fine"
    add_run(fine / "fold_0", "balanced_ce", 0, report((0.9, 0.8)))
    add_run(fine / "fold_1", "balanced_ce", 1, report((0.7, 0.6), start=1))
    add_run(fine / "previous" / "a", "ce", 0, report((0.8, 0.7)), age_s=1000)
    add_run(fine / "previous" / "b", "ce", 0, report((0.1, 0.1)), age_s=2000)
    add_run(fine / "previous" / "c", "balanced_ce", 0, report((0.2, 0.2)))  # its fold has a current run
    return tmp_path / "Small"


@pytest.mark.parametrize(
    ("worst", "empty", "said"),
    [
        (0, 0, ""),
        (2, 0, "2 of 5 cases failed: 2 with the worst scores\n"),
        (1, 1, "2 of 5 cases failed: 1 with the worst scores; 1 in no mean, "),
        (0, 2, "2 of 5 cases failed: 2 in no mean, "),
    ],
)
def test_what_failed_is_said_and_counted(worst: int, empty: int, said: str) -> None:
    """Beside the means, in the file and on the terminal; a fold's own in the folds' summary."""
    fine = [scores(str(i), 0.5) for i in range(5 - worst - empty)]
    lost = [replace(scores(f"w{i}", 0.0), status=("failed", "missing")[i]) for i in range(worst)]
    frame = to_frame([*fine, *lost, *(unscored(f"u{i}") for i in range(empty))])
    summary = summarise(frame)
    assert set(summary["n_failed"]) == {worst + empty}
    assert set(summary["n"]) == {5 - empty}
    assert summary_text(frame).split("\n", 1)[1].startswith(said or "metric")
    folds = summarise_folds(merge_reports([(0, frame), (1, to_frame(fine))]))
    assert list(folds[folds["metric"] == "dice_tumor"]["n_failed"]) == [worst + empty, 0]


def test_cross_validation_as_a_user_runs_it(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    rows = pd.read_csv(results / "report.csv", dtype={"case": str})
    assert list(rows.columns) == [*COLUMNS, "fold"]
    assert list(rows["case"]) == ["00000", "00001"]
    assert metric(pd.read_csv(results / "report_summary.csv"), "dice_kidney") == [0.8, 0.1, 0.8, 2, 0]
    assert set(pd.read_csv(results / "report_folds.csv")["fold"]) == {0, 1}
    # Only fold 0 was trained with both losses; of the two older runs the newer counts.
    assert (results / "table1.csv").read_text().splitlines()[1:] == [
        "BiSC-UNet(BCE),0.900(0.000),0.800(0.000)",
        "BiSC-UNet(CE),0.800(0.000),0.700(0.000)",
    ]
    assert "folds: 0; cases: 1" in (results / "table1.md").read_text()
    assert not (results / "decisions.csv").exists()
    shown = capsys.readouterr()
    assert "Small, folds 0, 1" in shown.out
    assert "| BiSC-UNet(CE) |" in shown.out
    assert shown.err == ""


def test_decision_rules_are_compared_where_all_folds_have_both(results: Path) -> None:
    for fold in (0, 1):
        validation = results / "fine" / f"fold_{fold}" / "validation"
        write_report(validation / "report_argmax.csv", report((0.9, 0.5)))
        assert evaluate_cross_validation(results).decisions is None
        write_report(validation / "report_calibrated.csv", report((0.9, 0.7)))
    assert main(["-d", "Small", "-o", str(results / "out.csv")]) == 0
    lines = (results / "decisions.csv").read_text().splitlines()
    assert lines == [
        "decision,dice_kidney(std),dice_tumor(std),dice_composite(std),n",
        "argmax,0.900(0.000),0.500(0.000),0.700(0.000),2",
        "calibrated,0.900(0.000),0.700(0.000),0.800(0.000),2",
    ]
    assert (results / "out_folds.csv").is_file()
    assert (results / "table1.csv").is_file()
    (validation / "report_argmax.csv").unlink()
    shutil.rmtree(results / "fine" / "previous")
    assert main(["-d", "Small", "-o", str(results / "out.csv")]) == 0
    assert not {path.stem for path in results.iterdir()} & {"decisions", "table1"}, "of runs that are gone"


def test_what_is_odd_about_a_cross_validation_is_said(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_run(results / "fine" / "fold_2", "ce", 2, report((0.9, 0.9)))
    (results / "fine" / "fold_3").mkdir()
    (results / "fine" / "previous" / "a" / "run.json").write_text("{")
    assert main([]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert all(line.startswith("bisc_evaluate: warning: ") for line in said)
    assert "left out: fold_3" in said[0]
    assert "(balanced_ce, ce)" in said[1]
    assert "00000" in said[2]
    assert "run.json" in said[3]


def test_losses_are_compared_among_runs_that_differ_in_nothing_else(results: Path) -> None:
    """A trial of two minutes is no row of the paper's table; steps that equal minutes gave are alike."""
    fine = results / "fine"
    minutes: dict[str, Any] = {"preset": "best", "iterations": 100, "patch_size_zyx": [32, 64, 64]}
    for fold in (0, 1):
        shutil.rmtree(fine / f"fold_{fold}")
        add_run(fine / f"fold_{fold}", "dice_ce", fold, report((0.9, 0.8), start=fold), **minutes)
    add_run(fine / "previous" / "e", "ce", 1, report((0.4, 0.4), start=1), **{**minutes, "iterations": 120})
    add_run(fine / "previous" / "f", "ce", 1, report((0.3, 0.3), start=1), -9, **{**minutes, "preset": "quick"})
    found = evaluate_cross_validation(results)
    assert found.losses_title.split("folds: ")[1] == "1; cases: 1."
    assert found.losses is not None
    assert found.losses.iloc[:, 1].tolist() == ["0.400(0.000)", "0.900(0.000)"]
    notes = "\n".join(found.notes)
    assert (
        "previous/a, trained with ce, is not compared: it differs in preset and best, patch_size_zyx (0, 0, 0) and (32,"
        in notes
    )
    assert "previous/c, trained with balanced_ce, is not compared" in notes
    assert len(found.notes) == 4  # and b, and f


def test_runs_of_another_plan_are_not_compared(results: Path) -> None:
    """As the checkpoints say."""
    found = evaluate_cross_validation(results, lambda folder: "spacing 3 (now 4)" if folder.name == "a" else "")
    assert found.notes == ("previous/a, trained with ce, is not compared: it differs in the plan, spacing 3 (now 4)",)
    assert found.losses is not None
    assert found.losses.iloc[:, 1].tolist() == ["0.900(0.000)", "0.100(0.000)"]


def test_folds_of_one_report_that_were_trained_otherwise(results: Path) -> None:
    """The share of decoys counts where there are any."""
    facts: dict[str, Any] = {"base_features": 8, "decoys": True, "decoy_share": 0.05}
    add_run(results / "fine" / "fold_2", "balanced_ce", 2, report((0.9, 0.9), start=2), **facts)
    notes = evaluate_cross_validation(results).notes
    differing = "base_features 8 and 0, decoys 0.05 and False"
    assert notes == (f"fold 2 and fold 0 differ in {differing}: the overall report mixes them",)


def test_nothing_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path))
    assert main([]) == 2
    assert main(["-d", "KiTS19"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("run bisc_train fine 0 first" in line for line in said)


def test_a_fold_without_its_facts_is_an_error(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "fine" / "fold_1" / "run.json").unlink()
    assert main([]) == 2
    assert "fold_1/run.json" in capsys.readouterr().err
