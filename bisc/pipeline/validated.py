"""`validated.json`: what a fold's validation rested on, and whether that is still there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bisc._version import __version__
from bisc.core.choices import STAGES
from bisc.core.errors import BiscError
from bisc.inference.sources import CHECKPOINT
from bisc.pipeline.fresh import digest_of_cases
from bisc.planners.dataset import load_splits
from bisc.system.jsonfile import Document, load_json, save_json
from bisc.system.paths import Folders, fold_folder, name_of

RECORD: Final = "validated.json"


class Validated(Document, frozen=True):
    """`validated.json` of a fold: what its validation rested on, and what was told of it.

    Attributes:
        key: Changes with the weights, the cases and the package.
        files: What the validation wrote, relative to the fold's folder.
        lines: For the user.
        weights: SHA-256 of the checkpoints it rested on, by stage; None in records of before there was it.
        cases: `digest_of_cases` of its cases; empty likewise, and where not all were there.
    """

    key: str
    files: list[str]
    lines: list[str]
    weights: dict[str, str] | None = None
    cases: str = ""


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


def remember_validation(
    folder: Path,
    key: str,
    files: Iterable[Path],
    lines: list[str],
    weights: dict[str, str] | None = None,
    cases: str = "",
) -> None:
    """Write the record, the last thing a validation does."""
    names = sorted(path.relative_to(folder).as_posix() for path in files)
    save_json(folder / RECORD, Validated(key=key, files=names, lines=lines, weights=weights, cases=cases))


def weights_of(results: Path, fold: int) -> dict[str, str]:
    """SHA-256 of a fold's checkpoints, by stage, of those that are there."""
    paths = {stage: fold_folder(results, stage, fold) / CHECKPOINT for stage in STAGES}
    return {stage: hashlib.sha256(path.read_bytes()).hexdigest() for stage, path in paths.items() if path.is_file()}


def outdated(results: Path, fold: int, preprocessed: Path | None = None) -> str | None:
    """What a fine fold's validation rests on that is other now, in words.

    Args:
        results: RESULTS/NAME.
        fold: Of the fine stage.
        preprocessed: PREPROCESSED/NAME; None: in the usual place. Not asked where it, or the raw files, are not there.

    Returns:
        Empty where all is as it was; None where the record does not say.
    """
    try:
        known = load_json(fold_folder(results, "fine", fold) / RECORD, Validated, "")
    except BiscError:
        return None
    if not known.weights:
        return None
    if known.weights != weights_of(results, fold):
        return "networks that were trained anew since"
    if preprocessed is None:
        preprocessed = Folders.from_environment().preprocessed / name_of(results)
    try:
        now = digest_of_cases(preprocessed, load_splits(preprocessed).folds[fold].val)
    except (BiscError, IndexError):
        return ""
    return "cases whose images, label maps or fold changed since" if known.cases and now and now != known.cases else ""
