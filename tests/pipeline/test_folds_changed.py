"""A network is never validated on what it was trained on, though the folds were changed since."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bisc.cli import evaluate
from bisc.cli.train import main
from bisc.core.errors import InputError
from bisc.imageio import write_image
from bisc.network.checkpoint import load_checkpoint, save_checkpoint
from bisc.network.device import choose_device
from bisc.pipeline.plan import plan
from bisc.pipeline.validate import finish_fold
from bisc.planners.dataset import load_splits
from bisc.system.jsonfile import save_json
from bisc.trainers.presets import PRESETS
from tests.support.training_fixtures import NAME, STORED, TINY, patient, trained, use_one_thread, write_raw

use_one_thread()
SHORT = ["-d", NAME, "--preset", "tiny", "--device", "cpu", "--precision", "fp32", "--epochs", "1", "--iterations", "2"]


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fold 0 of both stages is trained; then another fold's cases are its validation."""
    shutil.copytree(trained(tmp_path_factory), tmp_path / "home", symlinks=True)
    monkeypatch.setenv("BISC_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    return tmp_path / "home"


def test_changed_folds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither --continue, nor a fine stage that would be validated through the old rough one."""
    assert main(["rough", "0", *SHORT]) == 0
    folder = home / "preprocessed" / NAME
    splits = load_splits(folder)
    first, second, *others = splits.folds
    swapped = msgspec.structs.replace(splits, folds=[second, first, *others])
    assert set(first.train) & set(second.val)
    save_json(folder / "splits.json", swapped)
    capsys.readouterr()
    for argv in (["rough", "0", *SHORT, "--continue"], ["fine", "0", *SHORT]):
        assert main(argv) == 2
        error = capsys.readouterr().err
        assert "was trained on cases that its fold validates since the folds were changed" in error
        assert second.val[0] in error


def test_a_rough_stage_that_is_not_finished_validates_no_fine_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted, or without offsets: known before the fine stage trains, and again where it is validated."""
    path = home / "results" / NAME / "rough" / "fold_0" / "checkpoint_last.pt"
    whole = replace(load_checkpoint(path), cases=[])
    for changed, found in (
        (replace(whole, step=1), "its training is at step 1 of 2"),
        (replace(whole, offsets=None), "was not validated itself"),
    ):
        save_checkpoint(path, changed)
        assert main(["fine", "0", *SHORT]) == 2
        error = capsys.readouterr().err
        assert f"{path}: {found}, and the fine stage is validated through it" in error
        assert "finish bisc_train rough 0 (the same line with --continue), or give --no-validation" in error
        with pytest.raises(InputError, match=found):
            finish_fold("fine", 0, home / "preprocessed" / NAME, home / "results" / NAME, choose_device("cpu", "fp32"))
    assert not (home / "results" / NAME / "fine" / "previous").exists()


def test_a_copy_of_a_fold_is_no_fold(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A backup by hand would stand in for it."""
    fine = home / "results" / NAME / "fine"
    report = fine / "fold_0" / "validation" / "report.csv"
    if not report.exists():
        assert main(["rough", "0", *SHORT]) == main(["fine", "0", *SHORT]) == 0
    shutil.copytree(fine / "fold_0", fine / "fold_0_old")
    (fine / "fold_0_old" / "validation" / "report.csv").write_text(report.read_text().replace("0.", "0.9"))
    capsys.readouterr()
    assert evaluate.main(["-d", NAME]) == 0
    said = capsys.readouterr()
    assert "no fold by name, so left out: fold_0_old" in said.out + said.err
    joined = (home / "results" / NAME / "report.csv").read_text()
    assert report.read_text().splitlines()[1] in joined


def test_a_scan_that_is_there_twice_is_one_patient_however_it_is_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under two numbers, with one voxel of the label map changed, and one without any label."""
    raw = write_raw(tmp_path / "raw" / "Data", 2)
    hu, labels = patient(STORED.canonical, 12.0, 0)
    for name, change in (("case_00007", 1), ("case_00008", labels.size)):
        other = labels.copy()
        other[np.unravel_index(np.flatnonzero(other)[:change], other.shape)] = 0
        write_image(raw / name / "imaging.nii.gz", hu, STORED)
        write_image(raw / name / "segmentation.nii.gz", other, STORED)
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    faults = plan("Data", only_plan=True).faults
    assert [name for name, fault in faults if "is the same scan as case_00000" in str(fault)] == [
        "case_00007",
        "case_00008",
    ]


def test_a_seed_that_is_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rough", "0", *SHORT, "--seed", "9" * 23]) == 2
    assert "--seed" in capsys.readouterr().err
    with pytest.raises(InputError, match="--seed"):
        from bisc import train

        train("rough", 0, NAME, seed=2**63)
