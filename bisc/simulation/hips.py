"""Muscles of hip and thigh: bundles of flesh parted by fat, the largest there are."""

from __future__ import annotations

from typing import Final

import numpy as np

from bisc.simulation.frame import Field, smooth_noise
from bisc.simulation.legs import bone_scale, thigh_skin
from bisc.simulation.pelvis import TOP_MM, WING, Rod, Table, plate
from bisc.simulation.scene import Scene
from bisc.simulation.shapes import Canvas, tube_distance

GLUTEUS_MAXIMUS: Final[Table] = np.array(
    [
        [-335, 40, 66, 18, 122, 8],
        [-280, 56, 34, 30, 128, 16],
        [-215, 68, 26, 44, 122, 17],
        [-160, 70, 40, 50, 104, 12],
        [-120, 64, 58, 52, 84, 5],
    ],
    float,
)
OBTURATOR: Final[Table] = np.array([[-280, 34, 52, -34, 48, 5], [-245, 34, 62, -34, 66, 6], [-205, 30, 66, -20, 74, 4]])
"""Sheets as in `pelvis.WING`."""
PELVIC: Final[tuple[Rod, ...]] = (
    (((-96, 8, 42), (-130, -10, 54), (-175, -34, 68), (-225, -42, 80), (-290, -2, 106)), (20, 24, 21, 17, 9)),  # psoas
    (((-85, 66, 24), (-120, 72, 22), (-175, 80, 16)), (19, 15, 4)),  # erector spinae
    (((-190, 56, 30), (-215, 34, 80), (-245, 18, 112)), (8, 10, 6)),  # piriformis
    (((-150, -54, 116), (-200, -56, 122), (-300, -62, 112)), (6, 13, 9)),  # tensor fasciae latae
    (((-140, -54, 112), (-230, -66, 98), (-330, -60, 66)), (4, 8, 9)),  # sartorius
    (((-262, -44, 24), (-300, -26, 60), (-320, -10, 84)), (10, 14, 10)),  # pectineus
    (((-262, -28, 34), (-280, -6, 66), (-286, 8, 100)), (10, 15, 10)),  # obturator externus
    (((-285, 24, 70), (-290, 22, 112)), (13, 11)),  # quadratus femoris
)
THIGH: Final[tuple[Rod, ...]] = (
    (((-215, -50, 96), (-300, -58, 100), (-520, -48, 96)), (7, 15, 19)),  # rectus femoris
    (((-265, -12, 140), (-330, -18, 136), (-520, -14, 124)), (8, 25, 28)),  # vastus lateralis
    (((-290, -30, 112), (-340, -34, 104), (-520, -34, 100)), (8, 18, 20)),  # vastus intermedius
    (((-310, -20, 92), (-360, -20, 82), (-520, -22, 74)), (6, 12, 24)),  # vastus medialis
    (((-275, -34, 30), (-320, -18, 52), (-420, 0, 74)), (12, 22, 18)),  # adductor longus and brevis
    (((-290, 4, 38), (-340, 14, 58), (-520, 20, 70)), (14, 27, 16)),  # adductor magnus
    (((-275, -30, 12), (-340, -8, 24), (-520, 14, 44)), (5, 8, 7)),  # gracilis
    (((-300, 34, 62), (-360, 44, 68), (-520, 44, 64)), (6, 15, 19)),  # semitendinosus and semimembranosus
    (((-300, 30, 66), (-360, 42, 100), (-520, 40, 106)), (6, 14, 20)),  # biceps femoris
)
"""(z, y, x) courses on the left side, and radii; mm."""
PARTED_MM: Final = -135.0
"""Above this the muscles go on into the trunk's, with no fat between them."""


def paint_hips(scene: Scene, rng: np.random.Generator) -> None:
    """All of them, under the bones that are painted next; nothing where the scan ends above."""
    part = scene.canvas.window((-1e4, -1e4, -1e4), (TOP_MM, 1e4, 1e4))
    cut = scene.canvas.frame.slices((-1e4, -1e4, -1e4), (TOP_MM, 1e4, 1e4))
    if part is None or cut is None:
        return
    p = scene.patient
    grain = smooth_noise(rng, part.frame, (22.0, 4.0, 5.0))
    streaks = float(rng.uniform(30, 90)) * np.clip(grain - 0.9, 0, 1.5)  # of fat
    flesh = np.asarray(p.hu.muscle + 6 * grain - streaks, np.float32)
    under = scene.skin_mm[cut] - np.float32(0.3 * p.fat_mm + 5)
    scale = bone_scale(p)
    part.paint(
        np.minimum(thigh_skin(p, part.frame) - np.float32(0.5 * p.fat_mm + 9), -285 - part.frame.open_zyx[0]), flesh
    )
    for side in (-1, 1):
        _paint_sheets(part, side, scale, flesh, under)
        for rod in (*PELVIC, *THIGH):
            _paint_rod(part, rod, side, scale, flesh, under, float(rng.uniform(1.0, 1.2)), float(rng.normal(0, 3)))
    _paint_femoral_vessels(scene, scale)


def _paint_sheets(canvas: Canvas, side: int, scale: float, flesh: Field, under: Field) -> None:
    frame = canvas.frame
    for table, offset, thicker in (
        (GLUTEUS_MAXIMUS, 0.0, 0.0),
        (WING, 19.0, 14.0),  # gluteus medius and minimus, outside the ilium
        (WING, -10.0, 5.0),  # iliacus, inside
        (OBTURATOR, 0.0, 0.0),
    ):
        solid = plate(frame, side, table, scale, offset, thicker)
        canvas.paint(np.minimum(solid + np.float32(1.3), under), -95.0)  # a sheet of fat around each
        canvas.paint(np.minimum(solid, under), flesh)


def _paint_rod(
    canvas: Canvas, rod: Rod, side: int, scale: float, flesh: Field, under: Field, size: float, tone: float
) -> None:
    points, radii = np.asarray(rod[0], float) * [1, 1, side * scale], size * np.asarray(rod[1], float)
    reach = radii.max() + 3
    cut = canvas.frame.slices(points.min(axis=0) - reach, points.max(axis=0) + reach)
    if cut is None:
        return
    part = canvas.cut(cut)
    solid = np.minimum(tube_distance(part.frame, points, radii), under[cut])
    parted = np.minimum(np.minimum(solid + np.float32(0.9), under[cut]), PARTED_MM - part.frame.open_zyx[0])
    part.paint(parted, -95.0, opacity=0.8)
    part.paint(solid, flesh[cut] + np.float32(tone))


def _paint_femoral_vessels(scene: Scene, scale: float) -> None:
    for side in (-1, 1):
        path = np.array([(-232.0, -46, 66), (-290, -60, 70), (-400, -34, 78), (-520, -4, 80)]) * [1, 1, side * scale]
        scene.canvas.tube(path, 5.5, scene.patient.hu.cava)
        scene.canvas.tube(path + np.array([0, -2, 11.0 * side]), 4.5, scene.patient.hu.aorta)
