"""Batches ahead of need, from worker processes that cannot hang: a wait has an end, a dead worker is an error."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Final

from bisc.core.errors import WorkError
from bisc.trainers.sampler import Batch, Sampler

AHEAD_PER_WORKER: Final = 2
WAIT_S: Final = 300.0
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
    pool = ProcessPoolExecutor(
        n_workers, mp_context=multiprocessing.get_context("spawn"), initializer=_keep, initargs=(sampler,)
    )
    try:
        yield _ahead(pool, start, stop, AHEAD_PER_WORKER * n_workers, wait_s)
    finally:
        workers = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:  # the interpreter waits for them at its end: one that is stuck would never let it go
            worker.kill()


def _ahead(pool: ProcessPoolExecutor, start: int, stop: int, depth: int, wait_s: float) -> Iterator[Batch]:
    waiting: deque[tuple[int, Future[Batch]]] = deque()
    step = number = start
    try:
        while waiting or step < stop:
            while step < stop and len(waiting) < depth:
                waiting.append((step, pool.submit(_make, step)))
                step += 1
            number, future = waiting.popleft()
            yield future.result(timeout=wait_s)
    except BrokenProcessPool as error:
        raise WorkError(f"a loader process died at step {number}, most often for want of memory; {MEND}") from error
    except FutureTimeout as error:
        raise WorkError(f"no batch within {wait_s:g} s at step {number}; is the disk there? {MEND}") from error


_sampler: Sampler | None = None


def _keep(sampler: Sampler) -> None:
    """Runs once in each worker: batches are then asked for by number alone."""
    global _sampler
    _sampler = sampler
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the training loop answers it


def _make(step: int) -> Batch:
    if _sampler is None:
        raise RuntimeError("the loader process was not initialised")
    return _sampler.batch(step)
