"""The commands without what only POSIX has: the same results as with it (`tests.support.windows`)."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bisc.core.errors import InputError
from bisc.system import files, paths, streams, workers
from tests.support.windows import chain

HERE = Path(chain.__file__).parent
LOOK = """
import importlib, os, bisc.system.files as files, bisc.system.locks as locks, bisc.system.memory as memory
import bisc.system.workers as workers
assert hasattr(os, "fork") and not hasattr(memory.os, "sched_getaffinity") and files.os.name == "nt"
assert not hasattr(workers.signal, "pthread_sigmask") and not hasattr(workers.signal, "SIGKILL")
assert locks.fcntl is None and memory.usable_cores() >= 1 and memory.free_bytes() == []
for name in ("resource", "pwd", "grp", "termios"):
    try:
        exec(f"import {name}", {"__name__": "bisc.x"})
    except ImportError:
        continue
    raise SystemExit(f"{name} is there")
try:
    os.symlink("a", "b")
except OSError:
    print("less than POSIX")
from bisc.system.cases import process_pool, run_cases
with process_pool(2) as pool:
    print([one.result for one in run_cases(abs, [-1, -2, -3], pool, "abs")])
"""
CHAIN = "import sys; from pathlib import Path; from tests.support.windows.chain import {0}; {0}(Path(sys.argv[1]))"


def run(*args: str, cwd: Path | None = None) -> str:
    """A Python process that sees what Windows has."""
    path = os.pathsep.join([str(HERE), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1700,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    return done.stdout


def compare(ours: Path, theirs: Path) -> None:
    posix, other = chain.made(ours), chain.made(theirs)
    assert len(posix) > 20
    assert posix.keys() == other.keys()
    assert [name for name in posix if posix[name] != other[name]] == []


def test_what_is_hidden_is_hidden(tmp_path: Path) -> None:
    """And processes side by side begin and end without what is hidden."""
    assert run("-c", LOOK, cwd=tmp_path) == "less than POSIX\n[1, 2, 3]\n"


def test_plan_predict_and_score(tmp_path: Path) -> None:
    """In one process."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for home in (ours, theirs):
        home.mkdir()
    run("-c", CHAIN.format("small"), str(theirs))
    chain.small(ours)
    compare(ours, theirs)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_command(tmp_path: Path) -> None:
    """From simulated CT to pages, each command a process as a user starts it; `bisc_train all` among them."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for home in (ours, theirs):
        home.mkdir()
    chain.whole(ours)
    run("-c", CHAIN.format("whole"), str(theirs))
    compare(ours, theirs)


def windows_os() -> SimpleNamespace:
    """The module os by another name of the system, for one module: paths stay what they are."""
    return SimpleNamespace(**{**vars(os), "name": "nt"})


@pytest.mark.parametrize("n_refusals", [0, 2, 99])
def test_a_file_that_somebody_reads_is_replaced_a_moment_later(
    tmp_path: Path, n_refusals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses it meanwhile; in the end it is an error of one line, and nothing is left behind."""
    monkeypatch.setattr(files, "os", windows_os())
    monkeypatch.setattr(files, "MOVE_AGAIN_S", (0.0, 0.0, 0.0))
    whole, refusals = Path.replace, iter(range(n_refusals))

    def replace(source: Path, target: Path) -> Path:
        if next(refusals, None) is not None:
            raise PermissionError(13, "Access is denied")
        return whole(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    target = tmp_path / "a.txt"
    target.write_text("old")
    if n_refusals < 99:
        files.write_text(target, "new")
    else:
        with pytest.raises(InputError, match=r"a\.txt: cannot be written \(Access is denied\)"):
            files.write_text(target, "new")
    assert target.read_text() == ("old" if n_refusals == 99 else "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["a:b", "what?", "a.", "a|b"])
def test_names_that_windows_cannot_give_are_refused_there_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`a:b.nii.gz` would be written into a stream of a file `a` that no folder shows."""
    assert paths.name_fault(name) == ""
    monkeypatch.setattr(paths, "os", windows_os())
    assert "Windows" in paths.name_fault(name)
    assert paths.name_fault("case_00000.v2") == ""


def test_workers_begin_without_the_helper_that_windows_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """multiprocessing's tracker of semaphores cannot even be imported there."""

    def refuse() -> None:
        raise ImportError

    monkeypatch.setattr(workers, "signal", SimpleNamespace())
    monkeypatch.setattr(workers, "_start_tracker", refuse)
    with workers.starting():
        pass


def test_a_windows_console_is_left_as_it_is() -> None:
    """It takes characters; bytes would be read in its code page, and 1 ± 2 become something else."""
    raw = type("_WindowsConsoleIO", (io.BytesIO,), {})()
    stream = io.TextIOWrapper(io.BufferedWriter(raw))
    assert streams._never_failing(stream, 1) is stream
