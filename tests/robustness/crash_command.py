"""A command as its console script runs it, with the tests' tiny presets: `crash_command.py COMMAND ARGUMENTS`.

Files named by the environment tell the harness how far it is: CRASH_ARMED once it hears signals, CRASH_BEGUN once the
imports are done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def load() -> Callable[[Any], int]:
    """Import the command."""
    mark("CRASH_ARMED")
    command = sys.argv[1]
    main: Callable[[Any], int] = import_module(f"bisc.cli.{command}").main
    if command == "train":
        training = import_module("tests.support.training_fixtures")
        import_module("bisc.trainers.presets").PRESETS["tiny"] = training.TINY
        setattr(import_module("bisc.trainers.loop"), "VALIDATION_BATCHES", 2)  # noqa: B010 - final
    if command in ("train", "predict"):
        # A network trained for two steps marks what no patient has; what is killed here is a whole prediction.
        excess = import_module("bisc.inference.signs")
        for name in ("MOST_FOREGROUND_ML", "MOST_ROI_ML"):
            setattr(excess, name, float("inf"))
        import_module("torch").set_num_threads(1)  # a second one only waits for the other processes' here
    mark("CRASH_BEGUN")
    return main


def mark(name: str) -> None:
    if name in os.environ:
        Path(os.environ[name]).touch()


if __name__ == "__main__":
    from bisc.cli.entry import run_process

    sys.exit(run_process(f"bisc_{sys.argv[1]}", load, sys.argv[2:]))
