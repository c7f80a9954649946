"""Below the trunk: how hips and thighs shape skin, muscle wall and pelvic cavity."""

from __future__ import annotations

import numpy as np

from bisc.simulation.frame import Field, Frame
from bisc.simulation.patient import Patient
from bisc.simulation.shapes import smooth_minimum

CREST_MM, FORK_MM, FLOOR_MM = -75.0, -300.0, -285.0
"""Heights of the iliac crests, of the crotch and of the pelvic floor above the kidneys' middle."""


def below_trunk(patient: Patient, frame: Frame, skin: Field, muscle: Field, cavity: Field) -> None:
    """Change the trunk's signed distances (see `Outline.distances`) from the iliac crests downwards, in place."""
    rows = slice(0, int(np.searchsorted(frame.z, CREST_MM)))
    if rows.stop == 0:
        return
    part = frame.cut((rows, slice(None), slice(None)))
    z, y, x = part.open_zyx
    front = np.clip(-y - 50, 0, 110)
    groin = np.float32(FORK_MM - 8) + np.float32(0.3) * front + front * np.clip(np.abs(x) - 25, 0, 70) / 200
    trunk = smooth_minimum(skin[rows], (z - groin) * np.float32(0.8), 40.0)
    skin[rows] = np.maximum(trunk, thigh_skin(patient, part))
    muscle[rows] = np.minimum(muscle[rows], z - groin - np.float32(15))
    cavity[rows] = np.minimum(cavity[rows], pelvic_room(patient, part))


def thigh_skin(patient: Patient, frame: Frame) -> Field:
    """Signed distance to the skin of both thighs, which begin inside the hips and taper towards the knees."""
    z, y, x = frame.open_zyx
    taper = np.float32(1) - np.float32(0.0011) * np.clip(FORK_MM - z, 0, 300)
    wide = np.float32(0.47 * patient.half_width_mm) * taper
    deep = np.float32(78 + 0.45 * patient.fat_mm) * taper
    middle = np.float32(92 * bone_scale(patient) + 0.12 * patient.fat_mm)
    r = np.sqrt(((np.abs(x) - middle) / wide) ** 2 + ((y - np.float32(patient.back_mm) + deep + 3) / deep) ** 2)
    return np.asarray(np.minimum((1 - r) * np.minimum(wide, deep), np.float32(-230) - z), np.float32)


def pelvic_room(patient: Patient, frame: Frame) -> Field:
    """Signed distance to the inside of the bony pelvis: a funnel between sacrum and pubic bones."""
    z, y, x = frame.open_zyx
    heights = [-300.0, -270.0, -225.0, -180.0, -150.0, -110.0, CREST_MM]
    wide = np.interp(frame.z, heights, [22, 42, 58, 68, 92, 112, 200]).astype(np.float32)[:, None, None]
    back = np.interp(frame.z, heights, [38, 50, 56, 48, 30, 38, 200]).astype(np.float32)[:, None, None]
    wide *= np.float32(bone_scale(patient))
    # Above the pelvic inlet the wings of the ilium stand farther apart in front than behind.
    flare = np.clip(z + 190, 0, 60) / 60
    side = wide - np.abs(x) - flare * np.clip(y + 30, 0, 60) * np.float32(0.7)
    front = np.interp(frame.z, [-300, -250, -215, -185], [-15, -45, -85, -300]).astype(np.float32)[:, None, None]
    room = smooth_minimum(side, np.minimum(back - y, y - front), 25.0)
    return np.asarray(np.minimum(room, z - np.float32(FLOOR_MM)), np.float32)


def bone_scale(patient: Patient) -> float:
    """Width of the patient's skeleton relative to that which the tables of pelvis and thighs are written for."""
    return (patient.half_width_mm - patient.fat_mm) / 140
