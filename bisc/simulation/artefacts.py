"""What the scanner adds: streaks of metal, of shoulders, arms and hips; folds of cloth."""

from __future__ import annotations

from typing import Final

import numpy as np

from bisc.simulation.frame import Axis, Field, Frame, smooth_noise
from bisc.simulation.scene import Metal, Scene

FADE_MM: Final = 70.0
"""Streaks are 1/e as strong at this distance."""
BROAD_MM: Final = ((-275.0, -205.0), (215.0, 400.0))
"""Heights where hips and shoulders let few photons through from side to side."""


def paint_clothing(scene: Scene, rng: np.random.Generator) -> None:
    """Folds of cloth outside the skin."""
    if scene.patient.scanner.has_clothing:
        folds = smooth_noise(rng, scene.canvas.frame, (30.0, 18.0, 18.0))
        sheet = np.float32(0.9) - np.abs(scene.skin_mm + 4 + 3.5 * np.abs(folds))
        scene.canvas.paint(sheet, -450.0, opacity=0.8)


def add_streaks(scene: Scene, rng: np.random.Generator) -> None:
    """Change the painted HU inside the body, before blur."""
    for metal in scene.metal:
        _add_star(scene.canvas.hu, scene.canvas.frame, metal, rng)
    if scene.patient.variety == "wide":
        _add_bands(scene, rng)


def _add_star(hu: Field, frame: Frame, metal: Metal, rng: np.random.Generator) -> None:
    """Bright and dark rays around one piece, in the slices that hold it."""
    z, y, x = metal.centre_zyx
    rows = frame.slices((z - metal.reach_mm, -1e4, -1e4), (z + metal.reach_mm, 1e4, 1e4))
    if rows is None:
        return
    dy, dx = frame.y[:, None] - np.float32(y), frame.x[None, :] - np.float32(x)
    angle, far = np.arctan2(dy, dx), np.hypot(dy, dx)
    rays = np.zeros(angle.shape, np.float32)
    for k in (2, 4, 6, 9, 14, 22, 34) if metal.reach_mm > 10 else (6, 9, 14, 22, 34):
        rays += np.float32(rng.normal(0, 1 / np.sqrt(k))) * np.cos(k * angle + np.float32(rng.uniform(0, 6.28)))
    star = np.float32(metal.strength_hu) * rays * np.exp(-far / FADE_MM) * (far > metal.reach_mm * 0.6)
    hu[rows] += np.where(hu[rows] > -700, star, np.float32(0))


def _add_bands(scene: Scene, rng: np.random.Generator) -> None:
    """Horizontal streaks where the body is broadest, and all along it between arms that lie beside it."""
    frame, scanner = scene.canvas.frame, scene.patient.scanner
    broad: Axis = np.zeros(frame.z.size, np.float32)
    for low, high in BROAD_MM:
        broad = np.maximum(broad, np.clip(np.minimum(frame.z - low, high - frame.z) / 25, 0, 1))
    if scene.patient.arms_down:
        broad = np.maximum(broad, np.float32(0.6) * (frame.z < 230))
    if not broad.any():
        return
    lines = rng.standard_normal((frame.z.size, frame.y.size, 1), dtype=np.float32)
    strength = np.float32(0.45 * scanner.noise_hu) * broad[:, None, None]
    inside = np.clip(scene.skin_mm / 60, 0, 1)
    scene.canvas.hu.__iadd__(lines * strength * inside)
