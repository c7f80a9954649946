"""Whose unfinished work is whose: only what belongs to no living process is cleared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.system import locks
from bisc.system.files import FOREIGN_KEPT_S, PARTIAL, _name, atomic_file, atomic_folder, meant, remove_partial
from bisc.system.paths import MAX_NAME_BYTES

Kind = Callable[[Path], AbstractContextManager[Path]]
WRITER = (
    "import sys\nfrom pathlib import Path\nfrom bisc.system.files import atomic_file\n"
    "with atomic_file(Path(sys.argv[1])) as file:\n"
    "    file.write_text('half')\n    print(file.name, flush=True)\n    sys.stdin.read()\n"
)
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child"]
"""A process namespace of its own, as a container has: its first process has the number 1."""


def can_unshare() -> bool:
    there = shutil.which("unshare") is not None
    return there and subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


def writing(target: Path, *prefix: str) -> tuple[subprocess.Popen[str], Path]:
    """A process amid writing `target`, and its scratch file."""
    command = [*prefix, sys.executable, "-c", WRITER, str(target)]
    run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    return run, target.with_name(run.stdout.readline().strip())


def of_another_machine(path: Path) -> Path:
    return path.rename(path.with_name(PARTIAL + "kffffff-01234567-" + path.name.rpartition("-")[2]))


def aged(path: Path, seconds: float) -> Path:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
    return path


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=MAX_NAME_BYTES // 4))
def test_a_name_is_told_apart_and_given_back(name: str) -> None:
    """Whatever the name, also one that looks like a scratch name itself."""
    for what in (name, f"7-{name}", f"kabcdef-01234567-{name}"):
        made = _name(Path("a", what))
        assert meant(made / "b.npy") == Path("a", what, "b.npy")
        assert len(made.name.encode()) <= len(what.encode()) + 31


def test_the_longest_name_fits_a_file_system(tmp_path: Path) -> None:
    """With all that is added."""
    with atomic_file(tmp_path / ("n" * MAX_NAME_BYTES + "_probabilities.npz")) as file:
        file.write_text("whole")


def test_a_living_process_keeps_its_work_however_old(tmp_path: Path) -> None:
    """No clock is asked on the same machine; a killed process's goes at once, zombie or not."""
    run, file = writing(tmp_path / "mask.nii.gz")
    aged(file, 100 * FOREIGN_KEPT_S)
    remove_partial(tmp_path)
    assert file.exists()
    run.kill()
    time.sleep(0.2)  # dead, and not yet waited for
    remove_partial(tmp_path)
    assert list(tmp_path.iterdir()) == []
    run.communicate()


@pytest.mark.parametrize("kind", [atomic_file, atomic_folder])
def test_another_thread_keeps_its_work(tmp_path: Path, kind: Kind) -> None:
    """A file as a folder: what this process itself is at is no remainder."""
    with kind(tmp_path / "mine") as scratch:
        remove_partial(tmp_path)
        assert scratch.exists()
        if kind is atomic_file:
            scratch.write_text("mine")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_what_is_cleared_before_it_is_locked_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its making and its locking another run may find it."""
    whole = Path.touch
    cleared: list[Path] = []

    def touch(path: Path) -> None:
        whole(path)
        if not cleared:
            cleared.append(path)
            remove_partial(tmp_path)
            assert not path.exists()

    monkeypatch.setattr(Path, "touch", touch)
    with atomic_file(tmp_path / "a.txt") as scratch:
        assert scratch != cleared[0]
        scratch.write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("why", ["another machine's", "no locks", "Windows"])
def test_what_cannot_be_known_stays_until_it_is_old(tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether anybody is still at it."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    file = tmp_path / _name(tmp_path / "a.txt").name
    file.write_text("half")
    if why == "no locks":
        monkeypatch.setattr("fcntl.flock", refuse)
    elif why == "Windows":
        monkeypatch.setattr(locks, "fcntl", None)
    else:
        file = of_another_machine(file)
    remove_partial(tmp_path)
    aged(file, FOREIGN_KEPT_S - 3600)
    remove_partial(tmp_path)
    assert file.exists()
    with atomic_file(tmp_path / "b.txt") as scratch:  # one that can be written all the same
        scratch.write_text("whole")
    aged(file, FOREIGN_KEPT_S + 3600)
    remove_partial(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]


@pytest.mark.skipif(not can_unshare(), reason="no process namespaces here (root on Linux has them)")
@pytest.mark.parametrize("proc", [[], ["--mount-proc"]])
def test_a_containers_work_stays_and_so_does_ours(tmp_path: Path, proc: list[str]) -> None:
    """Two namespaces, each with a number 1 and so on: neither clears what the other is at; the dead's goes."""
    run, file = writing(tmp_path / "a.txt", *UNSHARE, *proc)
    remove_partial(tmp_path)
    assert file.exists()
    ours, own = writing(tmp_path / "b.txt")
    clear = "import sys; from pathlib import Path; from bisc.system.files import *; remove_partial(Path(sys.argv[1]))"
    subprocess.run([*UNSHARE, *proc, sys.executable, "-c", clear, str(tmp_path)], check=True)
    assert file.exists()
    assert own.exists()
    for process in (run, ours):
        process.kill()
        process.wait()  # before its input is closed, at which what it started would come to its end
        process.communicate()
    remove_partial(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not can_unshare(), reason="no process namespaces here (root on Linux has them)")
def test_a_namespace_that_sees_anothers_proc_keeps_what_lives(tmp_path: Path) -> None:
    """Numbers in /proc are then not those of the processes: only that one is gone altogether can be known."""
    script = (
        "import subprocess, sys, time\nfrom pathlib import Path\nfrom bisc.system.files import remove_partial\n"
        f"run = subprocess.Popen([sys.executable, '-c', {WRITER!r}, sys.argv[1]], stdin=-1, stdout=-1, text=True)\n"
        "file = Path(sys.argv[1]).with_name(run.stdout.readline().strip())\n"
        "remove_partial(file.parent)\nassert file.exists()\n"
        "run.kill(); run.communicate()\nremove_partial(file.parent)\nassert not file.exists()\n"
    )
    subprocess.run([*UNSHARE, sys.executable, "-c", script, str(tmp_path / "a.txt")], check=True)
