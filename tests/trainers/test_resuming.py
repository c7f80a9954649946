"""What a later run finds of one that was cut off: states between steps, plans of their fingerprint, whole folders."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
import torch

from bisc.network import SCUNet
from bisc.network.checkpoint import load_checkpoint, plan_conflicts
from bisc.network.device import choose_device
from bisc.pipeline.validated import known_validation, remember_validation, validation_key
from bisc.planners import dataset
from bisc.planners.dataset import load_plan, plan_dataset
from bisc.planners.fingerprint import SCHEMA_VERSION, Fingerprint
from bisc.system import console
from bisc.system.console import Stopped, check
from bisc.system.files import PARTIAL, atomic_folder, scratch_folder, write_text
from bisc.trainers import loop
from bisc.trainers.loop import TrainingRun
from bisc.trainers.sampler import Batch
from bisc.trainers.settings import run_settings
from bisc.trainers.stages import RoughTrainer
from tests.support.grids import hand_case
from tests.support.training_fixtures import NAME, TINY, planned, use_one_thread

use_one_thread()
LAST = "checkpoint_last.pt"


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A tiny training with batch norm, whose statistics a forward pass changes."""
    home = planned(tmp_path_factory)
    plan = load_plan(home / "preprocessed" / NAME)
    device = choose_device("cpu", "fp32")
    settings = run_settings(plan, "rough", 0, TINY, "fp32")
    trainer = RoughTrainer(settings, home / "preprocessed" / NAME, tmp_path / "results", device)
    samplers = trainer.sampler(plan, ["case_00001"], 1), trainer.sampler(plan, ["case_00000"], 2)
    torch.manual_seed(1)
    return TrainingRun(settings, {}, SCUNet(2, "batch"), *samplers, tmp_path, device, 0)


