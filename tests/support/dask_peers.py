"""A Dask scheduler and workers as they are started by hand, each a process of its own; and a killer of workers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

SECONDS = 60.0


class Cluster:
    """A scheduler with workers under nannies, which start a new one for each that dies."""

    def __init__(self, folder: Path, n_workers: int) -> None:
        self.file = folder / "scheduler.json"
        self.file.unlink(missing_ok=True)
        dask = [sys.executable, "-m", "dask"]
        given = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", self.file]
        self.scheduler = subprocess.Popen([*dask, *map(str, given)], stderr=subprocess.DEVNULL)
        self.address = str(self._told()["address"])
        given = ["worker", self.address, "--nworkers", str(n_workers), "--nthreads", "1", "--no-dashboard"]
        given += ["--memory-limit", "0", "--local-directory", folder / "spill"]
        self.nanny = subprocess.Popen([*dask, *map(str, given)], stderr=subprocess.DEVNULL)
        until = time.monotonic() + SECONDS
        while len(self.workers()) < n_workers and time.monotonic() < until:
            time.sleep(0.2)

    def _told(self) -> dict[str, object]:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            with suppress(OSError, ValueError):
                told = json.loads(self.file.read_text())
                assert isinstance(told, dict)
                return told
            time.sleep(0.1)
        raise TimeoutError("no scheduler")

    def workers(self) -> list[psutil.Process]:
        """The processes that do the work."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.nanny.pid).children()
            return [one for one in children if "spawn_main" in " ".join(one.cmdline())]
        return []

    def close(self) -> None:
        """End them all."""
        workers = self.workers()
        for own in (self.nanny, self.scheduler):
            own.kill()
            own.wait()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()


@contextmanager
def cluster(folder: Path, n_workers: int) -> Iterator[Cluster]:
    """A cluster for a while."""
    found = Cluster(folder, n_workers)
    try:
        yield found
    finally:
        found.close()


@contextmanager
def killing(found: Cluster, every_s: float) -> Iterator[list[int]]:
    """While the block runs, one worker after the other is killed; yields their process numbers."""
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while not done.wait(every_s):
            workers = found.workers()
            if workers:
                victim = workers[len(killed) % len(workers)]
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
                    killed.append(victim.pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        done.set()
        thread.join()
