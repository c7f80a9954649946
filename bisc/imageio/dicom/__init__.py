"""DICOM: what a file's own tags say of every slice, and nothing that a library makes up."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bisc.imageio.dicom.folder import INDEX, find_stack, identity, seeming_shape
from bisc.imageio.dicom.pixels import read_hu
from bisc.imageio.dicom.stack import Stack
from bisc.imageio.dicom.tags import is_dicom, seems_dicom

__all__ = ["INDEX", "Stack", "find_stack", "identity", "is_dicom", "read_stack", "seeming_shape", "seems_dicom"]


def read_stack(path: Path) -> tuple[Stack, npt.NDArray[np.int16]]:
    """The CT stack of a folder or of one file, and its HU as a stored (z, y, x) array.

    Raises:
        InputError: As `find_stack` and `read_hu`.
    """
    stack = find_stack(path)
    return stack, read_hu(path, stack.frames)
