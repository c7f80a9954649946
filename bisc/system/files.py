"""Files that are whole or absent: everything is written beside its place and moved there in one step."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError, one_line
from bisc.system.scratch import PARTIAL, is_at_work, meant, scratch_name

REMOVE_TRIES: Final = 20

_closed = threading.Event()
_beginning = threading.RLock()
"""Held while a folder is made for what begins: the last sweep sees it, or it never begins."""
SWEEP_WAITS_S: Final = 0.5
_written: set[Path] = set()
"""Folders in which this process or its workers may have unfinished work; see `sweep`."""


@contextmanager
def atomic_file(target: Path, place: Callable[[Path, Path], object] = Path.replace) -> Iterator[Path]:
    """A path beside `target` to write to; it becomes `target` when the block ends well and vanishes otherwise.

    The scratch name keeps the target's suffixes, since image writers choose the format by them.

    Args:
        target: The file.
        place: Makes the scratch file the target.

    Raises:
        InputError: If the folder cannot be made or written.
    """
    with _beginning:
        scratch = _scratch(target)
        make_folder(target.parent)
    try:
        yield scratch
        _flush(scratch)
        place(scratch, target)
    except OSError as error:
        raise InputError(
            meant(target),
            f"cannot be written ({error.strerror or error})",
            mend="free space or choose another folder",
        ) from error
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Like `atomic_file`, for a whole folder; an older `target` is replaced.

    The older one is moved aside, not emptied in place: whoever reads after a kill finds the old folder whole, the new
    one whole, or none.
    """
    with _beginning:
        scratch, older = _scratch(target), _scratch(target, "old-")
        make_folder(target.parent)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with _beginning:
            _stop_if_closed()
            scratch.mkdir()
        yield scratch
        _exchange(scratch, target, older)
    except OSError as error:
        raise InputError(
            target,
            f"cannot be written ({error.strerror or error})",
            mend="free space or choose another folder",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _remove(older)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder under `parent` for what only this process reads; gone when the block ends, however it ends."""
    with _beginning:
        scratch = _scratch(parent / "scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        make_folder(scratch)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write a text file whole or not at all; one that holds the same text already is left as it is, time and all."""
    data = text.encode("utf-8")
    try:
        if target.read_bytes() == data:
            return
    except OSError:
        pass  # not there, or not to be read: writing it says what is wrong
    write_bytes(target, data)


def write_bytes(target: Path, data: bytes) -> None:
    """Write a binary file whole or not at all."""
    with atomic_file(target) as scratch:
        scratch.write_bytes(data)


def write_first(target: Path, data: bytes) -> bool:
    """`write_bytes` where nothing has that name; False, and nothing written, where another process was first.

    A file system without hard links cannot tell: there the last one wins.
    """
    try:
        with atomic_file(target, _link) as scratch:
            scratch.write_bytes(data)
    except _TakenError:
        return False
    return True


def make_folder(folder: Path) -> Path:
    """Make `folder` and its parents.

    Raises:
        InputError: If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            folder,
            f"cannot be made ({one_line(error.strerror or str(error))})",
            mend="choose a folder you may write",
        ) from error
    return folder


def make_output_folder(folder: Path) -> Path:
    """`make_folder`, and a look whether files can be made in it: known before the work begins, not after.

    Raises:
        InputError: If either is not possible.
    """
    make_folder(folder)
    try:
        look = _scratch(folder / "look")
        look.touch()
        look.unlink()
        return folder
    except OSError as error:
        raise InputError(
            folder,
            f"cannot be written ({one_line(error.strerror or str(error))})",
            mend="choose a folder you may write",
        ) from error


def remove_partial(folder: Path) -> None:
    """Clear what interrupted runs left half-written directly under `folder`, and remember it for `sweep`.

    Another live process's unfinished work stays: two folds may train into one results folder. This process's own goes.
    """
    _written.add(folder)
    for path in folder.glob(f"{PARTIAL}*"):
        if not is_at_work(path):
            _remove(path)


def sweep(last: bool = False) -> None:
    """`remove_partial` of every folder this process cleared or wrote to: for its end, once its workers are dead.

    Args:
        last: Another thread may still be writing: nothing is begun any more.
    """
    if last:
        held = _beginning.acquire(timeout=SWEEP_WAITS_S)  # a disk that hangs must not keep the process alive
        _closed.set()
        if held:
            _beginning.release()
    for folder in list(_written):
        remove_partial(folder)


class _TakenError(Exception):
    """Another process was first."""


def _link(scratch: Path, target: Path) -> None:
    try:
        os.link(scratch, target)
    except FileExistsError as error:
        raise _TakenError from error
    except OSError:  # no hard links here
        scratch.replace(target)


def _exchange(scratch: Path, target: Path, older: Path) -> None:
    if not target.is_dir():
        scratch.replace(target)
        return
    target.replace(older)
    try:
        scratch.replace(target)
    except OSError:
        older.replace(target)
        raise


def _scratch(target: Path, what: str = "") -> Path:
    _stop_if_closed()
    _written.add(target.parent)
    return target.parent / scratch_name(f"{what}{target.name}")


def _stop_if_closed() -> None:
    if _closed.is_set():
        raise KeyboardInterrupt  # the process is ending, and has swept


def _remove(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    # Another thread may be filling it: under another name it gets no more than what is being made this moment.
    aside = path.with_name(f"{path.name}-gone")
    with suppress(OSError):  # a remainder of that name is in the way: then as it is
        path = path.rename(aside)
    for _ in range(REMOVE_TRIES):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return


def _flush(path: Path) -> None:
    """Bring the bytes to the disk before the name changes, so a power cut cannot leave an empty file in place."""
    with path.open("r+b") as file:  # Windows flushes only what is open for writing
        os.fsync(file.fileno())
