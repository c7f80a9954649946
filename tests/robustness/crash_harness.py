"""Kills commands at random moments, runs them again, and says what was lost against a run that was never killed."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bisc.system.files import PARTIAL

SCRIPT = Path(__file__).with_name("crash_command.py")
LINE = "interrupted"
END_S = 6.0
"""From SIGINT or SIGTERM to the end of the process. What is promised is the end of the step in hand; the slowest of 117
tiny runs on a busy machine took 2 s: the import of torch, the start of a loader process."""
GONE_S = 10.0
"""After SIGKILL to a parent alone, its workers notice by themselves."""
PATIENCE_S = 240.0
CLOCKS = ("seconds", "step_s", "wait_s", "validation_s")
"""The only columns that may differ from the undisturbed run's: of predictions.csv and log.csv."""
BLOWS = [(number, group) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) for group in (True, False)]


@dataclass(frozen=True)
class Command:
    """One command to kill.

    Attributes:
        name: In the table.
        argv: Of crash_command.py.
        again: Of every later run; --continue where the command has it.
        prepare: Fills an empty folder with what the command needs; returns its environment.
        results: The folder of its results, under that folder.
        complete: The files under results that no later run may write again.
    """

    name: str
    argv: Callable[[Path], list[str]]
    again: tuple[str, ...]
    prepare: Callable[[Path], dict[str, str]]
    results: str
    complete: Callable[[Path], list[Path]]


@dataclass
class Blow:
    """One kill: what was sent, how long the end took, and what was wrong afterwards (empty: nothing lost)."""

    command: str
    signum: int
    group: bool
    end_s: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def what(self) -> str:
        return f"{signal.Signals(self.signum).name} to {'the group' if self.group else 'the parent'}"


class Process:
    """A run of a command in a session of its own."""

    def __init__(self, command: Command, folder: Path, argv: list[str], environment: dict[str, str]) -> None:
        self.begun, armed = folder / "begun", folder / "armed"
        for mark in (self.begun, armed):
            mark.unlink(missing_ok=True)
        self.err = folder / "stderr"
        with self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *argv],
                env={**os.environ, **environment, "CRASH_ARMED": str(armed), "CRASH_BEGUN": str(self.begun)},
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=err,
                start_new_session=True,
            )
        self.wait_for(armed)

    def wait_for(self, mark: Path) -> None:
        until = time.monotonic() + PATIENCE_S
        while not mark.exists() and self.runs:
            assert time.monotonic() < until, f"{mark} never came"
            time.sleep(0.005)

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def end(self) -> int:
        return self.process.wait(PATIENCE_S)

    def family(self) -> list[int]:
        """The session's processes that run, whoever their parent is by now."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = path.read_text().rsplit(")", 1)[1].split()[:4]
            except (OSError, ValueError):
                continue
            if int(session) == self.process.pid and state != "Z":
                found.append(int(path.parent.name))
        return found

    def strike(self, blow: Blow) -> bool:
        """Send the signal and wait for the end; False where the process had ended before."""
        if not self.runs:
            return False
        begin = time.monotonic()
        (os.killpg if blow.group else os.kill)(self.process.pid, blow.signum)
        status = self.end()
        blow.end_s = time.monotonic() - begin
        until = time.monotonic() + GONE_S
        while self.family() and time.monotonic() < until:
            time.sleep(0.02)
        if blow.signum == signal.SIGKILL:
            blow.end_s = time.monotonic() - begin
        if self.family():
            blow.faults.append("processes live on")
        self._judge(blow, status)
        return True

    def _judge(self, blow: Blow, status: int) -> None:
        err = self.err.read_text()
        if blow.signum == signal.SIGKILL:
            if status not in (-signal.SIGKILL, 0):
                blow.faults.append(f"status {status}: {err[-300:]}")
            return
        if status == 0 and not err:  # it was done before the signal came through
            return
        if status != 130 or err.count("\n") != 1 or LINE not in err:
            blow.faults.append(f"status {status}: {err[-600:]}")
        if blow.end_s >= END_S:
            blow.faults.append(f"took {blow.end_s:.1f} s to end")


@dataclass
class Undisturbed:
    """A run that nobody touched: its results, and seconds from its first line to the work's begin and to the end."""

    folder: Path
    files: dict[str, bytes]
    begin_s: float
    end_s: float


