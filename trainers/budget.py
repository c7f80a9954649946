"""Sizes and steps for a budget of minutes: what a step costs is measured on the run itself, then the schedule is laid
out."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from statistics import fmean
from typing import Final

import msgspec

from bisc.core.errors import InputError
from bisc.planners.dataset import load_plan
from bisc.planners.memory import norm_for
from bisc.trainers.loop import VALIDATION_BATCHES
from bisc.trainers.resident import batches_for
from bisc.trainers.settings import RunSettings
from bisc.trainers.stages import Trainer, load_fold

PROBE_SHARE: Final = 0.03
"""At most, of the budget; but `LEAST_PROBE` steps in any case."""
LEAST_PROBE, MOST_PROBE = 4, 40
WARM: Final = 2
"""First steps, which choose kernels and fill allocators, and are not counted."""
GPU_STEPS: Final = 4
"""Timed as one on a GPU, which is given one step while it does another."""
FORWARD_SHARE: Final = 0.35
"""Of a training step, that a pass without gradients takes."""
EPOCH_END_S: Final = 1.0
"""What an epoch's end takes beside validation: two checkpoints, the log and its picture. On a GPU's machine 23 ends
took 13 seconds."""
ENDS_SHARE: Final = 0.025
"""Of the steps' time, that the ends of epochs may take: a short run has fewer epochs."""
RESERVE: Final = 0.03
"""For checkpoints, the log, and what else runs on the machine."""
LEAST_STEPS: Final = {"rough": 400, "fine": 1000}
"""A preset that narrows takes the largest sizes that come to this many. Between 8 and 16 base features equal seconds
broke even at 350 to 500 steps of the wider network (docs/lab/ablations.md); the rest is judged."""
SMALL_BATCH, SMALL_DEPTH, SMALL_SIDE_PX, NARROW = 2, 32, 64, 8


def within_budget(trainer: Trainer, seconds: float, narrows: bool = False) -> RunSettings:
    """The trainer's settings with as many steps as the budget holds, the probe's own time taken off; fewer epochs where
    their validation would take more than its share.

    The probe trains a network that is thrown away: a schedule that falls to zero must know its end from the beginning.

    Args:
        trainer: Not yet run.
        seconds: For the steps, the epochs' validation and the probe; not for the fold's validation through the cascade.
        narrows: Take smaller sizes where the trainer's own would come to too few steps.

    Raises:
        InputError: If not even ten steps fit.
    """
    began = time.monotonic()
    smaller = smaller_and_smaller(trainer.settings, trainer.ranks.n) if narrows else []
    s, step_s = _sizes_that_fit(trainer, seconds, smaller)
    left = trainer.ranks.said(seconds - (time.monotonic() - began)) * (1.0 - RESERVE)
    end_s = VALIDATION_BATCHES * FORWARD_SHARE * step_s + EPOCH_END_S
    epochs = min(s.epochs, max(1, int(ENDS_SHARE * left / end_s)))
    steps = int((left - epochs * end_s) / step_s)
    if steps < max(10, epochs):
        found = f"a step takes {step_s:.1f} s here: {max(steps, 0)} steps"
        raise InputError("--minutes", f"{seconds / 60:g} ({found})", "at least ten steps", "give it longer")
    return msgspec.structs.replace(s, epochs=epochs, iterations=steps // epochs)


def _sizes_that_fit(trainer: Trainer, seconds: float, smaller: list[RunSettings]) -> tuple[RunSettings, float]:
    """The largest sizes that come to enough steps, or the smallest there are, and the seconds of a step.

    Tried from the smallest on a CPU, where a step of the largest alone could take longer than the budget; from the
    largest on a GPU, which they mostly fit, and where each takes a second or two to begin with: as long as there is
    time to try.
    """
    began = time.monotonic()
    ladder = [trainer.settings, *smaller]
    upwards = trainer.device.kind == "cpu"
    best: tuple[RunSettings, float] | None = None
    for sizes in ladder[:: -1 if upwards else 1]:
        step_s = step_seconds(replace(trainer, settings=sizes), PROBE_SHARE * seconds / len(ladder))
        fits = LEAST_STEPS[sizes.stage] * step_s <= seconds
        if best is None or fits or not upwards:
            best = sizes, step_s
        late = trainer.ranks.said(time.monotonic() - began > PROBE_SHARE * seconds)
        if fits != upwards or (not upwards and late):
            break
    assert best is not None  # there are the settings themselves
    return best


def smaller_and_smaller(settings: RunSettings, n_processes: int = 1) -> list[RunSettings]:
    """What comes below the settings: a batch of 2, or a patch for each process, then a small patch, then narrower
    networks."""
    s = settings
    z, y, x = s.patch_size_zyx
    side = SMALL_SIDE_PX * s.packing
    small = (min(z, SMALL_DEPTH), *((y, x) if s.stage == "rough" else (min(y, side), min(x, side))))
    found: list[RunSettings] = []
    widths = [f for f in (s.base_features, s.base_features // 2, s.base_features // 4) if f >= NARROW]
    for patch, features in [(s.patch_size_zyx, s.base_features), *((small, f) for f in widths)]:
        batch = min(s.batch_size, max(SMALL_BATCH, n_processes))
        norm = s.norm if s.norm == "instance" else norm_for(batch)
        sizes = {"patch_size_zyx": patch, "batch_size": batch, "base_features": features}
        less = msgspec.structs.replace(s, **sizes, norm=norm, passes=1)
        if less not in (s, *found):
            found.append(less)
    return found


def step_seconds(trainer: Trainer, seconds: float) -> float:
    """Mean seconds of a training step, its batch included, of as many steps as fit into `seconds` after what is done
    but once."""
    plan, fold = load_plan(trainer.preprocessed), load_fold(trainer.preprocessed, trainer.settings.fold)
    run = trainer.training(plan, fold)
    run.prepare()
    at_once = GPU_STEPS if run.device.kind == "cuda" else 1
    began = time.monotonic()
    took: list[float] = []
    with batches_for(run.train, run.device, 0, MOST_PROBE * at_once, trainer.n_workers, at_once) as ahead:
        while True:
            begin = time.monotonic()
            for step, batch in enumerate(islice(ahead, at_once), at_once * len(took)):
                run.train_step(batch, step)
            run.settle()  # the device has done it
            took.append((time.monotonic() - begin) / at_once)
            late = run.ranks.said(time.monotonic() - began > seconds)
            if (late and len(took) >= LEAST_PROBE) or len(took) == MOST_PROBE:
                return run.ranks.said(fmean(took[WARM:]))
