"""Processes for test_workers.py: run as `worker_scripts.py MODE FOLDER`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bisc.system.cases import process_pool, run_cases
from bisc.system.files import PARTIAL, atomic_file, remove_partial

if __name__ != "__main__" and sys.argv[1] == "dies at import":
    os._exit(1)  # in a worker, which imports this file again


def say(*what: object) -> None:
    sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.flush()


def pid(job: int) -> int:
    time.sleep(0.3)
    return os.getpid()


def half_written(folder: Path) -> int:
    with suppress(FileExistsError):
        (folder / f"{PARTIAL}of-a-worker").touch(exist_ok=False)
        say(os.getpid())
    time.sleep(60.0)
    return 0


def dies_at_import(folder: Path) -> None:
    with process_pool(2) as pool:
        for outcome in run_cases(pid, range(6), pool, "test", lambda j: f"case_{j}"):
            say(outcome.error)


def half_of_a_result(folder: Path) -> None:
    from tests.system.test_workers import half_a_result

    with process_pool(2) as pool:
        say(*(outcome.result for outcome in run_cases(half_a_result, range(4), pool, "test")))


def waits(folder: Path) -> None:
    with process_pool(2) as pool:
        for worker in sorted({outcome.result or 0 for outcome in run_cases(pid, range(4), pool, "test")}):
            say(worker)
        time.sleep(60.0)


def run_as_command(work: Callable[[], object]) -> None:
    """`work` as the only thing that bisc_x does."""
    from bisc.cli.common import make_parser, run_command
    from bisc.cli.entry import run_process

    def run(_: argparse.Namespace) -> int:
        work()
        return 0

    run_process("bisc_x", lambda: lambda _: run_command(make_parser("bisc_x", "", ""), run, []))


def pool(folder: Path) -> None:
    """Two cases that take a minute each, of which one has written half a file."""
    remove_partial(folder)

    def work() -> None:
        with process_pool(2) as workers:
            run_cases(half_written, [folder, folder], workers, "test")

    run_as_command(work)


def here(folder: Path) -> None:
    """Cases of a second each, in this process."""
    run_as_command(lambda: run_cases(slow_file, [folder / "0.txt", folder / "1.txt"], None, "test"))


def slow_file(target: Path) -> int:
    with atomic_file(target) as scratch:
        scratch.write_text("half")
        say("writing")
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            time.sleep(0.01)
    return 0


def writes(folder: Path) -> None:
    with atomic_file(folder / "theirs.txt") as scratch:
        scratch.write_text("half")
        say("writing")
        time.sleep(60.0)


def imports(folder: Path) -> None:
    from bisc.cli.common import make_parser, run_command
    from bisc.cli.entry import Main, run_process

    def load() -> Main:
        say("importing")
        time.sleep(60.0)
        return lambda _: run_command(make_parser("bisc_x", "", ""), lambda _: 0, [])

    run_process("bisc_x", load, [])


if __name__ == "__main__":
    MODES = {
        "dies at import": dies_at_import,
        "half a result": half_of_a_result,
        "waits": waits,
        "pool": pool,
        "here": here,
        "writes": writes,
        "imports": imports,
    }
    MODES[sys.argv[1]](Path(sys.argv[2]))
