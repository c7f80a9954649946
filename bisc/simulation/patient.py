"""One patient: every number drawn before anything is drawn, so that the painters only read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STREAMS = ("patient", "kidneys", "body", "tissue", "noise")


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """The random numbers of one purpose in one case; they depend on nothing else, so order of work never matters."""
    return np.random.default_rng([seed, index, STREAMS.index(name)])


@dataclass(frozen=True)
class Enhancement:
    """Mean HU of the tissues in one contrast phase."""

    phase: str
    cortex: float
    medulla: float
    aorta: float
    cava: float
    liver: float
    spleen: float
    muscle: float
    fat: float
    bowel_wall: float

    @property
    def kidney(self) -> float:
        """Rough mean of the parenchyma: about 60 % is cortex."""
        return 0.6 * self.cortex + 0.4 * self.medulla


@dataclass(frozen=True)
class Scanner:
    """How the image is made of the anatomy.

    Attributes:
        blur_mm: Standard deviation of the in-plane point spread function.
        noise_hu: Standard deviation of the noise in the soft tissue of the body's middle.
        noise_peak_per_mm: Spatial frequency where the noise is strongest: small for smooth kernels.
        noise_z: Correlation of the noise of neighbouring slices.
    """

    blur_mm: float
    noise_hu: float
    noise_peak_per_mm: float
    noise_z: float
    has_table: bool


@dataclass(frozen=True)
class Patient:
    """Size, tissues and scan of one patient; mm and HU.

    Attributes:
        half_width_mm, front_mm, back_mm: The skin's distance from the spine at kidney level, to the side (from the
            midline), to the front and to the back.
        fat_mm: Thickness of the subcutaneous fat at the side.
        wall_mm: Thickness of the muscle wall at the side.
        perirenal_mm: Least gap between kidney and neighbouring organs.
        bowel_fill: Share of the bowel's loops that hold contrast medium.
    """

    half_width_mm: float
    front_mm: float
    back_mm: float
    fat_mm: float
    wall_mm: float
    perirenal_mm: float
    bowel_fill: float
    hu: Enhancement
    scanner: Scanner

    @property
    def depth_centre_mm(self) -> float:
        """y of the body's middle."""
        return (self.back_mm - self.front_mm) / 2


def draw_patient(rng: np.random.Generator, view_mm: float | None = None) -> Patient:
    """Draw one patient. Ranges: adult abdomens as in KiTS19, late arterial phase in most.

    Args:
        rng: Draws everything.
        view_mm: Width of a given field of view, which was once chosen to fit the patient; None: it follows later.
    """
    build = rng.normal()  # body mass: widens the fat, deepens the abdomen, raises the noise
    fat = float(np.clip(17 + 9 * build + rng.normal(0, 3), 4, 45))
    wall = float(np.clip(rng.normal(13, 2), 8, 18))
    frame = float(np.clip(137 + 6 * rng.normal() + 4 * build, 122, 157))
    share = float(rng.uniform(0.75, 0.98))
    if view_mm is not None:
        fat = float(np.clip(share * view_mm / 2 - frame, 5, 50))
    half_width = frame + fat
    front = float(np.clip(138 + 14 * build + 8 * rng.normal(), 105, 180)) + 0.4 * fat
    return Patient(
        half_width_mm=half_width,
        front_mm=front,
        back_mm=float(rng.uniform(76, 86)) + 0.45 * fat,
        fat_mm=fat,
        wall_mm=wall,
        perirenal_mm=float(np.clip(rng.gamma(2.5, 2.6) + 1.5 * build, 1.5, 16.0)),
        bowel_fill=float(rng.choice([0.0, 0.3, 0.8], p=[0.5, 0.25, 0.25])),
        hu=_draw_enhancement(rng),
        scanner=_draw_scanner(rng, build),
    )


def _draw_enhancement(rng: np.random.Generator) -> Enhancement:
    phase = str(rng.choice(["arterial", "nephrographic", "plain"], p=[0.58, 0.38, 0.04]))
    jitter = rng.normal(size=8)
    if phase == "arterial":
        cortex, medulla = 145 + 22 * jitter[0], 58 + 13 * jitter[1]
        aorta, cava, liver, spleen = 290 + 50 * jitter[2], 100 + 20 * jitter[3], 65, 108
    elif phase == "nephrographic":
        cortex = 125 + 17 * jitter[0]
        medulla = cortex - abs(20 * jitter[1])
        aorta, cava, liver, spleen = 145 + 15 * jitter[2], 130 + 12 * jitter[3], 92, 110
    else:
        cortex, medulla = 34 + 3 * jitter[0], 32 + 3 * jitter[1]
        aorta, cava, liver, spleen = 42 + 4 * jitter[2], 40 + 4 * jitter[3], 56, 48
    fatty = 25.0 * float(rng.random() < 0.15)
    return Enhancement(
        phase,
        cortex=float(cortex),
        medulla=float(medulla),
        aorta=float(max(aorta, 35)),
        cava=float(cava),
        liver=float(liver + 8 * jitter[4] - fatty),
        spleen=float(spleen + 8 * jitter[5]),
        muscle=float(58 + 5 * jitter[6]),
        fat=float(-104 + 5 * jitter[7]),
        bowel_wall=float(rng.uniform(45, 85) if phase != "plain" else 38),
    )


def _draw_scanner(rng: np.random.Generator, build: float) -> Scanner:
    return Scanner(
        blur_mm=float(rng.uniform(0.45, 0.8)),
        noise_hu=float(np.clip(np.exp(rng.normal(np.log(18), 0.38) + 0.12 * build), 7, 40)),
        noise_peak_per_mm=float(rng.uniform(0.15, 0.28)),
        noise_z=float(rng.uniform(0.0, 0.4)),
        has_table=bool(rng.random() < 0.75),
    )
