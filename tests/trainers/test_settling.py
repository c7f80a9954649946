"""A GPU's losses stay there for some steps, and none that is not finite passes for one that is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch

from bisc.core.errors import WorkError
from bisc.network.checkpoint import load_checkpoint
from bisc.network.device import Device, choose_device
from bisc.planners.dataset import load_plan
from bisc.system.paths import CHECKPOINT_BEST, CHECKPOINT_LAST
from bisc.trainers import loop
from bisc.trainers.loop import TrainingRun
from bisc.trainers.sampler import Batch
from bisc.trainers.settings import run_settings
from bisc.trainers.stages import RoughTrainer, load_fold
from tests.support.training_fixtures import NAME, TINY, planned, use_one_thread

use_one_thread()
CPU = choose_device("cpu", "fp32")


class OnCuda(Device):
    """The CPU in a GPU's place."""

    @property
    def kind(self) -> str:
        return "cuda"

    def autocast(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture(scope="module")
def planned_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planned(tmp_path_factory)


def run_on(device: Device, planned_home: Path, folder: Path) -> TrainingRun:
    """A run at its start, whose device is then taken for `device`."""
    preprocessed = planned_home / "preprocessed" / NAME
    plan = load_plan(preprocessed)
    settings = run_settings(plan, "rough", 0, TINY, "fp32")
    run = RoughTrainer(settings, preprocessed, folder, CPU).training(plan, load_fold(preprocessed, 0))
    run.folder.mkdir(parents=True)
    run.device = device
    return run


def test_losses_are_fetched_together(planned_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of four steps after the fourth: the same that a CPU counts one by one."""
    monkeypatch.setattr(loop, "SETTLE_EVERY", 4)
    one_by_one, together = (run_on(d, planned_home, tmp_path / d.kind) for d in (CPU, OnCuda(CPU.device, "fp32")))
    counted = []
    for step in range(6):
        batch = one_by_one.train.batch(step)
        for run in (one_by_one, together):
            run.train_step(batch, step)
        counted.append(len(together.state.epoch_losses))
        assert len(one_by_one.state.epoch_losses) == step + 1
    assert counted == [0, 0, 0, 4, 4, 4]
    together.settle()
    assert together.state.epoch_losses == one_by_one.state.epoch_losses
    together.settle()  # nothing is counted twice
    assert len(together.state.epoch_losses) == 6


def test_the_step_of_a_loss_that_is_not_finite_is_named(planned_home: Path, tmp_path: Path) -> None:
    """Steps 4, 5 and 6 are unsettled, the second is NaN; nothing is saved of them."""
    run = run_on(OnCuda(CPU.device, "fp32"), planned_home, tmp_path)
    run.save(CHECKPOINT_LAST)
    run.unsettled = [torch.tensor(1.0), torch.tensor(float("nan")), torch.tensor(2.0)]
    run.state.step = 7
    with pytest.raises(WorkError, match="is nan at step 5;"):
        run.save(CHECKPOINT_LAST)
    assert load_checkpoint(run.folder / CHECKPOINT_LAST).step == 0


def spoil(run: TrainingRun, value: float) -> None:
    """One number of the next step's gradients; the loss is as it was."""
    gradients = run.gradients

    def spoilt(batch: Batch, step: int) -> torch.Tensor:
        loss = gradients(batch, step)
        first = next(run.network.parameters()).grad
        assert first is not None
        first.view(-1)[0] = value
        return loss

    setattr(run, "gradients", spoilt)  # noqa: B010 - a method


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_never_saved(planned_home: Path, tmp_path: Path, value: float) -> None:
    """It is in every weight after the step, and no later loss need come: the step may be an epoch's last."""
    run = run_on(OnCuda(CPU.device, "fp32"), planned_home, tmp_path)
    run.save(CHECKPOINT_LAST)
    spoil(run, value)
    run.train_step(run.train.batch(0), 0)
    with pytest.raises(WorkError, match=r"the loss, or its gradient, is nan at step 0;"):
        run.save(CHECKPOINT_LAST)
    assert load_checkpoint(run.folder / CHECKPOINT_LAST).step == 0


def test_a_gradient_too_large_for_half_precision_costs_its_step_alone(planned_home: Path, tmp_path: Path) -> None:
    """As its scaler means it: the step is left out, the next is scaled less."""
    run = run_on(CPU, planned_home, tmp_path)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    spoil(run, float("inf"))
    run.train_step(run.train.batch(0), 0)
    run.save(CHECKPOINT_LAST)
    assert run.scaler.get_scale() == 2.0
    assert all(bool(torch.isfinite(weights).all()) for weights in run.network.parameters())


def test_one_state_under_two_names(planned_home: Path, tmp_path: Path) -> None:
    """Byte for byte."""
    run = run_on(CPU, planned_home, tmp_path)
    run.train_step(run.train.batch(0), 0)
    run.save(CHECKPOINT_BEST, CHECKPOINT_LAST)
    best, last = ((run.folder / name).read_bytes() for name in (CHECKPOINT_BEST, CHECKPOINT_LAST))
    assert best == last
    assert run.saved_step == 1
