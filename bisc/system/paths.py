"""Where raw data, caches and results lie, which data set or model is meant, and what a folder holds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unicodedata import normalize

from bisc.core.errors import InputError


@dataclass(frozen=True)
class Folders:
    """The three roots: `BISC_RAW`, `BISC_PREPROCESSED`, `BISC_RESULTS`, or folders under `BISC_HOME`; and nnU-Net's
    `nnUNet_raw`, where it is set."""

    raw: Path
    preprocessed: Path
    results: Path
    nnunet_raw: Path | None = None

    @classmethod
    def from_environment(cls) -> Folders:
        """Read the variables; nothing must be set (default home: ./bisc_data)."""
        home = _folder_of("BISC_HOME") or Path("bisc_data")
        return cls(
            _folder_of("BISC_RAW") or home / "raw",
            _folder_of("BISC_PREPROCESSED") or home / "preprocessed",
            _folder_of("BISC_RESULTS") or home / "results",
            _folder_of("nnUNet_raw"),
        )


def _folder_of(variable: str) -> Path | None:
    """An environment variable's folder; a '~' is no shell's to expand where a file of variables was read."""
    given = os.environ.get(variable)
    return Path(os.path.expanduser(given)) if given else None  # noqa: PTH111 - Path's raises where there is no home


CHECKPOINT_LAST, CHECKPOINT_BEST = "checkpoint_last.pt", "checkpoint_best.pt"
"""In a fold's folder; predictions use the last."""
IMPORTED: Final = "model.zip"
"""In RESULTS/NAME: a model file that was imported, and all there is."""
TRAINED: Final = (f"fine/fold_*/{CHECKPOINT_LAST}", IMPORTED)
"""What shows a data set's results to hold a model."""
VALIDATION: Final = "validation"
"""The folder of a fold's reports and masks, inside the fold's."""


def fold_folder(results: Path, stage: str, fold: int) -> Path:
    """RESULTS/NAME/STAGE/fold_K."""
    return results / stage / f"fold_{fold}"


PLAN_MARK: Final = "__"
"""Between a data set's name and that of a plan of its own: NAME__PLAN is a data set beside NAME in all else."""


def with_plan(name: str, plan: str | None) -> str:
    """What the folders of a data set's named plan are called; of the default plan (None) as the data set.

    Raises:
        InputError: If `plan` can name no folder.
    """
    if plan is None:
        return name
    fault = name_fault(plan) or ("holds the mark between name and plan" if PLAN_MARK in plan else "")
    if fault:
        raise InputError("--plan", f"the name '{plan[:100]}' {fault}", "a plain name, as in lowres")
    return f"{name}{PLAN_MARK}{plan}"


def find_dataset(
    root: Path,
    name: str | None,
    marker: str | tuple[str, ...],
    what: str,
    mend: str,
    plan: str | None = None,
    beside: Path | None = None,
    plans: bool = True,
) -> Path:
    """The folder `name` under `root`, or `name` as a path; without a name, the only candidate under `root`.

    Args:
        root: The folder that holds data sets.
        name: A name, a path, or None; a number is that of nnU-Net's DatasetXXX_NAME.
        marker: A glob, relative to a candidate, that shows a folder to be one ("plan.json"); of several, any.
        what: What is looked for, in words.
        mend: The command that makes one.
        plan: The name of one of its plans; None: its default one, which a name of the form NAME__PLAN may still name.
        beside: Another folder of data sets, whose names are looked for where `root` has none.
        plans: Whether NAME__PLAN beside NAME is a plan of it; of raw data it is a data set of its own.

    Raises:
        InputError: If there is none, or several without a name or of the number; the candidates are listed.
    """
    candidates = sorted(p for p in root.iterdir() if is_candidate(p, marker)) if root.is_dir() else []
    listing = ", ".join(p.name for p in candidates) or "none"
    if name is None:
        fitting = _of_plan(candidates, plan) if plans else candidates
        if len(fitting) == 1:
            return fitting[0]
        raise InputError(root, f"{len(candidates)} {what}s ({listing})", "exactly one where -d is left out", mend)
    wanted = with_plan(name if plan is None else str(Path(name)), plan)
    for folder in (root / wanted, *([] if beside is None else [beside / wanted]), Path(wanted)):
        if is_candidate(folder, marker):
            return folder
    numbered = _numbered((root, beside), name, marker, plan)
    if len(numbered) > 1:
        both = ", ".join(map(str, numbered))
        raise InputError(name, f"{len(numbered)} {what}s of this number ({both})", "one", "give its whole name")
    if numbered:
        return numbered[0]
    name = wanted
    raise InputError(name, f"no {what} of this name under {root} (there: {listing}), nor at this path", "", mend)


