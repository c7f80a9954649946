"""HU to network input: clip to the foreground's percentiles, subtract the mean, divide by the deviation.

The caches keep a byte a voxel: 256 levels between the clips, which on KiTS19 lie 1.5 HU apart. Rounding to them adds
0.4 HU to noise of ten and more (docs/performance.md).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.limits import Deviation, Hounsfield
from bisc.system.jsonfile import Document

HIGHEST_LEVEL: Final = 255


class Intensity(Document, frozen=True):
    """Foreground HU statistics of the training set (nnU-Net's CT scheme)."""

    clip_low_hu: Hounsfield
    clip_high_hu: Hounsfield
    mean_hu: Hounsfield
    std_hu: Deviation

    def __post_init__(self) -> None:
        if self.clip_low_hu >= self.clip_high_hu:
            raise ValueError(
                f"clips at {self.clip_low_hu} and {self.clip_high_hu} HU, the lower one not below the upper"
            )

    @property
    def air(self) -> float:
        """The normalised value of anything at or below the lower clip; fills what lies outside the image."""
        return (self.clip_low_hu - self.mean_hu) / self.std_hu

    @property
    def level_hu(self) -> float:
        """From one cached level to the next; never 0, even where all kidneys have one HU."""
        return max(1.0, self.clip_high_hu - self.clip_low_hu) / HIGHEST_LEVEL

    @property
    def level_step(self) -> float:
        """`level_hu` as the network sees it."""
        return self.level_hu / self.std_hu


def normalise(hu: npt.NDArray[np.generic], intensity: Intensity) -> npt.NDArray[np.float32]:
    """float32 network input of an array in HU, same shape."""
    out = np.clip(hu, intensity.clip_low_hu, intensity.clip_high_hu).astype(np.float32)
    out -= np.float32(intensity.mean_hu)
    out /= np.float32(intensity.std_hu)
    return out


def to_levels(hu: npt.NDArray[np.generic], intensity: Intensity) -> npt.NDArray[np.uint8]:
    """The nearest level of each voxel of an array in HU, same shape: 0 at the lower clip, 255 at the upper one."""
    levels = np.clip(hu, intensity.clip_low_hu, intensity.clip_high_hu).astype(np.float32)
    levels -= np.float32(intensity.clip_low_hu)
    levels /= np.float32(intensity.level_hu)
    return np.rint(levels, out=levels).astype(np.uint8)


def input_of_levels(levels: npt.NDArray[np.uint8], intensity: Intensity) -> npt.NDArray[np.float32]:
    """float32 network input of levels, same shape: `normalise` of their HU."""
    out = levels.astype(np.float32)
    out *= np.float32(intensity.level_step)
    out += np.float32(intensity.air)
    return out
