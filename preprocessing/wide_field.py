"""A field of view far wider than its body (PET/CT): the rough stage looks at what holds the body. Pure functions."""

from __future__ import annotations

from typing import Final

import numpy as np

from bisc.core.geometry import IntTriple
from bisc.core.volume import Box, Volume
from bisc.preprocessing.midline import SAMPLES, TISSUE_HU

WIDEST_MM: Final = 600.0
"""Up to here the whole field is seen, as in training (KiTS19: 500 mm at most). A kidney is a few pixels of 128 in a
wider one: with air around them to 700 mm, two scans lost half of their kidneys, to 600 mm none."""
ROOM_MM: Final = 20.0
LEAST_SHARE: Final = 0.02
"""Of the most tissue in any row or column; less is noise, a cable, the edge of a table."""


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
    start, stop = zip(*ends, strict=True)
    return image.cropped(Box(_three(start), _three(stop)))


def _three(places: tuple[int, ...]) -> IntTriple:
    z, y, x = places
    return z, y, x
