"""Grids that are no grids: axes that do not meet at right angles are straightened or refused, never bent in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from bisc.core.errors import InputError
from bisc.core.geometry import MAX_DRIFT, ROUNDING_DRIFT, SHEAR_TOLERANCE_DEG, Float
from bisc.system.console import notice

STRAIGHT: Final = f"axes of unit length at right angles (to {SHEAR_TOLERANCE_DEG:g} degrees)"
NO_ORIENTATION: Final = ("no orientation in its header", "taken as LPS; make sure that left is left")
"""A notice's two parts."""
MEND_SHEAR: Final = "resample it onto a straight grid, or convert the DICOM series again with dcm2niix (its _Tilt file)"


def check_direction(path: Path, direction: Float) -> None:
    """Refuse a (3, 3) direction, columns the axes, that is too far from orthonormal to be rounding.

    Raises:
        InputError: Naming the angle by which two axes miss a right angle, or the length of an axis.
    """
    lengths = np.linalg.norm(direction, axis=0)
    lean = lean_deg(direction)
    if lean > SHEAR_TOLERANCE_DEG:
        found = f"its axes miss a right angle by {lean:.3g} degrees (a sheared grid, as of a tilted gantry)"
        raise InputError(path, found, STRAIGHT, MEND_SHEAR)
    odd = float(lengths[np.argmax(np.abs(lengths - 1.0))])
    if abs(odd**2 - 1.0) > MAX_DRIFT:
        raise InputError(path, f"an axis of its direction has length {odd:.4g}", STRAIGHT, "correct the header")


def lean_deg(direction: Float) -> float:
    """The largest angle in degrees by which two columns of a (3, 3) matrix miss a right angle."""
    unit = direction / np.linalg.norm(direction, axis=0)
    cosines = np.abs(unit.T @ unit)[np.triu_indices(3, 1)]
    return float(np.rad2deg(np.arcsin(min(1.0, cosines.max()))))


def say_straightened(path: Path, drift: float) -> None:
    """The notice that a direction off by `drift` is taken for the orthonormal one nearest to it
    (`Geometry.orthonormal`); none where float32's rounding explains it."""
    if drift > ROUNDING_DRIFT:
        found = f"its direction matrix is off by {drift:.1e}"
        notice(path, found, "taken as the nearest one with axes at right angles")