def undisturbed(command: Command, folder: Path) -> Undisturbed:
    environment = command.prepare(folder)
    process = Process(command, folder, command.argv(folder), environment)
    start = time.monotonic()
    process.wait_for(process.begun)
    begin = time.monotonic()
    assert process.end() == 0, process.err.read_text()
    return Undisturbed(folder, contents(folder / command.results), begin - start, time.monotonic() - start)


def episode(
    command: Command, expected: Undisturbed, folder: Path, rng: random.Random, blows: list[tuple[int, bool]]
) -> Iterator[Blow]:
    """Begin in a new folder, be killed by each blow in turn, run to the end; yields the blows that fell."""
    environment, results = command.prepare(folder), folder / command.results
    fallen: list[Blow] = []
    kept: dict[Path, tuple[int, int]] = {}
    argv = command.argv(folder)
    for signum, group in blows:
        older = partial(results)  # of a run that SIGKILL ended; one that is struck amid its imports knows of no folder
        process = Process(command, folder, argv, environment)
        wait_for_the_moment(process, results, expected, rng)
        blow = Blow(command.name, signum, group)
        if not process.strike(blow):
            break  # done; a blow that found nobody does not count
        fallen.append(blow)
        if signum != signal.SIGKILL and (left := [name for name in partial(results) if name not in older]):
            blow.faults.append(f"left {left}, the process was {process.process.pid}")
        blow.faults += rewritten(kept)
        kept = {path: stamp(path) for path in command.complete(results)}
        argv = [*command.argv(folder), *command.again]
    process = Process(command, folder, argv, environment)
    status = process.end()
    last = fallen[-1] if fallen else Blow(command.name, 0, False)
    if status != 0:
        last.faults.append(f"the last run ended with {status}: {process.err.read_text()[-600:]}")
    last.faults += [*rewritten(kept), *differences(expected.files, contents(results))]
    yield from fallen


def wait_for_the_moment(process: Process, results: Path, expected: Undisturbed, rng: random.Random) -> None:
    """One in eight during the imports, the others uniform over the work, a third of them at the next partial file."""
    if rng.random() < 0.125:
        time.sleep(rng.uniform(0.0, expected.begin_s))
        return
    process.wait_for(process.begun)
    time.sleep(rng.uniform(0.0, 0.95 * (expected.end_s - expected.begin_s)))
    if rng.random() < 0.33:
        while process.runs and not partial(results):
            time.sleep(0.0005)


def partial(folder: Path) -> list[str]:
    found = []
    for root, folders, files in os.walk(folder):
        found += [os.path.relpath(f"{root}/{name}", folder) for name in [*folders, *files] if name.startswith(PARTIAL)]
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by its relative name, clocks blanked; other entries by name alone."""
    return {p.relative_to(folder).as_posix(): blanked(p) for p in sorted(folder.rglob("*"))}


def blanked(path: Path) -> bytes:
    if not path.is_file():
        return b""
    data = path.read_bytes()
    if path.name not in ("predictions.csv", "log.csv"):
        return data
    table = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
    return table.drop(columns=[c for c in CLOCKS if c in table]).to_csv(index=False).encode()


def differences(expected: dict[str, bytes], got: dict[str, bytes]) -> list[str]:
    faults = [f"stray {name}" for name in got.keys() - expected.keys()]
    faults += [f"missing {name}" for name in expected.keys() - got.keys()]
    return faults + [f"differs: {name}" for name in expected.keys() & got.keys() if expected[name] != got[name]]


def stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino


def rewritten(kept: dict[Path, tuple[int, int]]) -> list[str]:
    return [f"made again: {path.name}" for path, old in kept.items() if not path.exists() or stamp(path) != old]


def table_of(blows: list[Blow]) -> pd.DataFrame:
    """One row per command and kind of kill: command, signal, kills, losses, slowest_end_s."""
    rows = [(b.command, b.what, 1, int(bool(b.faults)), b.end_s) for b in blows]
    frame = pd.DataFrame(rows, columns=["command", "signal", "kills", "losses", "slowest_end_s"])
    grouped = frame.groupby(["command", "signal"], sort=False, as_index=False)
    return grouped.agg({"kills": "sum", "losses": "sum", "slowest_end_s": "max"}).round({"slowest_end_s": 2})
