"""The files of a DICOM series that GDCM passes over, since no gap would show that the first or last slice is damaged;
and those it must not see, since it allocates what a damaged length asks for, and keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio.elements import elements_fit, is_marked

INDEX: Final = "DICOMDIR"
"""The table of contents of a DICOM medium: marked as DICOM, and no slice."""


def check_elements(folder: Path) -> None:
    """Refuse a folder with a DICOM file that GDCM must not see (`bisc.imageio.elements`).

    Raises:
        InputError: Naming the first such file.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and not elements_fit(path):
            raise _damaged(folder, path)


def check_all_slices_read(folder: Path, read: Sequence[str]) -> None:
    """Refuse a folder with a DICOM file, by its mark or its name, that is not among the slices read.

    Args:
        folder: The series' folder.
        read: The files that GDCM takes for the series.

    Raises:
        InputError: Naming the first such file.
    """
    taken = {Path(name).name for name in read}
    for path in sorted(folder.iterdir()):
        if path.name in taken or path.name.startswith(".") or path.name.upper() == INDEX or not path.is_file():
            continue
        if path.suffix.lower() == ".dcm" or is_marked(path):
            raise _damaged(folder, path)


def _damaged(folder: Path, path: Path) -> InputError:
    return InputError(
        folder, f"{path.name} is damaged or no slice", "whole DICOM slices alone", "copy the series again"
    )
