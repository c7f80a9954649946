"""Small bowel and colon: tubes with gas, fluid, contrast medium or stool in them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bisc.simulation.frame import smooth_noise
from bisc.simulation.scene import Scene
from bisc.simulation.shapes import Shape, tube_distance

GAS = -950.0


def paint_bowel(scene: Scene) -> None:
    """Loops of small bowel: short worms that wander through the front of the cavity."""
    rng, p = scene.rng, scene.patient
    width = p.half_width_mm - p.fat_mm - p.wall_mm
    z = scene.canvas.frame.z
    top = min(float(z[-1]) + 10, 75.0)
    bottom = max(float(z[0]) - 10, -260.0)
    for _ in range(int((top - bottom) * rng.uniform(0.45, 0.75))):
        height = rng.uniform(bottom, top)
        place = np.array([height, rng.uniform(-0.95 * p.front_mm + p.fat_mm, -30), rng.uniform(-0.72, 0.8) * width])
        way = rng.normal(size=3) * [0.6, 0.7, 1]
        radius = float(rng.uniform(7, 15))
        path = [place]
        for _ in range(int(rng.integers(1, 5))):
            way = way / np.linalg.norm(way) + rng.normal(0, 0.5, 3)
            path.append(path[-1] + way / np.linalg.norm(way) * 16)
        _paint_loop(scene, np.asarray(path), radius, str(_filling(rng, p.bowel_fill)))


def _filling(rng: np.random.Generator, contrast: float) -> str:
    rest = 1 - contrast
    return str(
        rng.choice(["contrast", "gas", "fluid", "collapsed"], p=[contrast, 0.14 * rest, 0.36 * rest, 0.5 * rest])
    )


def _paint_loop(scene: Scene, path: npt.NDArray[np.float64], radius: float, filling: str) -> None:
    low, high = path.min(axis=0) - radius - 3, path.max(axis=0) + radius + 3
    rng = scene.rng
    wall = 2.0 if filling != "collapsed" else 0.62 * radius

    def shape(less: float) -> Shape:
        return lambda frame: tube_distance(frame, path, np.full(len(path), radius - less))

    gap = scene.patient.perirenal_mm
    scene.organ(low, high, shape(0), scene.patient.hu.bowel_wall + float(rng.normal(0, 8)), gap)
    inside = {"contrast": float(rng.uniform(160, 420)), "gas": GAS, "collapsed": 25.0}.get(
        filling, float(rng.uniform(5, 35))
    )
    scene.organ(low, high, shape(wall), inside, gap + wall)


def paint_colon(scene: Scene) -> None:
    """Ascending, transverse, descending and sigmoid colon, each with mottled contents of its own."""
    rng, p = scene.rng, scene.patient
    radius = float(rng.uniform(13, 22))
    side = p.half_width_mm - p.fat_mm - p.wall_mm - radius - 4
    front = -(p.front_mm - p.fat_mm - p.wall_mm - radius - 6)
    sag = float(rng.uniform(-90, 15))
    for path in (
        [(-165, -30, -0.75 * side), (-120, -20, -0.95 * side), (-70, -12, -side), (-20, -14, -0.97 * side)],
        [(-20, -30, -0.9 * side), (sag, front, -0.35 * side), (sag - 5, front, 0.3 * side), (66, -25, 0.9 * side)],
        [(70, -12, side), (20, -8, side), (-60, -8, side), (-125, -24, 0.9 * side), (-160, -34, 0.7 * side)],
        [(-160, -34, 0.7 * side), (-185, -20, 30), (-170, -18, -12), (-190, 8, -18), (-172, 26, 18)],
    ):
        _paint_piece(scene, np.asarray(path, float) + rng.normal(0, 5, (len(path), 3)), radius * rng.uniform(0.7, 1.1))


def _paint_piece(scene: Scene, corners: npt.NDArray[np.float64], radius: float) -> None:
    rng, p, frame = scene.rng, scene.patient, scene.canvas.frame
    path = np.concatenate([np.linspace(a, b, 4)[:-1] for a, b in pairwise(corners)] + [corners[-1:]])
    radii = radius * rng.uniform(0.75, 1.15, len(path))
    low, high = path.min(axis=0) - radius - 6, path.max(axis=0) + radius + 6
    cut = frame.slices(low, high)
    if cut is None:
        return
    distance = tube_distance(frame.cut(cut), path, radii)
    gap = max(1.5, 0.6 * p.perirenal_mm)
    scene.organ(low, high, lambda _: distance, p.hu.bowel_wall, gap)
    mottle = smooth_noise(rng, frame.cut(cut), 6.0)
    field = np.zeros(frame.shape_zyx, np.float32)
    field[cut] = np.where(mottle > rng.uniform(0.2, 1.4), GAS * 0.8, 25 + 25 * mottle)
    kind = float(rng.random())
    if kind < 0.5 * p.bowel_fill:
        field[cut] = 260 + 40 * mottle
    elif kind > 0.85:
        field[cut] = GAS
    scene.organ(low, high, lambda _: distance - np.float32(2.2), field, gap + 2.2)
