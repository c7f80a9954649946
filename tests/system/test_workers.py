"""Workers that the system kills: the guilty case is named within seconds, the others are done, nothing lives on."""

from __future__ import annotations

import multiprocessing.process
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from bisc.core.errors import WorkError
from bisc.system import workers as survive
from bisc.system.cases import Outcome, process_pool, run_cases
from bisc.system.files import PARTIAL, atomic_file, remove_partial
from bisc.system.workers import WorkerPool

GUILTY = 2
SCRIPT = Path(__file__).parents[1] / "support" / "worker_scripts.py"
SECONDS = 20.0
"""An end to every wait here; what is waited for takes two or three seconds on an idle machine."""


def die(job: int) -> int:
    """The guilty job ends its process as the kernel does to one that takes too much memory."""
    time.sleep(0.1)
    if job == GUILTY:
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


def need_memory(job: int) -> int:
    """The guilty job asks for 4 GB where 1 GB more than now is allowed."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 2**30, resource.RLIM_INFINITY))
    return len(bytearray(2**32 if job == GUILTY else 2**10))


def too_much_together(job: tuple[int, Path]) -> int:
    """Dies where another job is at work at the same time, as two large cases that each fit alone."""
    number, folder = job
    (folder / str(os.getpid())).touch()
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        if any(path.name != str(os.getpid()) and is_alive(int(path.name)) for path in folder.iterdir()):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
    (folder / str(os.getpid())).unlink()
    return number


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_the_end_of(pids: list[int]) -> None:
    until = time.monotonic() + SECONDS
    while any(map(is_alive, pids)):
        assert time.monotonic() < until, "a worker lives on"
        time.sleep(0.05)


def half_a_result(job: int) -> int:
    """The guilty job dies with the start of a result in the pipe, for the rest of which the pool would wait forever."""
    if job == GUILTY:
        arguments = multiprocessing.process.current_process()._args  # type: ignore[attr-defined]
        os.write(arguments[1]._writer.fileno(), b"\x00\x00\xff\xff")
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


def named(job: object) -> str:
    return f"case_{job}"


def check(outcomes: list[Outcome[int, int]], n: int, needle: str) -> None:
    """The guilty job says so, and every other one is done."""
    assert [o.job for o in outcomes] == list(range(n))
    assert [o.result for o in outcomes] == [None if j == GUILTY else j * j for j in range(n)]
    assert isinstance(outcomes[GUILTY].error, WorkError)
    assert str(outcomes[GUILTY].error).startswith(f"case_{GUILTY}: {needle}")
    assert "-np 1" in str(outcomes[GUILTY].error)


def test_a_killed_worker_is_reported_with_its_case_and_all_others_are_done() -> None:
    """In flight, queued or later: eight jobs, one killer; and the pool takes further work."""
    with process_pool(2) as pool:
        begin = time.monotonic()
        check(run_cases(die, range(8), pool, "test", named), 8, "its worker process died")
        assert time.monotonic() - begin < SECONDS
        assert pool is not None
        assert pool.n_workers == 2  # one job was to blame: the others go on as before
        again = run_cases(die, [0, 1], pool, "test", named)
        assert [o.result for o in again] == [0, 1]


def test_half_a_result_in_the_pipe_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool alone would wait for the other half for ever."""
    monkeypatch.setattr(survive, "LOOK_EVERY_S", 0.2)
    with process_pool(2) as pool:
        check(run_cases(half_a_result, range(4), pool, "test", named), 4, "its worker process died")
    managers = [thread for thread in threading.enumerate() if "Executor" in type(thread).__name__]
    assert managers == []  # the interpreter waits for them at its end


def test_a_process_whose_worker_died_amid_a_result_ends(tmp_path: Path) -> None:
    """All cases are answered, and then the process itself must end too."""
    out, _ = run_script("half a result", tmp_path).communicate(timeout=SECONDS)
    assert out == "0 1 None 9\n"


def test_a_real_memory_limit_is_a_message_with_the_case() -> None:
    """MemoryError in a worker ends its case alone."""
    with process_pool(2) as pool:
        outcomes = run_cases(need_memory, range(4), pool, "test", named)
    assert [o.result for o in outcomes] == [1024, 1024, None, 1024]
    assert str(outcomes[GUILTY].error) == "case_2: out of memory; run with -np 1 or on a larger machine"


