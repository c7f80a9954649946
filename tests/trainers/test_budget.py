"""Training by the clock: as many steps as fit, counted before the schedule is laid out."""

from __future__ import annotations

import time
from dataclasses import replace as replace_device
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from bisc.core.errors import InputError
from bisc.network.checkpoint import load_checkpoint
from bisc.network.device import choose_device
from bisc.pipeline.train import train
from bisc.planners.dataset import load_plan
from bisc.trainers.budget import (
    EPOCH_END_S,
    FORWARD_SHARE,
    LEAST_PROBE,
    MOST_PROBE,
    RESERVE,
    smaller_and_smaller,
    step_seconds,
    within_budget,
)
from bisc.trainers.loop import VALIDATION_BATCHES, TrainingRun
from bisc.trainers.presets import PRESETS
from bisc.trainers.settings import RunSettings, run_settings
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

    def step(run: TrainingRun, batch: object, number: int) -> None:
        CLOCK["now"] += 30.0 if number == 0 else 2.0

    monkeypatch.setattr(TrainingRun, "train_step", step)
    monkeypatch.setattr("time.monotonic", lambda: CLOCK["now"])
    return FineTrainer(settings, preprocessed, tmp_path, choose_device("cpu", "fp32"))


def test_steps_fill_the_budget(trainer: FineTrainer) -> None:
    """By hand: a probe of 4 steps takes 36 s; of the other 964 s 3 % are kept, the rest holds 2 s a step, 467.5 steps.
    An epoch's end takes as long as 4.7, which a fortieth of the time holds twice, and four times at 2000 s."""
    found = within_budget(trainer, 1000.0)
    steps = int((964.0 * (1 - RESERVE) - 2 * (VALIDATION_BATCHES * FORWARD_SHARE * 2.0 + EPOCH_END_S)) / 2.0)
    assert (found.epochs, found.iterations) == (2, steps // 2)
    assert within_budget(trainer, 2000.0).epochs == 4
    assert within_budget(trainer, 9999.0).epochs == 4
    assert within_budget(trainer, 100.0).epochs == 1
    assert list(trainer.results.iterdir()) == []


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, LEAST_PROBE), (36.5, 5), (1e9, MOST_PROBE)])
def test_a_probe_is_short(trainer: FineTrainer, seconds: float, steps: int) -> None:
    """Four steps at least, a part of the budget at most; the slow first ones do not count."""
    before = CLOCK["now"]
    assert step_seconds(trainer, seconds) == 2.0
    assert CLOCK["now"] - before == 30.0 + 2.0 * (steps - 1)


def test_sizes_shrink_until_the_steps_are_enough(trainer: FineTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a sixteenth of a second per base feature and patch: of 48 features, batch 8, ten thousand seconds hold
    what comes to 1000 steps; from the smallest on a CPU, from the largest on a GPU, the same are found."""
    tried: list[RunSettings] = []

    def cost(trained: FineTrainer, seconds: float) -> float:
        tried.append(trained.settings)
        CLOCK["now"] += 30.0
        return trained.settings.base_features * trained.settings.batch_size / 16

    monkeypatch.setattr("bisc.trainers.budget.step_seconds", cost)
    wide = replace(
        trainer.settings, patch_size_zyx=(64, 160, 96), batch_size=8, base_features=48, norm="batch", packing=2
    )
    ladder = smaller_and_smaller(wide)
    sizes = [(s.patch_size_zyx, s.batch_size, s.base_features, s.norm) for s in ladder]
    small = (32, 128, 96)
    assert sizes == [((64, 160, 96), 2, 48, "instance"), *((small, 2, f, "instance") for f in (48, 24, 12))]
    trainer.settings = wide
    assert within_budget(trainer, 24_100.0, narrows=True).batch_size == 8
    assert [s.base_features for s in tried] == [12, 24, 48, 48, 48]
    assert within_budget(trainer, 6000.0, narrows=True).patch_size_zyx == (64, 160, 96)
    assert within_budget(trainer, 3100.0, narrows=True).base_features == 24
    assert within_budget(trainer, 300.0, narrows=True).base_features == 12
    assert within_budget(trainer, 1000.0).base_features == 48
    trainer.device = replace_device(trainer.device, device=torch.device("cuda"))
    tried.clear()
    assert within_budget(trainer, 3100.0, narrows=True).base_features == 24
    assert [s.base_features for s in tried] == [48, 48, 48, 24]
    tried.clear()
    assert within_budget(trainer, 900.0, narrows=True).base_features == 48
    assert len(tried) == 1  # which took more than its share already


@pytest.mark.parametrize(
    ("compiles", "iterations", "pays"), [(None, 1000, True), (None, 999, False), (True, 1, True), (False, 5000, False)]
)
def test_what_is_compiled_is_timed_compiled(
    compiles: bool | None, iterations: int, pays: bool, trainer: FineTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its steps (four epochs of 1000 are 4000), unless it was decided; the probe as the run."""
    asked: list[bool] = []

    def compiled(network: object, device: object, pays: bool, batch: int, patch: object) -> object:
        asked.append(pays)
        return network

    monkeypatch.setattr("bisc.trainers.loop.compiled_where_it_pays", compiled)
    trainer.settings = replace(trainer.settings, iterations=iterations)
    trainer.compiles = compiles
    step_seconds(trainer, 0.0)
    assert asked == [pays]


def test_a_budget_of_no_steps_is_refused(trainer: FineTrainer) -> None:
    with pytest.raises(InputError, match=r"^--minutes: 1 \(a step takes 2.0 s here: 6 steps\); expected at least ten"):
        within_budget(trainer, 60.0)


@pytest.mark.long
def test_minutes_end_in_time_and_go_on_with_their_steps(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real steps of a tiny network within 12 s; gone on with, the run keeps the steps it was begun with."""
    monkeypatch.setenv("BISC_PREPROCESSED", str(home / "preprocessed"))
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path))
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    how: dict[str, Any] = {"preset": "tiny", "device": "cpu", "validate": False, "minutes": 0.2}
    seen: list[bool | None] = []
    fitted = within_budget

    def spied(trainer: Any, *given: Any) -> RunSettings:
        seen.append(trainer.compiles)
        return fitted(trainer, *given)

    monkeypatch.setattr("bisc.pipeline.train.within_budget", spied)
    begin = time.monotonic()
    (whole,) = train("rough", 0, NAME, **how)
    assert seen == [False]  # compiling takes longer than the whole run
    assert time.monotonic() - begin < 24.0
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
