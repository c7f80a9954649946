"""HU of the healthy kidney: cortex, pyramids, calyces; the renal sinus; stones."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.simulation.frame import Field, Frame, smooth_noise
from bisc.simulation.patient import Patient
from bisc.simulation.phases import Variety
from bisc.simulation.shapes import ellipsoid_distance, local_axes

Mask = npt.NDArray[np.bool_]
BRIGHT_URINE_HU: Final = 60.0
"""Above this the calyces hold contrast medium."""
STONE_SHARE: Final[dict[Variety, float]] = {"kits": 0.03, "wide": 0.12}
WIDE_PELVIS_SHARE: Final[dict[Variety, float]] = {"kits": 0.03, "wide": 0.15}


def kidney_hu(
    patient: Patient, depth: Field, kidney: Mask, frame: Frame, rng: np.random.Generator
) -> tuple[Field, float]:
    """Cortex outside, pyramids of medulla inside, columns of cortex between them, and the calyces' ends.

    Returns:
        HU all over the grid, and its mean over `kidney` before contrast medium fills the calyces.
    """
    hu = patient.hu
    thick = np.float32(rng.uniform(5.5, 8.0)) + 1.2 * smooth_noise(rng, frame, 9.0)
    pyramids = np.clip(1.3 * smooth_noise(rng, frame, 7.0) + 0.65, 0, 1)
    medulla = np.clip((depth - thick) / 2.5, 0, 1) * pyramids
    out = hu.cortex + (hu.medulla - hu.cortex) * medulla
    # Label maps of KiTS19 take in the calyces' ends and threads of sinus fat between the pyramids.
    branches, deep = smooth_noise(rng, frame, (7.0, 4.5, 4.5)), np.clip((depth - 10) / 5, 0, 1)
    out += np.clip(1.5 * branches - 1.0, 0, 1) * deep * (float(rng.uniform(-30, 10)) - out)
    out += 4 * smooth_noise(rng, frame, 5.0) + 0.09 * abs(hu.cortex) * smooth_noise(rng, frame, (3.0, 2.2, 2.2))
    usual = float(out[kidney].mean()) if kidney.any() else hu.kidney
    if hu.urine > BRIGHT_URINE_HU:
        out += np.clip(3 * branches - 3.0, 0, 1) * deep * (np.float32(hu.urine) - out)
    return np.asarray(out, np.float32), usual


def renal_sinus(
    patient: Patient, sinus: Mask, depth: Field, frame: Frame, rng: np.random.Generator
) -> tuple[Field, Field]:
    """Coverage and HU of the sinus: fat with branches of vein and artery, and the collecting system."""
    hu = patient.hu
    cover = ndimage.gaussian_filter(sinus.astype(np.float32), [1.0 / s for s in frame.spacing_mm_zyx])
    vessels, pelvis = smooth_noise(rng, frame, 6.0), smooth_noise(rng, frame, 10.0)
    blocked = 1.2 if rng.random() < WIDE_PELVIS_SHARE[patient.variety] else 0.0  # urine that cannot leave widens it
    field = np.full(frame.shape_zyx, hu.fat + 30, np.float32)
    for weight, value in (
        # What labels leave out at the hilum is fat, but for threads: vessels and pelvis are within them.
        (np.clip((pelvis - 0.5 + blocked) * 3, 0, 1) * np.clip(depth / 8, 0, 1), hu.urine),
        (np.clip((vessels - 0.9 - blocked) * 3, 0, 1), 0.8 * hu.cava + 0.2 * hu.aorta),
    ):
        field += weight * (np.float32(value) - field)
    return cover, field


def stone(patient: Patient, inside: Mask, frame: Frame, rng: np.random.Generator) -> list[Field]:
    """HU of up to three stones, -1000 around each; most patients have none."""
    has, count, places = float(rng.random()), int(rng.integers(1, 4)), rng.random(3)
    radii, tones = np.clip(np.exp(rng.normal(0.9, 0.5, 3)), 1.2, 9), rng.uniform(350, 1300, 3)
    voxels = np.flatnonzero(inside)
    if has > STONE_SHARE[patient.variety] or voxels.size == 0:
        return []
    out = []
    for place, radius, tone in zip(places[:count], radii, tones, strict=False):
        spot = np.unravel_index(voxels[int(place * voxels.size)], inside.shape)
        centre = [axis[i] for axis, i in zip(frame.axes, spot, strict=True)]
        semi = radius * np.array([1.2, 0.9, 1.0])
        cover = np.clip(ellipsoid_distance(*local_axes(frame, centre, None), semi) / 1.5 + 0.5, 0, 1)
        out.append(np.asarray(cover * (tone + 1000) - 1000, np.float32))
    return out
