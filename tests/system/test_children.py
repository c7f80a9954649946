"""Commands that a command starts: they stop when they are asked to, and when nobody is there to ask any more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bisc.system.children import Child, ended

WORK = """
import time
from bisc.system.console import Stopped, check, stop_at_end_of_input, stoppable
stop_at_end_of_input()
with stoppable("interrupted"):
    print("at work", flush=True)
    try:
        while True:
            check()
            time.sleep(0.01)
    except Stopped:
        print("saved", flush=True)
        raise SystemExit(130)
"""
PARENT = """
import sys, time
from pathlib import Path
from bisc.system.children import Child
child = Child([sys.executable, "-c", sys.argv[1]], Path(sys.argv[2]), {})
time.sleep(60)
"""


def await_line(log: Path, line: str) -> None:
    end = time.monotonic() + 30
    while not (log.exists() and line in log.read_text().splitlines()):
        assert time.monotonic() < end, log.read_text() if log.exists() else "no log"
        time.sleep(0.01)


def test_it_stops_as_on_ctrl_c_when_asked(tmp_path: Path) -> None:
    """Its input ends, which is all that Windows allows; what it said stands behind the command in the file."""
    log = tmp_path / "output.log"
    log.write_text("before\n")
    child = Child([sys.executable, "-c", WORK], log, {"A": "1"})
    await_line(log, "at work")
    assert child.status() is None
    child.stop()
    await_line(log, "saved")
    assert child.wait() == child.status() == 130
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1].startswith(f"$ {sys.executable} -c")
    assert lines[-1] == child.last_line() == "saved"


def test_it_stops_when_its_parent_is_killed(tmp_path: Path) -> None:
    """Nobody is left who could ask; two trainings of one fold would be the end of it."""
    log = tmp_path / "output.log"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, WORK, str(log)])
    await_line(log, "at work")
    parent.kill()
    parent.wait()
    await_line(log, "saved")


def test_its_variables_and_its_silence(tmp_path: Path) -> None:
    """The line with the command is none of its own."""
    script = "import os, sys; sys.exit(os.environ['A'] != '1' or 'PATH' not in os.environ)"
    child = Child([sys.executable, "-c", script], tmp_path / "output.log", {"A": "1"})
    assert child.wait() == child.status() == 0
    assert child.last_line() == ""


def test_how_it_ended_in_words() -> None:
    assert ended(1) == "ended with exit status 1"
    assert ended(-9) == "was ended by signal 9"


def test_it_can_be_ended_at_once(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "output.log", dict(os.environ))
    child.kill()
    assert child.wait() != 0
    child.stop()
