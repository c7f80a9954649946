"""The contrast phase of a CT from the HU of its kidneys and its aorta.

Without contrast medium both are as bright as blood. In the arterial phase the aorta is the brightest of all; some 70
seconds after the injection the kidneys overtake it and stay ahead.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.choices import Phase
from bisc.core.labels import KIDNEY
from bisc.core.volume import Box, Volume

PLAIN_HU: Final = 70.0
"""Below it lies the median of kidneys without contrast medium (16 to 45 HU), above it every phase (80 and more)."""
CORTEX: Final = 0.75
"""The quantile of a kidney's HU that tells its cortex, beside a medulla that is still dark in the arterial phase."""
EARLY_RATIO: Final = 1.15
EARLY_HU: Final = 190.0
"""Of the aorta in the arterial phase: so much brighter than the cortex, and as bright."""
NO_AORTA: Final = 0.6
"""What is darker than this share of the cortex is no vessel of a phase with contrast medium."""
DISC_MM, RING_MM = 7.0, (12.0, 18.0)
"""The aorta is 15 to 25 mm wide: a disc within, and a ring around it."""
BESIDE_MM: Final = 35.0
"""Of the middle between the kidneys, that the aorta lies within."""
BEFORE_MM: Final = (10.0, 80.0)
"""In front of the kidneys' centre."""
BRIGHTEST_HU: Final = 500.0


def phase_of(image: Volume, labels: npt.NDArray[np.uint8]) -> Phase | None:
    """The phase; None where there are no kidneys, or no aorta can be made out.

    Args:
        image: (z, y, x) HU on a canonical grid, of any spacing up to 5 mm in plane.
        labels: (z, y, x) of the same shape, 0, 1 kidney, 2 tumour, as a rough stage sees them.
    """
    inside = kidney_hu(image, labels)
    if not len(inside):
        return None
    if np.median(inside) < PLAIN_HU:
        return "plain"
    cortex, aorta = float(np.quantile(inside, CORTEX)), aorta_hu(image, labels > 0)
    if aorta is None or aorta < NO_AORTA * cortex:
        return None
    return "early" if aorta > max(EARLY_HU, EARLY_RATIO * cortex) else "late"


def kidney_hu(image: Volume, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """HU of kidney tissue, the rim of kidneys and tumours left off where enough stays; empty where there is none."""
    tissue = labels == KIDNEY
    inner = tissue & ndimage.binary_erosion(labels > 0)
    return np.asarray(image.array[inner if inner.any() else tissue], np.float64)


def aorta_hu(image: Volume, kidneys: npt.NDArray[np.bool_]) -> float | None:
    """HU of the roundest bright spot in front of the spine, averaged along z over the kidneys' middle half; None where
    nothing stands out."""
    box = Box.of_mask(kidneys)
    if box is None:
        return None
    low, high = box.start_zyx[0], box.stop_zyx[0]
    quarter = (high - low) // 4
    plane = np.minimum(image.array[low + quarter : high - quarter], BRIGHTEST_HU).mean(axis=0)
    step_y, step_x = image.geometry.spacing_mm_zyx[1:]
    centre_y, centre_x = (np.mean([box.start_zyx[axis], box.stop_zyx[axis]]) for axis in (1, 2))
    y, x = np.ogrid[: plane.shape[0], : plane.shape[1]]
    front_mm, beside_mm = (centre_y - y) * step_y, np.abs(x - centre_x) * step_x
    searched = (front_mm >= BEFORE_MM[0]) & (front_mm <= BEFORE_MM[1]) & (beside_mm <= BESIDE_MM)
    if not searched.any():
        return None
    disc = _mean_within(plane, (0.0, DISC_MM), (step_y, step_x))
    stands_out = np.where(searched, disc - _mean_within(plane, RING_MM, (step_y, step_x)), -np.inf)
    at = np.unravel_index(int(np.argmax(stands_out)), plane.shape)
    return float(disc[at]) if stands_out[at] > 0 else None


def _mean_within(
    plane: npt.NDArray[np.floating], radii_mm: tuple[float, float], spacing_mm_yx: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """(y, x) mean of the voxels whose distance lies between two radii."""
    reach = [int(np.ceil(radii_mm[1] / step)) for step in spacing_mm_yx]
    y, x = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    distance = np.hypot(y * spacing_mm_yx[0], x * spacing_mm_yx[1])
    kernel = ((distance >= radii_mm[0]) & (distance <= radii_mm[1])).astype(np.float64)
    return np.asarray(ndimage.convolve(plane.astype(np.float64), kernel / kernel.sum(), mode="nearest"))
