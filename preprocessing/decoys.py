"""Decoys: places cut like a kidney's ROI, and nothing of a kidney in what is cut.

A rough mask has false regions, in muscle, liver and bowel. A fine stage that has seen kidneys' ROIs alone finds kidney
and tumour there too; one that has seen decoys says that there is nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Triple, as_int_triple
from bisc.core.volume import Box, Volume

DECOYS: Final = 2
"""Of each scan, as many as kidneys: in a scan without any too."""
SIZE_MM: Final[Triple] = (110.0, 60.0, 60.0)
"""Of what would be a kidney (z, y, x)."""
SOFT_HU: Final = (-20.0, 300.0)
"""Where a decoy's middle lies; fat and gas are taken for a kidney by no rough mask."""
TRIES: Final = 400


def decoy_boxes(
    image: Volume, foreground: npt.NDArray[np.bool_], seed: str, cut: Callable[[Box], Box] = lambda box: box
) -> list[Box]:
    """Up to `DECOYS` boxes of `SIZE_MM` whose middle is soft tissue, and around which no `foreground` is cut out.

    Args:
        image: (z, y, x) HU.
        foreground: Kidneys with tumours on the same grid.
        seed: The same one gives the same boxes: the case's name.
        cut: From a box to what is cut out around it, which is more: an ROI with room.
    """
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    size = np.maximum(1, np.round(np.divide(SIZE_MM, image.geometry.spacing_mm_zyx))).astype(int)
    boxes: list[Box] = []
    for middle in rng.integers(0, image.array.shape, (TRIES, 3)):
        if len(boxes) == DECOYS:
            break
        if not SOFT_HU[0] <= image.array[tuple(middle)] <= SOFT_HU[1]:
            continue
        start = middle - size // 2
        box = Box(as_int_triple(start), as_int_triple(start + size))
        seen = cut(box).clipped(image.geometry.shape_zyx)
        if seen is not None and not foreground[seen.to_slices()].any():
            boxes.append(box)
    return boxes
