"""Training: it learns, logs, keeps older runs, and refuses what does not fit."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from msgspec.structs import replace

from bisc.cli.train import main
from bisc.losses import SCUNetLoss
from bisc.network import SCUNet
from bisc.network.checkpoint import load_checkpoint, save_checkpoint
from bisc.network.device import choose_device
from bisc.planners.dataset import load_plan
from bisc.planners.splits import Fold
from bisc.preprocessing.resample import input_of_levels
from bisc.trainers import loop, optimizers
from bisc.trainers.log import BranchLosses
from bisc.trainers.loop import TrainingRun
from bisc.trainers.optimizers import learning_rate
from bisc.trainers.presets import PRESETS
from bisc.trainers.settings import RunSettings, run_settings
from bisc.trainers.stages import FineTrainer, RoughTrainer
from tests.support.training_fixtures import NAME, TINY, planned, use_one_thread

use_one_thread()
COLUMNS = ["epoch", "step", "learning_rate", "train_loss", "val_loss", "dice_kidney", "dice_tumor", "score"]
TIMES = ["step_s", "wait_s", "validation_s"]
BRIEF = ["rough", "0", "-d", NAME, "--preset", "tiny", "--device", "cpu", "--precision", "fp32", "--no-validation"]

Train = Callable[..., int]


@pytest.fixture(scope="module")
def planned_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planned(tmp_path_factory)


@pytest.fixture
def home(planned_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty results folder beside the shared preprocessed data set, the tiny preset, two validation batches."""
    monkeypatch.setenv("BISC_PREPROCESSED", str(planned_home / "preprocessed"))
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path / "results"))
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 2)
    return tmp_path


@pytest.fixture
def fold(home: Path) -> Path:
    return home / "results" / NAME / "rough" / "fold_0"


def settings_of(planned: Path) -> RunSettings:
    return run_settings(load_plan(planned / "preprocessed" / NAME), "rough", 0, TINY, "fp32")


def test_a_run_leaves_log_picture_and_checkpoints(home: Path, fold: Path) -> None:
    """One row per epoch with the documented columns; the best checkpoint is that of the best row."""
    assert main(BRIEF) == 0
    assert sorted(p.name for p in fold.iterdir()) == [
        "checkpoint_best.pt", "checkpoint_last.pt", "log.csv", "progress.png", "run.json",
    ]  # fmt: skip
    log = pd.read_csv(fold / "log.csv")
    assert list(log.columns) == COLUMNS + TIMES
    assert log["epoch"].tolist() == [1, 2, 3]
    assert log["step"].tolist() == [4, 8, 12]
    assert np.allclose(log["score"], (log["dice_kidney"] + log["dice_tumor"]) / 2, atol=1e-5)
    assert (log[TIMES].to_numpy() >= 0).all()
    assert (log["step_s"] > 0).all()
    assert (fold / "progress.png").read_bytes()[:4] == b"\x89PNG"
    best, last = load_checkpoint(fold / "checkpoint_best.pt"), load_checkpoint(fold / "checkpoint_last.pt")
    assert best.step == log["step"].tolist()[int(log["score"].argmax())]
    assert last.step == 12
    assert last.epoch_losses == []
    assert last.best == max(row["score"] for row in last.rows)
    assert (home / "results" / NAME / "plan.json").read_bytes() == (
        Path(os.environ["BISC_PREPROCESSED"]) / NAME / "plan.json"
    ).read_bytes()


