"""What a command costs: wall and CPU seconds, peak memory of its process tree, and what it leaves on disk."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import psutil

POLL_S: Final = 0.05
LOOKING_SHARE: Final = 0.01
"""Part of the time spent on adding up a tree's memory: the kernel walks every page for it, and stops the process."""
KIB_PER_GIB: Final = 2**20


@dataclass(frozen=True)
class Cost:
    """Of one run.

    Attributes:
        wall_s: Seconds from start to end, the interpreter's start included.
        cpu_s: User and system seconds of the process and of all it waited for.
        peak_gb: GiB: the largest sum over the tree of what each process alone answers for (PSS: a shared page counts
            once), or one process's own peak where that is more.
    """

    wall_s: float
    cpu_s: float
    peak_gb: float


class CommandFailed(RuntimeError):
    """With what the command said last."""


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> tuple[Cost, str]:
    """Run a command to its end; what it cost, and the last line it said.

    Raises:
        CommandFailed: If its exit status is not 0.
    """
    begin, peak, look_at = time.perf_counter(), 0.0, 0.0
    with TemporaryFile("w+", errors="replace") as said:
        child = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(env or {})},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, _kib(child.pid, "status", "VmHWM") / KIB_PER_GIB)
            looked = time.perf_counter()
            if looked >= look_at:
                peak = max(peak, tree_gb(child.pid))
                look_at = looked + (time.perf_counter() - looked) / LOOKING_SHARE
            time.sleep(POLL_S)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().strip()
    if child.returncode:
        raise CommandFailed(f"{command}: exit status {child.returncode}\n{text[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak), text.splitlines()[-1] if text else ""


def cost_of(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Cost:
    """`run`, for its cost alone."""
    return run(command, env)[0]


def tree_gb(pid: int) -> float:
    """Memory of a process and its children now; 0 for one without children, whose own peak is known anyway."""
    try:
        root = psutil.Process(pid)
        children = root.children(recursive=True)
    except psutil.Error:
        return 0.0
    return sum(_kib(p.pid, "smaps_rollup", "Pss") for p in (root, *children)) / KIB_PER_GIB if children else 0.0


def _kib(pid: int, file: str, field: str) -> float:
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return float(line.split()[1])
    except (OSError, IndexError, ValueError):
        pass  # it has just ended
    return 0.0


def bytes_under(folder: Path) -> int:
    """Of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def seconds_of(work: Callable[[], object]) -> float:
    """Wall seconds of one call in this process."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
