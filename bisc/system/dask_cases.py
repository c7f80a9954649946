"""Cases on the workers of a Dask scheduler: one at a time on each, a lost worker's done again by another.

Every job is bound to one worker, and a worker has one job at a time. So a worker that is gone tells which case it was
at, and Dask's own repetitions, which nobody counts, never come to pass.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from bisc._version import __version__
from bisc.core.errors import BiscError, InputError, WorkError, one_line, shortened
from bisc.system.console import check, tell
from bisc.system.dask_worker import SHARED, SHARED_MEND, Answer, absolute, do, greet, text_of
from bisc.system.workers import CaseWorkers, Lost

MOST_LOSSES: Final = 5
"""A case that so many workers were lost with is an error. Of 200 cases that had one chance in seven to lose their
worker by no fault of their own, one lost three."""
MEND: Final = "most often for want of memory; run again with more for each worker (finished cases stay)"
LOOK_EVERY_S: Final = 0.5
"""How often it is looked which workers there are, and whether the user wants to stop."""
PATIENCE_S: Final = 10.0
"""So long nothing is said of a scheduler that has no workers."""
GREETING_S: Final = 120.0
"""So long the first cases wait for a worker that is there and does not answer."""
Job = TypeVar("Job")
Result = TypeVar("Result")


class DaskWorkers(CaseWorkers):
    """What `dask_workers` gives.

    Args:
        client: distributed's, connected.
        scheduler: Its address, for messages.
        hello: What `greet` is called with in every worker process before its first case.
    """

    def __init__(self, client: Any, scheduler: str, hello: tuple[Any, ...]) -> None:
        self._client, self._scheduler, self._hello = client, scheduler, hello
        self._arrived: SimpleQueue[Any] = SimpleQueue()
        self._numbers = count()
        self._ready: set[str] = set()
        self._refused: set[str] = set()
        self._greeted: dict[str, Any] = {}
        """By address: the greeting that has not been answered yet."""
        self._flying: dict[str, tuple[int, Any]] = {}
        """By address: the number of the job that it is at, and its future."""
        self._looked = -LOOK_EVERY_S
        self._alone_since: float | None = None
        self.n_again = 0

    def greet_all(self) -> None:
        """Wait for a worker, and until every one that is there has answered.

        Raises:
            InputError: If one of them cannot be used.
        """
        began, told = time.monotonic(), False
        while not self._ready or (self._greeted and time.monotonic() < began + GREETING_S):
            self._look()
            if self._greeted and not told and time.monotonic() > began + PATIENCE_S:
                tell(f"{self._scheduler}: {len(self._greeted)} workers have not answered yet; waiting for them")
                told = True
            for address, future in self._arrivals():
                self._take_answer(address, future, late=False)

    def run(
        self, work: Callable[[Job], Result], jobs: Sequence[Job], name: Callable[[Job], str]
    ) -> Iterator[tuple[int, Future[Result]]]:
        """As `CaseWorkers.run`; raises WorkError where the scheduler is lost, and Stopped."""
        waiting, losses = deque(range(len(jobs))), Counter[int]()
        begun = self.n_again
        while waiting or self._flying:
            lost = self._look()
            for address in self._ready - self._flying.keys() if waiting else ():
                if waiting:
                    i = waiting.popleft()
                    self._flying[address] = i, self._send(address, do, self._hello[0], work, absolute(jobs[i]))
            for address, future in self._arrivals():
                if self._greeted.get(address) is future:
                    self._take_answer(address, future, late=True)
                    continue
                i, _ = self._flying.pop(address)
                result = self._result_of(address, future)
                if isinstance(result, Future):
                    yield i, result
                else:
                    lost.append((address, i))
            for address, i in lost:
                losses[i] += 1
                if losses[i] < MOST_LOSSES:
                    self.n_again += 1
                    waiting.append(i)
                    tell(f"{name(jobs[i])}: worker {address} was lost with it ({losses[i]}); done again elsewhere")
                else:
                    yield i, _failed(Lost(f"{losses[i]} workers were lost with it, {address} the last; {MEND}"))
        if self.n_again > begun:
            tell(f"{self.n_again - begun} times a case was done again, since its worker was lost")

    def cancel(self) -> None:
        """Let go of what is not begun; a worker ends the case that it is at, which is whole or not there."""
        futures = [*(future for _, future in self._flying.values()), *self._greeted.values()]
        self._flying.clear()
        self._greeted.clear()
        if futures and self._client.status == "running":
            with suppress(Exception):
                self._client.cancel(futures, force=True)

    def _look(self) -> list[tuple[str, int]]:
        """Greet workers that are new, and forget those that are gone, with the jobs that they were at."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_S:
            return []
        self._looked = now
        there = self._addresses()
        known = self._ready | self._refused | self._greeted.keys()
        for address in known - there:
            self._forget(address)
        for address in there - known:
            self._greeted[address] = self._send(address, greet, *self._hello)
        self._mind_loneliness(now)
        gone = [address for address in self._flying if address not in there]
        return [(address, self._flying.pop(address)[0]) for address in gone]

    def _mind_loneliness(self, now: float) -> None:
        if self._ready or self._greeted:
            self._alone_since = None
        elif self._refused:
            raise WorkError(f"{self._scheduler}: none of its workers can be used")
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since > PATIENCE_S:
            tell(f"{self._scheduler}: has no workers; waiting for one")

    def _addresses(self) -> set[str]:
        try:
            if self._client.status == "running":
                return {*self._client.nthreads()}
        except Exception as error:
            raise self._scheduler_lost() from error
        raise self._scheduler_lost()

    def _scheduler_lost(self) -> WorkError:
        return WorkError(f"{self._scheduler}: the scheduler is lost; finished cases stay, start it and run again")

    def _forget(self, address: str) -> None:
        self._ready.discard(address)
        self._refused.discard(address)
        self._greeted.pop(address, None)

    def _send(self, address: str, work: Callable[..., Any], *given: Any) -> Any:
        """A future of dask's that comes to `_arrivals` when it is done."""
        key = f"bisc-{self._hello[0]}-{next(self._numbers)}"
        try:
            future = self._client.submit(
                work, *given, key=key, workers=[address], allow_other_workers=False, pure=False, retries=0
            )
        except Exception as error:
            if self._client.status == "running":
                raise
            raise self._scheduler_lost() from error
        future.add_done_callback(self._arrived.put)
        return future

    def _arrivals(self) -> list[tuple[str, Any]]:
        """What was done, with the worker's address; waits for the first. Raises Stopped."""
        check()
        arrived = []
        with suppress(Empty):
            arrived.append(self._arrived.get(timeout=LOOK_EVERY_S))
            while True:
                arrived.append(self._arrived.get_nowait())
        sent = {f.key: address for address, f in self._greeted.items()}
        sent |= {f.key: address for address, (_, f) in self._flying.items()}
        return [(sent[future.key], future) for future in arrived if future.key in sent]

    def _result_of(self, address: str, future: Any) -> Future[Any] | Answer:
        """The result or the exception of what is done; else what became of it."""
        answer: Future[Any] = Future()
        while True:
            if future.status in ("cancelled", "lost"):
                self._addresses()
                return Answer.GONE
            try:
                result = future.result(timeout=LOOK_EVERY_S)
            except Exception as error:  # noqa: BLE001 - whatever the work raised, or what became of it
                kind = type(error).__name__
                if future.status != "error" or kind == "KilledWorker":
                    if address in self._addresses() and kind == "TimeoutError":
                        check()
                        continue
                    return Answer.GONE  # done, and lost before it was fetched
                answer.set_exception(error)
                return answer
            if result is Answer.STRANGER:
                self._forget(address)
                return result
            answer.set_result(result)
            return answer

    def _take_answer(self, address: str, future: Any, late: bool) -> None:
        """Of a greeting. A worker that comes late and cannot be used is told of, and left out."""
        del self._greeted[address]
        answer = self._result_of(address, future)
        if not isinstance(answer, Future):
            return
        fault = answer.exception()
        if fault is None:
            fault = answer.result() if isinstance(answer.result(), BiscError) else self._unseen(answer.result())
        else:
            found = shortened(one_line(f"{type(fault).__name__}: {fault}"), 200)
            where = f"bisc {__version__} for scheduler and workers"
            fault = InputError(self._scheduler, f"cannot run this command ({found})", where)
        if fault is None:
            self._ready.add(address)
            return
        if isinstance(fault, InputError):
            fault = InputError(f"worker {address}: {fault.what}", fault.found, fault.expected, fault.mend)
        else:
            fault = WorkError(f"worker {address}: {fault}")
        if not late:
            raise fault
        self._refused.add(address)
        tell(f"{fault}; no case is given to it")

    def _unseen(self, name: str) -> InputError | None:
        """The fault of a worker whose file is not seen here."""
        probe: Path = self._hello[2]
        if text_of(probe / name) == self._hello[0]:
            return None
        return InputError(probe.parent, "what it writes there is not seen here", SHARED, SHARED_MEND)


def _failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future
