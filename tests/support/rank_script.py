"""bisc_train as a user runs it, in one process or several, on the tiny data set; a step's losses are written down.

Processes that it starts import it anew, as `__mp_main__`: what is changed of the package here is changed in them too.
"""

from __future__ import annotations

import json
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

ADAM = replace(
    TINY, name="adam",
    rough=replace(TINY.rough, optimizer="adam", learning_rate=1e-4, max_batch=4),
)  # fmt: skip
"""The paper's optimiser and rate, and batches of up to 4."""


def change_the_package() -> None:
    """Tiny presets, two validation batches; LOSSES: a file for the first process's losses; STRIKE="RANK STEP SIGNAL"
    hits the process RANK once in that step, and leaves word in the file STRUCK."""
    use_one_thread()
    PRESETS.update(tiny=TINY, adam=ADAM)
    setattr(loop, "VALIDATION_BATCHES", 2)  # noqa: B010 - final
    train_step = loop.TrainingRun.train_step

    def step(run: loop.TrainingRun, batch: Batch, number: int) -> None:
        before = len(run.state.epoch_losses)
        train_step(run, batch, number)
        if run.ranks.first and "LOSSES" in os.environ:
            with Path(os.environ["LOSSES"]).open("a") as file:
                file.writelines(f"{json.dumps(loss)}\n" for loss in run.state.epoch_losses[before:])
        rank, struck, signum = map(int, os.environ.get("STRIKE", "-1 0 0").split())
        if (run.ranks.number, number + 1) == (rank, struck) and not Path(os.environ["STRUCK"]).exists():
            Path(os.environ["STRUCK"]).touch()
            os.kill(os.getpid(), signum) if signum == signal.SIGKILL else os.killpg(0, signum)

    setattr(loop.TrainingRun, "train_step", step)  # noqa: B010 - a method


if __name__ in ("__main__", "__mp_main__"):
    change_the_package()
if __name__ == "__main__":
    run_process("bisc_train", lambda: train.main)
