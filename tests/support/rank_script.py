"""bisc_train as a user runs it, on the tiny presets, with one of its processes struck by a signal at a step.

Processes that it starts import it anew, as `__mp_main__`: what is changed of the package here is changed in them too.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from msgspec.structs import replace

from bisc.cli import train
from bisc.cli.entry import run_process
from bisc.trainers import loop
from bisc.trainers.presets import PRESETS
from bisc.trainers.sampler import Batch
from tests.support.training_fixtures import TINY, use_one_thread

RATE = 1e-4
BY_ADAM = replace(TINY, rough=replace(TINY.rough, optimizer="adam", learning_rate=RATE))
"""Muon's steps have one size whatever the gradient: what is rounding grows to a step, and says nothing of the sums."""


def change_the_package() -> None:
    """Two validation batches; STRIKE="RANK STEP SIGNAL TIMES": after that step SIGKILL hits the process RANK, any other
    signal its whole group, so many times in all; the files STRUCK_1, STRUCK_2, ... count them."""
    use_one_thread()
    PRESETS.update(tiny=BY_ADAM)
    setattr(loop, "VALIDATION_BATCHES", 2)  # noqa: B010 - final
    train_step = loop.TrainingRun.train_step
    rank, struck, signum, times = map(int, os.environ.get("STRIKE", "-1 0 0 0").split())

    def step(run: loop.TrainingRun, batch: Batch, number: int) -> None:
        train_step(run, batch, number)
        if (run.ranks.number, number + 1) != (rank, struck):
            return
        for mark in (Path(f"{os.environ['STRUCK']}_{i}") for i in range(times)):
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signum) if signum == signal.SIGKILL else os.killpg(0, signum)
                return

    setattr(loop.TrainingRun, "train_step", step)  # noqa: B010 - a method


if __name__ in ("__main__", "__mp_main__"):
    change_the_package()
if __name__ == "__main__":
    run_process("bisc_train", lambda: train.main)
