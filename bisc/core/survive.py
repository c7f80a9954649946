"""Jobs on a `WorkerPool` whose processes the system may kill: the guilty job is named, the others are done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

from bisc.core import interrupt
from bisc.core.workers import WorkerPool

Job = TypeVar("Job")
Result = TypeVar("Result")

LOOK_EVERY_S: Final = 1.0
"""How often a wait looks whether a worker died unnoticed."""


class Lost(Exception):
    """The process of a job died under it."""

    def __init__(
        self,
        text: str = "its worker process died, most often for want of memory; run again with -np 1 "
        "(finished cases stay)",
    ) -> None:
        super().__init__(text)


NEVER_BEGAN: Final = "not done: the worker processes die as they start; run again with -np 1 (finished cases stay)"


def run_on_workers(
    work: Callable[[Job], Result], jobs: Sequence[Job], pool: WorkerPool
) -> Iterator[tuple[int, Future[Result]]]:
    """Each job's number and its finished future, as they end; a job whose process died holds `Lost`.

    When a process dies, any job in flight may be guilty. They are suspects, and run again one at a time, each in the
    only process of a pool: the one that dies there is guilty. If none does, all of them together were too much, and
    the remaining jobs go on with half the processes.
    """
    waiting, n_workers = deque(range(len(jobs))), pool.n_workers
    while waiting:
        suspects = yield from _until_broken(work, jobs, waiting, pool)
        if suspects is None:
            return
        guilty = False
        for number, i in enumerate(suspects):
            pool.renew(1)
            if not _begins(pool):
                yield from ((j, _lost(NEVER_BEGAN)) for j in [*suspects[number:], *waiting])
                return
            future = _alone(work, jobs[i], pool)
            guilty = guilty or isinstance(future.exception(), Lost)
            yield i, future
        n_workers = n_workers if guilty or not suspects else max(1, n_workers // 2)
        pool.renew(n_workers)


def _until_broken(
    work: Callable[[Job], Result], jobs: Sequence[Job], waiting: deque[int], pool: WorkerPool
) -> Generator[tuple[int, Future[Result]], None, list[int] | None]:
    """Work off `waiting`, no more jobs submitted than there are processes; returns the suspects if the pool broke."""
    flying: dict[Future[Result], int] = {}
    while waiting or flying:
        try:
            while waiting and len(flying) < pool.n_workers:
                flying[pool.submit(work, jobs[waiting[0]])] = waiting[0]
                waiting.popleft()
        except BrokenProcessPool:
            pass  # the futures in flight tell the same
        done = _wait(flying, pool)
        for future in done:
            if not isinstance(future.exception(), BrokenProcessPool):
                yield flying.pop(future), future
        if not done or any(future in flying for future in done):
            _stop_if_asked()
            return sorted(flying.values())
    return None


def _wait(flying: dict[Future[Result], int], pool: WorkerPool) -> set[Future[Result]]:
    """What is done; nothing if a worker has died unseen by its pool, which waits for the rest of a result."""
    unseen = 0
    while flying and unseen < 3:
        done, _ = wait(flying, LOOK_EVERY_S, FIRST_COMPLETED)
        if done:
            return done
        unseen = unseen + 1 if pool.lost_one() else 0
    return set()


def _alone(work: Callable[[Job], Result], job: Job, pool: WorkerPool) -> Future[Result]:
    try:
        done = _wait({pool.submit(work, job): 0}, pool)
    except BrokenProcessPool:
        done = set()
    future = next(iter(done), None)
    if future is None or isinstance(future.exception(), BrokenProcessPool):
        _stop_if_asked()
        return _lost()
    return future


def _begins(pool: WorkerPool) -> bool:
    """Whether a new worker lives long enough to answer."""
    try:
        done = _wait({pool.submit(int): 0}, pool)
    except BrokenProcessPool:
        return False
    return any(future.exception() is None for future in done)


def _lost(text: str | None = None) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_exception(Lost() if text is None else Lost(text))
    return future


def _stop_if_asked() -> None:
    """A process that an interrupt ended is no case's fault."""
    if interrupt.asked():
        raise KeyboardInterrupt
