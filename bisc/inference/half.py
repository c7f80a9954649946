"""Half precision is used where it gives float32's labels: looked at in a block of every region, so that a case's mask
depends on nothing but the case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import as_int_triple
from bisc.core.roi import Box

LEAST_DICE: Final = 0.999
"""Of the labels in half precision with those in float32."""
FEWEST_VOXELS: Final = 4
"""Fewer voxels that differ tell nothing of the Dice of a whole kidney."""
BLOCK: Final = (16, 48, 48)
"""What is computed in both: with float32 at half the speed, a twentieth of a prediction."""

Softmax = npt.NDArray[np.float32]


def half_will_do(softmax: Softmax, in_both: Callable[[Box], tuple[Softmax, Softmax]]) -> bool:
    """Whether a region's result in half precision is finite, and its labels in a block are float32's.

    Args:
        softmax: (classes, z, y, x) of the region in half precision.
        in_both: Gives (classes, z, y, x) softmax of a box of the region, in half precision and in float32.
    """
    if not np.isfinite(softmax).all():
        return False
    block = _block_around(softmax.argmax(axis=0) > 0)
    if block is None:
        return True
    half, exact = (part.argmax(axis=0) for part in in_both(block))
    return labels_dice(half, exact) >= LEAST_DICE or np.count_nonzero(half != exact) < FEWEST_VOXELS


def labels_dice(a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]) -> float:
    """Equal labels over all that are not background, as Dice counts them; 1 where all is background in both."""
    n = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * float(np.count_nonzero((a == b) & (a > 0))) / n if n else 1.0


def _block_around(mask: npt.NDArray[np.bool_]) -> Box | None:
    """A box of `BLOCK` or the region's size, around the voxel of a (z, y, x) mask that is nearest to its middle."""
    found = np.argwhere(mask)
    if not len(found):
        return None
    centre = found[((found - found.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    size = np.minimum(BLOCK, mask.shape)
    start = np.clip(centre - size // 2, 0, np.subtract(mask.shape, size))
    return Box.of_shape(as_int_triple(size)).shifted(as_int_triple(start))
