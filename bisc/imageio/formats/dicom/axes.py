"""How the slices of a DICOM stack are turned, by cosines as they are written, and whether they lie above each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Final

import numpy as np

from bisc.core.errors import InputError
from bisc.core.geometry import EXACT_DRIFT, SHEAR_TOLERANCE_DEG, Float
from bisc.imageio.formats.dicom.frames import Frame, cosines, named, of_frame
from bisc.imageio.plausible import MEND_SHEAR

ASIDE_MM: Final = 0.1
"""A slice may lie this far beside the stack: positions are written with one decimal at worst, 0.07 mm in plane."""
THREE_DECIMALS: Final = 5.01e-4
"""So far a cosine that is written with three decimals may lie from what it stands for, and a little for rounding it
twice. With fewer decimals rounding is as large as the tilt of a gantry, and not told from it."""
SAME_DIGITS: Final = 1e-7
"""Of float32, by which some writers' cosines went."""


@dataclass(frozen=True, eq=False)
class Axes:
    """The axes of a stack.

    Attributes:
        matrix: (3, 3), columns are the direction of the rows, that of the columns, and the normal, a unit vector; LPS.
        drift: How far from orthonormal they are as they are written; see `Geometry.drift`.
        lean_deg: The angle to the normal at which slices may be stacked, and still be straight.
    """

    matrix: Float
    drift: float
    lean_deg: float

    @property
    def normal(self) -> Float:
        """Of the slices, (3,): from the first to the last."""
        return self.matrix[:, 2]


def axes_of(turn: tuple[float, ...]) -> Axes:
    """The axes that six cosines stand for.

    Where rounding to three decimals explains that they are no unit vectors at a right angle, the nearest ones are
    taken, and slices may lean as far as rounding moves the normal: up to 0.07 degrees where the stack is turned about
    two axes. Other cosines are left as they are.
    """
    plane = np.stack(cosines(turn), axis=1)
    normal = np.cross(*plane.T)
    written = np.column_stack([plane, normal])
    drift = float(np.abs(written.T @ written - np.eye(3)).max())
    lean_deg = SHEAR_TOLERANCE_DEG
    if _is_rounded(plane):
        # Each of the plane's axes moves the normal by so much at most, at a right angle to the other.
        off = sqrt(2.0) * THREE_DECIMALS * float(np.abs(normal).sum())
        lean_deg = max(lean_deg, float(np.rad2deg(off)))
        if drift > EXACT_DRIFT:
            left, _, right = np.linalg.svd(plane, full_matrices=False)
            plane = left @ right
    length = float(np.linalg.norm(normal))
    return Axes(np.column_stack([plane, normal / length if length else normal]), drift, lean_deg)


def _is_rounded(plane: Float) -> bool:
    """Whether (3, 2) cosines have three decimals, and are off by no more than these explain."""
    if np.abs(plane - np.round(plane, 3)).max() > SAME_DIGITS:
        return False
    along_rows, along_columns = THREE_DECIMALS * np.abs(plane).sum(axis=0)
    rows, columns = np.linalg.norm(plane, axis=0)
    lean = abs(float(plane[:, 0] @ plane[:, 1]))
    is_unit = abs(rows - 1.0) <= along_rows and abs(columns - 1.0) <= along_columns
    return bool(is_unit and lean <= along_rows + along_columns)


def check_turns(frames: Sequence[Frame]) -> None:
    """Refuse slices that are turned otherwise than the first; all must say how.

    Raises:
        InputError: Naming the slice and the angle.
    """
    turns = np.array([frame.turn for frame in frames]).reshape(-1, 2, 3)
    chords = np.linalg.norm(turns - turns[0], axis=2).max(axis=1)
    degrees = np.rad2deg(2.0 * np.arcsin(np.minimum(chords / 2.0, 1.0)))
    odd = int(np.argmax(degrees))
    if degrees[odd] > SHEAR_TOLERANCE_DEG:
        raise InputError(
            frames[odd].path,
            f"{of_frame(frames[odd])}turned by {degrees[odd]:.3g} degrees against {named(frames[0])} of the same "
            "series",
            f"slices of one orientation (to {SHEAR_TOLERANCE_DEG:g} degrees)",
            "put each stack of parallel slices into a folder of its own",
        )


def check_lean(what: Path, frames: Sequence[Frame], positions: Float, axes: Axes) -> None:
    """Refuse slices that lean or lie aside.

    Args:
        what: The folder or file.
        frames: Ascending along the normal.
        positions: (slices, 3), theirs in LPS mm.
        axes: Of the stack.

    Raises:
        InputError: Naming the angle, or the slice.
    """
    steps = positions - positions[0]
    heights = steps @ axes.normal
    aside = np.linalg.norm(steps - heights[:, None] * axes.normal, axis=1)
    allowed = np.maximum(ASIDE_MM, np.tan(np.deg2rad(axes.lean_deg)) * np.abs(heights))
    odd = int(np.argmax(aside - allowed))
    if aside[odd] <= allowed[odd]:
        return
    lean = float(np.rad2deg(np.arctan2(aside[-1], abs(heights[-1]))))
    if aside[-1] > allowed[-1]:
        tilt = f", tag 0018,1120: {frames[0].tilt}" if frames[0].tilt else ""
        found = f"its slices lean by {lean:.3g} degrees (a tilted gantry{tilt}): the last lies {aside[-1]:.3g} mm aside"
        expected = f"slices stacked along their normal (to {axes.lean_deg:.2g} degrees)"
        raise InputError(what, found, expected, MEND_SHEAR)
    found = f"{of_frame(frames[odd])}lies {aside[odd]:.3g} mm beside the stack of the others"
    raise InputError(frames[odd].path, found, f"slices above each other (to {ASIDE_MM:g} mm)", "export it again")
