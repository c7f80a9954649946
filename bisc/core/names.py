"""Names of cases that are safe as names of files: what a list or a folder calls a case never leads out of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bisc.core.errors import InputError

MAX_NAME_BYTES: Final = 200
"""File systems allow 255; a case's files add up to 54 (`bisc.core.scratch`: 31, `_probabilities.npz`, `-gone`)."""
_SEPARATORS: Final = frozenset("/\\")
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)
"""Windows opens a device under these names, whatever suffix follows."""


def name_fault(name: str) -> str:
    """Why `name` cannot name a case's files, in words; empty where it can."""
    if not name or name.isspace():
        return "is empty"
    if _SEPARATORS & set(name):
        return "holds a path separator"
    if name.startswith("."):
        return "begins with a dot"
    if name != name.strip() or not name.isprintable():
        return "begins or ends with a blank, or holds a character that cannot be shown"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    if name.split(".")[0].lower() in _DEVICES:
        return "is a device on Windows"
    return ""


def check_name(name: str, where: Path | str, mend: str) -> None:
    """Refuse a name that cannot name a case's files.

    Args:
        name: The case's.
        where: The file or folder that holds the name.
        mend: What the user can do.

    Raises:
        InputError: Saying what is wrong with it.
    """
    fault = name_fault(name)
    if fault:
        raise InputError(where, f"the case name '{name[:100]}' {fault}", "a plain file name", mend)
