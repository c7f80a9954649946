"""Which folds are validated already, so that going on after an interruption repeats no validation that is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bisc._version import __version__
from bisc.core.errors import BiscError
from bisc.system.jsonfile import Document, load_json, save_json

RECORD: Final = "validated.json"


class Validated(Document, frozen=True):
    """`validated.json` of a fold: what its validation rested on, and what was told of it.

    Attributes:
        key: Changes with the weights, the cases and the package.
        files: What the validation wrote, relative to the fold's folder.
        lines: For the user.
    """

    key: str
    files: list[str]
    lines: list[str]


def validation_key(files: Iterable[Path], stamps: Sequence[str]) -> str:
    """A digest of the files' bytes (checkpoints, case records) and of stamps of what is too large to read again."""
    digest = hashlib.sha256(f"{__version__} {list(stamps)}".encode())
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"missing")
    return digest.hexdigest()


def known_validation(folder: Path, key: str) -> list[str] | None:
    """The lines of a whole earlier validation with the same key, or None."""
    try:
        known = load_json(folder / RECORD, Validated, "")
    except BiscError:
        return None
    whole = known.key == key and all((folder / name).is_file() for name in known.files)
    return known.lines if whole else None


def remember_validation(folder: Path, key: str, files: Iterable[Path], lines: list[str]) -> None:
    """Write the record, the last thing a validation does."""
    names = sorted(path.relative_to(folder).as_posix() for path in files)
    save_json(folder / RECORD, Validated(key=key, files=names, lines=lines))
