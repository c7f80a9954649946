"""What the console scripts call: the process is ready for Ctrl-C before it imports anything that takes time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from bisc.core import interrupt

Main = Callable[[Sequence[str] | None], int]


def run_process(command: str, load: Callable[[], Main], argv: Sequence[str] | None = None) -> int:
    """Import and run one command as a process of its own; after a signal the process ends here.

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
    return status


def _run(name: str) -> int:
    return run_process(f"bisc_{name}", lambda: import_module(f"bisc.cli.{name}").main)


def plan_and_preprocess() -> int:
    """bisc_plan_and_preprocess."""
    return _run("plan_and_preprocess")


def train() -> int:
    """bisc_train."""
    return _run("train")


def predict() -> int:
    """bisc_predict."""
    return _run("predict")


def evaluate() -> int:
    """bisc_evaluate."""
    return _run("evaluate")


def simulate() -> int:
    """bisc_simulate."""
    return _run("simulate")


def export() -> int:
    """bisc_export."""
    return _run("export")


def demo() -> int:
    """bisc_demo."""
    return _run("demo")
