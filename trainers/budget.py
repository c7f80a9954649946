"""Steps for a budget of minutes: what a step costs is measured on the run itself, then the schedule is laid out."""

from __future__ import annotations

import time
from itertools import count
from statistics import median
from typing import Final

import msgspec

from bisc.core.errors import InputError
from bisc.planners.dataset import load_plan
from bisc.trainers.allocator import keep_freed_memory
from bisc.trainers.loop import VALIDATION_BATCHES
from bisc.trainers.sampler import batches
from bisc.trainers.settings import RunSettings
from bisc.trainers.stages import Trainer, load_fold

PROBE_SHARE: Final = 0.03
"""At most, of the budget; but `LEAST_PROBE` steps in any case."""
LEAST_PROBE, MOST_PROBE = 4, 40
WARM: Final = 2
"""First steps, which choose kernels and fill allocators, and are not counted."""
FORWARD_SHARE: Final = 0.35
"""Of a training step, that a pass without gradients takes."""
RESERVE: Final = 0.03
"""For checkpoints, the log, and what else runs on the machine."""


def within_budget(trainer: Trainer, seconds: float) -> RunSettings:
    """The trainer's settings with as many steps an epoch as the budget holds, the probe's own time taken off.

    The probe trains a network that is thrown away: a schedule that falls to zero must know its end from the beginning.

    Args:
        trainer: Not yet run.
        seconds: For the steps, the epochs' validation and the probe; not for the fold's validation through the cascade.

    Raises:
        InputError: If not even ten steps fit.
    """
    began = time.monotonic()
    step_s = step_seconds(trainer, PROBE_SHARE * seconds)
    s = trainer.settings
    left = (seconds - (time.monotonic() - began)) * (1.0 - RESERVE)
    steps = int(left / step_s - s.epochs * VALIDATION_BATCHES * FORWARD_SHARE)
    if steps < max(10, s.epochs):
        found = f"a step takes {step_s:.1f} s here: {max(steps, 0)} steps"
        raise InputError("--minutes", f"{seconds / 60:g} ({found})", "at least ten steps", "give it longer")
    return msgspec.structs.replace(s, iterations=max(1, steps // s.epochs))


def step_seconds(trainer: Trainer, seconds: float) -> float:
    """Median seconds of a training step, its batch included, of as many steps as fit into `seconds`."""
    plan, fold = load_plan(trainer.preprocessed), load_fold(trainer.preprocessed, trainer.settings.fold)
    run = trainer.training(plan, fold)
    if run.device.kind == "cpu":
        keep_freed_memory()
    began, took = time.monotonic(), []
    with batches(run.train, 0, MOST_PROBE, trainer.n_workers) as ahead:
        for step in count():
            begin = time.monotonic()
            run.train_step(next(ahead), step)  # ends with the loss as a number: the device has done it
            took.append(time.monotonic() - begin)
            enough = step + 1 >= LEAST_PROBE and time.monotonic() - began > seconds
            if enough or step + 1 == MOST_PROBE:
                return median(took[WARM:])
    raise AssertionError  # the loop returns
