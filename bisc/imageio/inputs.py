"""What bisc_predict is given: files, folders of files, KiTS19 case folders, nnU-Net imagesTs names, DICOM series."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.core.names import check_name
from bisc.imageio.read import image_suffix

KINDS = ".nii.gz, .nii, .nrrd, .mha files, KiTS19 case folders or DICOM series folders"


@dataclass(frozen=True)
class InputCase:
    """One image to predict; `path` is a file or a DICOM series folder."""

    name: str
    path: Path


def find_inputs(source: Path) -> list[InputCase]:
    """The images under `source`, sorted by name.

    Args:
        source: One file, one DICOM or KiTS19 case folder, or a folder of any of these.

    Raises:
        InputError: If there is none, a name cannot be a file's, or two would be written to the same name.
    """
    if not source.exists():
        raise InputError(source, "does not exist", KINDS)
    if source.is_file():
        if image_suffix(source) is None:
            raise InputError(source, "no image by its name", KINDS)
        return _checked([InputCase(_file_case(source), source)])
    own = _folder_case(source)
    if own is not None:
        return _checked([own])
    cases = []
    for path in sorted(source.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            case = _folder_case(path)
            if case is not None:
                cases.append(case)
        elif image_suffix(path):
            cases.append(InputCase(_file_case(path), path))
    if not cases:
        raise InputError(source, "no image found", KINDS)
    return _checked(cases)


def _checked(cases: list[InputCase]) -> list[InputCase]:
    """The cases, if each can be written under a name of its own."""
    seen: dict[str, Path] = {}
    for case in cases:
        check_name(case.name, case.path, "rename it")
        if case.name in seen:
            raise InputError(case.path, f"would be written over {seen[case.name]}", "distinct case names", "rename one")
        seen[case.name] = case.path
    return cases


def _file_case(path: Path) -> str:
    """A file's case: its name without suffix and without nnU-Net's channel number."""
    return path.name[: -len(image_suffix(path) or "")].removesuffix("_0000")


def _folder_case(folder: Path) -> InputCase | None:
    """A KiTS19 case folder or a DICOM series folder, or None."""
    imaging = next((p for p in sorted(folder.glob("imaging.*")) if image_suffix(p)), None)
    if imaging is not None:
        return InputCase(folder.resolve().name, imaging)
    if any(image_suffix(p) for p in folder.iterdir()):
        return None
    if any(p.is_file() for p in folder.iterdir()) and _holds_series(folder):
        return InputCase(folder.resolve().name, folder)
    return None


def _holds_series(folder: Path) -> bool:
    try:
        return bool(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)))
    except RuntimeError as error:
        raise InputError(folder, f"cannot be looked through ({error})", KINDS) from error