def torch_like(job: int) -> int:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried")


def test_out_of_memory_in_foreign_words() -> None:
    """torch and ITK raise RuntimeError."""
    (outcome,) = run_cases(torch_like, [7], None, "test", named)
    assert str(outcome.error) == "case_7: out of memory; run with -np 1 or on a larger machine"


@pytest.mark.long
def test_too_much_together_goes_on_with_fewer(tmp_path: Path) -> None:
    """No case is guilty alone: all are done, with half the processes."""
    with process_pool(2) as pool:
        outcomes = run_cases(too_much_together, [(j, tmp_path) for j in range(3)], pool, "test", lambda j: str(j[0]))
        assert [o.result for o in outcomes] == [0, 1, 2]
        assert pool is not None
        assert pool.n_workers == 1


def test_a_foreign_pool_that_breaks_is_reported_as_before() -> None:
    """Any executor will do; of a strange one's inside nothing is known."""
    with WorkerPool(1) as ours:  # the same start method, without the survival
        outcomes = run_cases(die, [0, GUILTY, 3], _bare(ours), "test", named)
    assert outcomes[0].result == 0
    assert "case_2: its worker process died" in str(outcomes[1].error)


def _bare(pool: WorkerPool) -> ProcessPoolExecutor:
    return pool._pool


def run_script(mode: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), mode, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_workers_that_die_as_they_start(tmp_path: Path) -> None:
    """Every case says that it was not done, at once, and nothing waits."""
    out, _ = run_script("dies at import", tmp_path).communicate(timeout=SECONDS)
    lines = out.splitlines()
    assert len(lines) == 6
    for i, line in enumerate(lines):
        assert line == f"case_{i}: not done: the worker processes die as they start; run again with -np 1 " + (
            "(finished cases stay)"
        )


def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    """It would wait for work on a pipe of its own for ever."""
    parent = run_script("waits", tmp_path)
    assert parent.stdout is not None
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate(timeout=SECONDS)  # ends when nobody holds its pipes any more
    wait_for_the_end_of(workers)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_cases_in_other_processes_are_given_up(tmp_path: Path, signum: int) -> None:
    """Within a second or two: exit status 130, one line, the workers and their half-written files gone."""
    process = run_script("pool", tmp_path)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    os.killpg(process.pid, signum)
    begin = time.monotonic()
    _, err = process.communicate(timeout=SECONDS)
    assert time.monotonic() - begin < 3.0
    assert (process.returncode, err) == (
        130,
        "bisc_x: error: interrupted; finished work is kept, run the same command again to go on\n",
    )
    assert list(tmp_path.iterdir()) == []
    wait_for_the_end_of([worker])


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_case_in_hand_is_finished_here_unless_a_second_signal_comes(tmp_path: Path, signum: int) -> None:
    """One is waited for, and the next is not begun; a second signal ends it amid a file, which the next run clears."""
    for n_signals in (1, 2):
        folder = tmp_path / str(n_signals)
        folder.mkdir()
        process = run_script("here", folder)
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(n_signals):
            os.kill(process.pid, signum)
            time.sleep(0.2)
        _, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, err.count("\n")) == (130, 1)
        assert err.startswith("bisc_x: error: interrupted; finished work is kept")
        names = [p.name for p in folder.iterdir()]
        assert names == ["0.txt"] if n_signals == 1 else [name[:9] for name in names] == [PARTIAL]
        remove_partial(folder)
        assert [p.name for p in folder.iterdir()] == ["0.txt"] * (2 - n_signals)


def test_a_signal_during_the_imports_ends_at_once(tmp_path: Path) -> None:
    """Before a command began there is nothing to wait for."""
    process = run_script("imports", tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err) == (130, "", "bisc_x: error: interrupted before it began\n")


def test_one_live_process_keeps_its_unfinished_work(tmp_path: Path) -> None:
    """Two folds train into one results folder: the later one must not clear the other's file under its hands."""
    other = run_script("writes", tmp_path)
    assert other.stdout is not None
    other.stdout.readline()
    (theirs,) = tmp_path.iterdir()
    with atomic_file(tmp_path / "mine.txt") as scratch:
        scratch.write_text("mine")
    remove_partial(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([theirs.name, "mine.txt"])
    os.kill(other.pid, signal.SIGKILL)
    other.communicate(timeout=SECONDS)
    remove_partial(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
