"""Copies that were not finished, by the names that rsync, browsers and other programs give them until they are.

What such a file was to become is missing, and nothing else shows it: the end slice of a series, a patient.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError

RSYNC: Final = re.compile(r"\.(.+)\.(?![a-z]+$)[A-Za-z0-9]{6}")
"""'.IM0023.dcm.Xy12Ab': six letters and digits by chance, seldom small letters alone (.config.backup)."""
OTHERS: Final = re.compile(r"(.+)\.(?:part|partial|filepart|crdownload|download|tmp)", re.IGNORECASE)


def meant_for(path: Path) -> Path | None:
    """The file that a copy would have become; None where its name is not that of an unfinished one."""
    found = RSYNC.fullmatch(path.name) or OTHERS.fullmatch(path.name)
    return path.with_name(found[1]) if found else None


def unfinished(entries: Iterable[Path]) -> dict[Path, Path]:
    """Of what a folder holds, unfinished copies of files that are not there, each with the file it was to become."""
    there = set(entries)
    meant = {path: meant_for(path) for path in sorted(there)}
    return {path: whole for path, whole in meant.items() if whole is not None and whole not in there}


def without_hidden(entries: Sequence[Path], counts: Callable[[Path], object] = lambda _: True) -> list[Path]:
    """What a folder holds without hidden files, but with unfinished copies of files that are not there and count."""
    kept = {path for path, whole in unfinished(entries).items() if counts(whole)}
    return [path for path in entries if path in kept or not path.name.startswith(".")]


def not_finished(path: Path, whole: Path) -> InputError:
    """What is said of an unfinished copy."""
    return InputError(path, f"is a copy of {whole.name} that was not finished", "the whole file", "copy it again")
