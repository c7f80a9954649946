"""Several cases in work at a time: one is read and another written while the networks have a third."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import TypeVar

from bisc.core.errors import InputError
from bisc.imageio import StoredImage, read_size
from bisc.inference.model import Model
from bisc.inference.windows import image_gb, within_memory
from bisc.system.memory import free_gb, resident_gb, usable_cores

Job = TypeVar("Job")
Result = TypeVar("Result")
ON_CPU, ON_GPU = 2, 8
"""Cases at a time, at most. Two fill a CPU's cores; with a GPU, reading and writing take longer than networks."""


def cases_at_a_time(model: Model) -> int:
    """How many cases go on at the same time where nobody says."""
    cores = usable_cores()
    return min(ON_CPU, cores) if model.device.kind == "cpu" else max(1, min(ON_GPU, cores // 2))


def overlapping(work: Callable[[Job], Result], jobs: Sequence[Job], n: int) -> Iterator[tuple[int, Result]]:
    """The result of every job with its number, as they come, `n` at a time in threads.

    What `work` raises leaves from here, after the jobs in hand have ended; those that wait are given up.
    """
    with ThreadPoolExecutor(n) as pool:
        try:
            # A context each: notices are heard by whoever listens here
            futures = {pool.submit(copy_context().run, work, job): i for i, job in enumerate(jobs)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class Room:
    """The memory that cases in work at the same time share: whoever does not fit beside the others waits for them.

    Args:
        limit_gb: What the process may take; None: all that is free.
    """

    def __init__(self, limit_gb: float | None) -> None:
        self.limit_gb = limit_gb
        self._held: list[float] = []
        self._free_gb = 0.0
        self._change = threading.Condition()

    @contextmanager
    def model_for(self, model: Model, path: Path, size: StoredImage | None) -> Iterator[Model]:
        """The model for one image, in its turn; arguments and errors as `within_memory`.

        Beside others a pass takes what it takes alone, so that masks are the same: there is no turn before that fits.
        """
        gb = _size_gb(path, size)
        network_gb = model.network_gb if model.device.kind == "cpu" else 0.0
        with self._change:
            self._change.wait_for(lambda: not self._held or self._fits(gb, network_gb))
            alone = not self._held
            if alone:
                self._free_gb = self._left_gb()
            self._held.append(gb)
        try:
            yield within_memory(model, path, self.limit_gb, size) if alone else model
        finally:
            with self._change:
                self._held.remove(gb)
                self._change.notify_all()

    def _fits(self, gb: float, network_gb: float) -> bool:
        """One network's pass at a time, and every image; by what was free when nobody was here, and by what is now."""
        return sum(self._held) + gb + network_gb <= self._free_gb and gb + network_gb <= self._left_gb()

    def _left_gb(self) -> float:
        return free_gb() if self.limit_gb is None else min(free_gb(), self.limit_gb - resident_gb())


def _size_gb(path: Path, size: StoredImage | None) -> float:
    try:
        return image_gb(read_size(path) if size is None else size)
    except InputError:
        return 0.0  # reading it will say what is wrong
