"""`source.json`: where a preprocessed data set's raw files lie, and what its labels mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from bisc.core.errors import BiscError, InputError
from bisc.imageio.label_map import meaning_of_dataset
from bisc.imageio.label_names import LabelMeaning
from bisc.planners.planner import LABEL_NOTE
from bisc.system.jsonfile import Document, load_json, save_json
from bisc.system.paths import PLAN_MARK

MEND: Final = "run bisc_plan_and_preprocess"
FILE: Final = "source.json"


class Source(Document, frozen=True):
    """The raw data set as it was when it was planned.

    Attributes:
        folder: Its folder.
        beside: The way there from the preprocessed folder: in a copy of both, the copy's.
        labels: What `--labels` or its dataset.json said; None where the numbers are KiTS's.
    """

    folder: str
    beside: str = ""
    labels: LabelMeaning | None = None


def save_source(folder: Path, raw: Path, labels: LabelMeaning | None = None) -> None:
    """Remember where a preprocessed data set's raw files are and what their labels mean; the fold's validation reads
    them again."""
    absolute = raw.resolve()
    try:
        beside = Path(os.path.relpath(absolute, folder.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        beside = ""
    save_json(folder / FILE, Source(folder=str(absolute), beside=beside, labels=labels))


def load_source(folder: Path) -> Path:
    """The raw folder of a preprocessed data set; in a copy of both, the copy's.

    Raises:
        InputError: If it is not known or no longer there.
    """
    source = load_json(folder / FILE, Source, MEND)
    beside = folder.resolve() / source.beside
    if source.beside and _is_folder(beside):
        return Path(os.path.normpath(beside))
    if not _is_folder(Path(source.folder)):
        fault = "the raw data set is no longer there"
        raise InputError(source.folder, fault, "its folder", f"{MEND} with its new place")
    return Path(source.folder)


def meaning_of_source(raw: Path, folder: Path, given: LabelMeaning | None) -> LabelMeaning | None:
    """What a data set's labels mean: as given now, else as given for an earlier run, else by its dataset.json as it is.

    Raises:
        InputError: If dataset.json is needed and cannot be used.
    """
    known = _known(folder)
    if given is None and known is not None and known.labels is not None and known.labels.is_given:
        return known.labels
    return given or meaning_of_dataset(raw)


def current_meaning(raw: Path, folder: Path) -> LabelMeaning | None:
    """What the labels of a planned data set mean now, whatever they meant when this plan of it was made.

    Raises:
        InputError: If dataset.json is needed and cannot be used.
    """
    home = folder.with_name(folder.name.partition(PLAN_MARK)[0])
    try:
        is_home = load_source(home).samefile(raw)
    except (BiscError, OSError):  # `folder` is no named plan's, or that plan is all there is
        is_home = False
    return meaning_of_source(raw, home if is_home else folder, None)


def check_same_meaning(home: Path, folder: Path, given: LabelMeaning | None) -> None:
    """Refuse to read a data set's labels otherwise for one of its plans.

    Args:
        home: The data set's preprocessed folder.
        folder: The plan's.
        given: `--labels`.

    Raises:
        InputError: If the data set was planned with another meaning.
    """
    known = _known(home)
    if given is None or known is None or folder == home:
        return
    if known.labels is None or known.labels.key != given.key:
        found = f"{given.words()}, given with --plan, where the data set was planned with {label_note(known.labels)}"
        mend = "leave it out, or give it to bisc_plan_and_preprocess without --plan first"
        raise InputError("--labels", found, "one meaning of labels for all plans of a data set", mend)


def check_same_source(folder: Path, raw: Path) -> None:
    """Refuse to plan a second data set of one name over the first.

    Raises:
        InputError: If `folder` was made from another raw folder that is still there.
    """
    known = _known(folder)
    if known is None or not known.beside:
        return
    there = [place for place in (Path(known.folder), folder.resolve() / known.beside) if _is_folder(place)]
    if there and not any(raw.samefile(place) for place in there):
        raise InputError(
            raw,
            f"would be planned over {folder}, which was made from {known.folder}",
            "one name for one data set",
            f"give a link of another name with -d, or remove {folder}",
        )


def label_note(labels: LabelMeaning | None, label_files: str = "") -> str:
    """What the labels mean, for plan.txt.

    Args:
        labels: None for KiTS's numbers.
        label_files: Which label maps are used, where there are several.
    """
    note = LABEL_NOTE
    if labels is not None:
        cyst = "; cysts count as kidney, KiTS19's convention" if labels.cyst else ""
        note = f"{labels.words()}, by {Path(labels.source).name}{cyst}"
    return f"{note}; label maps: {label_files}" if label_files else note


def _known(folder: Path) -> Source | None:
    try:
        return load_json(folder / FILE, Source, "")
    except BiscError:
        return None  # not there, or damaged: it is written anew


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for a name that is too long or holds a null
