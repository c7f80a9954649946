"""Bladder, rectum, and prostate or uterus."""

from __future__ import annotations

import numpy as np

from bisc.simulation.bowel import GAS
from bisc.simulation.frame import smooth_noise
from bisc.simulation.parenchyma import BRIGHT_URINE_HU
from bisc.simulation.scene import Scene
from bisc.simulation.shapes import ellipsoid_distance, local_axes, rotation, tube_distance

TOP_MM = -140.0


def paint_pelvic_organs(scene: Scene, rng: np.random.Generator) -> None:
    """What fills the lesser pelvis; nothing where the scan ends above."""
    if scene.canvas.window((-1e4, -1e4, -1e4), (TOP_MM, 1e4, 1e4)) is None:
        return
    _paint_rectum(scene, rng)
    if scene.patient.female:
        _paint_uterus(scene, rng)
    else:
        _paint_prostate(scene, rng)
    _paint_bladder(scene, rng)


def _paint_rectum(scene: Scene, rng: np.random.Generator) -> None:
    """Full of stool, of gas, of fluid, or empty; it follows the hollow of the sacrum."""
    path = np.array([(-165.0, 26, 22), (-185, 36, 8), (-215, 44, 0), (-245, 40, 0), (-268, 26, 0), (-292, 32, 0)])
    path += rng.normal(0, 3, path.shape)
    radius = float(rng.uniform(11, 27))
    radii = radius * np.array([0.85, 0.9, 1, 1, 0.85, 0.5])
    low, high = path.min(axis=0) - radius - 4, path.max(axis=0) + radius + 4
    cut = scene.canvas.frame.slices(low, high)
    if cut is None:
        return
    mottle = smooth_noise(rng, scene.canvas.frame.cut(cut), 6.0)
    kind = str(rng.choice(["stool", "gas", "fluid", "empty"], p=[0.4, 0.2, 0.15, 0.25]))
    stool = np.where(mottle > rng.uniform(0.6, 1.6), GAS * 0.7, 35 + 20 * mottle)
    wall = 3.5 if kind != "empty" else 0.75 * radius
    field = np.zeros(scene.canvas.frame.shape_zyx, np.float32)
    field[cut] = stool if kind == "stool" else (GAS if kind == "gas" else 15.0)
    scene.organ(low, high, lambda f: tube_distance(f, path, radii), scene.patient.hu.bowel_wall)
    scene.organ(low, high, lambda f: tube_distance(f, path, radii - wall), field, 2.0 + wall)


def _paint_prostate(scene: Scene, rng: np.random.Generator) -> None:
    hu, size = scene.patient.hu, float(rng.uniform(0.85, 1.5))
    tone = hu.bowel_wall - 5
    for side in (-1, 1):  # the seminal vesicles
        scene.canvas.tube([(-248.0, 12.0, 4.0 * side), (-240.0, 20.0, 26.0 * side)], [6, 5], tone - 12)
    scene.canvas.ellipsoid((-268.0, 2.0, 0.0), np.array([17, 15, 22]) * size, tone)


def _paint_uterus(scene: Scene, rng: np.random.Generator) -> None:
    """Body and neck, bent forwards or backwards, with a fibroid in a quarter; ovaries beside it."""
    hu = scene.patient.hu
    tone = hu.bowel_wall + (25 if hu.phase != "plain" else 5)
    size, bend = float(rng.uniform(0.7, 1.35)), float(rng.choice([-1, 1], p=[0.75, 0.25]))
    x = float(rng.normal(0, 8))
    neck, body = np.array([-250.0, 14.0, 0.0]), np.array([-222.0, 10.0 + 22 * bend * size, x])
    scene.canvas.tube(np.stack([neck, body]), [13.0, 20 * size], tone - 10)
    scene.canvas.ellipsoid(body, np.array([22, 26, 27]) * size, tone, rotation(roll_deg=-35 * bend))
    scene.canvas.ellipsoid(body, np.array([4, 14, 9]) * size, tone - 40, rotation(roll_deg=-35 * bend))
    if rng.random() < 0.25:
        radius = float(rng.uniform(12, 38))
        scene.canvas.ellipsoid(
            body + rng.normal(0, 18, 3) + [12, 0, 0], [radius] * 3, tone + float(rng.normal(-10, 15))
        )
    for side in (-1, 1):
        centre, radius = np.array([-215.0, 8.0, 46.0 * side]) + rng.normal(0, 6, 3), float(rng.uniform(9, 15))
        scene.canvas.ellipsoid(centre, [radius, radius, 1.3 * radius], tone - 30)
        if rng.random() < 0.3:
            scene.canvas.ellipsoid(centre, [float(rng.uniform(6, 22))] * 3, 10.0)


def _paint_bladder(scene: Scene, rng: np.random.Generator) -> None:
    """From empty to full; contrast medium comes in late, and lies at the back under the water."""
    full = float(rng.uniform(0, 1))
    semi = np.array([16 + 36 * full, 18 + 24 * full, 28 + 26 * full])
    centre = np.array([-252.0 + 0.9 * semi[0], -22.0 - 8 * full, float(rng.normal(0, 4))])
    urine, wall = scene.patient.hu.urine, 5.0 - 2.5 * full
    level = centre[1] + float(rng.uniform(-0.9, 0.9)) * semi[1]
    part = scene.canvas.window(centre - semi - 3, centre + semi + 3)
    if part is None:
        return
    outer = ellipsoid_distance(*local_axes(part.frame, centre, None), semi)
    inner = ellipsoid_distance(*local_axes(part.frame, centre, None), semi - wall)
    part.paint(outer, 38.0)
    part.paint(inner, urine)
    if urine > BRIGHT_URINE_HU:
        part.paint(np.minimum(inner, np.float32(level) - part.frame.open_zyx[1]), 15.0)
