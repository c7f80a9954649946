"""Target spacing: the per-axis median of the data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bisc.core.geometry import Triple, as_triple


def target_spacing(spacings_mm_zyx: Sequence[Triple]) -> Triple:
    """Median per axis, in mm; on KiTS19 3 x 0.78125 x 0.78125 (the paper: 3 x 0.781625 x 0.781625).

    Raises:
        ValueError: Without any spacing.
    """
    if not spacings_mm_zyx:
        raise ValueError("no case to take a spacing from")
    return as_triple(np.median(np.asarray(spacings_mm_zyx, dtype=float), axis=0).round(6))
