"""Locks of files and folders: held by whoever is at one, and let go by the system should he die.

POSIX locks the thing itself, so that no lock is left behind. Windows lets nobody replace or remove what is held so:
there unfinished files have no locks, and what must not be done twice at once is held by a file beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

LOCK: Final = ".partial-lock-"
"""Begins a lock file's name: one that was left is cleared as unfinished work is (`bisc.system.files`)."""

fcntl: ModuleType | None = None
with suppress(ImportError):  # Windows
    fcntl = import_module("fcntl")


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool | None]:
    """Hold the lock of the file or folder of that name; None where the disk, or the system, has no locks.

    False where nothing has the name, or, without `wait`, where another process or thread holds it.
    """
    while fcntl is not None:
        try:
            mine = _open(path)
        except FileNotFoundError:
            yield False
            return
        try:
            held: bool | None = True
            try:
                fcntl.flock(mine, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                held = False
            except OSError:
                held = None
            if not held or _is_still(path, mine):
                yield held
                return
        finally:
            os.close(mine)
    yield None


@contextmanager
def alone(path: Path, wait: bool = True) -> Iterator[bool | None]:
    """`locked`, and where the system has no such locks the same by a lock file beside `path`, which need not be there.

    Raises:
        OSError: If that file cannot be made.
    """
    if fcntl is not None:
        with locked(path, wait) as held:
            yield held
        return
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f"{LOCK}{path.name}"))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def only_user(folder: Path) -> Iterator[bool]:
    """Be the only one who works in a folder, which need not be there and may be moved; False where another does.

    What is locked is a file beside it, .NAME.lock, which stays. True, too, where the disk has no locks.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    with suppress(OSError):  # another user's can be locked, not touched
        lock.touch(exist_ok=False)
    with alone(lock, wait=False) as held:
        yield held is not False or not lock.exists()


def _open(path: Path) -> int:
    """For writing where that is allowed: network file systems ask it of whoever wants a lock for himself."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (PermissionError, IsADirectoryError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether `path` is the file that was opened. Opened anew: a network file system's `stat` may be an old one."""
    with suppress(FileNotFoundError):
        again = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.path.samestat(os.fstat(again), os.fstat(descriptor))
        finally:
            os.close(again)
    return False
