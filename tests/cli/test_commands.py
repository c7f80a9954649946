"""The commands as a user types them: each a process of its own, in an empty folder, with no variable set."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from bisc.imageio import read_labels

COMMANDS = (
    "plan_and_preprocess",
    "train",
    "predict",
    "evaluate",
    "compare",
    "measure",
    "report",
    "download",
    "simulate",
    "export",
    "model",
    "demo",
)
BRIEF = ("--preset", "quick", "--epochs", "1", "--iterations", "3")
ROUGH = ("--preset", "demo", "--epochs", "1", "--iterations", "15")
"""What the rough stage needs in order not to mark the whole body, upon which no fine pass is run."""


def run(command: str, *args: str, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run bisc_COMMAND; the check of its exit status shows what it said."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BISC_")}
    done = subprocess.run(
        [sys.executable, "-m", f"bisc.cli.{command}", *args],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    """The user's card, from a raw folder to a trained cascade and predictions."""
    home = tmp_path_factory.mktemp("card")
    shutil.copytree(tiny_dataset, home / "bisc_data" / "raw" / "KiTS19")
    run("plan_and_preprocess", "-d", "KiTS19", cwd=home)
    run("train", "rough", "0", *ROUGH, cwd=home)
    run("train", "fine", "0", *BRIEF, cwd=home)
    (home / "in").mkdir()
    for case in ("case_00000", "case_00001"):
        scan = home / "bisc_data" / "raw" / "KiTS19" / case / "imaging.nii.gz"
        shutil.copyfile(scan, home / "in" / f"{case}.nii.gz")
    run("predict", "-i", "in/", "-o", "out/", cwd=home)
    return home


def test_planning_leaves_what_a_person_can_read(card: Path) -> None:
    """Plan in words, fingerprint, splits, and a cache per case and stage."""
    folder = card / "bisc_data" / "preprocessed" / "KiTS19"
    assert {"plan.json", "plan.txt", "fingerprint.json", "splits.json"} <= {p.name for p in folder.iterdir()}
    for stage in ("rough", "fine"):
        assert len(list((folder / stage).glob("case_*/case.json"))) == 5
    assert "Target spacing" in (folder / "plan.txt").read_text()


def test_training_leaves_checkpoints_log_picture_and_validation(card: Path) -> None:
    """For both stages; the fine stage's validation is the cascade's, under both decisions."""
    for stage in ("rough", "fine"):
        fold = card / "bisc_data" / "results" / "KiTS19" / stage / "fold_0"
        names = {p.name for p in fold.iterdir()}
        assert {"checkpoint_last.pt", "checkpoint_best.pt", "log.csv", "progress.png", "run.json"} <= names
    reports = {p.name for p in (fold / "validation").iterdir()}
    assert {"report.csv", "report_summary.csv", "report_argmax.csv", "report_calibrated.csv"} <= reports


def test_predictions_have_the_inputs_header(card: Path) -> None:
    """Size, spacing, origin and direction, to the last bit; a row per case."""
    rows = pd.read_csv(card / "out" / "predictions.csv")
    assert rows["case"].tolist() == ["case_00000", "case_00001"]
    assert set(rows["status"]) <= {"ok", "one_kidney", "no_kidney"}
    for case in rows["case"]:
        image, mask = (sitk.ReadImage(str(card / folder / f"{case}.nii.gz")) for folder in ("in", "out"))
        for header in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(mask, header)() == getattr(image, header)(), header
        assert set(np.unique(sitk.GetArrayFromImage(mask))) <= {0, 1, 2}


def test_evaluate_without_arguments_is_the_cross_validation(card: Path) -> None:
    """Its table has every contracted column; here one fold of one case is there."""
    done = run("evaluate", cwd=card)
    assert "KiTS19, folds 0" in done.stdout
    columns = pd.read_csv(card / "bisc_data" / "results" / "KiTS19" / "report.csv").columns.tolist()
    assert columns[-4:] == ["tumors_ref", "tumors_found", "tumors_false", "fold"]
    assert columns[:5] == ["case", "status", "dice_kidney", "dice_tumor", "dice_composite"]


def test_predictions_against_references(card: Path) -> None:
    """-r and -p: the two predicted cases; the references' own masks score 1."""
    raw = "bisc_data/raw/KiTS19"
    run("evaluate", "-r", raw, "-p", "out", "-o", "mine.csv", cwd=card)
    frame = pd.read_csv(card / "mine.csv")
    assert frame["case"].tolist() == ["case_00000", "case_00001"]
    assert frame["dice_kidney"].between(0, 1).all()
    summary = pd.read_csv(card / "mine_summary.csv").set_index("metric")
    assert summary.loc["dice_kidney", "mean"] == pytest.approx(frame["dice_kidney"].mean(), abs=1e-5)
    run("evaluate", "-r", raw, "-p", raw, "-o", "perfect.csv", cwd=card)
    assert (pd.read_csv(card / "perfect.csv")["dice_composite"] == 1.0).all()


@pytest.mark.long
def test_an_exported_model_predicts_the_same(card: Path) -> None:
    """bisc_export, then bisc_predict -m, from any folder: the same masks to the byte."""
    run("export", "-o", "model.zip", cwd=card)
    elsewhere = card / "elsewhere"
    elsewhere.mkdir()
    run("predict", "-i", "../in", "-o", "out", "-m", "../model.zip", cwd=elsewhere)
    for case in ("case_00000", "case_00001"):
        ours, theirs = (folder / "out" / f"{case}.nii.gz" for folder in (elsewhere, card))
        assert np.array_equal(read_labels(ours).volume.array, read_labels(theirs).volume.array)


