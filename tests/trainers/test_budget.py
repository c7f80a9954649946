"""Training by the clock: as many steps as fit, counted before the schedule is laid out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bisc.core.errors import InputError
from bisc.network.checkpoint import load_checkpoint
from bisc.network.device import choose_device
from bisc.pipeline.train import train
from bisc.planners.dataset import load_plan
from bisc.trainers.budget import FORWARD_SHARE, LEAST_PROBE, MOST_PROBE, RESERVE, step_seconds, within_budget
from bisc.trainers.loop import VALIDATION_BATCHES, TrainingRun
from bisc.trainers.presets import PRESETS
from bisc.trainers.settings import run_settings
from bisc.trainers.stages import FineTrainer
from tests.support.training_fixtures import NAME, TINY, planned, use_one_thread

use_one_thread()
CLOCK = {"now": 0.0}


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planned(tmp_path_factory)


@pytest.fixture
def trainer(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FineTrainer:
    """Whose steps take 2 s of a clock of their own, the first one 30."""
    preprocessed = home / "preprocessed" / NAME
    settings = run_settings(load_plan(preprocessed), "fine", 0, TINY, "fp32", epochs=4)

    def step(run: TrainingRun, batch: object, number: int) -> float:
        CLOCK["now"] += 30.0 if number == 0 else 2.0
        return 0.0

    monkeypatch.setattr(TrainingRun, "train_step", step)
    monkeypatch.setattr("time.monotonic", lambda: CLOCK["now"])
    return FineTrainer(settings, preprocessed, tmp_path, choose_device("cpu", "fp32"))


def test_steps_fill_the_budget(trainer: FineTrainer) -> None:
    """By hand: a probe of 4 steps takes 36 s; of the other 964 s 3 % are kept, the rest holds 2 s a step and its share
    of four epochs' validation."""
    found = within_budget(trainer, 1000.0)
    steps = int(964.0 * (1 - RESERVE) / 2.0 - 4 * VALIDATION_BATCHES * FORWARD_SHARE)
    assert (found.epochs, found.iterations) == (4, steps // 4)
    assert list(trainer.results.iterdir()) == []


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, LEAST_PROBE), (36.5, 5), (1e9, MOST_PROBE)])
def test_a_probe_is_short(trainer: FineTrainer, seconds: float, steps: int) -> None:
    """Four steps at least, a part of the budget at most; the slow first ones do not count."""
    before = CLOCK["now"]
    assert step_seconds(trainer, seconds) == 2.0
    assert CLOCK["now"] - before == 30.0 + 2.0 * (steps - 1)


def test_a_budget_of_no_steps_is_refused(trainer: FineTrainer) -> None:
    with pytest.raises(InputError, match=r"^--minutes: 1 \(a step takes 2.0 s here: 0 steps\); expected at least ten"):
        within_budget(trainer, 60.0)


def test_minutes_end_in_time_and_go_on_with_their_steps(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real steps of a tiny network within 6 s; gone on with, the run keeps the steps it was begun with."""
    monkeypatch.setenv("BISC_PREPROCESSED", str(home / "preprocessed"))
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path))
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    how: dict[str, Any] = {"preset": "tiny", "device": "cpu", "validate": False, "minutes": 0.1}
    begin = time.monotonic()
    (whole,) = train("rough", 0, NAME, **how)
    assert time.monotonic() - begin < 12.0
    assert whole.settings.total_steps >= 10
    with pytest.raises(InputError, match="--minutes"):
        train("rough", 0, NAME, iterations=3, **how)
    with pytest.raises(InputError, match="--minutes"):
        train("rough", 0, NAME, deterministic=True, **how)
    with pytest.raises(InputError, match="--minutes"):
        train("rough", 0, NAME, **{**how, "minutes": -1.0})
    monkeypatch.setattr("bisc.pipeline.train.within_budget", pytest.fail)
    (again,) = train("rough", 0, NAME, resume=True, **how)
    assert again.settings == whole.settings
    assert load_checkpoint(again.folder / "checkpoint_last.pt").step == whole.settings.total_steps
