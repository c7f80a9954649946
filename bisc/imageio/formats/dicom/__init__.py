"""DICOM: what a file's own tags say of every slice, and nothing that a library makes up.

pydicom is imported where a file is DICOM: it takes 0.2 s, which a run over other formats need not wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bisc.imageio.case import Stored
from bisc.imageio.formats.dicom.elements import INDEX, broken_slices, is_dicom, seems_dicom
from bisc.imageio.plausible import straight_grid

if TYPE_CHECKING:
    from bisc.imageio.formats.dicom.stack import Stack

__all__ = ["INDEX", "broken_slices", "is_dicom", "open_dicom", "seeming_shape", "seems_dicom", "stored_stack"]


def open_dicom(path: Path) -> Stored:
    """The CT stack of a folder or of one file; its voxels are HU.

    Raises:
        InputError: As `find_stack`; its slabs as `read_hu`.
    """
    from bisc.imageio.formats.dicom.folder import find_stack

    return stored_stack(path, find_stack(path))


def stored_stack(path: Path, stack: Stack) -> Stored:
    """A stack's grid and voxels, which are HU.

    Args:
        path: Its folder, or its one file: named in errors that concern no file alone.
        stack: Sound and even.

    Raises:
        InputError: If its axes meet at no right angles; its slabs as `read_hu`.
    """
    from bisc.imageio.formats.dicom.pixels import read_hu

    size, spacing = stack.shape_zyx[::-1], stack.spacing_mm_zyx[::-1]
    geometry = straight_grid(path, size, spacing, stack.origin_mm_xyz, stack.direction, stack.drift)

    def slabs() -> Iterator[npt.NDArray[np.int16]]:
        yield read_hu(path, stack.frames)

    return Stored(geometry, 2 * prod(stack.shape_zyx), False, slabs)


def seeming_shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) of a folder's stack or of a file, as the header of its first file lets expect: a look, not a check.

    Raises:
        InputError: If that file cannot be read, or there is none.
    """
    from bisc.imageio.formats.dicom import folder

    return folder.seeming_shape(path)
