"""How a scan is taken: kernel, dose, slice thickness, what lies beside the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bisc.simulation.phases import Variety


@dataclass(frozen=True)
class Scanner:
    """How the image is made of the anatomy.

    Attributes:
        blur_mm: Standard deviation of the in-plane point spread function.
        slice_mix: Standard deviation of the blur along the body, in slices of the working grid.
        noise_hu: Standard deviation of the noise in the soft tissue of the body's middle.
        noise_peak_per_mm: Spatial frequency f0 up to which there is noise: small for smooth kernels.
        noise_z: Correlation of the noise of neighbouring slices.
        sharpen: Overshoot of a sharp kernel at edges, as a share of the edge's height.
        has_table: Whether a table is in view.
        has_clothing: Whether folds of cloth or a blanket lie on the skin.
        has_circle: Whether what lies outside the round field of view is padded with -1024 HU.
    """

    blur_mm: float
    slice_mix: float
    noise_hu: float
    noise_peak_per_mm: float
    noise_z: float
    sharpen: float
    has_table: bool
    has_clothing: bool
    has_circle: bool


def draw_scanner(rng: np.random.Generator, build: float, variety: Variety) -> Scanner:
    """Draw a protocol.

    Args:
        rng: Draws everything.
        build: Body mass, 0 in the mean, 1 a standard deviation above: stout patients let fewer photons through.
        variety: `kits` has the soft kernels and doses of preoperative abdominal CT; `wide` also lung and bone kernels
            and a sixth of the dose.
    """
    wide = variety == "wide"
    sharp = wide and rng.random() < 0.25
    middle, spread = (np.log(20), 0.55) if wide else (np.log(18), 0.38)
    noise = np.clip(np.exp(rng.normal(middle, spread) + 0.12 * build), 4 if wide else 7, 75 if wide else 40)
    return Scanner(
        blur_mm=float(rng.uniform(0.3, 0.5) if sharp else rng.uniform(0.45, 1.1 if wide else 0.8)),
        slice_mix=float(rng.uniform(0.2, 0.6)) if wide else 0.32,
        noise_hu=float(noise * (1.4 if sharp else 1.0)),
        noise_peak_per_mm=float(rng.uniform(0.35, 0.6) if sharp else rng.uniform(0.1, 0.4)),
        noise_z=float(rng.uniform(0.0, 0.6 if wide else 0.4)),
        sharpen=float(rng.uniform(0.2, 0.7)) if sharp else 0.0,
        has_table=bool(rng.random() < 0.75),
        has_clothing=wide and bool(rng.random() < 0.4),
        has_circle=wide and bool(rng.random() < 0.3),
    )
