"""A batch that memory does not hold at once is trained in passes, with the gradients of the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from bisc.cli.train import main
from bisc.network import SCUNet
from bisc.network.checkpoint import load_checkpoint
from bisc.network.device import Device, choose_device
from bisc.planners.dataset import load_plan
from bisc.planners.memory import training_gb
from bisc.trainers import loop, passes
from bisc.trainers.log import BranchLosses
from bisc.trainers.loop import TrainingRun
from bisc.trainers.passes import HALF_PRECISION, choose_passes, in_passes, passes_that_fit
from bisc.trainers.presets import PRESETS
from bisc.trainers.settings import RunSettings, run_settings
from bisc.trainers.stages import RoughTrainer, load_fold
from tests.support.noticed import noticed
from tests.support.training_fixtures import NAME, TINY, planned, use_one_thread

use_one_thread()
FLAGS = ["rough", "0", "-d", NAME, "--preset", "tiny", "--device", "cpu", "--precision", "fp32", "--no-validation"]
CPU = choose_device("cpu", "fp32")


@pytest.fixture(scope="module")
def planned_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planned(tmp_path_factory)


@pytest.fixture
def settings(planned_home: Path) -> RunSettings:
    """Batch 8 of 16 x 32 x 32 patches, 4 features, batch norm."""
    made = run_settings(load_plan(planned_home / "preprocessed" / NAME), "rough", 0, TINY, "fp32", loss="ce")
    return replace(made, batch_size=8, norm="batch")


def one_step(planned_home: Path, settings: RunSettings, folder: Path, device: Device = CPU) -> TrainingRun:
    """A run after its first step."""
    preprocessed = planned_home / "preprocessed" / NAME
    torch.manual_seed(0)
    network = SCUNet(settings.base_features, "instance")
    trainer = RoughTrainer(settings, preprocessed, folder, device)
    sampler = trainer.sampler(load_plan(preprocessed), load_fold(preprocessed, 0).train, 0)
    run = TrainingRun(settings, {}, network, sampler, sampler, folder, device, 0)
    run.train_step(sampler.batch(0), 0)
    return run


@pytest.mark.parametrize(("n", "loss"), [(2, "ce"), (4, "ce"), (8, "ce"), (2, "balanced_ce"), (8, "balanced_ce")])
def test_passes_add_up_to_the_whole_batch(
    planned_home: Path, settings: RunSettings, tmp_path: Path, n: int, loss: str
) -> None:
    """Plain cross-entropy is a mean over equal patches, the balanced one weighs by the whole batch's classes, instance
    norm sees one patch: nothing else may differ."""
    settings = replace(settings, loss=loss)
    whole, parts = (one_step(planned_home, replace(settings, passes=k), tmp_path) for k in (1, n))
    assert parts.state.epoch_losses == pytest.approx(whole.state.epoch_losses, rel=1e-5)
    for a, b in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        # The balanced loss makes much of rare classes, and group norm rounds a batch otherwise than a patch
        assert float((a.grad - b.grad).norm()) <= 5e-3 * float(a.grad.norm()) + 1e-5


def test_gradients_are_unscaled_once(planned_home: Path, settings: RunSettings, tmp_path: Path) -> None:
    """fp16 scales each part's loss; the sum is scaled back once. (A CPU trains no fp16: float32, scaled, stands in.)"""

    class Scaling(Device):
        @property
        def scales_gradients(self) -> bool:
            return True

    steps = [one_step(planned_home, replace(settings, passes=k), tmp_path, Scaling(CPU.device, "fp32")) for k in (1, 4)]
    assert steps[0].scaler.get_scale() > 1.0
    for a, b in zip(*(run.network.parameters() for run in steps), strict=True):
        assert a.grad is not None and b.grad is not None
        assert float(a.grad.norm()) < 2 * loop.GRADIENT_NORM
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)


