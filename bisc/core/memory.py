"""How much memory this process may still take: the machine's, or less where a container or a limit says so."""

from __future__ import annotations

from typing import Final

import psutil

from bisc.core import cgroup

GIB: Final = 2.0**30


def free_gb() -> float:
    """Memory in GiB that is free for this process; never below 0."""
    limits = [float(psutil.virtual_memory().available), *cgroup.free_bytes(), *_address_space()]
    return max(0.0, min(limits)) / GIB


def resident_gb() -> float:
    """Memory in GiB that this process holds."""
    return float(psutil.Process().memory_info().rss) / GIB


def _address_space() -> list[float]:
    """Free bytes under `ulimit -v`; none where it is not set, or not known (Windows)."""
    process = psutil.Process()
    if not hasattr(process, "rlimit"):
        return []
    most = process.rlimit(psutil.RLIMIT_AS)[0]
    return [] if most == psutil.RLIM_INFINITY else [float(most - process.memory_info().vms)]
