"""What the console scripts call: the process is ready for Ctrl-C before it imports anything that takes time."""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, NoReturn

from bisc.system import interrupt
from bisc.system.console import own_streams, say, unwritten

Main = Callable[[Sequence[str] | None], int]
FAILED: Final = 1
FOR_DEVELOPERS: Final = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def run_process(command: str, load: Callable[[], Main], argv: Sequence[str] | None = None) -> NoReturn:
    """Import and run one command as a process of its own; the process ends here.

    Args:
        command: Its name, for the answer to a signal during the imports.
        load: Imports the command and returns its main.
        argv: Its arguments; None takes the process's.
    """
    own_streams()
    own_warnings()
    interrupt.watch()
    with interrupt.handled():
        with interrupt.at_once(f"{command}: error: interrupted before it began; run the same command again"):
            main = load()
        try:
            status = _status_of(main, argv)
            interrupt.deafen()
        finally:
            if interrupt.asked():
                interrupt.leave(f"{command}: error: interrupted at its very end; nothing was lost")
    _end(command, status)


def own_warnings() -> None:
    """Python's own choice of warnings, for this process and its workers, whatever `-W` or PYTHONWARNINGS say.

    A library's warning made an error would fail a case that nothing is wrong with. What a user should know is no
    Python warning (bisc.system.console).
    """
    os.environ.pop("PYTHONWARNINGS", None)
    sys.warnoptions.clear()  # handed to workers on their command line
    warnings.resetwarnings()
    for category in FOR_DEVELOPERS:
        warnings.simplefilter("ignore", category)


def _status_of(main: Main, argv: Sequence[str] | None) -> int:
    try:
        return main(argv)
    except SystemExit as end:  # argparse, which has said what there is to say
        return end.code if isinstance(end.code, int) else FAILED if end.code else 0


def _end(command: str, status: int) -> NoReturn:
    """Without the interpreter's own end, which spends half a second on taking torch apart."""
    atexit._run_exitfuncs()
    lost = unwritten()
    if lost:
        say(f"{command}: error: standard output could not be written ({lost}); only what it would have shown is lost")
        status = status or FAILED
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
