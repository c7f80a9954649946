"""The body's outlines in polar form: skin, outer and inner face of the muscle wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.simulation.frame import Field, Frame, smooth_noise
from bisc.simulation.legs import below_trunk
from bisc.simulation.patient import Patient

BINS = 360
ANGLES = (np.arange(BINS) + 0.5) * (2 * np.pi / BINS) - np.pi
"""Directions in the axial plane, 0 to the back, +pi/2 to the patient's left, +-pi to the front."""
SIDE_MARGIN_MM = 3.0
Curve = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outline:
    """Radii in mm around (y = `centre_y_mm`, x = 0), one per direction in `ANGLES`."""

    patient: Patient
    centre_y_mm: float
    skin: Curve
    muscle: Curve
    cavity: Curve

    def distances(self, frame: Frame, rng: np.random.Generator) -> tuple[Field, Field, Field]:
        """Signed distances (z, y, x) in mm to skin, muscle and cavity, positive inside; slightly uneven."""
        r, angle = _polar(frame, self.centre_y_mm)
        around = np.concatenate([ANGLES - 2 * np.pi, ANGLES, ANGLES + 2 * np.pi])
        skin, muscle, cavity = (
            np.interp(angle, around, np.tile(c, 3)).astype(np.float32) for c in (self.skin, self.muscle, self.cavity)
        )
        uneven = smooth_noise(rng, frame, (60.0, 45.0, 45.0))
        # The trunk narrows a little towards the chest, and widens at the hips.
        z = frame.z[:, None, None]
        scale = 1 - np.float32(0.0004) * np.clip(z, 0, 150) + np.float32(0.05) * np.exp(-(((z + 220) / 70) ** 2))
        fields = (
            scale * skin - r + 1.5 * uneven,
            scale * muscle - r + 2.0 * uneven,
            scale * cavity - r + 2.2 * uneven - shoulders(z),
        )
        below_trunk(self.patient, frame, *fields)
        return fields


def shoulders(z: Field) -> Field:
    """How much thicker the wall grows above the chest's middle, in mm: shoulder blades and their muscles."""
    return np.asarray(np.float32(0.3) * np.clip(z - 200, 0, 150))


def make_outline(patient: Patient, labels: npt.NDArray[np.uint8], frame: Frame) -> Outline:
    """The patient's outlines, pushed outwards where kidneys or tumours would otherwise stick out of the cavity."""
    side = np.abs(np.sin(ANGLES))
    behind = np.degrees(np.abs(ANGLES))
    width, depth = patient.half_width_mm, (patient.front_mm + patient.back_mm) / 2
    skin = (side / width) ** 2.4 + (np.abs(np.cos(ANGLES)) / depth) ** 2.4
    skin = skin ** (-1 / 2.4)
    fat = patient.fat_mm * (0.55 + 0.45 * side)
    gutter = np.clip((60 - behind) / 26, 0, 1)
    gutter = gutter**2 * (3 - 2 * gutter)  # behind and beside the spine the wall is the thick back muscle
    wall = patient.wall_mm * (0.75 + 0.25 * side) + 40 * gutter
    muscle = skin - fat - 2.0 - 7 * np.exp(-((behind / 6) ** 2))
    cavity = muscle - wall
    needed = _needed(labels, frame, patient.depth_centre_mm)
    push = np.maximum(needed - cavity, 0)
    push = ndimage.gaussian_filter1d(ndimage.maximum_filter1d(push, 41, mode="wrap"), 14, mode="wrap")
    push = np.maximum(push, 0.6 * push[::-1])  # a belly widens on both sides
    return Outline(patient, patient.depth_centre_mm, skin + push, muscle + push, cavity + push)


def _needed(labels: npt.NDArray[np.uint8], frame: Frame, centre_y_mm: float) -> Curve:
    """The least inner radius per direction that holds every labelled voxel."""
    flat = labels.any(axis=0)
    r, angle = _polar(frame, centre_y_mm)
    needed = np.zeros(BINS)
    bins = np.clip(((angle[flat] + np.pi) / (2 * np.pi) * BINS).astype(int), 0, BINS - 1)
    np.maximum.at(needed, bins, r[flat] + SIDE_MARGIN_MM)
    return needed


def _polar(frame: Frame, centre_y_mm: float) -> tuple[Field, Field]:
    y, x = frame.y[:, None] - np.float32(centre_y_mm), frame.x[None, :]
    return np.hypot(y, x), np.arctan2(x, y)
