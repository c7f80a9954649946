"""Where cases are worked on: on as many workers as the memory carries, by the largest case's header, or on Dask's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio import read_size
from bisc.system.cases import process_pool
from bisc.system.dask_worker import LOCAL
from bisc.system.memory import GIB, free_gb

PROCESS_GB: Final = 0.4
"""A worker that has imported everything and read nothing."""
BYTES_PER_VOXEL: Final = 5.0
"""An image (int16), its label map and the copies made of them; 3.9 at 1059 slices (docs/lab/reliability.md)."""


@contextmanager
def case_workers(
    images: Iterable[Path],
    n_workers: int,
    tell: Callable[[str], object],
    scheduler: str | None = None,
    shared: Path = Path(),
    inputs: Sequence[Path] = (),
    prepare: Callable[[], object] | None = None,
) -> Iterator[Executor | None]:
    """What `run_cases` works with: a pool of as many processes as fit, or the workers of a Dask scheduler.

    Args:
        images: Of the cases; the largest decides how many fit into this machine's memory.
        n_workers: Cases at a time on this machine; 1 works in this process.
        tell: Takes a line where there are fewer.
        scheduler: None: this machine; else as of `bisc.system.dask.dask_workers`.
        shared: For a scheduler, the folder that is written to.
        inputs: For a scheduler, what every worker must see.
        prepare: For a scheduler, called once in each worker process.

    Raises:
        InputError: If no scheduler answers, or its workers cannot be used.
    """
    if scheduler is None:
        with process_pool(workers_that_fit(images, n_workers, tell)) as pool:
            yield pool
        return
    from bisc.system.dask import dask_workers  # of an extra

    fitting = workers_that_fit(images, n_workers, tell) if scheduler == LOCAL else n_workers
    with dask_workers(scheduler, fitting, shared, inputs, prepare) as workers:
        yield workers


def workers_that_fit(images: Iterable[Path], n_workers: int, tell: Callable[[str], object]) -> int:
    """`n_workers`, or fewer, one at least, where so many cases at a time would not fit into the memory that is free.

    `tell` takes a line where it is fewer.
    """
    largest = max((_voxels(path) for path in images), default=0)
    each = PROCESS_GB + BYTES_PER_VOXEL * largest / GIB
    free = free_gb()
    fitting = max(1, min(n_workers, int(free / each)))
    if fitting < n_workers:
        tell(
            f"{fitting} instead of {n_workers} cases at a time: the largest takes about {each:.1f} GB, "
            f"{free:.1f} GB are free"
        )
    return fitting


def _voxels(path: Path) -> int:
    try:
        return prod(read_size(path).shape_zyx)
    except InputError:
        return 0  # reading the case will say what is wrong
