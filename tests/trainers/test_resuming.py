"""What a later run finds of one that was cut off: states between steps, plans of their fingerprint, whole folders."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from bisc.network import SCUNet
from bisc.network.checkpoint import load_checkpoint, plan_conflicts
from bisc.network.device import choose_device
from bisc.pipeline.validate import known_validation, remember_validation, validation_key
from bisc.planners import dataset
from bisc.planners.dataset import load_plan, plan_dataset
from bisc.planners.fingerprint import SCHEMA_VERSION, Fingerprint
from bisc.system import files, interrupt
from bisc.system.files import atomic_folder, scratch_folder, write_text
from bisc.system.scratch import PARTIAL
from bisc.trainers import loop
from bisc.trainers.loop import TrainingRun
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


def from_another_thread(run: TrainingRun, wait_s: float | None = None) -> threading.Thread:
    thread = threading.Thread(target=run.save_unsaved, daemon=True)
    thread.start()
    thread.join(wait_s)
    return thread


def test_a_state_saved_amid_a_step_is_that_of_the_last_whole_step(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the watcher, after the forward pass of the second step: the bytes of the state between the two steps."""
    run.train_step(run.train.batch(0), 0)
    run.save("expected.pt")
    measure = run.loss

    def strike(*args: object) -> torch.Tensor:
        from_another_thread(run)
        return measure(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "loss", strike)
    run.train_step(run.train.batch(1), 1)
    assert (run.folder / LAST).read_bytes() == (run.folder / "expected.pt").read_bytes()
    run.save("after.pt")
    assert (run.folder / LAST).read_bytes() != (run.folder / "after.pt").read_bytes()


def test_no_state_is_saved_amid_the_optimisers_step(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher waits for its end, and then saves the whole step."""
    optimizer = run.optimizers[-1]  # those before it have stepped by then
    whole, waiting = optimizer.step, []

    def strike(*args: object, **kwargs: object) -> object:
        waiting.append(from_another_thread(run, 0.3))
        assert not (run.folder / LAST).exists()
        return whole(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(optimizer, "step", strike)
    run.train_step(run.train.batch(0), 0)
    waiting[0].join(20.0)
    assert load_checkpoint(run.folder / LAST).step == 1


def test_half_an_optimisers_step_is_never_saved(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it failed, what is on the disk stays as it is."""
    run.train_step(run.train.batch(0), 0)

    def fail(*args: object, **kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr(run.optimizers[-1], "step", fail)
    with pytest.raises(MemoryError):
        run.train_step(run.train.batch(1), 1)
    run.save_unsaved()
    assert not (run.folder / LAST).exists()


def test_cut_off_between_an_epochs_last_step_and_its_validation(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch's row is made up for when the run goes on."""
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut_off:
        cut_off.setattr(run, "validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.run()
    saved = load_checkpoint(run.folder / LAST)
    assert (saved.step, saved.rows, len(saved.epoch_losses)) == (TINY.rough.iterations, [], TINY.rough.iterations)
    run.resume(saved)
    run.run()
    assert [row["epoch"] for row in run.state.rows] == [1.0, 2.0, 3.0]
    assert plan_conflicts(run.state, {}) == ""


def test_shields_hold_the_interrupt_back_until_the_blocks_end() -> None:
    """The block is finished, what follows it is not begun; a second signal breaks a block of a caller's process."""
    done = []
    with pytest.raises(KeyboardInterrupt), interrupt.handled():
        with interrupt.shielded():
            interrupt.signal.raise_signal(interrupt.signal.SIGTERM)
            done.append("block")
        done.append("what follows")
    assert done == ["block"]
    with pytest.raises(KeyboardInterrupt), interrupt.handled(), interrupt.shielded():
        interrupt.signal.raise_signal(interrupt.signal.SIGTERM)
        interrupt.signal.raise_signal(interrupt.signal.SIGINT)
        done.append("never")
    assert done == ["block"]


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
    real = files.shutil.rmtree

    def look(path: Path, ignore_errors: bool) -> None:
        seen.append(sorted(p.name for p in target.iterdir()))
        real(path, ignore_errors=ignore_errors)

    with monkeypatch.context() as watched:
        watched.setattr(files.shutil, "rmtree", look)
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
