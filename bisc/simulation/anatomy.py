"""Draws where kidneys, tumours and cysts lie and how large they are; nothing is painted here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Triple
from bisc.simulation.kidneys import Anatomy, Cyst, Kidney, Tumor
from bisc.simulation.phases import Variety

SIZE_LOG_MEAN, SIZE_LOG_STD = 1.39, 0.60
"""Of log(tumour diameter in cm): the 167 `radiographic_size` entries of KiTS19's public facts (median 4.0 cm)."""
CYST_LOG_MEAN, CYST_LOG_STD = 2.47, 0.68
"""Of log(cyst diameter in mm): components of label 3 in a third of the KiTS23 label maps at hand (median 12 mm)."""
CYST_SHARE: Final = 0.5
"""Half of KiTS23's 489 patients have cysts."""
CYST_COUNTS, CYST_COUNT_SHARES = (1, 2, 3, 5, 8), (0.55, 0.21, 0.09, 0.10, 0.05)
"""Cysts of one patient who has any, and how often, as in the same label maps."""
VEIN_SHARE, SINUS_SHARE, LOBE_SHARE = 0.15, 0.12, 0.25
"""Of tumours of more than 5 cm, of less than 7 cm, and of all: growth into the vein, into the sinus, a second lobe."""


@dataclass(frozen=True)
class Shares:
    """How often what is rare occurs, and how much the rest varies.

    Attributes:
        single, fused, transplanted, ectopic, shrunken: Shares of patients.
        tumor_free, polycystic: Shares of patients.
        height_mm: Standard deviation of both kidneys' common height.
        size_log_std: Of the kidneys' size.
        tilt_deg: Standard deviation of the long axis in the coronal plane.
    """

    single: float = 0.03
    fused: float = 0.03
    transplanted: float = 0.0
    ectopic: float = 0.0
    shrunken: float = 0.0
    tumor_free: float = 0.015
    polycystic: float = 0.0
    height_mm: float = 0.0
    size_log_std: float = 0.08
    tilt_deg: float = 6.0


SHARES: Final[dict[Variety, Shares]] = {
    "kits": Shares(),
    "wide": Shares(0.05, 0.02, 0.03, 0.015, 0.05, 0.5, 0.012, 18.0, 0.12, 10.0),
}


def draw_anatomy(rng: np.random.Generator, variety: Variety = "kits", liver_below_mm: float = 0.0) -> Anatomy:
    """Draw kidneys, tumours and cysts.

    Args:
        rng: Draws everything.
        variety: Sets the `SHARES`.
        liver_below_mm: How far a large liver reaches below its usual end; the right kidney gives way.
    """
    shares = SHARES[variety]
    kidneys, fused = _draw_kidneys(rng, shares, 0.8 * liver_below_mm)
    count = 0 if rng.random() < shares.tumor_free else int(rng.choice([1, 2, 3], p=[0.88, 0.1, 0.02]))
    tumors = tuple(_draw_tumor(rng, kidneys[int(rng.integers(len(kidneys)))], i) for i in range(count))
    cysts = _draw_cysts(rng, kidneys, shares)
    if not fused:
        return Anatomy(kidneys, tumors, cysts)
    return Anatomy(kidneys, tumors, cysts, _bridge(kidneys), float(rng.uniform(11, 17)))


def _draw_kidneys(rng: np.random.Generator, shares: Shares, low_right_mm: float) -> tuple[tuple[Kidney, ...], bool]:
    """One or two kidneys, and whether they are fused; the left one lies about 15 mm higher."""
    draw = float(rng.random())
    fused, single = draw < shares.fused, shares.fused <= draw < shares.fused + shares.single
    height = rng.normal(0, shares.height_mm)
    pair = [_draw_kidney(rng, side, fused, single, shares, height - low_right_mm * (side < 0)) for side in (-1, 1)]
    keep, rare = int(rng.integers(2)), float(rng.random())
    if single:
        return (pair[keep],), False
    if not fused and rare < shares.transplanted:  # an own kidney that has shrunk, or none, stays beside it
        graft = _moved(pair[1 - keep], (rng.normal(-165, 12), rng.normal(-52, 6), rng.choice([-1, 1]) * 76.0))
        return ((graft,) if rng.random() < 0.5 else (graft, _shrunk(pair[keep], 0.55))), False
    if not fused and rare < shares.transplanted + shares.ectopic:
        return (pair[keep], _moved(pair[1 - keep], (-160.0, -22.0, 8.0 * pair[1 - keep].side))), False
    if not fused and rare > 1 - shares.shrunken:
        return (pair[keep], _shrunk(pair[1 - keep], float(rng.uniform(0.5, 0.75)))), False
    return tuple(pair), fused


def _draw_kidney(
    rng: np.random.Generator, side: int, fused: bool, single: bool, shares: Shares, height_mm: float
) -> Kidney:
    size = float(np.exp(rng.normal(0, shares.size_log_std))) * (1.15 if single else 1.0)
    semi = size * np.array([rng.normal(56, 3), rng.normal(27, 1.5), rng.normal(31, 1.5)])
    z = (8 if side > 0 else -8) + rng.normal(0, 7) - (25 if fused else 0) + height_mm
    centre = (z, rng.normal(-8 if fused else 4, 6), side * (rng.normal(70, 5) - (8 if fused else 0)))
    tilt = rng.normal(-14, 4) if fused else rng.normal(14, shares.tilt_deg)
    angles = (float(tilt), float(rng.normal(-10, 5)), float(rng.normal(33, 12)))
    hilum = (rng.uniform(0.34, 0.5), rng.uniform(0.28, 0.42), rng.uniform(0.7, 0.95))
    return Kidney(side, triple(centre), triple(semi), angles, float(rng.uniform(4, 11)), triple(hilum))


