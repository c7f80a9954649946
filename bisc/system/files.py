"""Files that are whole or absent: everything is written beside its place and moved there in one step.

What is unfinished is called `.partial-kWHERE-NUMBER-NAME`, WHERE standing for the machine, and is locked by whoever is
at it. The system lets go of the lock of a process that dies: a later run knows by that what nobody will finish.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError, one_line
from bisc.system.console import notice
from bisc.system.locks import alone, locked

PARTIAL: Final = ".partial-"
"""Names that begin so are unfinished work; readers never see any."""
FOREIGN_KEPT_S: Final = 7 * 86400.0
"""Whether another machine is still at its work cannot be known: that goes when untouched for so long."""
MOVE_AGAIN_S: Final = (0.01, 0.1, 0.5, 1.0, 2.0)
"""Waits until Windows may let a file be replaced that somebody reads."""
_SCRATCH: Final = re.compile(rf"{re.escape(PARTIAL)}k([0-9a-f]{{6}})-[0-9a-f]{{8}}-")

_written: set[Path] = set()
"""Folders in which this process or its workers may have unfinished work; see `sweep`."""
_turn: Final = threading.RLock()


@contextmanager
def atomic_file(target: Path, place: Callable[[Path, Path], object] | None = None) -> Iterator[Path]:
    """A path beside `target` to write to; it becomes `target` when the block ends well and vanishes otherwise.

    The scratch name keeps the target's suffixes, since image writers choose the format by them.

    Args:
        target: The file.
        place: Makes the scratch file the target; None: `move`.

    Raises:
        InputError: If the folder cannot be made or written.
    """
    make_folder(target.parent)
    with _saying(target), _scratch(target, Path.touch) as scratch:
        yield scratch
        _flush(scratch)
        (place or move)(scratch, target)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Like `atomic_file`, for a whole folder; an older `target` is replaced.

    The older one is moved aside, not emptied in place: whoever reads after a kill finds the old folder whole, the new
    one whole, or none.
    """
    make_folder(target.parent)
    with _saying(target), _scratch(target, Path.mkdir) as scratch:
        yield scratch
        if target.is_dir():
            _exchange(scratch, target)
        else:
            move(scratch, target)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder under `parent` for what only this process reads; gone when the block ends, however it ends."""
    with _scratch(parent / "scratch", make_folder) as scratch:
        yield scratch


def write_text(target: Path, text: str) -> None:
    """Write a text file whole or not at all; one that holds the same text already is left as it is, time and all.

    Half a character, as stands in the name of a file that is no UTF-8, is escaped: one such name among cells must not
    keep the other cases' rows from being written.
    """
    data = _encoded(text)
    with suppress(OSError):  # not there, or not to be read: writing it says what is wrong
        if target.read_bytes() == data:
            return
    write_bytes(target, data)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def write_bytes(target: Path, data: bytes) -> None:
    """Write a binary file whole or not at all."""
    with atomic_file(target) as scratch:
        scratch.write_bytes(data)


def make_folder(folder: Path) -> Path:
    """Make `folder` and its parents.

    Raises:
        InputError: If that is not possible.
    """
    with _saying(folder, "cannot be made", "choose a folder you may write"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_output_folder(folder: Path) -> Path:
    """`make_folder`, and a look whether files can be made in it: known before the work begins, not after.

    Raises:
        InputError: If either is not possible.
    """
    make_folder(folder)
    with _saying(folder, mend="choose a folder you may write"), _scratch(folder / "look", Path.touch):
        return folder


def remove_partial(folder: Path) -> None:
    """Clear what interrupted runs left half-written directly under `folder`, and remember it for `sweep`.

    What somebody is still at stays: two folds may train into one results folder.
    """
    _written.add(folder)
    for path in folder.glob(f"{PARTIAL}*"):
        where = _SCRATCH.match(path.name)
        with suppress(OSError), locked(path, wait=False) as held:  # gone meanwhile, or another user's
            ours = held is not None and (where is None or where[1] == _here())
            if held if ours else path.lstat().st_mtime < time.time() - FOREIGN_KEPT_S:
                _remove(path)


def sweep() -> None:
    """`remove_partial` of every folder this process cleared or wrote to, once its workers were killed."""
    for folder in list(_written):
        remove_partial(folder)


def meant(path: Path) -> Path:
    """A path inside an unfinished folder as it would be in the end: what a user knows it by."""
    return Path(*(_SCRATCH.sub("", part, count=1) for part in path.parts))


def change_text(target: Path, change: Callable[[], str]) -> None:
    """Replace a text file that several processes change at once, on one machine or on several that share a disk.

    The file itself is what is locked, so no lock is left behind: whoever waited for a file that was replaced meanwhile
    goes on to wait for the new one. The first file of its name is put in place only where there is none.

    Args:
        target: The file; it need not be there.
        change: Reads `target` as it is now, and returns the new text.

    Raises:
        InputError: If it cannot be written, and what `change` raises.
    """
    with _turn, _saying(target, "cannot be opened", "move it"):
        while True:
            with alone(target) as held:
                if held is None:
                    notice(target, "cannot be locked on this disk", "runs into this folder at once may lose rows")
                text = change()
                if held is not False or target.is_symlink():  # a link that leads nowhere is replaced
                    write_text(target, text)
                    return
                with suppress(_TakenError), atomic_file(target, _place_first) as scratch:
                    scratch.write_bytes(_encoded(text))
                    return


class _TakenError(Exception):
    """Another process was first."""


def _place_first(scratch: Path, target: Path) -> None:
    try:
        os.link(scratch, target)
    except FileExistsError as error:
        raise _TakenError from error
    except OSError:  # no hard links here: the last one wins
        move(scratch, target)


def _name(target: Path) -> Path:
    return target.with_name(f"{PARTIAL}k{_here()}-{secrets.token_hex(4)}-{target.name}")


@contextmanager
def _scratch(target: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """An unfinished file or folder beside `target`, locked, and gone at the end of the block."""
    _written.add(target.parent)
    while True:
        path = _name(target)
        make(path)
        with locked(path) as held:
            if held is False:  # another run cleared it before it was locked
                continue
            try:
                yield path
            finally:
                _remove(path)
            return


def _exchange(scratch: Path, target: Path) -> None:
    """Put one folder in the place of another; should it not go there, the older one comes back."""
    older = _name(target)
    with locked(target):  # under its next name too
        move(target, older)
        try:
            move(scratch, target)
        except OSError:
            move(older, target)
            raise
        _remove(older)


def move(source: Path, target: Path) -> None:
    """`Path.replace`. Windows refuses it while somebody reads either, a virus scanner too: tried again for a while."""
    for wait_s in MOVE_AGAIN_S if os.name == "nt" else ():
        with suppress(PermissionError):
            source.replace(target)
            return
        time.sleep(wait_s)
    source.replace(target)


@lru_cache(maxsize=1)
def _here() -> str:
    """This machine since it started, in six digits."""
    name = platform.node()
    with suppress(OSError):  # not Linux
        name += Path("/proc/sys/kernel/random/boot_id").read_text()
    return hashlib.blake2s(name.encode("utf-8", "surrogateescape"), digest_size=3).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _saying(
    what: Path, found: str = "cannot be written", mend: str = "free space or choose another folder"
) -> Iterator[None]:
    """The system's errors, of which `what` is the file, as the package's."""
    try:
        yield
    except OSError as error:
        raise InputError(meant(what), f"{found} ({one_line(error.strerror or str(error))})", mend=mend) from error


def _flush(path: Path) -> None:
    """Bring the bytes to the disk before the name changes, so a power cut cannot leave an empty file in place."""
    with path.open("r+b") as file:  # Windows flushes only what is open for writing
        os.fsync(file.fileno())
