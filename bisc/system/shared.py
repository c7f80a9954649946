"""A text file that several processes change at once, on one machine or on several that share a disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

from bisc.core.errors import InputError
from bisc.system.console import notice
from bisc.system.files import write_first, write_text

fcntl: ModuleType | None
try:
    fcntl = import_module("fcntl")
except ImportError:  # Windows, where an open file cannot be replaced: there the threads of one process alone take turns
    fcntl = None

_turn: Final = threading.RLock()


def change_text(target: Path, change: Callable[[], str]) -> None:
    """Replace a text file by what `change` makes of it, with no other process's change in between.

    The file itself is what is locked, so no lock is left behind: whoever waited for a file that was replaced meanwhile
    goes on to wait for the new one. The first file of its name is put in place only where there is none. The system
    lets go of the lock of a process that dies.

    Args:
        target: The file; it need not be there.
        change: Reads `target` as it is now, and returns the new text.

    Raises:
        InputError: If it cannot be written, and what `change` raises.
    """
    with _turn:
        while True:
            with _locked(target) as there:
                text = change()
                if there:
                    write_text(target, text)
                    return
                if write_first(target, text.encode("utf-8")):
                    return


@contextmanager
def _locked(target: Path) -> Iterator[bool]:
    """Hold the lock of the file that has the name `target` at that time; False where nothing has it."""
    while fcntl is not None:
        try:
            mine = _open(target)
        except FileNotFoundError:
            yield target.is_symlink()  # one that leads nowhere is replaced
            return
        except OSError as error:
            found = f"cannot be opened ({error.strerror})"
            raise InputError(target, found, "a file you may change", "move it") from error
        try:
            try:
                fcntl.flock(mine, fcntl.LOCK_EX)
            except OSError as error:  # a file system without locks
                notice(target, f"cannot be locked ({error.strerror})", "runs into this folder at once may lose rows")
            if _is_still(target, mine):
                yield True
                return
        finally:
            os.close(mine)
    yield True


def _open(target: Path) -> int:
    """For writing where that is allowed: network file systems ask it of whoever wants a lock for himself."""
    try:
        return os.open(target, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        return os.open(target, os.O_RDONLY | os.O_CLOEXEC)


def _is_still(target: Path, descriptor: int) -> bool:
    """Whether `target` is the file that was opened. Opened anew: a network file system's `stat` may be an old one."""
    with suppress(FileNotFoundError):
        again = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.path.samestat(os.fstat(again), os.fstat(descriptor))
        finally:
            os.close(again)
    return False