def test_the_loss_falls(home: Path, fold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bright kidneys in fat are learnt within seconds: loss and Dice show it."""
    monkeypatch.setitem(
        PRESETS,
        "tiny",
        replace(TINY, schedule="constant", rough=replace(TINY.rough, optimizer="adam", learning_rate=1e-2)),
    )
    assert main([*BRIEF, "--loss", "dice_ce", "--epochs", "3", "--iterations", "12"]) == 0
    log = pd.read_csv(fold / "log.csv")
    assert log["train_loss"].iloc[-1] < 0.8 * log["train_loss"].iloc[0]
    assert log["val_loss"].iloc[-1] < log["val_loss"].iloc[0]


def test_the_fine_stage_trains_on_rois(home: Path) -> None:
    """Its patches come from the cached ROIs."""
    assert main(["fine", *BRIEF[1:], "--epochs", "1", "--iterations", "1"]) == 0
    settings = load_checkpoint(home / "results" / NAME / "fine" / "fold_0" / "checkpoint_last.pt").settings
    assert settings["stage"] == "fine"
    assert settings["patch_size_zyx"] == [16, 16, 16]


def test_training_anew_sets_the_older_run_aside(home: Path, fold: Path) -> None:
    """Whole, under the next free number; and the same command gives the same bytes again."""
    runs = []
    for _ in range(3):
        assert main([*BRIEF, "--epochs", "1", "--iterations", "2"]) == 0
        runs.append((fold / "checkpoint_last.pt").read_bytes())
    previous = fold.parent / "previous"
    assert sorted(p.name for p in previous.iterdir()) == ["fold_0_1", "fold_0_2"]
    assert sorted(p.name for p in (previous / "fold_0_1").iterdir()) == sorted(p.name for p in fold.iterdir())
    assert runs[0] == runs[1] == runs[2]
    assert (previous / "fold_0_2" / "checkpoint_last.pt").read_bytes() == runs[1]
    assert main([*BRIEF, "--epochs", "1", "--iterations", "2", "--seed", "1"]) == 0
    assert (fold / "checkpoint_last.pt").read_bytes() != runs[0]


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(argv) == 2
    message = capsys.readouterr().err
    assert message.startswith("bisc_train: error: ")
    assert message.count("\n") == 1
    return message


def test_what_a_killed_run_left_goes_before_anything_else(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Though this run, too, ends before it trains (here for want of a rough stage, or by an interrupt)."""
    fold = home / "results" / NAME / "fine" / "fold_0"
    left = [folder / ".partial-x-scratch" for folder in (home / "results" / NAME, fold, fold / "validation")]
    for folder in left:
        folder.mkdir(parents=True)
    assert main(["fine", *BRIEF[1:-1]]) == 2
    assert "rough" in capsys.readouterr().err
    assert [folder for folder in left if folder.exists()] == []


def test_continue_with_other_settings_is_refused(home: Path, fold: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names what differs, both values, and the run stays as it was."""
    brief = [*BRIEF, "--epochs", "1", "--iterations", "2"]
    assert main(brief) == 0
    before = {p.name: p.read_bytes() for p in fold.iterdir()}
    message = refused([*brief, "--continue", "--loss", "ce", "--seed", "7"], capsys)
    for part in (str(fold / "checkpoint_last.pt"), "(now ce)", "seed 12345 (now 7)", "--continue"):
        assert part in message
    assert "epochs 1 (now 2)" in refused([*brief, "--continue", "--epochs", "2"], capsys)
    assert {p.name: p.read_bytes() for p in fold.iterdir()} == before
    assert not (fold.parent / "previous").exists()


def test_continue_with_another_plan_is_refused(
    home: Path, fold: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images that would look otherwise to the network: the data set was planned anew in between."""
    copy = home / "preprocessed"
    shutil.copytree(Path(os.environ["BISC_PREPROCESSED"]), copy)
    monkeypatch.setenv("BISC_PREPROCESSED", str(copy))
    brief = [*BRIEF, "--epochs", "1", "--iterations", "1"]
    assert main(brief) == 0
    plan = copy / NAME / "plan.json"
    mean = str(load_plan(copy / NAME).intensity.mean_hu)
    plan.write_text(plan.read_text().replace(mean, "77.5"))
    message = refused([*brief, "--continue"], capsys)
    assert "another plan: intensity" in message
    assert "77.5" in message


def test_continue_without_optimiser_state_is_refused(
    home: Path, fold: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As from an exported model that somebody unpacked into the results."""
    assert main([*BRIEF, "--epochs", "1", "--iterations", "1"]) == 0
    lean = load_checkpoint(fold / "checkpoint_last.pt")
    lean.optimizer = {}
    save_checkpoint(fold / "checkpoint_last.pt", lean)
    assert "no optimiser state" in refused([*BRIEF, "--epochs", "1", "--iterations", "1", "--continue"], capsys)


def test_a_damaged_checkpoint_is_one_line(home: Path, fold: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk's leftovers."""
    assert main([*BRIEF, "--epochs", "1", "--iterations", "1"]) == 0
    path = fold / "checkpoint_last.pt"
    path.write_bytes(path.read_bytes()[:5000])
    assert str(path) in refused([*BRIEF, "--epochs", "1", "--iterations", "1", "--continue"], capsys)


def test_a_loss_that_is_not_finite_ends_the_run_and_spoils_nothing(
    home: Path, fold: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, one line that names the step; the last whole epoch is still there."""
    whole = SCUNetLoss.of_branches
    calls = 0

    def sometimes_nan(self: SCUNetLoss, *args: object) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += torch.is_grad_enabled()  # validation does not count
        factor = float("nan") if calls == 7 else 1.0
        return {name: loss * factor for name, loss in whole(self, *args).items()}  # type: ignore[arg-type]

    monkeypatch.setattr(SCUNetLoss, "of_branches", sometimes_nan)
    assert main(BRIEF) == 1
    message = capsys.readouterr().err
    assert "the loss, or its gradient, is nan at step 6" in message
    assert message.count("\n") == 1
    last = load_checkpoint(fold / "checkpoint_last.pt")
    assert last.step == 4
    assert all(bool(torch.isfinite(v).all()) for v in last.network.values())


def test_rates_by_hand(planned_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Constant; and a rise over four steps times half a cosine over one hundred."""
    monkeypatch.setattr(optimizers, "WARM_UP_STEPS", 4)
    base = replace(settings_of(planned_home), epochs=10, iterations=10, learning_rate=2.0)
    constant = replace(base, schedule="constant")
    assert [learning_rate(constant, step) for step in (0, 50, 99)] == [2.0, 2.0, 2.0]
    cosine = replace(base, schedule="cosine")
    expected = {
        0: 2.0 * (1 / 4) * 1.0,
        1: 2.0 * (2 / 4) * (1 + math.cos(math.pi / 100)) / 2,
        3: 2.0 * (1 + math.cos(3 * math.pi / 100)) / 2,
        50: 2.0 / 2,
        75: 2.0 * (1 - math.sqrt(0.5)) / 2,
        99: 2.0 * (1 + math.cos(0.99 * math.pi)) / 2,
    }
    assert {step: learning_rate(cosine, step) for step in expected} == pytest.approx(expected)


def test_the_optimiser_steps_at_the_logged_rate(home: Path, fold: Path) -> None:
    """What the schedule says is what Adam was given."""
    assert main([*BRIEF, "--epochs", "1", "--iterations", "3"]) == 0
    last = load_checkpoint(fold / "checkpoint_last.pt")
    settings = settings_of(Path(os.environ["BISC_PREPROCESSED"]).parent)
    rate = learning_rate(replace(settings, epochs=1, iterations=3), 2)
    assert last.optimizer["optimizers"][0]["param_groups"][0]["lr"] == pytest.approx(rate)
    assert last.rows[-1]["learning_rate"] == pytest.approx(rate)


def test_validation_scores_by_hand(home: Path, planned_home: Path) -> None:
    """A network that calls all voxels tumour: Dice 2 n / (N + n) of kidney and tumour over all fixed patches."""
    settings = settings_of(planned_home)
    trainer = RoughTrainer(
        settings, planned_home / "preprocessed" / NAME, home / "results", choose_device("cpu", "fp32")
    )
    plan = load_plan(planned_home / "preprocessed" / NAME)
    run = TrainingRun(
        settings, {}, all_tumor(), trainer.sampler(plan, ["case_00001"], 1),
        trainer.sampler(plan, ["case_00000"], 2), home, choose_device("cpu", "fp32"), 0,
    )  # fmt: skip
    seen: list[torch.Tensor] = []
    run.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    fixed = [run.validation.batch(i) for i in range(3)]
    labels = np.concatenate([batch.targets & 3 for batch in fixed])
    _, kidney, tumor = run.validate(fixed, BranchLosses())
    assert kidney == pytest.approx(2 * (labels > 0).sum() / (labels.size + (labels > 0).sum()))
    assert tumor == pytest.approx(2 * (labels == 2).sum() / (labels.size + (labels == 2).sum()))
    for image, batch in zip(seen, fixed, strict=True):  # the levels' values, to the bit
        assert np.array_equal(image.numpy(), input_of_levels(np.asarray(batch.levels), plan.intensity))


def all_tumor() -> SCUNet:
    network = SCUNet(2)
    torch.nn.init.zeros_(network.region.classify.weight)
    bias = network.region.classify.bias
    assert bias is not None
    bias.data = torch.tensor([0.0, 0.0, 9.0])
    return network


def test_validation_draws_other_patches_than_training(planned_home: Path) -> None:
    """From the same case, with another seed; the intensities are the plan's."""
    plan = load_plan(planned_home / "preprocessed" / NAME)
    settings = run_settings(plan, "fine", 0, TINY, "fp32")
    trainer = FineTrainer(settings, planned_home / "preprocessed" / NAME, planned_home, choose_device("cpu", "fp32"))
    run = trainer.training(plan, Fold(train=["case_00000"], val=["case_00000"]))
    train, validation = run.train, run.validation
    assert train.regions == validation.regions
    assert train.draw(0) != validation.draw(0)
    assert train.intensity == validation.intensity == plan.intensity
