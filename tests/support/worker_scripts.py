"""Processes for test_workers.py: run as `worker_scripts.py MODE FOLDER`."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from bisc.system import interrupt
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
    (folder / f"{PARTIAL}{os.getpid()}-of-a-worker").write_text("half")
    return os.getpid()


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
        for worker in sorted({outcome.result for outcome in run_cases(pid, range(4), pool, "test")}):
            say(worker)
        time.sleep(60.0)


def stuck(folder: Path) -> None:
    """A worker's unfinished file, one of ours, and a main thread that does not hear."""
    remove_partial(folder)
    interrupt.watch()
    with (
        interrupt.handled(),
        interrupt.answering("stuck: interrupted"),
        interrupt.last_resort(lambda: say("hook")),
        process_pool(2) as pool,
    ):
        assert pool is not None
        worker = pool.submit(half_written, folder).result()
        # A thread that the end takes by surprise must not speak beside the command's one line.
        threading.Thread(target=pool.submit(time.sleep, 60.0).result, daemon=True).start()
        with atomic_file(folder / "ours.txt") as scratch:
            scratch.write_text("half")
            with interrupt.shielded():  # deaf, as in a convolution
                say(worker)
                time.sleep(60.0)


def writes(folder: Path) -> None:
    with atomic_file(folder / "theirs.txt") as scratch:
        scratch.write_text("half")
        say("writing")
        time.sleep(60.0)


def imports(folder: Path) -> None:
    from bisc.cli.entry import run_process

    def load():
        say("importing")
        time.sleep(60.0)

    run_process("bisc_x", load, [])


if __name__ == "__main__":
    MODES = {
        "dies at import": dies_at_import,
        "half a result": half_of_a_result,
        "waits": waits,
        "stuck": stuck,
        "writes": writes,
        "imports": imports,
    }
    MODES[sys.argv[1]](Path(sys.argv[2]))
