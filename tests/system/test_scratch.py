"""Whose unfinished work is whose: only what belongs to no living process is cleared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bisc.system.scratch import FOREIGN_KEPT_S, PARTIAL, is_at_work, meant, scratch_name
from hypothesis import given
from hypothesis import strategies as st

from bisc.system import scratch
from bisc.system.files import atomic_file, remove_partial
from bisc.system.paths import MAX_NAME_BYTES

PID = os.getpid()
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


def renamed(path: Path, part: int, text: str) -> Path:
    """The same scratch with another machine (0), process (1) or start (2) in its name."""
    parts = path.name.removeprefix(PARTIAL).split("-")
    parts[part] = text
    return path.rename(path.with_name(PARTIAL + "-".join(parts)))


def aged(path: Path, seconds: float) -> Path:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
    return path


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=MAX_NAME_BYTES // 4))
def test_a_name_is_told_apart_and_given_back(name: str) -> None:
    """Whatever the name, also one that looks like a scratch name of either form itself."""
    for what in (name, f"7-{name}", f"kabcdef-1-2-{name}"):
        made = scratch_name(what)
        assert meant(Path("a", made, "b.npy")) == Path("a", what, "b.npy")
        assert len(made.encode()) <= len(what.encode()) + 31
        assert meant(Path("a", f"{PARTIAL}4711-{name}")) == Path("a", name)


def test_the_longest_name_fits_a_file_system(tmp_path: Path) -> None:
    """The largest process number and a machine that has run for years: with all that is added, 255 bytes at most."""
    longest = f"{PARTIAL}k{'z' * 6}-{scratch._text(2**22)}-{scratch._text(20 * 365 * 86400 * 100)}-"
    assert len(longest) + MAX_NAME_BYTES + len("_probabilities.npz") + len("-gone") <= 255
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
    assert not is_at_work(file)
    run.communicate()
    remove_partial(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_came_round_again(tmp_path: Path) -> None:
    """The living process of that number began at another time: not its work. The same of this process's number."""
    run, file = writing(tmp_path / "a.txt")
    file = renamed(file, 2, "1")
    assert not is_at_work(file)
    remove_partial(tmp_path)
    assert not file.exists()
    run.kill()
    run.communicate()
    (tmp_path / scratch_name("mine")).touch()
    other = renamed(tmp_path / scratch_name("mine"), 2, "1")
    (tmp_path / scratch_name("own")).touch()
    remove_partial(tmp_path)
    assert not other.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ["1", "zzzzzz", scratch._text(PID)], ids=["one", "large", "ours"])
def test_another_machines_work_stays_until_it_is_old(tmp_path: Path, number: str) -> None:
    """Whether its process lives cannot be known here, whatever lives or not under that number here."""
    (tmp_path / scratch_name("a.txt")).write_text("half")
    file = renamed(renamed(tmp_path / scratch_name("a.txt"), 0, "kothers"), 1, number)
    aged(file, FOREIGN_KEPT_S - 3600)
    remove_partial(tmp_path)
    assert file.exists()
    aged(file, FOREIGN_KEPT_S + 3600)
    remove_partial(tmp_path)
    assert not file.exists()


@pytest.mark.skipif(not can_unshare(), reason="no process namespaces here (root on Linux has them)")
@pytest.mark.parametrize("proc", [[], ["--mount-proc"]])
def test_a_containers_work_stays_and_so_does_ours(tmp_path: Path, proc: list[str]) -> None:
    """Two namespaces, each with a number 1 and so on: neither clears the other's, dead or alive."""
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
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


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


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_another_users_hidden_process_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc may hide it (hidepid); that there is one is told by the refusal to signal it."""

    def refuse(*_: object) -> None:
        raise PermissionError

    (tmp_path / scratch_name("a.txt")).touch()
    file = renamed(tmp_path / scratch_name("a.txt"), 1, scratch._text(2**22 - 1))
    assert not is_at_work(file)
    monkeypatch.setattr(os, "kill", refuse)
    assert is_at_work(file)


def test_where_there_is_no_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS, Windows: psutil tells."""
    monkeypatch.setattr(scratch, "PROC_SELF", tmp_path / "none")
    run = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = scratch._began(run.pid)
    assert began.isalnum()
    run.kill()
    time.sleep(0.2)
    assert scratch._began(run.pid) == scratch.NOBODY
    run.communicate()
    assert scratch._began(run.pid) == scratch.NOBODY
