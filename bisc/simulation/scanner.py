"""From tissue to image: noise with a reconstruction kernel's spectrum, stronger in the body's middle."""

from __future__ import annotations

import numpy as np
from scipy import fft

from bisc.core.geometry import IntTriple, Triple
from bisc.simulation.frame import Field
from bisc.simulation.protocol import Scanner

HU_LOW, HU_HIGH = -1024, 3071
FLOOR_PER_MM = 0.2


class NoiseSource:
    """Slices of correlated noise, one after the other.

    The spectrum rises like the ramp of filtered back-projection and falls off like the kernel's apodisation (Riederer,
    Pelc and Chesler, Phys. Med. Biol. 23, 1978), from a floor that real livers have: (f + 0.2) exp(-(f / f0)^2 / 2),
    fitted to the spectra and autocorrelations of 20 KiTS19 livers with f0 from 0.1 to 0.4 per mm.
    """

    def __init__(
        self, scanner: Scanner, shape_zyx: IntTriple, spacing_mm_zyx: Triple, rng: np.random.Generator
    ) -> None:
        _, self._rows, self._columns = shape_zyx
        self._rng = rng
        fy = np.fft.fftfreq(self._rows, spacing_mm_zyx[1])[:, None]
        fx = np.fft.rfftfreq(self._columns, spacing_mm_zyx[2])[None, :]
        f = np.hypot(fy, fx)
        gain = (f + FLOOR_PER_MM) * np.exp(-0.5 * (f / scanner.noise_peak_per_mm) ** 2)
        # Columns 0 and Nyquist stand once in the half-plane, the others twice.
        twice = np.full(fx.shape, 2.0)
        twice[0, 0] = 1.0
        if self._columns % 2 == 0:
            twice[0, -1] = 1.0
        power = float((gain**2 * twice).sum()) / (self._rows * self._columns)
        self._gain = (gain / np.sqrt(power)).astype(np.float32)
        self._keep = np.float32(scanner.noise_z)
        self._fresh = np.float32(np.sqrt(1 - scanner.noise_z**2))
        self._last: Field | None = None

    def next_slice(self) -> Field:
        """A (y, x) slice of unit standard deviation, correlated with the slice before it."""
        white = self._rng.standard_normal((self._rows, self._columns), dtype=np.float32)
        new: Field = fft.irfft2(fft.rfft2(white) * self._gain, s=white.shape).astype(np.float32)
        if self._last is not None:
            new = self._keep * self._last + self._fresh * new
        self._last = new
        return new


def noise_level(skin_mm: Field, reach_mm: float, noise_hu: float) -> Field:
    """Standard deviation of the noise per voxel from the depth under the skin.

    Rays through the middle cross most tissue: there the noise is full, at the skin about half, in air a third.
    """
    depth = np.clip(skin_mm / np.float32(reach_mm), -0.2, 1)
    return np.asarray(noise_hu * (0.5 + 0.75 * depth - 0.25 * depth * np.abs(depth)), np.float32)