def test_asked_to_stop_a_training_ends_at_its_steps_end(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Amid the second step: it is finished, saved and not followed by a third."""
    strike_amid(run, 1, [signal.SIGTERM], monkeypatch)
    with pytest.raises(Stopped):
        run.run()
    assert (run.state.step, load_checkpoint(run.folder / LAST).step) == (2, 2)
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))  # the caller's handlers are back
    check()  # and its next work was not asked to stop


def test_a_second_signal_does_not_wait(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a step is never saved: what is on the disk stays as it is."""
    strike_amid(run, 1, [signal.SIGINT, signal.SIGINT], monkeypatch)
    with pytest.raises(KeyboardInterrupt) as caught:
        run.run()
    assert not isinstance(caught.value, Stopped)
    assert not (run.folder / LAST).exists()


def test_under_a_launcher_a_second_signal_is_the_first_ones_echo(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun sends its own after the terminal's: the step is finished and saved all the same."""
    monkeypatch.setattr(console._Signals, "patient", False)
    console.be_patient()
    strike_amid(run, 1, [signal.SIGINT, signal.SIGTERM], monkeypatch)
    with pytest.raises(Stopped):
        run.run()
    assert load_checkpoint(run.folder / LAST).step == 2


def test_another_thread_may_ask(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a process whose launcher passes on the user's wish."""
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 1)
    step = run.train_step

    def ask_at_three(batch: Batch, number: int) -> None:
        step(batch, number)
        if number == 2:
            console.ask_to_stop()

    monkeypatch.setattr(run, "train_step", ask_at_three)
    with pytest.raises(Stopped):
        run.run()
    assert load_checkpoint(run.folder / LAST).step == 3


def strike_amid(run: TrainingRun, step: int, signals: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise signals between a step's gradients and its optimiser."""
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 1)
    whole = run.gradients

    def strike(batch: Batch, number: int) -> torch.Tensor:
        loss = whole(batch, number)
        if run.state.step == step:
            for one in signals:
                signal.raise_signal(one)
        return loss

    monkeypatch.setattr(run, "gradients", strike)


def test_cut_off_between_an_epochs_last_step_and_its_validation(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch's row is made up for when the run goes on."""
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 1)

    def interrupted(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as cut_off:
        cut_off.setattr(run, "validate", interrupted)
        with pytest.raises(Stopped):
            run.run()
    saved = load_checkpoint(run.folder / LAST)
    assert (saved.step, saved.rows, len(saved.epoch_losses)) == (TINY.rough.iterations, [], TINY.rough.iterations)
    run.resume(saved)
    run.run()
    assert [row["epoch"] for row in run.state.rows] == [1.0, 2.0, 3.0]
    assert plan_conflicts(run.state, {}) == ""


def test_a_plan_is_never_that_of_an_older_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after each file in turn while the data set has grown: the rerun plans for what is there now."""
    older, newer = fingerprint(10), fingerprint(12)
    for n_files in range(4):
        folder = tmp_path / str(n_files)
        plan_dataset(older, folder, 12.0)
        with monkeypatch.context() as killing:
            kill_after(n_files, killing)
            with pytest.raises(MemoryError):
                plan_dataset(newer, folder, 12.0)
        assert plan_dataset(newer, folder, 12.0).n_cases == 12
        assert load_plan(folder).n_cases == 12


def kill_after(n_files: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [n_files]

    def counted(write: object) -> object:
        def write_or_die(*args: object) -> None:
            if not left[0]:
                raise MemoryError
            left[0] -= 1
            write(*args)  # type: ignore[operator]

        return write_or_die

    for name in ("save_json", "write_text"):
        monkeypatch.setattr(dataset, name, counted(getattr(dataset, name)))


def fingerprint(n: int) -> Fingerprint:
    cases = [hand_case(f"case_{i:05d}") for i in range(n)]
    return Fingerprint(schema_version=SCHEMA_VERSION, dataset="Hand", cases=cases)


def test_an_older_folder_is_never_seen_half_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is moved aside in one step; if its successor cannot come, it comes back."""
    target = tmp_path / "case"
    with atomic_folder(target) as scratch:
        write_text(scratch / "a.txt", "old")
    seen = []
    real = shutil.rmtree

    def look(path: Path, ignore_errors: bool) -> None:
        seen.append(sorted(p.name for p in target.iterdir()))
        real(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as watched:
        watched.setattr(shutil, "rmtree", look)
        with atomic_folder(target) as scratch:
            write_text(scratch / "b.txt", "new")
    assert all(names in (["a.txt"], ["b.txt"]) for names in seen)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["case"]


def test_the_same_text_is_not_written_again(tmp_path: Path) -> None:
    """Its time stays: what was complete was not made twice."""
    path = tmp_path / "run.json"
    write_text(path, "a")
    before = path.stat()
    write_text(path, "a")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    write_text(path, "b")
    assert path.read_text() == "b"


def test_a_scratch_folder_is_gone_however_its_block_ends(tmp_path: Path) -> None:
    """And bears the number of its process, so that another run leaves it alone."""
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path) as scratch:
        assert scratch.name.startswith(PARTIAL)
        (scratch / "kept.npz").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_validation_is_known_while_its_files_and_weights_are_the_same(tmp_path: Path) -> None:
    """Other weights, other cases or a missing file: it is done again."""
    weights, report = tmp_path / LAST, tmp_path / "validation" / "report.csv"
    write_text(weights, "w")
    write_text(report, "r")
    key = validation_key([weights], ["case_00000 1:2"])
    assert known_validation(tmp_path, key) is None
    remember_validation(tmp_path, key, [report], ["line"])
    assert known_validation(tmp_path, validation_key([weights], ["case_00000 1:2"])) == ["line"]
    assert known_validation(tmp_path, validation_key([weights], ["case_00000 1:3"])) is None
    write_text(weights, "v")
    assert known_validation(tmp_path, validation_key([weights], ["case_00000 1:2"])) is None
    report.unlink()
    assert known_validation(tmp_path, key) is None
