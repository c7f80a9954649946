"""The grain of a tissue as a radially averaged power spectrum, in bands."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.realism.slices import Image, Mask

SIDE_PX: Final = 24
STEP_PX: Final = 8
BANDS_PER_PX: Final = ((0.08, 0.15), (0.15, 0.25), (0.25, 0.35), (0.35, 0.5))
"""Cycles per px. The two lowest frequencies of a window are left out: taking the mean away changes them."""


def band_powers(hu: Image, mask: Mask) -> npt.NDArray[np.float64] | None:
    """Mean power density of each band over the windows that lie in `mask`, in units of the four bands' mean.

    White noise gives 1 in every band. None where no window of 24 x 24 px fits.
    """
    windows = _windows(hu, mask)
    if not len(windows):
        return None
    taper = np.outer(np.hanning(SIDE_PX + 1)[:-1], np.hanning(SIDE_PX + 1)[:-1])
    mean = (windows * taper).sum(axis=(1, 2), keepdims=True) / taper.sum()
    power = (np.abs(np.fft.fft2((windows - mean) * taper)) ** 2).mean(axis=0)
    f = np.hypot(np.fft.fftfreq(SIDE_PX)[:, None], np.fft.fftfreq(SIDE_PX)[None, :])
    density = np.array([power[(f >= low) & (f < high)].mean() for low, high in BANDS_PER_PX])
    return density / density.mean() if density.any() else None


def _windows(hu: Image, mask: Mask) -> npt.NDArray[np.float64]:
    """(n, side, side) windows on a grid of 8 px that hold nothing but `mask`."""
    padded = np.pad(mask, 1)
    fits = ndimage.minimum_filter(padded.astype(np.uint8), SIDE_PX)[1:-1, 1:-1]
    # minimum_filter of even size looks from -SIDE/2 to SIDE/2 - 1.
    half = SIDE_PX // 2
    at = [(y, x) for y, x in np.argwhere(fits) if y % STEP_PX == 0 and x % STEP_PX == 0]
    parts = [hu[y - half : y + half, x - half : x + half] for y, x in at]
    return np.array([p for p in parts if p.shape == (SIDE_PX, SIDE_PX)], float).reshape(-1, SIDE_PX, SIDE_PX)
