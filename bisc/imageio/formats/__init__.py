"""One file a format: its reader with its checks. A new format is a file and a row of the table.

DICOM, which is told by its content and comes in folders, stands beside the table (`bisc.imageio.formats.dicom`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from bisc.imageio.case import Stored
from bisc.imageio.formats.itk import open_meta, open_nrrd
from bisc.imageio.formats.nifti import open_nifti

FORMATS: Final[Mapping[str, Callable[[Path], Stored]]] = {
    ".nii.gz": open_nifti,
    ".nii": open_nifti,
    ".nrrd": open_nrrd,
    ".mha": open_meta,
    ".mhd": open_meta,
}
"""By suffix: what checks the header of a file and gives its grid, and its voxels when they are asked for."""
