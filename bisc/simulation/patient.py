"""One patient: every number drawn before anything is drawn, so that the painters only read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bisc.simulation.phases import Enhancement, Variety, draw_enhancement
from bisc.simulation.protocol import Scanner, draw_scanner
from bisc.simulation.tint import any_enhancement

STREAMS = (
    "patient",
    "kidneys",
    "body",
    "tissue",
    "noise",
    "view",
    "lesions",
    "pelvis",
    "chest",
    "finds",
    "artefacts",
    "tint",
)


def stream(seed: int, index: int, name: str) -> np.random.Generator:
    """The random numbers of one purpose in one case; they depend on nothing else, so order of work never matters."""
    return np.random.default_rng([seed, index, STREAMS.index(name)])


USUAL_TIP_MM = -85.5
"""Height of the lower end of the longest usual livers."""


@dataclass(frozen=True)
class Patient:
    """Size, tissues and scan of one patient; mm and HU.

    Attributes:
        variety: What the patient is one of.
        half_width_mm, front_mm, back_mm: The skin's distance from the spine at kidney level, to the side (from the
            midline), to the front and to the back.
        fat_mm: Thickness of the subcutaneous fat at the side.
        wall_mm: Thickness of the muscle wall at the side.
        perirenal_mm: Least gap between kidney and neighbouring organs.
        bowel_fill: Share of the bowel's loops that hold contrast medium.
        female: Has breasts and a uterus, else a prostate.
        arms_down: The arms lie beside the trunk instead of above the head.
        liver_tip_mm: Height of the liver's lower end above the kidneys' middle.
        tinted: Every structure's HU, texture and edge are drawn anew, far from any tissue's (see `tint`).
    """

    variety: Variety
    half_width_mm: float
    front_mm: float
    back_mm: float
    fat_mm: float
    wall_mm: float
    perirenal_mm: float
    bowel_fill: float
    female: bool
    arms_down: bool
    liver_tip_mm: float
    tinted: bool
    hu: Enhancement
    scanner: Scanner

    @property
    def depth_centre_mm(self) -> float:
        """y of the body's middle."""
        return (self.back_mm - self.front_mm) / 2

    @property
    def liver_below_mm(self) -> float:
        """How far the liver reaches below its usual end."""
        return max(0.0, USUAL_TIP_MM - self.liver_tip_mm)


ARMS_DOWN_SHARE, LARGE_LIVER_SHARE, TINTED_SHARE = 0.2, 0.15, 0.3
"""Of the wide variety alone."""


def draw_patient(rng: np.random.Generator, variety: Variety = "kits", view_mm: float | None = None) -> Patient:
    """Draw one patient. Ranges: adult trunks; `wide` has the thinner, the stouter and the larger livers.

    Args:
        rng: Draws everything.
        variety: See `Variety`.
        view_mm: Width of a given field of view, which was once chosen to fit the patient; None: it follows later.
    """
    wide = variety == "wide"
    build = rng.normal() * (1.3 if wide else 1.0)  # widens the fat, deepens the abdomen, raises the noise
    fat = float(np.clip(17 + 9 * build + rng.normal(0, 3), 4, 60 if wide else 45))
    wall = float(np.clip(rng.normal(13, 2), 8, 18))
    frame = float(np.clip(137 + 6 * rng.normal() + 4 * build, 122, 157))
    share = float(rng.uniform(0.75, 0.98))
    if view_mm is not None:
        fat = float(np.clip(share * view_mm / 2 - frame, 5, 50))
    half_width = frame + fat
    front = float(np.clip(138 + 14 * build + 8 * rng.normal(), 100 if wide else 105, 190)) + 0.4 * fat
    hu = draw_enhancement(rng, variety)
    tinted = wide and bool(rng.random() < TINTED_SHARE)
    large = wide and rng.random() < LARGE_LIVER_SHARE
    tip = rng.uniform(-140, USUAL_TIP_MM) if large else rng.uniform(USUAL_TIP_MM, -58)
    return Patient(
        variety,
        half_width_mm=half_width,
        front_mm=front,
        back_mm=float(rng.uniform(76, 86)) + 0.45 * fat,
        fat_mm=fat,
        wall_mm=wall,
        perirenal_mm=float(np.clip(rng.gamma(2.5, 2.6) + 1.5 * build, 1.5, 16.0)),
        bowel_fill=float(rng.choice([0.0, 0.3, 0.8], p=[0.65, 0.2, 0.15])),
        female=bool(rng.random() < (0.5 if wide else 0.4)),
        arms_down=bool(rng.random() < ARMS_DOWN_SHARE) and wide,
        liver_tip_mm=float(tip),
        tinted=tinted,
        hu=any_enhancement(hu, rng) if tinted else hu,
        scanner=draw_scanner(rng, build, variety),
    )