def test_one_bad_file_is_exit_status_2_and_one_line(card: Path) -> None:
    """The other case is predicted all the same."""
    (card / "mixed").mkdir()
    shutil.copyfile(card / "in" / "case_00000.nii.gz", card / "mixed" / "case_00000.nii.gz")
    (card / "mixed" / "letter.nii.gz").write_text("Dear Sir")
    done = run("predict", "-i", "mixed", "-o", "mixed_out", cwd=card, status=2)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("bisc_predict: error: mixed/letter.nii.gz: ")
    statuses = pd.read_csv(card / "mixed_out" / "predictions.csv").set_index("case")["status"]
    assert statuses["letter"] == "failed"
    assert statuses["case_00000"] != "failed"
    assert {p.name for p in (card / "mixed_out").iterdir()} == {"case_00000.nii.gz", "predictions.csv"}


@pytest.mark.long
def test_runs_of_single_cases_into_one_folder(card: Path) -> None:
    """Few open files, filters of warnings, stdout closed: a row each, with what was made of the second one's axes."""
    scan = sitk.ReadImage(str(card / "in" / "case_00001.nii.gz"))
    bent = np.reshape(scan.GetDirection(), (3, 3)) @ (np.eye(3) + np.eye(3, k=1) * 1e-5)
    scan.SetDirection(bent.ravel().tolist())
    sitk.WriteImage(scan, str(card / "bent.mha"))
    (card / "letter.nii.gz").write_text("Dear Sir")
    for source, status in (("letter.nii.gz", 2), ("bent.mha", 0), ("in/case_00000.nii.gz", 0)):
        command = f"ulimit -n 32; '{Path(sys.executable).parent}/bisc_predict' -i {source} -o loop >&-"
        done = subprocess.run(
            ["sh", "-c", command], cwd=card, stderr=-1, text=True, env={**os.environ, "PYTHONWARNINGS": "error"}
        )
        assert (done.returncode, done.stderr.count("\n")) == (status, source != "in/case_00000.nii.gz"), done.stderr
    rows = pd.read_csv(card / "loop" / "predictions.csv", keep_default_na=False).set_index("case")
    assert list(rows.index) == ["bent", "case_00000", "letter"]
    assert rows["notes"].map(bool).tolist() == [True, False, False]
    assert str(rows.loc["bent", "notes"]).startswith("bent.mha: its direction matrix is off by 1")
    assert rows.loc["letter", "status"] == "failed"
    assert {p.name for p in (card / "loop").iterdir()} == {"bent.nii.gz", "case_00000.nii.gz", "predictions.csv"}


@pytest.mark.long
def test_a_validation_case_that_is_gone_is_told(card: Path) -> None:
    """A mean over the others would look like the fold's."""
    data = card / "bisc_data"
    (name,) = json.loads((data / "preprocessed" / "KiTS19" / "splits.json").read_text())["folds"][0]["val"]
    case = data / "raw" / "KiTS19" / name
    case.rename(data / "aside")
    done = run("train", "fine", "0", *BRIEF, "--continue", cwd=card, status=2)
    assert f"the validation case {name} is not there" in done.stderr
    (data / "aside").rename(case)
    run("train", "fine", "0", *BRIEF, "--continue", cwd=card)


@pytest.mark.parametrize(
    ("command", "args", "said"),
    [
        ("plan_and_preprocess", ["-d", "KiTS19"], "KiTS19"),
        ("train", ["rough", "0"], "bisc_plan_and_preprocess"),
        ("predict", ["-i", "nowhere", "-o", "out"], "nowhere"),
        ("evaluate", ["-r", "nowhere", "-p", "out"], "nowhere"),
        ("compare", ["nowhere.csv", "other.csv"], "nowhere.csv"),
        ("simulate", ["-o", "sim", "-l", "nowhere"], "nowhere"),
        ("export", ["-o", "model.zip"], "train"),
        ("model", ["export", "-o", "model.zip"], "train"),
        ("model", ["import", "model.zip"], "model.zip"),
        ("demo", ["-o", "demo", "--preset", "fast"], "fast"),
    ],
)
def test_in_an_empty_folder_every_command_says_what_is_missing(
    command: str, args: list[str], said: str, tmp_path: Path
) -> None:
    """Exit status 2, one line, and the folder stays empty."""
    done = run(command, *args, cwd=tmp_path, status=2)
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"bisc_{command}: error: ")
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_an_example(command: str, tmp_path: Path) -> None:
    """That begins with the command's own name."""
    last = run(command, "--help", cwd=tmp_path).stdout.rstrip().splitlines()[-1]
    assert re.match(rf"  bisc_{command}( |$)", last)


@pytest.mark.long
def test_the_demo_in_small(tmp_path: Path) -> None:
    """Every step of bisc_demo on a handful of cases; a rerun repeats no training."""
    small = ("-o", "demo", "--preset", "quick", "--train-cases", "6", "--test-cases", "2")
    run("demo", *small, cwd=tmp_path)
    out = tmp_path / "demo"
    assert len(pd.read_csv(out / "report.csv")) == 2
    page = (out / "index.html").read_text()
    linked = set(re.findall(r'(?:src|href)="([^"#:]+)"', page))
    assert linked
    assert [name for name in linked if not (out / name).exists()] == []
    fold = out / "results" / "Demo" / "fine" / "fold_0"
    kept = {name: (fold / name).read_bytes() for name in ("checkpoint_best.pt", "log.csv")}  # the log holds step times
    run("demo", *small, cwd=tmp_path)
    assert {name: (fold / name).read_bytes() for name in kept} == kept
