"""What a surgeon or a disease has left: ascites, clips, stents, screws, artificial hips."""

from __future__ import annotations

from typing import Final

import numpy as np

from bisc.simulation.frame import smooth_noise
from bisc.simulation.legs import bone_scale
from bisc.simulation.pelvis import HEAD_ZYX
from bisc.simulation.phases import Variety
from bisc.simulation.scene import Metal, Scene

METAL_HU: Final = 3000.0
SHARES: Final[dict[Variety, dict[str, float]]] = {
    "kits": {"ascites": 0.0, "clips": 0.02, "stent": 0.01, "screws": 0.0, "hip": 0.0},
    "wide": {"ascites": 0.06, "clips": 0.10, "stent": 0.04, "screws": 0.04, "hip": 0.06},
}


def paint_ascites(scene: Scene, rng: np.random.Generator) -> None:
    """Free fluid at the sides and in the pelvis, where it runs to; organs are painted over it."""
    if rng.random() > SHARES[scene.patient.variety]["ascites"]:
        return
    z, y, x = scene.canvas.frame.open_zyx
    amount = float(rng.uniform(0, 60))
    bays = 25 * smooth_noise(rng, scene.canvas.frame, 40.0)
    front = np.maximum(0.5 * (-y - 12), 0.8 * (np.abs(x) - 95))  # not around the kidneys
    depth = np.maximum(np.abs(x) - 115 + amount, -z - 190 + amount) + bays
    scene.canvas.paint(np.minimum(np.minimum(depth, scene.cavity_mm), np.maximum(front, -z - 150)), 10.0)


def paint_finds(scene: Scene, rng: np.random.Generator) -> None:
    """The metal and plastic ones, over all organs; metal is remembered for its streaks."""
    shares = SHARES[scene.patient.variety]
    for name, paint in (
        ("clips", _paint_clips),
        ("stent", _paint_stent),
        ("screws", _paint_screws),
        ("hip", _paint_hip),
    ):
        own = np.random.default_rng(rng.integers(2**63))
        if own.random() < shares[name]:
            paint(scene, own)


def _paint_clips(scene: Scene, rng: np.random.Generator) -> None:
    centre = np.array([rng.uniform(-60, 80), rng.uniform(-60, 20), rng.choice([-1, 1]) * rng.uniform(40, 80)])
    for _ in range(int(rng.integers(2, 8))):
        place, way = centre + rng.normal(0, 14, 3), rng.normal(size=3)
        half = 4 * way / np.linalg.norm(way)
        scene.canvas.tube(np.stack([place - half, place + half]), 1.3, METAL_HU)
        scene.metal.append(Metal((float(place[0]), float(place[1]), float(place[2])), 4.0, 90.0))


def _paint_stent(scene: Scene, rng: np.random.Generator) -> None:
    """From a renal pelvis down to the bladder."""
    side = int(rng.choice([-1, 1]))
    path = [(8.0, 2.0, 52.0), (-40.0, -8.0, 44.0), (-130.0, -20.0, 42.0), (-215.0, 18.0, 40.0), (-240.0, -8.0, 14.0)]
    scene.canvas.tube(np.asarray(path) * [1, 1, side], 1.5, 900.0)


def _paint_screws(scene: Scene, rng: np.random.Generator) -> None:
    """Two or three vertebrae held by rods."""
    first = 34.0 * float(rng.integers(-3, 2))
    for side in (-1, 1):
        for z in (first, first + 34):
            scene.canvas.tube([(z, 44.0, 22.0 * side), (z, -6.0, 12.0 * side)], 2.8, METAL_HU)
            scene.metal.append(Metal((z, 25.0, 18.0 * side), 8.0, 180.0))
        scene.canvas.tube([(first - 6, 46.0, 22.0 * side), (first + 40, 46.0, 22.0 * side)], 2.8, METAL_HU)


def _paint_hip(scene: Scene, rng: np.random.Generator) -> None:
    side, scale = int(rng.choice([-1, 1])), bone_scale(scene.patient)
    head = HEAD_ZYX * [1, 1, side * scale]
    scene.canvas.ellipsoid(head, (25, 25, 25), METAL_HU)
    stem = np.array([(-236.0, -4, 90), (-258, 6, 120), (-360, 4, 104)]) * [1, 1, side * scale]
    scene.canvas.tube(stem, [9, 10, 6], METAL_HU)
    scene.metal.append(Metal((float(head[0]), float(head[1]), float(head[2])), 30.0, 420.0))
