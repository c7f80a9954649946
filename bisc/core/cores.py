"""How many cores this process may use, which on a shared machine are fewer than there are."""

from __future__ import annotations

import math
import os

from bisc.core import cgroup


def usable_cores() -> int:
    """The cores this process may run on, or fewer where a control group limits its time: of 1.5 cores, 2.

    At least 1.
    """
    return max(1, min([_allowed(), *(math.ceil(cores) for cores in cgroup.quota_cores())]))


def _allowed() -> int:
    if hasattr(os, "process_cpu_count"):  # Python 3.13; it minds PYTHON_CPU_COUNT too
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
