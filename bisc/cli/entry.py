"""What the console scripts call: the process is ready for Ctrl-C before it imports anything that takes time."""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn

from bisc.system.console import deafen, listen, notices_shown_by, say
from bisc.system.streams import own_streams, unwritten

Main = Callable[[Sequence[str] | None], int]
FAILED: Final = 1
BAD_INPUT: Final = 2
FOR_DEVELOPERS: Final = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def run_process(command: str, load: Callable[[], Main], argv: Sequence[str] | None = None) -> NoReturn:
    """Import and run one command as a process of its own; the process ends here.

    Args:
        command: Its name.
        load: Imports the command and returns its main.
        argv: Its arguments; None takes the process's.
    """
    own_streams()
    try:
        Path.cwd()
    except OSError:  # MKL ends the process over it
        say(f"{command}: error: the current folder is not there any more; go to one that is")
        os._exit(BAD_INPUT)
    own_warnings()
    listen()
    with notices_shown_by(command):
        status = _status_of(load(), argv)
    deafen()  # a signal amid the interpreter's end must not take its exit status
    atexit._run_exitfuncs()  # but not the interpreter's own end, which spends half a second on taking torch apart
    lost = unwritten()
    if lost:
        say(f"{command}: error: standard output could not be written ({lost}); only what it would have shown is lost")
        status = status or FAILED
    os._exit(status)


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


def _run(name: str) -> NoReturn:
    run_process(f"bisc_{name}", lambda: import_module(f"bisc.cli.{name}").main)


plan_and_preprocess = partial(_run, "plan_and_preprocess")
train = partial(_run, "train")
predict = partial(_run, "predict")
evaluate = partial(_run, "evaluate")
compare = partial(_run, "compare")
simulate = partial(_run, "simulate")
export = partial(_run, "export")
demo = partial(_run, "demo")
info = partial(_run, "info")
serve = partial(_run, "serve")
measure = partial(_run, "measure")
download = partial(_run, "download")
report = partial(_run, "report")
model = partial(_run, "model")
