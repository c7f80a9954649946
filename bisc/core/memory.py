"""How much memory this process may still take: the machine's, or less where a container or a limit says so."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

GIB: Final = 2.0**30
CGROUP: Final = Path("/sys/fs/cgroup")
"""Where Linux keeps the limits of containers and batch jobs."""


def free_gb() -> float:
    """Memory in GiB that is free for this process; never below 0."""
    limits = [float(psutil.virtual_memory().available), *_container(CGROUP), *_address_space()]
    return max(0.0, min(limits)) / GIB


def resident_gb() -> float:
    """Memory in GiB that this process holds."""
    return float(psutil.Process().memory_info().rss) / GIB


def _container(root: Path) -> list[float]:
    """Free bytes under each memory limit of control groups, version 2 or 1; none where there is no limit.

    Files that are cached count as used, but are given back when memory is wanted.
    """
    found = []
    for limit, used, cached in (
        (root / "memory.max", root / "memory.current", "inactive_file"),
        (root / "memory/memory.limit_in_bytes", root / "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, now = int(limit.read_text()), int(used.read_text())
            kept = dict(line.split() for line in limit.with_name("memory.stat").read_text().splitlines())
            found.append(float(most - now + int(kept.get(cached, 0))))
        except (OSError, ValueError):
            continue  # no such file, or "max": no limit
    return found


def _address_space() -> list[float]:
    """Free bytes under `ulimit -v`; none where it is not set, or not known (Windows)."""
    process = psutil.Process()
    if not hasattr(process, "rlimit"):
        return []
    most = process.rlimit(psutil.RLIMIT_AS)[0]
    return [] if most == psutil.RLIM_INFINITY else [float(most - process.memory_info().vms)]
