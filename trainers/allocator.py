"""glibc's allocator, told to keep what a training step frees: the next step wants the same again."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_MAX: Final = -4
"""Parameter numbers of mallopt(3)."""


def keep_freed_memory() -> bool:
    """Take memory from the heap alone and never give it back; returns whether the C library took the setting.

    By default blocks of some megabytes go back to the system when a tensor is freed, and come back as pages that must
    be cleared: about 8 % of a training step on two cores (docs/lab/method.md).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
