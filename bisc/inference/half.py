"""Half precision is used where it gives float32's labels: looked at in a block of every region, so that a case's mask
depends on nothing but the case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.box import Box
from bisc.core.geometry import as_int_triple
from bisc.inference.decision import Offsets

LEAST_DICE: Final = 0.999
"""Of the labels in half precision with those in float32."""
FEWEST_VOXELS: Final = 4
"""Fewer voxels that differ tell nothing of the Dice of a whole kidney."""
BLOCK: Final = (16, 48, 48)
"""What is computed in both: with float32 at half the speed, a twentieth of a prediction."""
SAMPLES: Final = 2000
"""Voxels of the block whose errors count: those nearest to where labels meet."""
LEAST_PROBABILITY: Final = 1e-30
"""What a class has at least, so that it has a logarithm."""

Softmax = npt.NDArray[np.float32]
Classes = npt.NDArray[np.intp]
Values = npt.NDArray[np.float32]


def half_will_do(softmax: Softmax, offsets: Offsets | None, in_both: Callable[[Box], tuple[Softmax, Softmax]]) -> bool:
    """Whether a region's result in half precision is finite, and its labels are float32's: seen in a block, and likely
    in all of it; by either decision.

    Args:
        softmax: (classes, z, y, x) of the region in half precision.
        offsets: Of the calibrated decision; None where there is none.
        in_both: Gives (classes, z, y, x) softmax of a box of the region, in half precision and in float32.
    """
    if not np.isfinite(softmax).all():
        return False
    decided = [softmax] if offsets is None else [softmax, _shifted(softmax, offsets)]
    block = _block_around(np.any([s.argmax(axis=0) > 0 for s in decided], axis=0))
    if block is None:
        return True
    half, exact = in_both(block)
    if not _same(softmax, half, exact):
        return False
    return offsets is None or _same(decided[1], _shifted(half, offsets), _shifted(exact, offsets))


def _same(softmax: Softmax, half: Softmax, exact: Softmax) -> bool:
    labels, expected = half.argmax(axis=0), exact.argmax(axis=0)
    seen = labels_dice(labels, expected) >= LEAST_DICE or np.count_nonzero(labels != expected) < FEWEST_VOXELS
    return seen and expected_dice(softmax, half, exact) >= LEAST_DICE


def expected_dice(softmax: Softmax, half: Softmax, exact: Softmax) -> float:
    """Dice to expect of a region's labels in half precision with those in float32.

    A label changes where half precision's error is larger than its margin, the difference of the two best classes'
    logits. The margin is known everywhere; what errors there are is taken from the block, whose changed labels are too
    few to tell how many the region has.

    Args:
        softmax: (classes, z, y, x) of the region in half precision.
        half: (classes, z, y, x) of the block in half precision.
        exact: The same in float32.
    """
    best, second, margin = _best_two(half.reshape(len(half), -1))
    errors = margin - _difference(exact.reshape(len(exact), -1), best, second)
    errors = np.sort(errors[np.argsort(margin)[:SAMPLES]])
    close = softmax.max(axis=0) < 1.0 / (1.0 + np.exp(-errors[-1]))  # elsewhere the margin is larger than any error
    best, second, margin = _best_two(softmax[:, close])
    changed = 1.0 - np.searchsorted(errors, margin, side="right") / len(errors)
    lost = np.where(np.minimum(best, second) > 0, 1.0, 0.5) * changed  # kidney for tumour, or one of them for nothing
    return 1.0 - float(lost.sum()) / max(1, np.count_nonzero(softmax.argmax(axis=0)))


def labels_dice(a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]) -> float:
    """Equal labels over all that are not background, as Dice counts them; 1 where all is background in both."""
    n = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * float(np.count_nonzero((a == b) & (a > 0))) / n if n else 1.0


def _shifted(softmax: Softmax, offsets: Offsets) -> Softmax:
    """Softmax of logits that have offsets added, class by class."""
    found: Softmax = softmax * np.exp(np.asarray(offsets, dtype=np.float32))[:, None, None, None]
    found /= found.sum(axis=0)
    return found


def _best_two(softmax: Softmax) -> tuple[Classes, Classes, Values]:
    """The best class of each voxel of (classes, voxels), the second, and the difference of their logits."""
    order = np.argsort(softmax, axis=0)
    return order[-1], order[-2], _difference(softmax, order[-1], order[-2])


def _difference(softmax: Softmax, a: Classes, b: Classes) -> Values:
    """Logit of class a less that of class b, voxel by voxel of (classes, voxels)."""
    logs = np.log(np.maximum(softmax, LEAST_PROBABILITY))
    found: Values = np.take_along_axis(logs, a[None], 0)[0] - np.take_along_axis(logs, b[None], 0)[0]
    return found


def _block_around(mask: npt.NDArray[np.bool_]) -> Box | None:
    """A box of `BLOCK` or the region's size, around the voxel of a (z, y, x) mask that is nearest to its middle."""
    found = np.argwhere(mask)
    if not len(found):
        return None
    centre = found[((found - found.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    size = np.minimum(BLOCK, mask.shape)
    start = np.clip(centre - size // 2, 0, np.subtract(mask.shape, size))
    return Box.of_shape(as_int_triple(size)).shifted(as_int_triple(start))
