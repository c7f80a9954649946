"""The middle of a body in its scan, which a lone kidney's side is told by. Pure functions."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bisc.core.volume import Volume
from bisc.preprocessing.field import AIR_HU, is_round, round_mm

TISSUE_HU: Final = -300.0
"""Above it lie fat and all other tissue, below it lung, air and most of the table's foam."""
SAMPLES: Final = 64
"""Voxels looked at along each axis: enough to find the middle to a few mm, and next to no work."""
MIN_SHARE: Final = 0.02
"""A scan with less tissue than this shows no body."""
CUT_SHARE: Final = 0.5
"""Of the rows with tissue, those in which it reaches the field of view's right or left end: with more of them the body
goes on beyond, by a seventh of its half and more. Flanks, arms and a table that touch it stay below."""
SEEN_MM: Final = 300.0
"""Tissue as wide as this is no half of a body: though it is cut, its middle is near the body's."""
BORDER_VOXELS: Final = 2.5
"""A body that comes as near as this to a round field of view's end goes on beyond it."""


def body_middle_mm(image: Volume) -> float | None:
    """LPS x that halves the tissue of a canonical HU image, wherever its field of view lies; None without tissue."""
    steps = [max(1, n // SAMPLES) for n in image.array.shape]
    z, y, x = (slice(s // 2, None, s) for s in steps)
    tissue = np.argwhere(image.array[z, y, x] > TISSUE_HU)
    if len(tissue) < MIN_SHARE * image.array[z, y, x].size:
        return None
    index = tissue * steps + np.asarray([s // 2 for s in steps])
    return float(np.median(image.geometry.index_to_physical(index)[:, 0]))


def hides_middle(image: Volume) -> bool:
    """Whether a canonical HU image may show half a body, or hardly any: what halves its tissue is no body's middle."""
    if body_middle_mm(image) is None:
        return True
    z, y = (slice(s // 2, None, s) for s in (max(1, n // SAMPLES) for n in image.array.shape[:2]))
    rows = image.array[z, y]
    tissue = rows > TISSUE_HU
    columns = np.flatnonzero(tissue.any(axis=(0, 1)))
    if np.ptp(columns) * image.geometry.spacing_mm_zyx[2] >= SEEN_MM:
        return False
    near_mm = BORDER_VOXELS * max(image.geometry.spacing_mm_zyx[1:])
    border = np.broadcast_to((round_mm(image)[y] < near_mm) & is_round(image), rows.shape)
    seen = tissue.any(axis=-1)
    return any(
        float(np.mean(_ends_abruptly(*(part[seen][:, turned] for part in (rows, tissue, border))))) > CUT_SHARE
        for turned in (slice(None), slice(None, None, -1))
    )


def _ends_abruptly(
    rows: npt.NDArray[Any], tissue: npt.NDArray[np.bool_], border: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Of (n, x) rows with tissue, those in which it begins where the field of view does."""
    first = tissue.argmax(axis=-1)
    n = np.arange(len(rows))
    before = rows[n, np.maximum(first - 1, 0)]
    return np.asarray((first == 0) | (before < AIR_HU) | border[n, first])
