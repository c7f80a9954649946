"""Batches ahead of need, from worker processes that cannot hang: a wait has an end, a dead worker is an error."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Final

from bisc.core.errors import WorkError
from bisc.system.workers import WorkerPool
from bisc.trainers.sampler import Batch, Sampler

AHEAD_PER_WORKER: Final = 2
WAIT_S: Final = 300.0
LOOK_EVERY_S: Final = 1.0
MEND: Final = "run again with --continue --workers 0"


@contextmanager
def batches(
    sampler: Sampler, start: int, stop: int, n_workers: int, wait_s: float = WAIT_S
) -> Iterator[Iterator[Batch]]:
    """Batches of the steps from `start` up to `stop`, in order, whatever the number of workers.

    Args:
        sampler: Makes a batch from a step number.
        start: First step.
        stop: One past the last step.
        n_workers: Worker processes; 0 makes batches in this process.
        wait_s: A batch that takes longer is an error.

    Raises:
        WorkError: From the iterator, if a worker died or a batch took longer than `wait_s`.
    """
    if n_workers == 0:
        yield (sampler.batch(step) for step in range(start, stop))
        return
    pool = WorkerPool(n_workers, _keep, (sampler,))
    try:
        yield _ahead(pool, start, stop, AHEAD_PER_WORKER * n_workers, wait_s)
    finally:
        pool.kill()  # the interpreter waits for them at its end: one that is stuck would never let it go


def _ahead(pool: WorkerPool, start: int, stop: int, depth: int, wait_s: float) -> Iterator[Batch]:
    waiting: deque[tuple[int, Future[Batch]]] = deque()
    step = number = start
    try:
        while waiting or step < stop:
            while step < stop and len(waiting) < depth:
                waiting.append((step, pool.submit(_make, step)))
                step += 1
            number, future = waiting.popleft()
            if not _arrives(future, pool, wait_s):
                raise WorkError(f"no batch within {wait_s:g} s at step {number}; is the disk there? {MEND}")
            yield future.result()
    except BrokenProcessPool as error:
        raise WorkError(f"a loader process died at step {number}, most often for want of memory; {MEND}") from error


def _arrives(future: Future[Batch], pool: WorkerPool, wait_s: float) -> bool:
    """Whether a batch comes within `wait_s`.

    Raises:
        BrokenProcessPool: If a worker died and left half a batch in its pipe, where the pool waits for the rest.
    """
    until = time.monotonic() + wait_s
    unseen = 0
    while not future.done():
        left = until - time.monotonic()
        if left <= 0.0:
            return False
        if not wait([future], min(left, LOOK_EVERY_S)).done:
            unseen = unseen + 1 if pool.lost_one() else 0
            if unseen == 3:
                raise BrokenProcessPool("a worker died in the midst of a batch")
    return True


_sampler: Sampler | None = None


def _keep(sampler: Sampler) -> None:
    """Runs once in each worker: batches are then asked for by number alone."""
    global _sampler
    _sampler = sampler


def _make(step: int) -> Batch:
    if _sampler is None:
        raise RuntimeError("the loader process was not initialised")
    return _sampler.batch(step)
