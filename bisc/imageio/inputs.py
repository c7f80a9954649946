"""What bisc_predict is given: files, folders of files, KiTS19 case folders, nnU-Net imagesTs names, DICOM series."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from bisc.core.errors import InputError, one_line
from bisc.core.names import name_fault
from bisc.core.paths import absence
from bisc.imageio.read import image_suffix
from bisc.imageio.slices import entries_of, holds_series

KINDS = ".nii.gz, .nii, .nrrd, .mha files, KiTS19 case folders or DICOM series folders"


@dataclass(frozen=True)
class InputCase:
    """One image to predict.

    Attributes:
        name: Of its mask, CASE.nii.gz.
        path: A file or a DICOM series folder.
        fault: Why it cannot be predicted, where that shows before it is read.
    """

    name: str
    path: Path
    fault: InputError | None = None


def find_inputs(source: Path) -> list[InputCase]:
    """The images under `source`, sorted by name; of two by one name the first keeps it and both bear a fault.

    Args:
        source: One file, one DICOM or KiTS19 case folder, or a folder of any of these.

    Raises:
        InputError: If there is none, or `source` cannot be listed.
    """
    missing = absence(source)
    if missing:
        raise InputError(source, missing, KINDS)
    if source.is_file():
        if image_suffix(source) is None:
            raise InputError(source, "no image by its name", KINDS)
        return _told_apart([InputCase(_file_case(source), source)])
    entries = entries_of(source)
    own = _folder_cases(source)
    if own:
        return _told_apart(own)
    cases = []
    for path in entries:
        if path.name.startswith("."):
            continue
        folder_cases = _folder_cases(path) if path.is_dir() else []
        if folder_cases:
            cases += folder_cases
        elif image_suffix(path):
            cases.append(InputCase(_file_case(path), path))
    if not cases:
        raise InputError(source, "no image found", KINDS)
    return _told_apart(cases)


def _told_apart(cases: list[InputCase]) -> list[InputCase]:
    """Every name once. Which of two images a name means is not guessed: its case bears a fault that names both."""
    by_name: dict[str, InputCase] = {}
    for case in map(_named, cases):
        first = by_name.get(case.name)
        if first is None:
            by_name[case.name] = case
        elif first.fault is None:
            fault = InputError(case.path, f"would be written over {first.path}", "distinct case names", "rename one")
            by_name[case.name] = InputCase(case.name, first.path, fault)
    return [by_name[name] for name in sorted(by_name)]


def _named(case: InputCase) -> InputCase:
    """The case, with a fault where its name cannot be that of a file, and a name that tables can hold."""
    wrong = name_fault(case.name)
    if not wrong:
        return case
    fault = case.fault or InputError(case.path, f"the case name {wrong}", "a plain file name", "rename it")
    return replace(case, name=one_line(case.name), fault=fault)


def _file_case(path: Path) -> str:
    """A file's case: its name without suffix and without nnU-Net's channel number."""
    return path.name[: -len(image_suffix(path) or "")].removesuffix("_0000")


def _folder_cases(folder: Path) -> list[InputCase]:
    """What a KiTS19 case folder or a DICOM series folder holds, in every format it is there in; or nothing."""
    name = Path(os.path.abspath(folder)).name  # noqa: PTH100 - resolve would give a link's target's name
    try:
        entries = entries_of(folder)
        imaging = [p for p in entries if image_suffix(p) and p.name.lower().startswith("imaging.")]
        if imaging:
            return [InputCase(name, path) for path in imaging]
        if any(image_suffix(p) for p in entries):
            return []
        if any(p.is_file() for p in entries) and holds_series(folder):
            return [InputCase(name, folder)]
    except InputError as fault:
        return [InputCase(name, folder, fault)]
    return []