def test_validation_too_is_done_in_passes(planned_home: Path, settings: RunSettings, tmp_path: Path) -> None:
    """It must not need more memory than training; plain cross-entropy and counted voxels are the same."""
    run = one_step(planned_home, settings, tmp_path)
    fixed = [run.validation.batch(i) for i in range(2)]
    whole = run.validate(fixed, BranchLosses())
    seen: list[int] = []
    run.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    run.settings = replace(settings, passes=4)
    assert run.validate(fixed, BranchLosses()) == pytest.approx(whole, rel=1e-5)
    assert seen == [2] * 8


def test_the_fewest_passes_that_fit(settings: RunSettings) -> None:
    """Each part just fits, or misses by a megabyte; batch norm is kept, so that 8 patches are cut in two at most."""
    need = {n: training_gb(settings.patch_size_zyx, 8 // n, settings.base_features) for n in (1, 2, 4, 8)}
    assert need[1] > need[2] > need[4] > need[8]
    instance = replace(settings, norm="instance")
    for n, more in ((1, 2), (2, 4), (4, 8), (8, 8)):
        assert passes_that_fit(instance, need[n]) == n
        assert passes_that_fit(instance, need[n] - 0.001) == more
        assert passes_that_fit(settings, need[n]) == min(n, 2)
    assert passes_that_fit(replace(settings, precision="bf16"), HALF_PRECISION * need[1]) == 1


def test_a_part_too_small_for_batch_norm_gets_instance_norm_where_it_is_asked_for(settings: RunSettings) -> None:
    """Batch norm from 4 patches on, as in a plan."""
    assert [(s.passes, s.norm) for s in (in_passes(settings, n) for n in (1, 2, 4, 8))] == [
        (1, "batch"), (2, "batch"), (4, "instance"), (8, "instance"),
    ]  # fmt: skip
    assert in_passes(replace(settings, norm="instance"), 2).norm == "instance"


def test_what_is_free_decides_and_is_told(settings: RunSettings) -> None:
    """Nothing is said of a batch that fits; passes are told of with both figures, and with a mend where even they are
    too much."""
    assert choose_passes(settings, None, None, 64.0).passes == 1
    assert choose_passes(settings, None, None, None).passes == 1
    need = training_gb(settings.patch_size_zyx, 4, settings.base_features)
    with noticed(rf"rough fold 0: a step .*{need:.1f} GB are free; trained in 2 passes of 4 \(.*once\)$"):
        assert choose_passes(replace(settings, loss="balanced_ce"), None, None, need).passes == 2
    with noticed(r"trained in 2 passes of 4, the loss of each by itself \(--passes 1: at once\)$"):  # Dice is
        assert choose_passes(replace(settings, loss="dice_ce"), None, None, need).passes == 2
    assert choose_passes(settings, 1, None, 0.1).passes == 1
    with noticed("2 passes of 4 .* plan with a smaller --memory-gb, or name more --passes"):
        assert choose_passes(settings, None, None, 0.1).passes == 2


def test_a_cpus_free_memory_is_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "free_gb", lambda: 3.5)
    assert passes.free_on(CPU) == 3.5


@pytest.mark.long
def test_a_run_goes_on_in_the_passes_it_was_begun_with(
    planned_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another run beside it may have taken the memory meanwhile, or given it back."""
    monkeypatch.setenv("BISC_PREPROCESSED", str(planned_home / "preprocessed"))
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path))
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 2)
    fold = tmp_path / NAME / "rough" / "fold_0"
    assert main([*FLAGS, "--passes", "2"]) == 0
    assert json.loads((fold / "run.json").read_text())["passes"] == 2
    (fold / "run.json").unlink()  # it is the checkpoint that counts
    assert main([*FLAGS, "--continue"]) == 0
    assert load_checkpoint(fold / "checkpoint_last.pt").settings["passes"] == 2
    assert main([*FLAGS, "--continue", "--passes", "1"]) == 2
    assert "was begun with other settings: passes 2 (now 1)" in capsys.readouterr().err
    assert main([*FLAGS, "--passes", "3"]) == 2
    assert "--passes" in capsys.readouterr().err
