"""What a folder holds, by name; a folder that cannot be looked through is said to be so."""

from __future__ import annotations

from pathlib import Path

from bisc.core.errors import InputError


def check_nameable(path: Path) -> None:
    """Refuse a path that is no UTF-8: ITK's Python layer ends the process over it.

    Raises:
        InputError: Naming it, odd bytes escaped.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(path, "its name is no UTF-8", "a name of characters", "rename it") from error


def files_in(folder: Path) -> list[Path]:
    """A folder's files by name.

    Raises:
        InputError: If it cannot be listed or entered, or a name in it is no UTF-8.
    """
    files = [path for path in entries_of(folder) if path.is_file()]
    for path in (folder, *files):
        check_nameable(path)
    return files


def entries_of(folder: Path) -> list[Path]:
    """What lies in a folder, by name, links that lead nowhere among it; raises as `files_in`."""
    try:
        entries = sorted(folder.iterdir())
        for path in entries[:1]:
            path.is_file()  # a folder that may be listed and not entered
    except OSError as error:
        raise InputError(
            folder, f"cannot be listed ({error.strerror or error})", "a folder you may read", "change its permissions"
        ) from error
    return entries
