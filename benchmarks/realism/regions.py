"""Where to measure, found the same way in real and in simulated slices."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage
from skimage.measure import regionprops

from benchmarks.realism.slices import Image, Mask, Slice

FAT_HU: Final = 15.0
"""Clipped at 0, fat reads 0 with a few counts of noise; water is above this once smoothed."""
CLOSING_PX: Final = 20
MIN_ORGAN_PX: Final = 800
CYST_MIN_PX: Final = 60
CYST_MIN_SOLIDITY: Final = 0.85


def liver(s: Slice) -> Mask | None:
    """The largest homogeneous unlabelled region of 40 to 140 HU, shrunk by 8 pixels: liver wherever it is in view."""
    smooth = ndimage.gaussian_filter(s.hu, 3)
    region = (smooth > 40) & (smooth < 140) & (_spread(s.hu, 3) < 45) & (s.labels == 0)
    parts, count = ndimage.label(ndimage.binary_erosion(region, iterations=8))
    if count == 0:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == 1 + sizes.argmax()) if sizes.max() > 1500 else None


def hull(s: Slice) -> Mask:
    """Each kidney with its tumour, closed by a disk of 20 px: what the outline would be without a hilum."""
    rim = CLOSING_PX + 1
    parts, _ = ndimage.label(np.pad(s.labels > 0, rim))
    filled = np.zeros(parts.shape, bool)
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
        box = slice(rows.start - rim, rows.stop + rim), slice(columns.start - rim, columns.stop + rim)
        own = parts[box] == number
        if own.sum() >= MIN_ORGAN_PX:
            grown = ndimage.distance_transform_edt(~own) <= CLOSING_PX
            filled[box] |= ndimage.distance_transform_edt(grown) > CLOSING_PX
    return np.asarray(filled[rim:-rim, rim:-rim])


def hollow(s: Slice, closed: Mask) -> Mask:
    """What the closing filled and no label covers, less specks: the sinus where the labels leave it out."""
    return np.asarray(ndimage.binary_opening(closed & (s.labels == 0)))


def sinus(s: Slice, closed: Mask) -> Mask:
    """Sinus and calyces, labelled or not: 8 px within the hull, off the tumour, below 40 % of the kidney's median."""
    kidney = s.labels == 1
    if not kidney.any():
        return np.zeros_like(kidney)
    dark = ndimage.gaussian_filter(s.hu, 1) < 0.4 * float(np.median(s.hu[kidney]))
    off_tumour = ndimage.distance_transform_edt(s.labels != 2) > 4
    deep = ndimage.distance_transform_edt(closed) > 8
    return np.asarray(ndimage.binary_opening(dark & off_tumour & deep))


def cysts(s: Slice) -> list[Mask]:
    """Dark, homogeneous, convex blobs inside label kidney: cysts, and calyces wide enough to look like one.

    Darker than 55 % of the kidney's median and above fat, once smoothed by 2 px; 3 px within the label's outline.
    """
    kidney = s.labels == 1
    if not kidney.any():
        return []
    smooth = ndimage.gaussian_filter(s.hu, 2)
    dark = (smooth > 3) & (smooth < min(45.0, 0.55 * float(np.median(s.hu[kidney])))) & (_spread(s.hu, 2) < 25)
    parts, _ = ndimage.label(dark & ndimage.binary_erosion(kidney, iterations=3))
    kept = [p for p in regionprops(parts) if p.area >= CYST_MIN_PX and p.solidity >= CYST_MIN_SOLIDITY]
    return [np.asarray(parts == p.label) for p in kept]


def surroundings(s: Slice) -> Mask:
    """The ring from 6 to 30 px around kidneys and tumours."""
    return ring(s, 6, 30)


def ring(s: Slice, nearest_px: float, farthest_px: float) -> Mask:
    """Unlabelled pixels that far from the next labelled one; empty where nothing is labelled."""
    if not s.labels.any():
        return np.zeros(s.labels.shape, bool)
    far = ndimage.distance_transform_edt(s.labels == 0)
    return np.asarray((far > nearest_px) & (far <= farthest_px))


def _spread(hu: Image, sigma: float) -> Image:
    """The standard deviation within a Gaussian window of `sigma` px."""
    mean = ndimage.gaussian_filter(hu, sigma)
    return np.asarray(np.sqrt(np.maximum(ndimage.gaussian_filter(hu**2, sigma) - mean**2, 0)))
