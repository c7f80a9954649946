"""As many workers as the memory carries: the largest case decides, by its header."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio import read_size
from bisc.system.memory import GIB, free_gb

PROCESS_GB: Final = 0.4
"""A worker that has imported everything and read nothing."""
BYTES_PER_VOXEL: Final = 5.0
"""An image (int16), its label map and the copies made of them; 3.9 at 1059 slices (docs/lab/reliability.md)."""


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
