"""HU to network input: clip to the foreground's percentiles, subtract the mean, divide by the deviation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bisc.core.jsonfile import Document
from bisc.core.limits import Deviation, Hounsfield


class Intensity(Document, frozen=True):
    """Foreground HU statistics of the training set (nnU-Net's CT scheme)."""

    clip_low_hu: Hounsfield
    clip_high_hu: Hounsfield
    mean_hu: Hounsfield
    std_hu: Deviation

    @property
    def air(self) -> float:
        """The normalised value of anything at or below the lower clip; fills what lies outside the image."""
        return (self.clip_low_hu - self.mean_hu) / self.std_hu


def normalise(hu: npt.NDArray[np.generic], intensity: Intensity) -> npt.NDArray[np.float32]:
    """float32 network input of an array in HU, same shape."""
    out = np.clip(hu, intensity.clip_low_hu, intensity.clip_high_hu).astype(np.float32)
    out -= np.float32(intensity.mean_hu)
    out /= np.float32(intensity.std_hu)
    return out
