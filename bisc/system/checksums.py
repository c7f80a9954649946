"""Checksums of files, and `checksums.sha256`: what was seen of each at first, in the form that `sha256sum -c` reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bisc.core.errors import InputError
from bisc.system.console import check
from bisc.system.files import change_text

FILE: Final = "checksums.sha256"
CHUNK_BYTES: Final = 1 << 20
SHOWN: Final = 12
"""Digits of a checksum in a message."""
_LINE: Final = re.compile(r"([0-9a-f]{64})  (\S.*)")


@dataclass(frozen=True)
class Checksum:
    """What a file has to be.

    Attributes:
        kind: "sha256", or "git": the SHA-1 of git's blob.
        value: In hexadecimal digits.
        source: Who says so, in words.
    """

    kind: Literal["sha256", "git"]
    value: str
    source: str


def verify(path: Path, expected: Sequence[Checksum] = ()) -> str:
    """The SHA-256 of a file that has all the `expected` checksums.

    Raises:
        InputError: If it has another one, or cannot be read.
        Stopped: After SIGINT or SIGTERM.
    """
    sha256, git = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    try:
        git.update(b"blob %d\0" % path.stat().st_size)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                check()
                sha256.update(chunk)
                git.update(chunk)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})") from error
    found = {"sha256": sha256.hexdigest(), "git": git.hexdigest()}
    for want in expected:
        if found[want.kind] != want.value:
            wrong = f"has the {want.kind} checksum {found[want.kind][:SHOWN]}..."
            raise InputError(path, wrong, f"{want.value[:SHOWN]}... ({want.source})")
    return found["sha256"]


def read_checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that `FOLDER/checksums.sha256` names, by its path in the folder; empty without it.

    Raises:
        InputError: If it cannot be read, or holds anything else.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read ({error})", "a list of checksums", "mend or remove it") from error
    sums = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(path, f"a line {line[:100]!r}", "SHA-256, two blanks, file", "mend or remove it")
        sums[match[2]] = match[1]
    return sums


def record_checksum(folder: Path, name: str, sha256: str) -> None:
    """Add a file to `FOLDER/checksums.sha256`, or change its line; other processes may do so at the same time.

    Raises:
        InputError: If it cannot be read or written.
    """

    def with_it() -> str:
        sums = {**read_checksums(folder), name: sha256}
        return "".join(f"{value}  {key}\n" for key, value in sorted(sums.items()))

    change_text(folder / FILE, with_it)
