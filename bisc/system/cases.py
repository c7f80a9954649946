"""Case-parallel work over any `concurrent.futures.Executor`, where one bad case never ends the others' run."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, TypeVar

from bisc.core.errors import BiscError, WorkError, one_line
from bisc.system.console import collecting, tell, track
from bisc.system.files import sweep
from bisc.system.workers import CaseWorkers, Lost, WorkerPool

Job = TypeVar("Job")
Result = TypeVar("Result")

OUT_OF_MEMORY = ("allocate", "bad_alloc", "out of memory")
"""What torch and ITK say where Python would raise MemoryError."""


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """What became of one job: a result, or the error that ended it; and the notices it gave, each once.

    The notices are shown here already, once per text; of an error that is none of the package's they are lost.
    """

    job: Job
    result: Result | None
    error: BiscError | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Noted(Generic[Result]):
    """What a job's process hands back."""

    result: Result | None
    error: BiscError | None
    notes: tuple[str, ...]


@contextmanager
def process_pool(n_workers: int) -> Iterator[WorkerPool | None]:
    """A spawn-safe pool of `n_workers` processes; None, meaning 'in this process', for 1.

    An error or an interrupt that leaves the block does not wait for the cases in flight: their processes are killed,
    and what they had half-written is removed.
    """
    if n_workers <= 1:
        yield None
        return
    pool = WorkerPool(n_workers)
    try:
        yield pool
    finally:
        if sys.exc_info()[0] is None:
            pool.shutdown(wait=True, cancel_futures=True)
        else:
            pool.kill()
            sweep()


def run_cases(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    executor: Executor | None,
    what: str,
    name: Callable[[Job], str] = str,
    *,
    bar: bool = True,
) -> list[Outcome[Job, Result]]:
    """Run `work` on every job and report each outcome, in the order of `jobs`.

    Args:
        work: A module-level function (it is pickled where the executor uses processes).
        jobs: Picklable jobs.
        executor: Any executor, or None for this process.
        what: The progress bar's title.
        name: A job's name in messages.
        bar: Show a bar of the jobs; False where the work shows its own.

    Returns:
        One outcome per job. Errors of the package stay as they are, others become `WorkError`. Where a process of
        `process_pool` dies, its job says so and every other job is done all the same; a foreign pool that breaks
        takes the jobs in flight and in its queue with it, each of which says so.

    Raises:
        Stopped: After SIGINT or SIGTERM, between two jobs here; those in other processes are given up.
    """
    if executor is None:
        return [_attempt_here(work, job, name) for job in track(jobs, what, shown=bar)]
    outcomes: dict[int, Outcome[Job, Result]] = {}
    noted = partial(_noted, work)
    if isinstance(executor, CaseWorkers):
        results = executor.run(noted, jobs, name)
    else:
        results = _run_on_foreign(noted, jobs, executor)
    for i, future in track(results, what, total=len(jobs), shown=bar):
        outcomes[i] = _arrived(future, jobs[i], name)
    return [outcomes[i] for i in range(len(jobs))]


def _run_on_foreign(
    work: Callable[[Job], Result], jobs: Sequence[Job], executor: Executor
) -> Iterator[tuple[int, Future[Result]]]:
    futures: dict[Future[Result], int] = {}
    try:
        for i, job in enumerate(jobs):
            futures[executor.submit(work, job)] = i
    except BrokenProcessPool as error:
        for i in range(len(futures), len(jobs)):
            refused: Future[Result] = Future()
            refused.set_exception(error)
            futures[refused] = i
    for future in as_completed(futures):
        yield futures[future], future


def _noted(work: Callable[[Job], Result], job: Job) -> _Noted[Result]:
    """`work` in an executor's thread or process. A process says nothing itself: this one shows each text once."""
    with collecting(quiet=multiprocessing.parent_process() is not None) as notes:
        try:
            return _Noted(work(job), None, tuple(notes))
        except BiscError as error:
            return _Noted(None, error, tuple(notes))


def _arrived(future: Future[_Noted[Result]], job: Job, name: Callable[[Job], str]) -> Outcome[Job, Result]:
    outcome = _attempt(lambda _: future.result(), job, name)
    if outcome.result is None:
        return Outcome(job, None, outcome.error)
    for text in outcome.result.notes:
        tell(text)
    return Outcome(job, outcome.result.result, outcome.result.error, outcome.result.notes)


def _attempt_here(work: Callable[[Job], Result], job: Job, name: Callable[[Job], str]) -> Outcome[Job, Result]:
    with collecting() as notes:
        outcome = _attempt(work, job, name)
    return replace(outcome, notes=tuple(notes))


def _attempt(work: Callable[[Job], Result], job: Job, name: Callable[[Job], str]) -> Outcome[Job, Result]:
    try:
        return Outcome(job, work(job), None)
    except Lost as error:
        return Outcome(job, None, WorkError(f"{name(job)}: {error}"))
    except BrokenProcessPool:
        return Outcome(job, None, WorkError(f"{name(job)}: {Lost()}"))
    except BiscError as error:
        return Outcome(job, None, error)
    except MemoryError:
        return Outcome(job, None, _out_of_memory(name(job)))
    except Exception as error:  # noqa: BLE001 - one broken case must not end the others
        if any(words in str(error) for words in OUT_OF_MEMORY):
            return Outcome(job, None, _out_of_memory(name(job)))
        return Outcome(job, None, WorkError(one_line(f"{name(job)}: {type(error).__name__}: {error}")))


def _out_of_memory(name: str) -> WorkError:
    return WorkError(f"{name}: out of memory; run with -np 1 or on a larger machine")