def _numbered(roots: Iterable[Path | None], name: str, marker: str | tuple[str, ...], plan: str | None) -> list[Path]:
    """The data sets DatasetXXX_NAME of a number as nnU-Net takes it; those of the first root that has any."""
    if not (name.isascii() and name.isdecimal()):
        return []
    for root in roots:
        found = sorted(root.glob(f"Dataset{int(name):03d}_*")) if root is not None and root.is_dir() else []
        fitting = _of_plan([folder for folder in found if is_candidate(folder, marker)], plan)
        if fitting:
            return fitting
    return []


def _of_plan(candidates: list[Path], plan: str | None) -> list[Path]:
    """Those of a named plan; without one, those that are no plan of another candidate."""
    if plan is not None:
        return [folder for folder in candidates if folder.name.endswith(with_plan("", plan))]
    names = {folder.name for folder in candidates}
    return [folder for folder in candidates if folder.name.rpartition(PLAN_MARK)[0] not in names]


def name_of(folder: Path) -> str:
    """What a data set's folder is called: as it was given, so that a link keeps its own name ('.' is looked up)."""
    return Path(os.path.abspath(folder)).name  # noqa: PTH100 - resolve would give a link's target's name


def exists(path: Path) -> bool:
    """Whether something is there and may be seen; False also where `Path.exists` raises (a folder above may not be
    entered, a name too long)."""
    try:
        return path.exists()
    except OSError:
        return False


def absence(path: Path) -> str:
    """In words, why nothing can be found at `path`; empty where something is there."""
    if exists(path):
        return ""
    try:
        return "is a link that leads nowhere" if path.is_symlink() else "does not exist"
    except OSError:
        return "does not exist, or a folder above it may not be entered"


def is_candidate(folder: Path, marker: str | tuple[str, ...]) -> bool:
    """Whether `folder` holds something that matches `marker`, or one of them."""
    markers = (marker,) if isinstance(marker, str) else marker
    there = folder.is_dir() and not folder.name.startswith(".")
    return there and any(next(folder.glob(one), None) is not None for one in markers)


MAX_NAME_BYTES: Final = 200
"""File systems allow 255; a case's files add up to 54 (`bisc.system.files`: 31, `_probabilities.npz`, `-gone`)."""
_SEPARATORS: Final = frozenset("/\\")
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)
"""Windows opens a device under these names, whatever suffix follows."""
_FORBIDDEN: Final = frozenset('<>:"|?*')
"""In names on Windows. A colon makes no error there: what follows it names a stream that no folder shows."""


def name_fault(name: str) -> str:
    """Why `name` cannot name a case's files, in words; empty where it can."""
    if not name or name.isspace():
        return "is empty"
    if _SEPARATORS & set(name):
        return "holds a path separator"
    if name.startswith("."):
        return "begins with a dot"
    if not is_utf8(name):
        return "is no UTF-8"
    if name != name.strip() or not name.isprintable():
        return "begins or ends with a blank, or holds a character that cannot be shown"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    if name.split(".")[0].lower() in _DEVICES:
        return "is a device on Windows"
    if os.name == "nt" and (_FORBIDDEN & set(name) or name.endswith(".")):
        return "ends with a dot, or holds a character that Windows allows in no name"
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


def spelt_as(names: Collection[str], others: Collection[str]) -> dict[str, str]:
    """Each of `others` as one of `names` spells it, where they differ in nothing but how letters are composed: what
    passed through macOS may have 'ü' as a 'u' and dots. One whose other spelling is among `others` too stays."""
    own = {normalize("NFC", name): name for name in names}
    found = {name: own.get(normalize("NFC", name), name) for name in others}
    return {name: name if name in names or other in others else other for name, other in found.items()}


def is_utf8(name: str) -> bool:
    """Whether a name has whole characters alone: bytes that are none, a Latin-1 'ü', come as halves of one."""
    return not any("\ud800" <= half <= "\udfff" for half in name)


def check_nameable(path: Path) -> None:
    """Refuse a path that is no UTF-8: ITK's Python layer ends the process over it.

    Raises:
        InputError: Naming it, odd bytes escaped.
    """
    if not is_utf8(str(path)):
        raise InputError(path, "its name is no UTF-8", "a name of characters", "rename it")


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
        found = f"cannot be listed ({error.strerror or error})"
        raise InputError(folder, found, "a folder you may read", "change its permissions") from error
    return entries


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
