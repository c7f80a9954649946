"""Overlap of two masks, and volumes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

EMPTY_DICE = 1.0
"""Dice of two empty masks: nothing to find and nothing found is right (KiTS21 and KiTS23 score it so too)."""


def dice(reference: Mask, prediction: Mask) -> float:
    """Dice coefficient, 2 |A and B| / (|A| + |B|) (Dice 1945; KiTS19's evaluation.py).

    Args:
        reference: (z, y, x) bool.
        prediction: (z, y, x) bool, same shape.

    Returns:
        A value in [0, 1]; 1 where both masks are empty, 0 where one is.

    Raises:
        ValueError: If the shapes differ.
    """
    check_same_shape(reference, prediction)
    total = int(np.count_nonzero(reference)) + int(np.count_nonzero(prediction))
    if total == 0:
        return EMPTY_DICE
    return 2.0 * int(np.count_nonzero(reference & prediction)) / total


def volume_ml(mask: Mask, spacing_mm_zyx: tuple[float, float, float]) -> float:
    """Volume of a mask in ml (cm3): voxels times the volume of one; 0 for an empty mask."""
    dz, dy, dx = spacing_mm_zyx
    return int(np.count_nonzero(mask)) * dz * dy * dx / 1000.0


def check_same_shape(reference: npt.NDArray[np.generic], prediction: npt.NDArray[np.generic]) -> None:
    """Refuse arrays of different shape, which numpy would broadcast silently.

    Raises:
        ValueError: Naming both shapes.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"reference is {reference.shape} but prediction {prediction.shape} (z, y, x)")
