"""The files of a DICOM series that GDCM passes over, since no gap would show that the first or last slice is damaged;
and those it must not see, since it allocates what a damaged length asks for, and keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio.elements import elements_fit, is_marked

INDEX: Final = "DICOMDIR"
"""The table of contents of a DICOM medium: marked as DICOM, and no slice."""
MEND: Final = "copy or export the series again"


def holds_series(folder: Path) -> bool:
    """Whether GDCM finds a series in a folder; where it must not look, whether a sound DICOM file lies there too.

    Raises:
        InputError: If the folder cannot be looked through.
    """
    sound, unfit = 0, 0
    for path in files_in(folder):
        try:
            fits = elements_fit(path)
            sound += fits and is_marked(path)
            unfit += not fits
        except InputError:
            continue  # GDCM cannot read it either
    if unfit:
        return sound > 0
    try:
        return bool(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)))
    except RuntimeError as error:
        raise InputError(folder, f"cannot be looked through ({error})", "a folder of DICOM slices") from error


def check_elements(folder: Path) -> None:
    """Refuse a folder with a DICOM file that GDCM must not see (`bisc.imageio.elements`).

    Raises:
        InputError: Naming the first such file.
    """
    for path in files_in(folder):
        if not elements_fit(path):
            found = f"{path.name} is damaged (an element is longer than the file, or encoded otherwise than it says)"
            raise InputError(folder, found, "whole DICOM slices alone", MEND)


def check_all_slices_read(folder: Path, read: Sequence[str]) -> None:
    """Refuse a folder with a DICOM file, by its mark or its name, that is not among the slices read.

    Args:
        folder: The series' folder.
        read: The files that GDCM takes for the series.

    Raises:
        InputError: Naming the first such file.
    """
    taken = {Path(name).name for name in read}
    for path in files_in(folder):
        if path.name in taken or path.name.startswith(".") or path.name.upper() == INDEX:
            continue
        if path.suffix.lower() == ".dcm" or is_marked(path):
            raise InputError(folder, f"{path.name} is damaged or no slice", "whole DICOM slices alone", MEND)


def check_nameable(path: Path) -> None:
    """Refuse a path that is no UTF-8: ITK's Python layer ends the process over it.

    Raises:
        InputError: Naming it, odd bytes escaped.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(path, "its name is no UTF-8", "a name of characters", "rename it") from error


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
        raise InputError(
            folder, f"cannot be listed ({error.strerror or error})", "a folder you may read", "change its permissions"
        ) from error
    return entries
