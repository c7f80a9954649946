"""The files of a DICOM series that GDCM passes over: no gap would show that the first or last slice is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError

MARK_AT: Final = 128
MARK: Final = b"DICM"
INDEX: Final = "DICOMDIR"
"""The table of contents of a DICOM medium: marked as DICOM, and no slice."""


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
        if path.suffix.lower() == ".dcm" or _is_marked(path):
            raise InputError(
                folder, f"{path.name} is damaged or no slice", "whole DICOM slices alone", "copy the series again"
            )


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(MARK_AT)
        return file.read(len(MARK)) == MARK
