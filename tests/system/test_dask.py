"""Cases on Dask's workers: lost ones are done again and counted, a killer is named, nothing begins that cannot go."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from bisc._version import __version__
from bisc.core.errors import BiscError, InputError, WorkError
from bisc.system import dask_worker
from bisc.system.cases import Outcome, run_cases
from bisc.system.console import collecting, tell
from bisc.system.dask_worker import OURS, Answer, absolute, do, greet
from bisc.system.files import atomic_file

pytest.importorskip("distributed", reason="of the extra [dask]")

from bisc.system.dask import dask_workers
from bisc.system.dask_cases import DaskWorkers

KILLER, UNLUCKY, FAULTY = 3, 5, 7
MOST_LOSSES = 3


@dataclass(frozen=True)
class Job:
    number: int
    folder: Path


def work(job: Job) -> int:
    """One job kills whoever has it, one the first that has it, one is at fault; each leaves a file of its attempts."""
    with (job.folder / f"{job.number}.attempts").open("a") as file:
        file.write("x")
    if job.number == KILLER or (job.number == UNLUCKY and attempts(job) == 1):
        with atomic_file(job.folder / f"{job.number}.txt") as scratch:
            scratch.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    if job.number == FAULTY:
        raise InputError(job.folder, "is at fault")
    tell(f"job {job.number} was here")
    return job.number * job.number


def attempts(job: Job) -> int:
    return len((job.folder / f"{job.number}.attempts").read_text())


def name(job: Job) -> str:
    return f"case_{job.number}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def workers(shared: Path) -> Iterator[DaskWorkers]:
    with dask_workers("local", 2, shared) as found:
        yield found


def test_lost_cases_are_done_again_and_a_killer_is_named(
    workers: DaskWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight cases, of which one is lost once and one kills three workers: the others are done, each once."""
    monkeypatch.setattr("bisc.system.dask_cases.MOST_LOSSES", MOST_LOSSES)
    jobs = [Job(number, tmp_path) for number in range(8)]
    with collecting(quiet=True) as notes:
        outcomes: list[Outcome[Job, int]] = run_cases(work, jobs, workers, "test", name)
    assert [o.result for o in outcomes] == [None if n in (KILLER, FAULTY) else n * n for n in range(8)]
    assert str(outcomes[KILLER].error).startswith(f"case_3: {MOST_LOSSES} workers were lost with it, tls://127.0.0.1:")
    assert isinstance(outcomes[KILLER].error, WorkError)
    assert (str(outcomes[FAULTY].error), type(outcomes[FAULTY].error)) == (f"{tmp_path}: is at fault", InputError)
    assert [attempts(job) for job in jobs] == [1, 1, 1, MOST_LOSSES, 1, 2, 1, 1]
    lost = sorted(note.split(":")[0] for note in notes if "was lost with it" in note)
    assert lost == ["case_3", "case_3", "case_5"]
    assert "3 times a case was done again, since its worker was lost" in notes
    assert workers.n_again == 3
    assert "job 4 was here" in notes  # of a worker, told here


def test_they_take_further_work_and_paths_are_absolute(
    workers: DaskWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    assert [o.result for o in run_cases(work, [Job(2, Path())], workers, "test", name)] == [4]
    assert (tmp_path / "2.attempts").exists()
    assert absolute((Job(1, Path("a")), [Path("b")], "c")) == (Job(1, tmp_path / "a"), [tmp_path / "b"], "c")


def forget(job: Job) -> int:
    """As if another process had come to the same address, to which Dask gives the job again of itself."""
    dask_worker._sessions.clear()
    return job.number


def test_a_process_that_was_not_greeted_is_greeted_first(workers: DaskWorkers, tmp_path: Path) -> None:
    """Its case is done again, and that is counted."""
    before = workers.n_again
    run_cases(forget, [Job(0, tmp_path), Job(1, tmp_path)], workers, "test", name)
    outcomes = run_cases(forget, [Job(n, tmp_path) for n in range(4)], workers, "test", name)
    assert [o.result for o in outcomes] == [0, 1, 2, 3]
    assert workers.n_again > before
    assert do("of nobody", forget, Job(0, tmp_path)) is Answer.STRANGER


def linger(job: Job) -> int:
    (job.folder / "begun").touch()
    time.sleep(60.0)
    return 0


@pytest.mark.long
def test_what_is_interrupted_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The case in flight is killed with its worker, and the folder is swept."""
    begin = time.monotonic()
    with suppress(KeyboardInterrupt), dask_workers("local", 1, tmp_path) as workers:
        results = workers.run(linger, [Job(0, tmp_path)], name)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        try:
            next(results)
        finally:
            signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begin < 30.0
    assert {p.name for p in tmp_path.iterdir()} <= {"begun"}


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "somewhere", "127.0.0.1:8786"])
def test_what_is_no_address_is_said(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--scheduler: .* is no address"), dask_workers(address, 1, tmp_path):
        pass


def test_where_nothing_answers_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bisc.system.dask.CONNECT_S", 0.2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=f"no scheduler answers at {address}"), dask_workers(address, 1, tmp_path):
            pass


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a client wrote; nothing is waited for."""
    monkeypatch.setattr(dask_worker, "SEEN_WITHIN_S", 0.0)
    (tmp_path / OURS).write_text("token")
    return tmp_path


def refuse() -> None:
    raise InputError("model.zip", "is not there")


def test_a_greeting_tries_version_and_storage(probe: Path) -> None:
    """What the worker wrote is there for the client; each fault is told."""
    written = greet("token", __version__, probe, [probe], None)
    assert isinstance(written, str)
    assert (probe / written).read_text() == "token"
    faults = {
        "bisc: is version": greet("token", "0.0.0", probe, [], None),
        f"{probe.parent}: does not hold what the client wrote there": greet("other", __version__, probe, [], None),
        f"{probe}: does not hold": greet("token", __version__, probe / "elsewhere", [], None),
        f"{probe / 'in'}: is not seen": greet("token", __version__, probe, [probe / "in"], None),
        "model.zip: is not there": greet("token", __version__, probe, [], refuse),
    }
    for words, fault in faults.items():
        assert isinstance(fault, BiscError)
        assert str(fault).startswith(words)


@pytest.mark.long
def test_a_worker_that_does_not_share_the_storage_is_refused(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its address, before the first case."""
    monkeypatch.setattr("bisc.system.dask_cases.text_of", lambda _: "")
    with (
        pytest.raises(InputError, match=r"worker tls://127.0.0.1:\d+: .*: what it writes there is not seen here"),
        dask_workers("local", 1, shared),
    ):
        pass
