"""The organs of the cavity beside the kidneys: liver, spleen, stomach and pancreas."""

from __future__ import annotations

import numpy as np

from bisc.core.geometry import Triple
from bisc.simulation.chest import DIAPHRAGM_MM
from bisc.simulation.frame import Field, Frame, smooth_noise
from bisc.simulation.scene import Scene
from bisc.simulation.shapes import (
    Shape,
    ellipsoid_distance,
    local_axes,
    rotation,
    smooth_minimum,
    tube_distance,
)

GAS, FLUID, CONTRAST = -950.0, 12.0, 330.0


def paint_organs(scene: Scene) -> None:
    """The solid organs and the stomach."""
    _paint_spleen(scene)
    _paint_stomach(scene)
    _paint_pancreas(scene)
    _paint_liver(scene)


def _ellipsoid(centre: Triple, semi: Triple, tilt: float = 0.0, turn: float = 0.0) -> Shape:
    axes = rotation(tilt_deg=tilt, turn_deg=turn)

    def distance(frame: Frame) -> Field:
        return ellipsoid_distance(*local_axes(frame, centre, axes), semi)

    return distance


def _paint_liver(scene: Scene) -> None:
    rng, p = scene.rng, scene.patient
    low, high = (-165, -p.front_mm, -p.half_width_mm), (170, 80, 90)
    cut = scene.canvas.frame.slices(low, high)
    if cut is None:
        return
    width = p.half_width_mm - p.fat_mm
    tip, shift = p.liver_tip_mm, rng.normal(0, 6)
    right = _ellipsoid((45 + shift, -0.2 * p.front_mm, -0.66 * width), (45 - tip, 0.68 * p.front_mm, 0.5 * width))
    left = _ellipsoid((70 + shift, -0.55 * p.front_mm, -8), (40, 0.32 * p.front_mm, 78), tilt=10)
    bumps = 7 * smooth_noise(rng, scene.canvas.frame.cut(cut), 42.0)
    spine = np.float32(46)

    def shape(frame: Frame) -> Field:
        solid = np.maximum(right(frame), left(frame)) + bumps
        z, y, x = frame.open_zyx
        # Behind, the liver ends in front of the kidney; higher up and at the side it reaches farther back.
        back = 0.6 * (12 + 0.55 * (z - 10) + 0.9 * (-x - 75) - y)
        dome = np.float32(DIAPHRAGM_MM + 2) - z - np.float32(0.0018) * (x + 75) ** 2
        solid = smooth_minimum(np.minimum(solid, np.hypot(x, y - 5) - spine), dome + bumps, 12.0)
        return smooth_minimum(solid, back + bumps, 15.0)

    field = np.full(scene.canvas.frame.shape_zyx, p.hu.liver, np.float32)
    part = scene.canvas.frame.cut(cut)
    vessels = np.clip(smooth_noise(rng, part, (14.0, 9.0, 9.0)) - 1.7, 0, 0.5) * 2
    bright = p.hu.cava - p.hu.liver + 15 if p.hu.phase != "plain" else -10.0
    field[cut] += 3 * smooth_noise(rng, part, 20.0) + bright * vessels
    scene.organ(low, high, shape, field, gap_mm=max(1.0, p.perirenal_mm * 0.7))
    if rng.random() < 0.8:
        bladder = (float(rng.uniform(-20, 25)), -0.62 * p.front_mm, -0.42 * width)
        size = rng.uniform(10, 19)
        scene.organ(np.subtract(bladder, 50), np.add(bladder, 50), _ellipsoid(bladder, (1.7 * size, size, size)), 9.0)


def _paint_spleen(scene: Scene) -> None:
    rng, p = scene.rng, scene.patient
    width = p.half_width_mm - p.fat_mm
    size = float(np.exp(rng.normal(0, 0.13)))
    centre = (float(rng.normal(58, 14)), float(rng.normal(14, 7)), 0.80 * width)
    outer = _ellipsoid(centre, (50 * size, 52 * size, 30 * size), turn=-25)
    inner = _ellipsoid((centre[0], centre[1] - 12, centre[2] - 42), (60, 42, 36))
    cut = scene.canvas.frame.slices(np.subtract(centre, 80), np.add(centre, 80))
    if cut is None:
        return
    field = np.full(scene.canvas.frame.shape_zyx, p.hu.spleen, np.float32)
    mottled = 16.0 if p.hu.phase == "arterial" else 3.0
    field[cut] += mottled * smooth_noise(rng, scene.canvas.frame.cut(cut), 7.0)

    def shape(frame: Frame) -> Field:
        return np.asarray(np.minimum(outer(frame), -inner(frame)), np.float32)

    scene.organ(np.subtract(centre, 80), np.add(centre, 80), shape, field, gap_mm=max(1.0, p.perirenal_mm * 0.5))


def _paint_stomach(scene: Scene) -> None:
    rng, p = scene.rng, scene.patient
    centre = (float(rng.normal(68, 12)), -0.50 * p.front_mm, float(rng.normal(58, 10)))
    full = 1.5 if rng.random() < 0.12 else 1.0
    semi = (full * float(rng.uniform(30, 50)), full * float(rng.uniform(25, 38)), full * float(rng.uniform(32, 50)))
    low, high = np.subtract(centre, 90), np.add(centre, 90)
    inner = (semi[0] - 5, semi[1] - 5, semi[2] - 5)
    filling = float(rng.choice([FLUID + 15, CONTRAST * 0.6, 45.0], p=[0.5, 0.2, 0.3]))
    scene.organ(low, high, _ellipsoid(centre, semi, tilt=-20), p.hu.bowel_wall)
    scene.organ(low, high, _ellipsoid(centre, inner, tilt=-20), filling)
    level = centre[1] - float(rng.uniform(-0.2, 0.9)) * semi[1]
    scene.organ(low, np.array([high[0], level, high[2]]), _ellipsoid(centre, inner, tilt=-20), GAS)


def _paint_pancreas(scene: Scene) -> None:
    """Pancreas and duodenum: a lobulated bar in front of the great vessels."""
    rng = scene.rng
    bar = [(-5.0, -48.0, -44.0), (8.0, -58.0, -30.0), (22.0, -66.0, -2.0), (32.0, -56.0, 34.0), (46.0, -32.0, 66.0)]
    points = np.asarray(bar) + rng.normal(0, 5, (5, 3))
    low, high = points.min(axis=0) - 20, points.max(axis=0) + 20
    cut = scene.canvas.frame.slices(low, high)
    if cut is None:
        return
    lobes = 2.5 * smooth_noise(rng, scene.canvas.frame.cut(cut), 8.0)
    scene.organ(
        low, high, lambda f: tube_distance(f, points, [12, 12, 8, 8, 6]) + lobes, scene.patient.hu.bowel_wall + 12
    )