def _moved(kidney: Kidney, centre_zyx: npt.ArrayLike) -> Kidney:
    return Kidney(kidney.side, triple(centre_zyx), kidney.semi_wvu, kidney.angles_deg, kidney.bend_mm, kidney.hilum)


def _shrunk(kidney: Kidney, size: float) -> Kidney:
    semi = triple(size * np.asarray(kidney.semi_wvu))
    return Kidney(kidney.side, kidney.centre_zyx, semi, kidney.angles_deg, size * kidney.bend_mm, kidney.hilum)


def _bridge(kidneys: tuple[Kidney, ...]) -> tuple[Triple, ...]:
    """The course of a horseshoe's bridge from one lower pole before the vessels to the other."""
    poles = [k.point((-0.8 * k.semi_wvu[0], 0, -k.bend_mm)) for k in kidneys]
    middle = np.array([min(p[0] for p in poles) - 5, -48.0, 0.0])
    half = [(p + middle) / 2 - [4, 8, 0] for p in poles]
    return tuple(triple(p) for p in (poles[0], half[0], middle, half[1], poles[1]))


def _draw_tumor(rng: np.random.Generator, kidney: Kidney, number: int) -> Tumor:
    diameter_cm = float(np.exp(rng.normal(SIZE_LOG_MEAN, SIZE_LOG_STD)))
    radius = 5 * float(np.clip(diameter_cm, 1.2, 11.0)) * (0.6 if number else 1.0)
    radius = max(radius, 6.0)
    up, around = np.radians(rng.uniform(-75, 75)), np.radians(rng.uniform(-115, 115))
    into_sinus = rng.random() < SINUS_SHARE and radius < 35
    way = np.array([np.sin(up), np.cos(up) * np.sin(around), np.cos(up) * np.cos(around)])
    out = rng.uniform(-0.45, 0.6) if radius < 20 else rng.uniform(0.1, 0.75)  # large ones always bulge
    local = way * np.asarray(kidney.semi_wvu) * 0.97 + way * radius * out
    if into_sinus:
        local = np.array([0.5, 0.4, -0.35]) * kidney.semi_wvu * [np.sin(up), np.sin(around), 1]
    local[2] -= kidney.bend_mm * (local[0] / kidney.semi_wvu[0]) ** 2
    z, y, x = kidney.point(local)
    if radius > 20 and not into_sinus:  # there is no room behind the kidney: the large grow forwards and sideways
        y = min(y, 22 - 0.45 * radius)
        x = kidney.side * max(kidney.side * x, 40 + 0.7 * radius)
    semi = triple(radius * np.exp(rng.normal(0, 0.1, 3)))
    rough = float(rng.uniform(0.03, 0.13) if rng.random() < 0.75 else rng.uniform(0.13, 0.24))
    lobe = (triple(0.75 * radius * _way(rng)), float(rng.uniform(0.45, 0.8))) if rng.random() < LOBE_SHARE else None
    has_plug = rng.random() < VEIN_SHARE and radius > 25
    far, plug = float(rng.uniform(0.3, 1)), float(rng.uniform(5, 9))
    vein = _vein(kidney, (z, y, x), far) if has_plug else ()
    return Tumor((z, y, x), semi, rough, lobe, vein, plug if has_plug else 0.0)


def _vein(kidney: Kidney, start_zyx: Triple, far: float) -> tuple[Triple, ...]:
    """From a tumour through its kidney's hilum, `far` of the way to the vena cava."""
    hilum = kidney.point((0, 0, -0.9 * kidney.semi_wvu[2]))
    before = np.array([hilum[0] + 5, -40.0, kidney.side * 18.0]) if kidney.side > 0 else hilum
    cava = np.array([hilum[0] + 7, -30.0, -20.0])
    return triple(start_zyx), triple(hilum), triple(before), triple(before + far * (cava - before))


def _draw_cysts(rng: np.random.Generator, kidneys: tuple[Kidney, ...], shares: Shares) -> tuple[Cyst, ...]:
    """None in half of the patients, several in some; in polycystic kidneys as many as there is room for."""
    draw, count = float(rng.random()), int(rng.choice(CYST_COUNTS, p=CYST_COUNT_SHARES))
    if draw < shares.polycystic:
        return tuple(_draw_cyst(rng, k, 1.5) for k in kidneys for _ in range(int(rng.integers(14, 30))))
    if draw > CYST_SHARE:
        return ()
    return tuple(_draw_cyst(rng, kidneys[int(rng.integers(len(kidneys)))], 1.0) for _ in range(count))


def _draw_cyst(rng: np.random.Generator, kidney: Kidney, growth: float) -> Cyst:
    """From the sinus's rim to three quarters outside of the kidney."""
    radius = float(np.clip(growth * np.exp(rng.normal(CYST_LOG_MEAN, CYST_LOG_STD)) / 2, 2.0, 40.0))
    way = _way(rng)
    local = way * np.asarray(kidney.semi_wvu) * rng.uniform(0.65, 1.0) + way * radius * rng.uniform(-0.3, 0.4)
    local[2] -= kidney.bend_mm * (local[0] / kidney.semi_wvu[0]) ** 2
    return Cyst(triple(kidney.point(local)), radius)


def _way(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A direction."""
    way = rng.normal(size=3)
    return np.asarray(way / np.linalg.norm(way))


def triple(values: npt.ArrayLike) -> Triple:
    """Three floats of anything that holds three numbers."""
    a, b, c = (float(v) for v in np.asarray(values, float))
    return a, b, c
