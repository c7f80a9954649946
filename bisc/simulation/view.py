"""Which part of the patient a scan shows, and on which grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from bisc.core.geometry import IntTriple
from bisc.simulation.frame import Frame
from bisc.simulation.patient import Patient

THINNEST_MM, THICKEST_MM = 1.0, 6.0
"""Slices of the wide variety."""


@dataclass(frozen=True)
class Region:
    """A part of the body that scans are taken of.

    Attributes:
        share: Of scans of the wide variety.
        top_mm, bottom_mm: Least and largest height of its ends above the kidneys' middle.
    """

    share: float
    top_mm: tuple[float, float]
    bottom_mm: tuple[float, float]


REGIONS: Final[dict[str, Region]] = {
    "abdomen": Region(0.42, (90, 170), (-160, -100)),
    "abdomen and pelvis": Region(0.20, (100, 160), (-330, -270)),
    "trunk": Region(0.09, (260, 330), (-400, -260)),
    "chest and abdomen": Region(0.06, (250, 330), (-140, -60)),
    "a part of the kidneys": Region(0.08, (-10, 130), (-90, 40)),
    "pelvis and thighs": Region(0.05, (-120, -40), (-420, -320)),
    "chest": Region(0.05, (290, 330), (150, 180)),
    "pelvis": Region(0.05, (-155, -150), (-360, -300)),
}
"""The last two hold no kidney but an ectopic or transplanted one."""


def draw_view(rng: np.random.Generator, patient: Patient, size_xyz: IntTriple) -> Frame:
    """The grid of a scan of `size_xyz` voxels; the spacing follows from what it shows."""
    return _draw_wide(rng, patient, size_xyz) if patient.variety == "wide" else _draw_kits(rng, patient, size_xyz)


def _draw_kits(rng: np.random.Generator, patient: Patient, size_xyz: IntTriple) -> Frame:
    """360 to 440 mm wide, 190 to 300 mm high where slices of 2 to 5 mm allow it, never lower than 170 mm."""
    width = float(np.clip(2 * patient.half_width_mm + rng.uniform(5, 60), 360, 440))
    height = max(float(np.clip(rng.uniform(190, 300), 2 * size_xyz[2], 5 * size_xyz[2])), 170.0)
    middle = (rng.uniform(-18, 18), patient.depth_centre_mm + rng.normal(12, 8), rng.normal(0, 5))
    return _frame(size_xyz, width, height, middle)


def _draw_wide(rng: np.random.Generator, patient: Patient, size_xyz: IntTriple) -> Frame:
    """250 to 600 mm wide; of a region no more than slices of 1 to 6 mm reach over, then anywhere within it."""
    region = list(REGIONS.values())[int(rng.choice(len(REGIONS), p=[r.share for r in REGIONS.values()]))]
    top, bottom = rng.uniform(*region.top_mm), rng.uniform(*region.bottom_mm)
    low, high = min(top, bottom), max(top, bottom)
    height = float(np.clip(max(high - low, 40.0), THINNEST_MM * size_xyz[2], THICKEST_MM * size_xyz[2]))
    spare = (high - low - height) / 2
    z = (high + low) / 2 + (rng.uniform(-spare, spare) if spare > 0 else 0.0)
    kind, off_centre = float(rng.random()), 20.0 if rng.random() < 0.25 else 6.0
    width = 2 * patient.half_width_mm + rng.uniform(5, 80)
    if kind < 0.12:  # zoomed in on the spine or on one flank
        width = rng.uniform(250, 340)
    elif kind < 0.32:  # as PET/CT and trauma scans are
        width = rng.uniform(480, 600)
    middle = (z, patient.depth_centre_mm + rng.normal(12, off_centre), rng.normal(0, off_centre))
    return _frame(size_xyz, float(np.clip(width, 250, 600)), height, middle)


def _frame(size_xyz: IntTriple, width_mm: float, height_mm: float, middle_zyx: tuple[float, float, float]) -> Frame:
    nx, ny, nz = size_xyz
    shape = (nz, ny, nx)
    spacing = (height_mm / nz, width_mm / max(nx, ny), width_mm / max(nx, ny))
    first = [m - (n - 1) * s / 2 for m, n, s in zip(middle_zyx, shape, spacing, strict=True)]
    return Frame.regular(shape, spacing, (first[0], first[1], first[2]))
