"""A training that was interrupted anywhere and continued ends in the bytes of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from bisc.cli.train import main
from bisc.network.checkpoint import load_checkpoint
from bisc.network.device import choose_device
from bisc.trainers import loop
from bisc.trainers.log import EpochTimes, write_log
from bisc.trainers.loop import TrainingRun
from bisc.trainers.presets import PRESETS
from bisc.trainers.sampler import Batch
from bisc.trainers.settings import RunSettings
from tests.support import training_fixtures
from tests.support.training_fixtures import DEEPER, NAME, TINY, planned, use_one_thread

use_one_thread()
SCRIPT = Path(training_fixtures.__file__)
CHECKPOINTS = ("checkpoint_last.pt", "checkpoint_best.pt")
PER_EPOCH = TINY.rough.iterations
RUNS = {
    "fp32": ["rough", "0", "-d", NAME, "--preset", "tiny", "--device", "cpu", "--precision", "fp32"],
    "bf16": ["rough", "0", "-d", NAME, "--preset", "deeper", "--device", "cpu", "--precision", "bf16"],
}
HAS_BF16 = choose_device("cpu").precision == "bf16"
"""Elsewhere torch emulates it, which took two minutes of the tests."""


@pytest.fixture(scope="module")
def planned_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planned(tmp_path_factory)


@pytest.fixture(scope="module")
def tiny_world(planned_home: Path) -> Iterator[pytest.MonkeyPatch]:
    """The tiny presets, two validation batches, and the shared preprocessed data set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BISC_PREPROCESSED", str(planned_home / "preprocessed"))
        patch.setitem(PRESETS, "tiny", TINY)
        patch.setitem(PRESETS, "deeper", DEEPER)
        patch.setattr(loop, "VALIDATION_BATCHES", 2)
        yield patch


