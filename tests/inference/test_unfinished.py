"""Folds that are still trained, or were interrupted, beside finished ones: left out or taken, never without a word."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from benchmarks.by_intensity import write_results
from bisc.core.choices import STAGES
from bisc.core.errors import InputError
from bisc.inference.cascade import offsets_of
from bisc.inference.model import load_model
from bisc.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bisc.network.device import choose_device
from bisc.pipeline.model_files import export_model
from tests.support.noticed import noticed, unnoticed
from tests.support.training_fixtures import use_one_thread

use_one_thread()
CPU = choose_device("cpu", "fp32")
LAST = "checkpoint_last.pt"


def change(path: Path, step: int, offsets: list[float] | None) -> None:
    """Of a training of 1000 steps."""
    checkpoint = load_checkpoint(path)
    checkpoint.settings |= {"epochs": 4, "iterations": 250}
    checkpoint.step, checkpoint.offsets = step, offsets
    save_checkpoint(path, checkpoint)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Fold 0 is finished and validated, fold 1 at step 4 of 1000."""
    folder = write_results(tmp_path / "Data", base_features=2)
    for stage in STAGES:
        change(folder / stage / "fold_0" / LAST, 1000, [0.0, 0.5, -0.5])
        shutil.copytree(folder / stage / "fold_0", folder / stage / "fold_1")
        change(folder / stage / "fold_1" / LAST, 4, None)
    return folder


def test_the_folds_done_so_far_predict_while_another_is_trained(results: Path) -> None:
    with noticed(r"fine/fold_1/checkpoint_last\.pt: its training is at step 4 of 1000; left out \(-f 1") as notes:
        model = load_model(results, None, CPU)
    assert [one.fold for one in (*model.rough, *model.fine)] == [0, 0]
    assert len(notes) == 2
    with unnoticed():
        load_model(results, [0], CPU)


def test_a_fold_that_was_asked_for_is_taken_with_a_notice(results: Path) -> None:
    with noticed("rough/fold_1.*step 4 of 1000; taken as it is") as notes:
        model = load_model(results, [0, 1], CPU)
    assert [one.fold for one in (*model.rough, *model.fine)] == [0, 1, 0, 1]
    assert any("no offsets of fine fold 1," in note and "takes the other folds'" in note for note in notes)
    assert offsets_of(model.fine, "calibrated") == (0.0, 0.5, -0.5)


def test_where_no_fold_is_finished_one_has_to_be_named(results: Path) -> None:
    shutil.rmtree(results / "fine" / "fold_0")
    with pytest.raises(InputError, match=r"no fine fold's training has come to its end; .*--continue.* -f"):
        load_model(results, None, CPU)
    with noticed("no offsets of fine fold 1,.*'calibrated' is argmax"):
        load_model(results, [1], CPU)


def test_a_model_file_says_what_it_was_made_of(results: Path) -> None:
    """The finished folds alone; of one that was asked for, how far it had come."""
    record = export_model(results, None, results / "finished.zip")
    assert ([n.fold for n in record.networks], record.notes) == ([0, 0], [])
    record = export_model(results, [1], results / "asked_for.zip")
    assert record.notes == [f"{stage} fold 1: exported at step 4 of 1000 of its training" for stage in STAGES]


def test_an_archive_of_a_training_in_work_still_predicts(results: Path) -> None:
    """As bisc_export made them once, of whatever was there."""
    path = results / "old.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("plan.json", *(f"{stage}/fold_1/{LAST}" for stage in STAGES)):
            archive.write(results / name, name)
    with noticed(r"old\.zip.fine/fold_1.*step 4 of 1000; taken as it is"):
        assert [one.fold for one in load_model(path, None, CPU).fine] == [1]


def test_a_training_whose_length_is_not_known_counts_as_finished() -> None:
    """As exported ones, and those of before there were settings of it."""
    for settings in ({}, {"epochs": 2}, {"epochs": "2", "iterations": None}, {"epochs": 2, "iterations": 3}):
        assert Checkpoint(settings, {}, {}, step=6).unfinished == ""
    assert Checkpoint({"epochs": 2, "iterations": 3}, {}, {}, step=5).unfinished == "step 5 of 6"
