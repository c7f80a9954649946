"""A body in its scan: its middle, which a lone kidney's side is told by, and what holds it of a far wider field of view
(PET/CT), which is what the rough stage looks at. Pure functions."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import as_int_triple
from bisc.core.volume import Box, Volume
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
WIDEST_MM: Final = 600.0
"""Up to here the whole field is seen, as in training (KiTS19: 500 mm at most). A kidney is a few pixels of 128 in a
wider one: with air around them to 700 mm, two scans lost half of their kidneys, to 600 mm none."""
ROOM_MM: Final = 20.0
LEAST_SHARE: Final = 0.02
"""Of the most tissue in any row or column; less is noise, a cable, the edge of a table."""


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


def within_body(image: Volume) -> Volume:
    """The part of a canonical HU image that holds its body, in plane and with `ROOM_MM` around it, as a view; the image
    itself where it is no wider than `WIDEST_MM`, or shows no body."""
    sides_mm = image.geometry.extent_mm_zyx[1:]
    if max(sides_mm) <= WIDEST_MM:
        return image
    steps = [max(1, n // SAMPLES) for n in image.array.shape]
    tissue = image.array[tuple(slice(step // 2, None, step) for step in steps)] > TISSUE_HU
    ends = [(0, image.array.shape[0])]
    for axis in (1, 2):
        share = tissue.sum(axis=tuple({0, 1, 2} - {axis}))
        seen = np.flatnonzero(share > LEAST_SHARE * share.max())
        if not len(seen):
            return image
        room = int(np.ceil(ROOM_MM / image.geometry.spacing_mm_zyx[axis])) + steps[axis]
        low, high = seen[0] * steps[axis] - room, (seen[-1] + 1) * steps[axis] + room
        ends.append((max(0, int(low)), min(image.array.shape[axis], int(high))))
    start, stop = (as_int_triple(places) for places in zip(*ends, strict=True))
    return image.cropped(Box(start, stop))


def _ends_abruptly(
    rows: npt.NDArray[Any], tissue: npt.NDArray[np.bool_], border: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Of (n, x) rows with tissue, those in which it begins where the field of view does."""
    first = tissue.argmax(axis=-1)
    n = np.arange(len(rows))
    before = rows[n, np.maximum(first - 1, 0)]
    return np.asarray((first == 0) | (before < AIR_HU) | border[n, first])
