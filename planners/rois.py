"""ROI sides from the extents of a data set's kidneys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from bisc.core.geometry import Triple
from bisc.preprocessing.kidneys import next_multiple

SIDE_PERCENTILES: Final = (95.0, 97.5)


def roi_sides(extents_mm_yx: Sequence[tuple[float, float]], spacing_mm_zyx: Triple) -> list[int]:
    """In-plane ROI sides in pixels: the 95th and 97.5th percentile of the kidneys' larger in-plane extent, each
    rounded up to a multiple of 16. On KiTS19 160 and 192, the paper's constants.

    Raises:
        ValueError: Without any kidney.
    """
    if not extents_mm_yx:
        raise ValueError("no kidney of plausible size to take ROI sides from")
    larger_px = [max(y / spacing_mm_zyx[1], x / spacing_mm_zyx[2]) for y, x in extents_mm_yx]
    return sorted({next_multiple(float(np.percentile(larger_px, p))) for p in SIDE_PERCENTILES})
