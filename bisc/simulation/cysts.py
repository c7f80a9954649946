"""Cysts in and on the kidney: water in most, blood or protein in some, a wall that is seldom seen."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.labels import CONNECT_26
from bisc.simulation.anatomy import CYST_COUNT_SHARES, CYST_COUNTS, CYST_LOG_MEAN, CYST_LOG_STD, CYST_SHARE
from bisc.simulation.frame import Field, Frame

Mask = npt.NDArray[np.bool_]
WATER_HU, WATER_STD_HU = 8.0, 5.0
DENSE_SHARE: Final = 0.12
"""Of cysts hold old blood or protein: 45 to 90 HU in every phase."""


def add_cysts(kidney_hu: Field, cysts: Mask, outside: Mask, rng: np.random.Generator) -> None:
    """Fill every component of `cysts` with an HU of its own; changes `kidney_hu`.

    Args:
        kidney_hu: HU of the kidneys.
        cysts: Voxels of cysts.
        outside: Voxels of no label. A cyst's HU goes on there, so that no rim of cortex shows where it bulges.
        rng: One draw a component.
    """
    parts, _ = ndimage.label(cysts, CONNECT_26)
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        cut = tuple(slice(max(s.start - 3, 0), s.stop + 3) for s in box)
        own = parts[cut] == number
        spread = ndimage.binary_dilation(own, CONNECT_26, 2) & outside[cut]
        cover = ndimage.gaussian_filter((own | spread).astype(np.float32), 0.5)
        kidney_hu[cut] += cover * (np.float32(draw_cyst_hu(rng)) - kidney_hu[cut])


def draw_cyst_hu(rng: np.random.Generator) -> float:
    """HU of one cyst's fluid."""
    water, dense, share = rng.normal(WATER_HU, WATER_STD_HU), rng.uniform(45, 90), rng.random()
    return float(dense if share < DENSE_SHARE else np.clip(water, -6, 20))


def scatter_cysts(kidney: Mask, frame: Frame, rng: np.random.Generator) -> Mask:
    """Balls inside the kidneys of a given label map in half of the patients, sized and counted as procedural ones."""
    out = np.zeros(kidney.shape, bool)
    has, count = float(rng.random()), int(rng.choice(CYST_COUNTS, p=CYST_COUNT_SHARES))
    voxels = np.flatnonzero(kidney)
    if has > CYST_SHARE or voxels.size == 0:
        return out
    for _ in range(count):
        radius = float(np.clip(np.exp(rng.normal(CYST_LOG_MEAN, CYST_LOG_STD)) / 2, 2.0, 14.0))
        spot = np.unravel_index(voxels[int(rng.random() * voxels.size)], kidney.shape)
        centre = [float(axis[i]) for axis, i in zip(frame.axes, spot, strict=True)]
        cut = frame.slices(np.subtract(centre, radius), np.add(centre, radius))
        if cut is not None:
            z, y, x = (a - np.float32(c) for a, c in zip(frame.cut(cut).open_zyx, centre, strict=True))
            out[cut] |= (z**2 + y**2 + x**2 < radius**2) & kidney[cut]
    return out
