"""Nothing is trained on, scored by or planned with what a data set was before, without a word."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bisc.cli import evaluate
from bisc.cli.plan_and_preprocess import main as plan_main
from bisc.cli.train import main
from bisc.core.errors import InputError
from bisc.imageio import read_labels, write_image
from bisc.network.checkpoint import load_checkpoint, save_checkpoint
from bisc.pipeline.model_facts import validations
from bisc.planners.dataset import load_splits
from bisc.planners.source import FILE, Source
from bisc.preprocessing.cache import RECORD, CaseRecord
from bisc.system.jsonfile import load_json, save_json
from bisc.trainers import loop
from bisc.trainers.presets import PRESETS
from tests.support.cached import stored_meaning
from tests.support.training_fixtures import NAME, STORED, TINY, patient, planned, trained, use_one_thread, write_raw

use_one_thread()
SHORT = ["-d", NAME, "--preset", "tiny", "--device", "cpu", "--precision", "fp32", "--epochs", "1", "--iterations", "2"]
PLAN = ["-d", NAME, "-np", "1"]
SWAPPED = ["--labels", "kidney=2,tumor=1"]


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fold 0 of both stages is trained; files of its own, with the times of those they were copied from."""
    shutil.copytree(trained(tmp_path_factory), tmp_path / "home")
    monkeypatch.setenv("BISC_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 2)
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    return tmp_path / "home"


def correct(home: Path, name: str) -> None:
    """The label map of a case is another: half of its tumour is kidney. What is planned stays as it was."""
    number = int(name.removeprefix("case_"))
    _, labels = patient(STORED.canonical, 12.0 + 2.0 * number, number)
    labels[: len(labels) // 2][labels[: len(labels) // 2] == 2] = 1
    write_image(home / "raw" / NAME / name / "segmentation.nii.gz", labels, STORED)


def test_label_maps_that_were_corrected(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their caches train nothing; made anew, a run that was begun on those of before is not gone on with, and one that
    had its end says so, and is validated anew."""
    name = load_splits(home / "preprocessed" / NAME).folds[0].train[0]
    for stage in ("rough", "fine"):
        assert main([stage, "0", *SHORT]) == 0
    correct(home, name)
    capsys.readouterr()
    for argv in (["rough", "0", *SHORT], ["fine", "0", *SHORT, "--continue"]):
        assert main(argv) == 2
        error = capsys.readouterr().err
        assert f"{name}/case.json: is older than" in error
        assert "as in 1 of" in error
        assert "run bisc_plan_and_preprocess again" in error
    assert plan_main(PLAN) == 0
    last = home / "results" / NAME / "rough" / "fold_0" / "checkpoint_last.pt"
    whole = load_checkpoint(last)
    save_checkpoint(last, replace(whole, step=1))
    capsys.readouterr()
    assert main(["rough", "0", *SHORT, "--continue"]) == 2
    assert "was trained on other voxels or labels of its cases than their caches hold now" in capsys.readouterr().err
    save_checkpoint(last, whole)
    assert main(["rough", "0", *SHORT, "--continue"]) == 0
    assert "leave --continue out to train anew" in capsys.readouterr().err


def test_scores_of_label_maps_that_were_corrected(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cross-validation says that they are, and no model card has them."""
    results = home / "results" / NAME
    capsys.readouterr()
    assert evaluate.main(["-d", NAME]) == 0
    assert "renews" not in "".join(capsys.readouterr())
    assert [one.checked for one in validations(results, [0])] == [True, True]
    correct(home, load_splits(home / "preprocessed" / NAME).folds[0].val[0])
    assert evaluate.main(["-d", NAME]) == 0
    said = "fold 0: its scores are of cases whose images, label maps or fold changed since"
    assert f"{said}: bisc_train fine 0 --continue renews them" in "".join(capsys.readouterr())
    assert validations(results, [0]) == []
    save_json(home / "preprocessed" / NAME / FILE, Source(folder=str(home / "gone")))  # on a machine with caches alone
    assert [one.checked for one in validations(results, [0])] == [True, True]


def test_labels_that_mean_something_else_since(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Planned, and not cached: a planning that was cut off leaves the same."""
    assert plan_main([*PLAN, *SWAPPED, "--only-plan"]) == 0
    capsys.readouterr()
    assert main(["rough", "0", *SHORT]) == 2
    assert "or than what labels mean, as in 3 of 3 cases" in capsys.readouterr().err


def test_a_dataset_json_that_says_something_else_since(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Caches, and scores, are of what it said when it was planned."""
    said, results = home / "raw" / NAME / "dataset.json", home / "results" / NAME
    assert [one.checked for one in validations(results, [0])] == [True, True]
    said.write_text('{"labels": {"background": 0, "kidney": 2, "tumor": 1}}')
    assert validations(results, [0]) == []
    capsys.readouterr()
    assert main(["rough", "0", *SHORT]) == 2
    assert "or than what labels mean, as in 3 of 3 cases" in capsys.readouterr().err


def test_labels_that_mean_something_else_since_for_a_named_plan(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is given for the data set counts for its plans too."""
    low = ["--plan", "low"]
    assert plan_main([*PLAN, *low]) == 0
    assert plan_main([*PLAN, *SWAPPED, "--only-plan"]) == 0
    capsys.readouterr()
    assert main(["rough", "0", *SHORT, *low]) == 2
    assert "or than what labels mean, as in 3 of 3 cases" in capsys.readouterr().err


def test_all_plans_of_a_data_set_read_its_labels_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A named one follows, whichever was planned first, and is given no other meaning."""
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    write_raw(tmp_path / "raw" / NAME)
    folder = tmp_path / "preprocessed" / NAME
    named = folder.with_name(f"{NAME}__low")
    low = [*PLAN, "--only-plan", "--plan", "low"]
    assert plan_main(low) == 0
    assert stored_meaning(named) is None
    assert plan_main([*low, *SWAPPED]) == 2
    assert "one meaning of labels for all plans of a data set" in capsys.readouterr().err
    assert plan_main([*PLAN, "--only-plan", *SWAPPED]) == 0
    assert plan_main(low) == 0
    assert "2 kidney" in capsys.readouterr().out
    assert stored_meaning(named) == stored_meaning(folder) is not None
    shutil.rmtree(tmp_path / "preprocessed")
    assert plan_main([*low, *SWAPPED]) == 0
    assert plan_main([*PLAN, "--only-plan"]) == 0
    assert stored_meaning(folder) == stored_meaning(named) is not None


def test_voxels_that_changed_though_size_and_time_did_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What --verify finds renews the caches of every plan, once that is planned again."""
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    raw = write_raw(tmp_path / "raw" / NAME, 2)
    path = raw / "case_00000" / "segmentation.nii"
    given = read_labels(path.with_suffix(".nii.gz"))
    path.with_suffix(".nii.gz").unlink()
    write_image(path, given.volume.array, given.native)
    low, records = [*PLAN, "--plan", "low"], [tmp_path / "preprocessed" / f"{NAME}{of}" for of in ("", "__low")]
    assert plan_main(PLAN) == plan_main(low) == 0
    times, labels = path.stat(), np.asarray(given.volume.array).copy()
    labels[: len(labels) // 2][labels[: len(labels) // 2] == 2] = 1
    write_image(path, labels, given.native)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    assert plan_main([*PLAN, "--verify"]) == plan_main(low) == 0
    cached = [load_json(of / "fine" / "case_00000" / RECORD, CaseRecord, "").regions for of in records]
    assert [one.tumor_voxels for one in cached[0]] == [one.tumor_voxels for one in cached[1]]


def test_cases_that_dataset_json_counts_and_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a copy that was cut off; more than it counts are in order."""
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    path = write_raw(tmp_path / "raw" / NAME) / "dataset.json"
    for stated, told in ((4, True), (3, False), (2, False), ("4", False)):
        path.write_text(json.dumps({"numTraining": stated}))
        capsys.readouterr()
        assert plan_main([*PLAN, "--only-plan"]) == 0
        assert (f"{path}: says numTraining 4, and 3 cases are there" in capsys.readouterr().err) is told
        verify = (tmp_path / "preprocessed" / NAME / "verify.csv").read_text()
        assert ("says numTraining 4" in verify) is told


@pytest.mark.parametrize("fault", ["twice", "both", "empty"])
def test_folds_that_no_score_can_rest_on(
    fault: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By hand in splits.json: neither trained, nor planned over."""
    shutil.copytree(planned(tmp_path_factory), tmp_path / "home")
    monkeypatch.setenv("BISC_HOME", str(tmp_path / "home"))
    path = tmp_path / "home" / "preprocessed" / NAME / "splits.json"
    splits = json.loads(path.read_text())
    first, second = splits["folds"][:2]
    name = first["val"][0]
    if fault == "twice":
        second["val"], second["train"] = [*second["val"], name], [n for n in second["train"] if n != name]
    elif fault == "both":
        first["train"].append(name)
    else:
        first["train"], first["val"] = [*first["train"], *first["val"]], []
    save_json(path, splits)
    written = path.read_bytes()
    with pytest.raises(InputError, match="folds that validate each case once"):
        load_splits(path.parent)
    for command, argv in ((main, ["rough", "0", *SHORT[:2]]), (plan_main, [*PLAN, "--only-plan"])):
        assert command(argv) == 2
        assert f"{path}: fold " in capsys.readouterr().err
    assert path.read_bytes() == written


def test_a_case_alone_is_trained_on_and_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    write_raw(tmp_path / "raw" / NAME, 1)
    assert plan_main([*PLAN, "--only-plan"]) == 0
    (fold,) = load_splits(tmp_path / "preprocessed" / NAME).folds
    assert fold.train == fold.val == ["case_00000"]
