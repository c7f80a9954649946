"""Case-parallel work over any `concurrent.futures.Executor`, where one bad case never ends the others' run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from bisc.core.errors import BiscError, WorkError, one_line
from bisc.core.notices import show_notices, showing_prog
from bisc.core.progress import track

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """What became of one job: a result, or the error that ended it."""

    job: Job
    result: Result | None
    error: BiscError | None


@contextmanager
def process_pool(n_workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """A spawn-safe pool of `n_workers` processes; None, meaning 'in this process', for 1.

    Spawn, not fork: threads of torch and OpenMP do not survive a fork.
    """
    if n_workers <= 1:
        yield None
        return
    pool = ProcessPoolExecutor(
        n_workers, multiprocessing.get_context("spawn"), initializer=show_notices, initargs=(showing_prog(),)
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def run_cases(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    executor: Executor | None,
    what: str,
    name: Callable[[Job], str] = str,
) -> list[Outcome[Job, Result]]:
    """Run `work` on every job and report each outcome, in the order of `jobs`.

    Args:
        work: A module-level function (it is pickled where the executor uses processes).
        jobs: Picklable jobs.
        executor: Any executor, or None for this process.
        what: The progress bar's title.
        name: A job's name in messages.

    Returns:
        One outcome per job. Errors of the package stay as they are, others become `WorkError`; a worker process
        that dies takes the jobs in flight with it, each of which says so.
    """
    if executor is None:
        return [_attempt(work, job, name) for job in track(jobs, what)]
    futures: dict[Future[Result], int] = {}
    outcomes: dict[int, Outcome[Job, Result]] = {}
    try:
        for i, job in enumerate(jobs):
            futures[executor.submit(work, job)] = i
    except BrokenProcessPool:
        for i in range(len(futures), len(jobs)):
            outcomes[i] = Outcome(jobs[i], None, _died(name(jobs[i])))
    for future in track(as_completed(futures), what, total=len(futures)):
        job = jobs[futures[future]]
        outcomes[futures[future]] = _attempt(lambda _, f=future: f.result(), job, name)  # type: ignore[misc]
    return [outcomes[i] for i in range(len(jobs))]


def _attempt(work: Callable[[Job], Result], job: Job, name: Callable[[Job], str]) -> Outcome[Job, Result]:
    try:
        return Outcome(job, work(job), None)
    except BrokenProcessPool:
        return Outcome(job, None, _died(name(job)))
    except BiscError as error:
        return Outcome(job, None, error)
    except MemoryError:
        return Outcome(job, None, WorkError(f"{name(job)}: out of memory; run with -np 1 or on a larger machine"))
    except Exception as error:  # noqa: BLE001 - one broken case must not end the others
        return Outcome(job, None, WorkError(one_line(f"{name(job)}: {type(error).__name__}: {error}")))


def _died(name: str) -> WorkError:
    return WorkError(
        f"{name}: its worker process died, most often for want of memory; run again with -np 1 (finished cases stay)"
    )
