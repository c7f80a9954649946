"""Files that are whole or absent: everything is written beside its place and moved there in one step."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from bisc.core.errors import InputError, one_line

PARTIAL = ".partial-"
"""Names that begin so are unfinished work; `remove_partial` clears them, readers never see them."""


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; it becomes `target` when the block ends well and vanishes otherwise.

    The scratch name keeps the target's suffixes, since image writers choose the format by them.

    Raises:
        InputError: If the folder cannot be made or written.
    """
    make_folder(target.parent)
    scratch = target.parent / f"{PARTIAL}{os.getpid()}-{target.name}"
    try:
        yield scratch
        _flush(scratch)
        scratch.replace(target)
    except OSError as error:
        raise InputError(
            _meant(target),
            f"cannot be written ({error.strerror or error})",
            mend="free space or choose another folder",
        ) from error
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Like `atomic_file`, for a whole folder; an older `target` is replaced."""
    make_folder(target.parent)
    scratch = target.parent / f"{PARTIAL}{os.getpid()}-{target.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir()
        yield scratch
        shutil.rmtree(target, ignore_errors=True)
        scratch.replace(target)
    except OSError as error:
        raise InputError(
            target,
            f"cannot be written ({error.strerror or error})",
            mend="free space or choose another folder",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(target, text.encode("utf-8"))


def write_bytes(target: Path, data: bytes) -> None:
    """Write a binary file whole or not at all."""
    with atomic_file(target) as scratch:
        scratch.write_bytes(data)


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
        with TemporaryFile(dir=folder, prefix=PARTIAL):
            return folder
    except OSError as error:
        raise InputError(
            folder,
            f"cannot be written ({one_line(error.strerror or str(error))})",
            mend="choose a folder you may write",
        ) from error


def remove_partial(folder: Path) -> None:
    """Clear what an interrupted run left half-written directly under `folder`."""
    for path in folder.glob(f"{PARTIAL}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _meant(path: Path) -> Path:
    """A path inside an unfinished folder as it would be in the end: what a user knows it by."""
    return Path(*(re.sub(rf"^{re.escape(PARTIAL)}\d+-", "", part) for part in path.parts))


def _flush(path: Path) -> None:
    """Bring the bytes to the disk before the name changes, so a power cut cannot leave an empty file in place."""
    with path.open("r+b") as file:  # Windows flushes only what is open for writing
        os.fsync(file.fileno())
