"""Worker processes that can be lost: deaf to Ctrl-C, gone with their parent, replaced when the system kills one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any, Final, TypeVar

from bisc.system.console import SIGNALS, check, deafen

JOIN_S: Final = 2.0
Job = TypeVar("Job")
Result = TypeVar("Result")


class _Worker(SpawnProcess):
    def terminate(self) -> None:
        """Kill: the worker is deaf to SIGTERM, and the pool would wait for it forever."""
        self.kill()


class Context(SpawnContext):
    """Spawn, not fork: threads of torch and OpenMP do not survive a fork."""

    Process = _Worker


class CaseWorkers(Executor):
    """Workers that see to their losses themselves."""

    def run(
        self, work: Callable[[Job], Result], jobs: Sequence[Job], name: Callable[[Job], str]
    ) -> Iterator[tuple[int, Future[Result]]]:
        """Each job's number and its finished future, as they end; a job whose process died for good holds `Lost`."""
        raise NotImplementedError


class WorkerPool(CaseWorkers):
    """A pool of spawned processes which can be killed, and used again after it broke.

    Ctrl-C and `kill` to the whole process group reach the workers too: they ignore both signals from their first
    moment, and the parent alone decides. A worker whose parent is no more ends by itself.

    Args:
        n_workers: Processes.
        initializer: Run in each of them first.
        initargs: Its arguments.
    """

    def __init__(self, n_workers: int, initializer: Callable[..., None] | None = None, initargs: Any = ()) -> None:
        self.n_workers = n_workers
        self._begin = (initializer, initargs)
        self._pool = self._fresh(n_workers)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As Executor; raises BrokenProcessPool after a worker's death, until `renew`."""
        with starting():
            return self._pool.submit(fn, *args, **kwargs)

    def renew(self, n_workers: int | None = None) -> None:
        """Kill what is left of the workers and begin with new ones, as many as before or `n_workers`."""
        self.kill()
        self.n_workers = n_workers or self.n_workers
        self._pool = self._fresh(self.n_workers)

    def run(
        self, work: Callable[[Job], Result], jobs: Sequence[Job], name: Callable[[Job], str]
    ) -> Iterator[tuple[int, Future[Result]]]:
        """As `run_on_workers`."""
        return run_on_workers(work, jobs, self)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As Executor."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End the workers now, whatever they are at, and the pool's own thread with them.

        A worker that died amid a result leaves that thread waiting for the rest, on a pipe whose other end this
        process holds open itself; the interpreter would wait for the thread at its end, for ever.
        """
        workers = self._workers()
        results: Any = self._pool._result_queue
        manager: Any = self._pool._executor_manager_thread  # none before the first job, and after a shutdown
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.kill()
        for worker in workers:
            with suppress(AssertionError, ValueError):  # another thread has seen to it
                worker.join(JOIN_S)
        if manager is not None:
            results._writer.close()
            manager.join(JOIN_S)

    def lost_one(self) -> bool:
        """Whether a worker has died. The pool sees it too, unless the death left half a result in its pipe."""
        return any(worker.exitcode is not None for worker in self._workers())

    def _workers(self) -> list[BaseProcess]:
        return list((self._pool._processes or {}).values())

    def _fresh(self, n_workers: int) -> ProcessPoolExecutor:
        with starting():
            return ProcessPoolExecutor(n_workers, mp_context=Context(), initializer=_begin_worker, initargs=self._begin)


def _begin_worker(initializer: Callable[..., None] | None, initargs: Any) -> None:
    own_worker()
    if initializer is not None:
        initializer(*initargs)


def own_worker(*_: object) -> None:
    """For the beginning of a worker: deaf to both signals, and gone with its parent."""
    deafen()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    """Without this it would outlive a dead parent: it waits for work on a pipe that it holds open itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _start_tracker() -> None:
    """Start multiprocessing's helper now, since it unblocks both signals as it starts, and let it work in silence.

    It clears away the semaphores of a process that was killed, which is well, and complains of them on its stderr,
    which is the command's.
    """
    sys.warnoptions.append("ignore:resource_tracker")  # handed to the helper on its command line
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove("ignore:resource_tracker")


@contextmanager
def starting() -> Iterator[None]:
    """A block that may start workers: they inherit what is blocked, and are deaf before they can say so themselves.

    Windows blocks no signals (nor has it multiprocessing's helper): there they are deaf once they say so.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    _start_tracker()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


LOOK_EVERY_S: Final = 0.5
"""How often a wait looks whether a worker died unnoticed, and whether the user wants to stop."""


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
            return sorted(flying.values())
    return None


def _wait(flying: dict[Future[Result], int], pool: WorkerPool) -> set[Future[Result]]:
    """What is done; nothing if a worker has died unseen by its pool, which waits for the rest of a result.

    Raises:
        Stopped: If the user asks for it meanwhile.
    """
    unseen = 0
    while flying and unseen < 3:
        check()
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
