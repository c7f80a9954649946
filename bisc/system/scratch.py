"""Names of unfinished work: each tells which process of which machine is at it, so that others leave it alone.

`.partial-kWHERE-PID-BEGAN-NAME`: WHERE stands for the machine's name, its boot and the process namespace (a
container's number 7 is not the machine's), BEGAN for the moment the process began, since numbers come round again.
Versions before 0.2 wrote `.partial-PID-NAME`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

import psutil

PARTIAL: Final = ".partial-"
"""Names that begin so are unfinished work; readers never see any."""

FOREIGN_KEPT_S: Final = 7 * 86400.0
"""Whether a process of another machine or container lives cannot be known: its work goes when untouched for so long."""

CLOCKS_APART_S: Final = 3600.0
"""A file server's clock may differ from this machine's by less than this."""

DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
WHERE_DIGITS: Final = 6
_OF_PROCESS: Final = re.compile(rf"{re.escape(PARTIAL)}k([0-9a-z]{{{WHERE_DIGITS}}})-([0-9a-z]+)-([0-9a-z]+)-")
_OF_NUMBER: Final = re.compile(rf"{re.escape(PARTIAL)}(\d+)-")
PROC_SELF: Final = Path("/proc/self")
ZOMBIE: Final = ("Z", "X")
"""Dead, but for its parent's asking after it."""
UNKNOWN, NOBODY = "?", "-"
"""Start times that are none."""


def scratch_name(name: str) -> str:
    """The name under which this process makes what will be `name`; it keeps the suffixes, and adds at most 31 bytes."""
    return f"{PARTIAL}k{_where()}-{_text(os.getpid())}-{_began_here(os.getpid())}-{name}"


def meant(path: Path) -> Path:
    """A path inside an unfinished folder as it would be in the end: what a user knows it by."""
    return Path(*(_OF_NUMBER.sub("", _OF_PROCESS.sub("", part, count=1), count=1) for part in path.parts))


def is_at_work(path: Path) -> bool:
    """Whether the process that a scratch name tells of may be another one than this and still at it."""
    ours = _OF_PROCESS.match(path.name)
    if ours is None:
        return _may_be_at_work(path)
    where, number, began = ours[1], int(ours[2], 36), ours[3]
    if where != _where():
        return _touched_since(path, time.time() - FOREIGN_KEPT_S)
    return number != os.getpid() and _began(number) in (began, UNKNOWN)


def _may_be_at_work(path: Path) -> bool:
    """`is_at_work` by an older version's name: the number's process may have begun after the last of it was written."""
    number = path.name.removeprefix(PARTIAL).split("-")[0]
    if not number.isdecimal() or int(number) == os.getpid():
        return False
    try:
        process = psutil.Process(int(number))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return _touched_since(path, process.create_time() - CLOCKS_APART_S)
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, OverflowError):
        return False


def _touched_since(path: Path, moment_s: float) -> bool:
    try:
        return path.lstat().st_mtime >= moment_s
    except OSError:
        return False


@lru_cache(maxsize=1)
def _where() -> str:
    parts = [platform.node()]
    with suppress(OSError):  # not Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        parts.append(str((PROC_SELF / "ns/pid").readlink()))
    digest = hashlib.blake2s("|".join(parts).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return _text(int.from_bytes(digest, "big")).rjust(WHERE_DIGITS, "0")[-WHERE_DIGITS:]


@lru_cache(maxsize=1)
def _began_here(number: int) -> str:
    """When this process, whose number is `number`, began; a fork has another number."""
    return _ticks("self") or _began(number)


def _began(number: int) -> str:
    """When a process began, in the system's own count; NOBODY's where it is dead, UNKNOWN where that is hidden."""
    if not _exists(number):
        return NOBODY
    if not PROC_SELF.exists():
        return _began_by_psutil(number)
    if str(PROC_SELF.readlink()) != str(os.getpid()):
        return UNKNOWN  # /proc is another namespace's, where the same number is another process's
    return _ticks(str(number)) or UNKNOWN


def _exists(number: int) -> bool:
    if os.name != "posix":  # there `kill` kills
        return psutil.pid_exists(number)
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's; /proc may hide it
        return True
    return True


def _ticks(process: str) -> str:
    """Start time from /proc; NOBODY's for a zombie, empty where it cannot be read."""
    try:
        fields = Path("/proc", process, "stat").read_text(errors="replace").rpartition(")")[2].split()
        return NOBODY if fields[0] in ZOMBIE else _text(int(fields[19]))
    except (OSError, IndexError, ValueError):
        return ""


def _began_by_psutil(number: int) -> str:
    try:
        process = psutil.Process(number)
        return NOBODY if process.status() == psutil.STATUS_ZOMBIE else _text(round(process.create_time() * 100))
    except psutil.NoSuchProcess:
        return NOBODY
    except psutil.Error:
        return UNKNOWN


def _text(number: int) -> str:
    """Base 36: short."""
    text = ""
    while number or not text:
        number, digit = divmod(number, 36)
        text = DIGITS[digit] + text
    return text
