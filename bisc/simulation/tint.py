"""Domain randomisation: structures in HU, textures and edges that no tissue has.

A network that has seen them cannot lean on HU (Billot et al., SynthSeg, Med. Image Anal. 86, 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bisc.simulation.frame import Field, Frame, Slices, smooth_noise
from bisc.simulation.phases import Enhancement

GAS_BELOW_HU, BONE_ABOVE_HU = -300.0, 250.0
SOFT_STD_HU, BONE_STD_HU, GRAIN_HU = 40.0, 150.0, 22.0
SOFTEST_EDGE = 2.5


@dataclass(frozen=True, eq=False)
class Tint:
    """Draws anew how each thing that is painted looks.

    Attributes:
        rng: Three draws a thing.
        grain: Noise of unit standard deviation on the canvas's grid; every thing shows it in a strength of its own.
    """

    rng: np.random.Generator
    grain: Field

    @classmethod
    def drawn(cls, frame: Frame, rng: np.random.Generator) -> Tint:
        """For a canvas on `frame`."""
        return cls(rng, smooth_noise(rng, frame, float(rng.uniform(3, 14))))

    def cut(self, slices: Slices) -> Tint:
        """For a part of the canvas."""
        return Tint(self.rng, self.grain[slices])

    def dye(self, value: float | Field) -> float | Field:
        """HU of one thing, shifted and grained; gas stays gas, so that there are lungs and a body's outside."""
        shift, grain = self.rng.normal(), self.rng.uniform(-GRAIN_HU, GRAIN_HU)
        middle = float(np.mean(value))
        if middle < GAS_BELOW_HU:
            return value
        spread = BONE_STD_HU if middle > BONE_ABOVE_HU else SOFT_STD_HU
        return np.asarray(np.float32(shift * spread) + value + np.float32(grain) * self.grain, np.float32)

    def edge(self) -> float:
        """Width of one thing's edge in voxels."""
        return float(self.rng.uniform(0.7, SOFTEST_EDGE))


def any_enhancement(hu: Enhancement, rng: np.random.Generator) -> Enhancement:
    """Every organ's HU drawn independently of the others and of the phase; fat stays the darkest, urine as it is."""
    cortex = float(rng.uniform(25, 230))
    return replace(
        hu,
        cortex=cortex,
        medulla=cortex + float(rng.normal(0, 35)),
        aorta=float(rng.uniform(20, 350)),
        cava=float(rng.uniform(20, 200)),
        liver=float(rng.uniform(0, 180)),
        spleen=float(rng.uniform(10, 180)),
        muscle=float(rng.uniform(0, 120)),
        fat=float(rng.uniform(-140, -50)),
        bowel_wall=float(rng.uniform(10, 130)),
    )
