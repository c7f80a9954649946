"""How much memory this process may still take: the machine's, or less where a container or a limit says so."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

GIB: Final = 2.0**30


def free_gb() -> float:
    """Memory in GiB that is free for this process; never below 0."""
    limits = [float(psutil.virtual_memory().available), *free_bytes(), *_address_space()]
    return max(0.0, min(limits)) / GIB


def resident_gb() -> float:
    """Memory in GiB that this process holds."""
    return float(psutil.Process().memory_info().rss) / GIB


def _address_space() -> list[float]:
    """Free bytes under `ulimit -v`; none where it is not set, not known (Windows), or may not be asked: Linux refuses
    that to a thread of a process that took another user's rights."""
    process = psutil.Process()
    if not hasattr(process, "rlimit"):
        return []
    try:
        most = process.rlimit(psutil.RLIMIT_AS)[0]
    except psutil.AccessDenied:
        return []
    return [] if most == psutil.RLIM_INFINITY else [float(most - process.memory_info().vms)]


def usable_cores() -> int:
    """The cores this process may run on, or fewer where a control group limits its time: of 1.5 cores, 2.

    At least 1.
    """
    return max(1, min([_allowed(), *(math.ceil(cores) for cores in quota_cores())]))


def _allowed() -> int:
    if hasattr(os, "process_cpu_count"):  # Python 3.13; it minds PYTHON_CPU_COUNT too
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


ROOT: Final = Path("/sys/fs/cgroup")
OWN: Final = Path("/proc/self/cgroup")
"""The groups that this process is in, a line for each tree: NUMBER:CONTROLLERS:PATH."""


def free_bytes(root: Path = ROOT, own: Path = OWN) -> list[float]:
    """Free bytes under each memory limit; none where there is no limit, nor control groups.

    Files that are cached count as used, but are given back when memory is wanted.
    """
    found = []
    for group in _groups("memory", root, own):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.high", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, now = _number(group / limit), _number(group / used)
            if most is not None and now is not None:
                found.append(most - now + _of_table(group / "memory.stat", cached))
    return found


def quota_cores(root: Path = ROOT, own: Path = OWN) -> list[float]:
    """Each limit of computing time, in cores; none where there is no limit."""
    found = []
    for group in _groups("cpu", root, own):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        try:
            found.append(int(quota) / int(period))
        except (ValueError, ZeroDivisionError):
            continue  # no such files, or "max"
    return [cores for cores in found if cores > 0.0]  # version 1 writes -1 for none


def _groups(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """The folders of this process's groups that hold the controller's files, and of those that they lie in."""
    trees = {root: "", root / controller: ""}  # their tops, also where it is hidden what group this process is in
    for line in _text(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            trees.update({root: path, root / "unified": path})
        elif controller in controllers.split(","):
            trees.update({root / controller: path, root / controllers: path})
    for tree, path in trees.items():
        for group in _seen(tree, [part for part in path.split("/") if part]):
            yield group
            while group != tree:
                group = group.parent
                yield group


def _seen(tree: Path, parts: list[str]) -> list[Path]:
    """A group's folder; in a container its path may begin above what is mounted there, and only its end be seen."""
    if ".." in parts:  # outside of what is mounted
        return [tree]
    whole = tree.joinpath(*parts)
    ends = (tree.joinpath(*parts[i:]) for i in range(1, len(parts)))
    return [whole] if whole.is_dir() else [whole, *(end for end in ends if end.is_dir())]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if text.isdecimal() else None


def _of_table(path: Path, key: str) -> float:
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdecimal():
            return float(value)
    return 0.0