@pytest.fixture(scope="module")
def uninterrupted(tiny_world: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The fold's folder of a run that nobody touched, by its precision."""

    @cache
    def trained(precision: str) -> Path:
        results = tmp_path_factory.mktemp(precision)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BISC_RESULTS", str(results))
            assert main(RUNS[precision]) == 0
        fold = results / NAME / "rough" / "fold_0"
        assert load_checkpoint(fold / "checkpoint_last.pt").settings["precision"] == precision
        return fold

    return trained


def struck(argv: list[str], results: Path, step: int, signum: int) -> tuple[int, str]:
    """bisc_train in a process group of its own, which gets a signal in the midst of a step; exit status and stderr."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *argv],
        env={**os.environ, "BISC_RESULTS": str(results), "STRIKE": f"{step} {int(signum)}"},
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=200,
    )
    return done.returncode, done.stderr


def check_continued(fold: Path, expected: Path, argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BISC_RESULTS", str(fold.parents[2]))
    assert main([*argv, "--continue"]) == 0
    for name in CHECKPOINTS:
        assert (fold / name).read_bytes() == (expected / name).read_bytes(), name
    ours, theirs = (pd.read_csv(folder / "log.csv") for folder in (fold, expected))
    columns = [c for c in theirs.columns if not c.endswith("_s")]
    pd.testing.assert_frame_equal(ours[columns], theirs[columns])
    assert ours["epoch"].tolist() == [1, 2, 3]
    assert (fold / "progress.png").stat().st_size > 1000
    assert not list(fold.glob(".partial-*"))
    assert not (fold.parent / "previous").exists()


@pytest.mark.long
def test_killed_after_its_first_checkpoint(
    uninterrupted: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL in the second epoch: what was trained since the first epoch's checkpoint is trained again."""
    status, _ = struck(RUNS["fp32"], tmp_path, PER_EPOCH + 2, signal.SIGKILL)
    assert status == -signal.SIGKILL
    fold = tmp_path / NAME / "rough" / "fold_0"
    assert load_checkpoint(fold / "checkpoint_last.pt").step == PER_EPOCH
    check_continued(fold, uninterrupted("fp32"), RUNS["fp32"], monkeypatch)


@pytest.mark.parametrize(
    ("precision", "signum", "more"),
    [
        pytest.param("fp32", signal.SIGINT, ["--workers", "1"], id="Ctrl-C with loaders", marks=pytest.mark.long),
        pytest.param("fp32", signal.SIGTERM, [], id="SIGTERM"),
        pytest.param(
            "bf16",
            signal.SIGTERM,
            [],
            id="SIGTERM in bf16",
            marks=[pytest.mark.long, pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bf16 arithmetic")],
        ),
    ],
)
def test_interrupted_in_the_middle_of_an_epoch(
    uninterrupted: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    signum: int,
    more: list[str],
) -> None:
    """The step in hand is finished and saved; one line, exit status 130, and not a step is lost."""
    status, err = struck([*RUNS[precision], *more], tmp_path, PER_EPOCH + 2, signum)
    assert (status, err.count("\n")) == (130, 1), err
    assert err.startswith("bisc_train: error: interrupted")
    assert "with --continue" in err
    fold = tmp_path / NAME / "rough" / "fold_0"
    last = load_checkpoint(fold / "checkpoint_last.pt")
    assert (last.step, len(last.epoch_losses)) == (PER_EPOCH + 2, 2)
    check_continued(fold, uninterrupted(precision), RUNS[precision], monkeypatch)


def crash_at(step: int, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    whole = TrainingRun.train_step

    def step_or_crash(run: TrainingRun, batch: Batch, number: int) -> None:
        if number == step:
            raise MemoryError
        whole(run, batch, number)

    monkeypatch.setattr(TrainingRun, "train_step", step_or_crash)
    return monkeypatch


@pytest.mark.long
def test_saved_between_epochs(
    uninterrupted: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long epochs are saved every few minutes (here: after every step); a crash in the first one loses one step."""
    fold = tmp_path / NAME / "rough" / "fold_0"
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path))
    with monkeypatch.context() as crashing:
        crash_at(3, crashing).setattr(loop, "SAVE_EVERY_S", 0.0)
        assert main(RUNS["fp32"]) == 1
    assert load_checkpoint(fold / "checkpoint_last.pt").step == 3
    assert not (fold / "log.csv").exists()
    check_continued(fold, uninterrupted("fp32"), RUNS["fp32"], monkeypatch)


@pytest.mark.long
def test_crashed_before_any_checkpoint(
    uninterrupted: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--continue then simply begins."""
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path))
    with monkeypatch.context() as crashing:
        crash_at(2, crashing)
        assert main(RUNS["fp32"]) == 1
    fold = tmp_path / NAME / "rough" / "fold_0"
    assert not (fold / "checkpoint_last.pt").exists()
    check_continued(fold, uninterrupted("fp32"), RUNS["fp32"], monkeypatch)


@pytest.mark.long
def test_cut_off_between_the_checkpoint_and_its_log(
    uninterrupted: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last epoch's checkpoint nothing is left to train, and yet the log gets its last row and picture."""
    fold = tmp_path / NAME / "rough" / "fold_0"
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path))
    whole = write_log

    def log_or_crash(
        folder: Path, settings: RunSettings, rows: list[dict[str, float]], times: EpochTimes | None
    ) -> dict[int, dict[str, float]]:
        if len(rows) == TINY.rough.epochs:
            raise MemoryError
        return whole(folder, settings, rows, times)

    with monkeypatch.context() as crashing:
        crashing.setattr(loop, "write_log", log_or_crash)
        assert main(RUNS["fp32"]) == 1
    (fold / "progress.png").unlink()
    assert len(pd.read_csv(fold / "log.csv")) == TINY.rough.epochs - 1
    check_continued(fold, uninterrupted("fp32"), RUNS["fp32"], monkeypatch)


def test_continuing_a_finished_run_changes_nothing(
    uninterrupted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a byte of its checkpoints, not a time in its log."""
    fold = uninterrupted("fp32")
    before = {p.name: p.read_bytes() for p in fold.iterdir() if p.suffix != ".png"}
    check_continued(fold, fold, RUNS["fp32"], monkeypatch)
    assert {p.name: p.read_bytes() for p in fold.iterdir() if p.suffix != ".png"} == before
