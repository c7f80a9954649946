"""Decoys: places that hold no kidney, cut like a kidney's ROI.

A rough mask has false regions, in muscle, liver and bowel. A fine stage that has seen kidneys' ROIs alone finds kidney
and tumour there too; one that has seen decoys says that there is nothing.
"""

from __future__ import annotations

import zlib
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


def decoy_boxes(image: Volume, foreground: npt.NDArray[np.bool_], seed: str) -> list[Box]:
    """Up to `DECOYS` boxes of `SIZE_MM` whose middle is soft tissue and which hold no voxel of `foreground`.

    Args:
        image: (z, y, x) HU.
        foreground: Kidneys with tumours on the same grid.
        seed: The same one gives the same boxes: the case's name.
    """
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    size = np.maximum(1, np.round(np.divide(SIZE_MM, image.geometry.spacing_mm_zyx))).astype(int)
    boxes: list[Box] = []
    for middle in rng.integers(0, image.array.shape, (TRIES, 3)):
        if len(boxes) == DECOYS:
            break
        start = middle - size // 2
        box = Box(as_int_triple(start), as_int_triple(start + size))
        seen = box.clipped(image.geometry.shape_zyx)
        soft = SOFT_HU[0] <= image.array[tuple(middle)] <= SOFT_HU[1]
        if soft and seen is not None and not foreground[seen.to_slices()].any():
            boxes.append(box)
    return boxes
