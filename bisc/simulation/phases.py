"""Contrast phases: the mean HU of every tissue at one time after the injection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

Variety = Literal["kits", "wide"]
"""`kits`: preoperative abdominal CT as in KiTS19. `wide`: whatever CT a hospital may send."""
VARIETIES: Final[tuple[Variety, ...]] = get_args(Variety)
Phase = Literal["plain", "arterial", "nephrographic", "excretory"]

PHASE_SHARES: Final[dict[Variety, dict[Phase, float]]] = {
    "kits": {"plain": 0.04, "arterial": 0.56, "nephrographic": 0.36, "excretory": 0.04},
    "wide": {"plain": 0.27, "arterial": 0.25, "nephrographic": 0.33, "excretory": 0.15},
}
"""`wide`: plain scans for stones and in PET/CT, portal venous ones for all else, urography's third phase."""
EARLY_URINE: Final = 0.1
"""Of nephrographic scans so many are late enough for some contrast medium in the calyces."""
PLAIN_STD_HU: Final = 7.0
"""Of kidneys without contrast medium in `wide`; those of two real scans lie at 16 and 29 HU."""
FATTY_SHARE: Final[dict[Variety, float]] = {"kits": 0.15, "wide": 0.25}


@dataclass(frozen=True)
class Enhancement:
    """Mean HU of the tissues in one contrast phase; `urine` is that of calyces and renal pelvis."""

    phase: Phase
    cortex: float
    medulla: float
    aorta: float
    cava: float
    liver: float
    spleen: float
    muscle: float
    fat: float
    bowel_wall: float
    urine: float

    @property
    def kidney(self) -> float:
        """Rough mean of the parenchyma: about 60 % is cortex."""
        return 0.6 * self.cortex + 0.4 * self.medulla


def draw_enhancement(rng: np.random.Generator, variety: Variety) -> Enhancement:
    """Draw the phase at its share in the variety, and every tissue's HU around its mean in that phase."""
    shares = PHASE_SHARES[variety]
    phase = list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]
    jitter = rng.normal(size=8)
    cortex, medulla, aorta, cava, liver, spleen = _vessels_and_organs(phase, jitter)
    if phase == "plain" and variety == "wide":  # parenchyma moves as one, with the patient's water and the scanner
        cortex = 29 + PLAIN_STD_HU * float(jitter[0])
        medulla = cortex - 2 + 2 * float(jitter[1])
    fatty = float(rng.uniform(10, 60 if variety == "wide" else 35)) * float(rng.random() < FATTY_SHARE[variety])
    return Enhancement(
        phase,
        cortex=cortex,
        medulla=medulla,
        aorta=max(aorta, 35.0),
        cava=cava,
        liver=float(liver + 8 * jitter[4] - fatty),
        spleen=float(spleen + 8 * jitter[5]),
        muscle=float(58 + 5 * jitter[6]),
        fat=float(-104 + 5 * jitter[7]),
        bowel_wall=float(rng.uniform(45, 85) if phase != "plain" else rng.uniform(32, 44)),
        urine=_draw_urine(rng, phase),
    )


def _vessels_and_organs(
    phase: Phase, jitter: npt.NDArray[np.float64]
) -> tuple[float, float, float, float, float, float]:
    """Cortex, medulla, aorta, cava, liver and spleen; the first four already jittered."""
    a, b, c, d = (float(j) for j in jitter[:4])
    if phase == "arterial":
        return 145 + 22 * a, 58 + 13 * b, 290 + 50 * c, 100 + 20 * d, 65.0, 108.0
    if phase == "nephrographic":
        cortex = 125 + 17 * a
        return cortex, cortex - abs(20 * b), 145 + 15 * c, 130 + 12 * d, 92.0, 110.0
    if phase == "excretory":
        cortex = 104 + 12 * a
        return cortex, cortex + 4 * b, 105 + 10 * c, 102 + 9 * d, 84.0, 90.0
    return 33 + 3 * a, 31 + 3 * b, 42 + 4 * c, 40 + 4 * d, 56.0, 48.0


def _draw_urine(rng: np.random.Generator, phase: Phase) -> float:
    """Water, or contrast medium that the kidneys have concentrated since the injection."""
    water, late, early, excreted = rng.normal(6, 4), rng.uniform(350, 1300), rng.uniform(120, 500), rng.random()
    if phase == "excretory":
        return float(late)
    return float(early if phase == "nephrographic" and excreted < EARLY_URINE else water)
