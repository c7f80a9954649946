"""A process that reads hostile files for the tests: bounded memory, watched for anything executed, and expendable.

ITK, GDCM, zlib and torch are C++: a file that kills the interpreter must kill this one, not the tests'.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bisc.core.errors import InputError
from tests.robustness import fuzz_readers

LIMIT_S = 30.0
"""A file that takes longer hangs; sound seeds take milliseconds, and the machine may be busy."""
ROOM_BYTES = 768 << 20
"""What a reader may use beyond what the process has before it: no seed needs a hundredth of it."""
LIMIT_BYTES = 8 << 30
"""What it may allocate beyond that before it gets none: past `ROOM_BYTES`, so that libraries which take a refusal for a
damaged file, and say no more, are found out."""
ALLOCATION = ("failed to allocate", "bad_alloc", "cannot allocate", "can't allocate", "out of memory")
"""How ITK and torch say that there was no memory."""
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "socket.")
"""Audit events that a file must never cause; Python's own unpickler raises pickle.find_class, torch's safe one not."""


@dataclass(frozen=True)
class Verdict:
    """What a file did.

    Attributes:
        kind: 'read', 'refused' (InputError of one line), or a finding: 'raised', 'memory', 'executed', 'died', 'hung'.
        detail: The message.
    """

    kind: str
    detail: str

    @property
    def is_finding(self) -> bool:
        return self.kind not in ("read", "refused")


class Worker:
    """Reads files in a process of its own, which is replaced when it dies or hangs."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Connection | None = None

    def read(self, reader: str, folder: Path) -> Verdict:
        """What `fuzz_readers.READERS[reader]` makes of `folder`.

        What takes much memory is read once more by a new process: what an earlier file or the machine did is not this
        file's (seen once, for a slice that is refused before a voxel is held).
        """
        verdict = self._read(reader, folder)
        if verdict.kind == "memory":
            self.close()
            verdict = self._read(reader, folder)
        return verdict

    def _read(self, reader: str, folder: Path) -> Verdict:
        pipe = self._pipe or self._start()
        pipe.send((reader, str(folder)))
        try:
            if not pipe.poll(LIMIT_S):
                self.close()
                return Verdict("hung", f"more than {LIMIT_S:g} s")
            return Verdict(*pipe.recv())
        except (EOFError, ConnectionError):
            self._process.join(LIMIT_S)
            code = self._process.exitcode
            self.close()
            return Verdict("died", f"exit code {code}")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None

    def _start(self) -> Connection:
        ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours
        return ours


@lru_cache(maxsize=1)
def shared_worker() -> Worker:
    """One for all tests of a run: its imports take seconds. A daemon, it ends with them."""
    return Worker()


def serve(pipe: Connection) -> None:
    """Answer (reader, folder) with (kind, detail) until the pipe closes."""
    modules = "torch", "pandas", "pydicom.pixels.utils", "bisc.inference.model", "bisc.trainers.stages"
    for module in (*modules, "bisc.evaluation.crossval"):
        import_module(module)
    executed: list[str] = []
    sys.addaudithook(lambda event, _: executed.append(event) if event.startswith(FORBIDDEN) else None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries complain straight to stderr
    while True:
        try:
            reader, folder = pipe.recv()
        except EOFError:
            return
        executed.clear()
        before = _begin_count()
        kind, detail = attempt(reader, Path(folder))
        used = _status("VmHWM") - before
        if executed:
            kind, detail = "executed", ", ".join(executed)
        elif used > ROOM_BYTES and kind in ("read", "refused"):
            kind, detail = "memory", f"{used >> 20} MiB used; {detail}"
        pipe.send((kind, detail))


def _begin_count() -> int:
    """The memory in use, in bytes; its peak is counted anew from here, and what may be allocated is limited."""
    Path("/proc/self/clear_refs").write_text("5")
    limit = _status("VmSize") + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    return _status("VmRSS")


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    raise KeyError(name)


def attempt(reader: str, folder: Path) -> tuple[str, str]:
    """Run one reader in this process."""
    try:
        fuzz_readers.READERS[reader](folder)
    except InputError as error:
        message = str(error)
        if _out_of_memory(error):
            return "memory", message
        fine = message.isprintable() and len(message) < 2000
        return ("refused", message) if fine else ("raised", f"not one short line: {message!r}")
    except MemoryError as error:
        return "memory", repr(error)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        return "raised", f"{type(error).__name__}: {error}{where}"[:1000]
    return "read", ""


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in ALLOCATION):
            return True
        error = error.__cause__ or error.__context__
    return False
