"""Where the middle of a body lies in its scan."""

from __future__ import annotations

from typing import Final

import numpy as np

from bisc.core.volume import Volume

TISSUE_HU: Final = -300.0
"""Above it lie fat and all other tissue, below it lung, air and most of the table's foam."""
SAMPLES: Final = 64
"""Voxels looked at along each axis: enough to find the middle to a few mm, and next to no work."""
MIN_SHARE: Final = 0.02
"""A scan with less tissue than this shows no body."""


def body_middle_mm(image: Volume) -> float | None:
    """LPS x that halves the tissue of a canonical HU image; None where there is hardly any.

    Two kidneys are told apart by each other; this is for a single one, in a scan whose field of view is off centre.
    """
    steps = [max(1, n // SAMPLES) for n in image.array.shape]
    z, y, x = (slice(s // 2, None, s) for s in steps)
    tissue = np.argwhere(image.array[z, y, x] > TISSUE_HU)
    if len(tissue) < MIN_SHARE * image.array[z, y, x].size:
        return None
    index = tissue * steps + np.asarray([s // 2 for s in steps])
    return float(np.median(image.geometry.index_to_physical(index)[:, 0]))
