"""What the console scripts call: the process is ready for Ctrl-C before it imports anything that takes time."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from bisc.core import interrupt

Main = Callable[[Sequence[str] | None], int]


def run_process(command: str, load: Callable[[], Main], argv: Sequence[str] | None = None) -> NoReturn:
    """Import and run one command as a process of its own; the process ends here.

    Args:
        command: Its name, for the answer to a signal during the imports.
        load: Imports the command and returns its main.
        argv: Its arguments; None takes the process's.
    """
    interrupt.watch()
    with interrupt.handled():
        with interrupt.at_once(f"{command}: error: interrupted before it began; run the same command again"):
            main = load()
        try:
            status = main(argv)
            interrupt.deafen()
        finally:
            if interrupt.asked():
                interrupt.leave(f"{command}: error: interrupted at its very end; nothing was lost")
    _end(status)


def _end(status: int) -> NoReturn:
    """Without the interpreter's own end, which spends half a second on taking torch apart."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a reader that went away, as `head` does
            stream.flush()
    os._exit(status)


def _run(name: str) -> NoReturn:
    run_process(f"bisc_{name}", lambda: import_module(f"bisc.cli.{name}").main)


def plan_and_preprocess() -> NoReturn:
    """bisc_plan_and_preprocess."""
    _run("plan_and_preprocess")


def train() -> NoReturn:
    """bisc_train."""
    _run("train")


def predict() -> NoReturn:
    """bisc_predict."""
    _run("predict")


def evaluate() -> NoReturn:
    """bisc_evaluate."""
    _run("evaluate")


def simulate() -> NoReturn:
    """bisc_simulate."""
    _run("simulate")


def export() -> NoReturn:
    """bisc_export."""
    _run("export")


def demo() -> NoReturn:
    """bisc_demo."""
    _run("demo")
