"""Standard streams that are never in a command's way, whether closed, full, or read by nobody any more."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, Final, TextIO

STANDARD: Final = (0, 1, 2)
GONE_READER: Final = (errno.EPIPE, errno.EINVAL)
"""What a pipe says whose reader went away, as `head` does (EINVAL on Windows): that loses nothing anybody wanted."""


def own_streams() -> None:
    """Make the standard streams ones that can always be written to; for the beginning of a process of our own.

    Each closed one is the null device from now on: else the next file opened would get its number, and what a library
    prints would land in that file. What cannot be written is dropped and remembered (`unwritten`): no print may end a
    run amid its cases.
    """
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
            os.set_inheritable(null, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 - for the process's life
    sys.stdout, sys.stderr = _never_failing(sys.stdout, 1), _never_failing(sys.stderr, 2)


def unwritten() -> str:
    """Why standard output could not be written, in the system's words; empty where it could, or nobody reads it."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    fault = raw.fault if isinstance(raw, _NeverFailing) else None
    return "" if fault is None or fault.errno in GONE_READER else fault.strerror or str(fault)


class _NeverFailing(io.FileIO):
    """Swallows what its file does not take, and keeps the first reason."""

    fault: OSError | None = None

    def write(self, data: Any) -> int:
        """As io.FileIO, but for its errors."""
        n_bytes = memoryview(data).nbytes
        if self.fault is None:
            try:
                return super().write(data)
            except OSError as error:
                self.fault = error
        return n_bytes


def _never_failing(stream: TextIO | None, number: int) -> TextIO:
    """`stream` anew on the same file; what its encoding lacks is escaped, as stderr always does."""
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.flush()
        if type(getattr(getattr(stream, "buffer", None), "raw", None)).__name__ == "_WindowsConsoleIO":
            return stream  # takes characters, whatever the console's code page
    at_once = number == 2 or (isinstance(stream, io.TextIOWrapper) and (stream.line_buffering or stream.write_through))
    return io.TextIOWrapper(
        io.BufferedWriter(_NeverFailing(number, "w", closefd=False)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=at_once,
    )
