"""The trunk's wall and frame: table, skin, fat, muscles, spine, ribs, lungs."""

from __future__ import annotations

import numpy as np

from bisc.simulation.frame import Field, smooth_noise
from bisc.simulation.legs import CREST_MM
from bisc.simulation.scene import Scene

VERTEBRA_MM, SACRUM_MM = 34.0, -118.0


def paint_trunk(scene: Scene) -> None:
    """Everything but the organs of the cavity, outermost first."""
    if scene.patient.scanner.has_table:
        _paint_table(scene)
    _paint_layers(scene)
    _paint_deep_muscles(scene)
    _paint_ribs(scene)
    _paint_spine(scene)


def _paint_table(scene: Scene) -> None:
    _, y, x = scene.canvas.frame.open_zyx
    low = scene.patient.back_mm + 9 - (x / 230) ** 2 * 45
    shell = np.float32(1.8) - np.minimum(np.abs(y - low), np.abs(y - low - 32 + (x / 230) ** 2 * 25))
    flat = np.minimum(shell, 215 - np.abs(x))
    scene.canvas.paint(np.broadcast_to(flat, scene.skin_mm.shape), 160.0)


def _paint_layers(scene: Scene) -> None:
    canvas, hu, rng = scene.canvas, scene.patient.hu, scene.rng
    strands = smooth_noise(rng, canvas.frame, (8.0, 5.0, 5.0))
    canvas.paint(scene.skin_mm, 25.0)
    fat = hu.fat + 5 * strands
    canvas.paint(scene.skin_mm - np.float32(2.2), fat)
    grain = smooth_noise(rng, canvas.frame, (22.0, 3.5, 5.0))  # fibres run along the body
    muscle = hu.muscle + 7 * grain - 55 * np.clip(grain - 1.0, 0, 1.5)
    canvas.paint(scene.muscle_mm, muscle)
    _paint_wall_gaps(scene)
    # Vessels and ligaments cross the fat of the cavity as thin strands.
    threads = np.clip(strands - 1.5, 0, 1) * 90
    reaches = canvas.frame.z[0] < CREST_MM
    inside = np.maximum(scene.cavity_mm, _without_muscle(scene)) if reaches else scene.cavity_mm
    canvas.paint(inside, fat + threads)


def _without_muscle(scene: Scene) -> Field:
    """Below the crests only the front wall is muscle, and no thicker than above where the cavity narrows."""
    z, y, x = scene.canvas.frame.open_zyx
    aside = np.maximum(20 - y, np.abs(x) - 95)  # not the thick muscles of the back
    inner = np.minimum(scene.muscle_mm - np.float32(scene.patient.wall_mm + 2), aside)
    behind = y - np.float32(115) - np.float32(1.5) * (z - np.float32(CREST_MM))
    return np.asarray(np.minimum(np.maximum(inner, behind), np.minimum(CREST_MM - z, scene.skin_mm - np.float32(3))))


def _paint_wall_gaps(scene: Scene) -> None:
    """Thin sheets of fat between the three muscles of the side wall, and around the back muscles."""
    thickness = scene.patient.wall_mm
    for share in (0.36, 0.68):
        sheet = np.float32(0.35) - np.abs(scene.muscle_mm - share * thickness)
        scene.canvas.paint(sheet, scene.patient.hu.fat, opacity=0.55)


def _paint_deep_muscles(scene: Scene) -> None:
    """Psoas and quadratus lumborum: ribbons beside the spine that thicken downwards."""
    canvas, hu, rng = scene.canvas, scene.patient.hu, scene.rng
    z, y, x = canvas.frame.open_zyx
    down = np.clip((35 - z) / 120, 0.02, 1.2)
    grain = 6 * smooth_noise(rng, canvas.frame, (25.0, 5.0, 5.0))
    for side in (-1, 1):
        wide, deep = 5 + 15 * down, 7 + 15 * down
        place = side * (27 + 12 * down)
        psoas = (1 - np.sqrt(((x - place) / wide) ** 2 + ((y - 9) / deep) ** 2)) * np.minimum(wide, deep)
        quadratus = (1 - np.sqrt(((x - side * 62) / 20) ** 2 + ((y - 44 + 0.25 * (side * x - 62)) / 8) ** 2)) * 8
        quadratus = np.minimum(np.minimum(quadratus, (70 - z) / 6), (z - CREST_MM + 12) / 4)
        psoas = np.minimum(psoas, (z + 122) / 2)  # from there on hips' muscles
        both = np.minimum(np.maximum(psoas, quadratus), scene.gap_mm - np.float32(2.0))
        canvas.paint(both, hu.muscle + 3 + grain)
        # A sheet of fat parts erector spinae from quadratus.
        line = 0.8 - np.abs(y - 54 + 0.12 * (side * x - 40) ** 2 / 40)
        canvas.paint(np.minimum(np.minimum(line, 40 - np.abs(side * x - 62)), z - CREST_MM), hu.fat, opacity=0.7)


def _paint_ribs(scene: Scene) -> None:
    """Ribs fall from back to front inside the wall; below the kidneys' middle there is none."""
    canvas, rng = scene.canvas, scene.rng
    top = canvas.frame.slices((-25, -500, -500), (1e4, 500, 500))
    if top is None:
        return
    part = canvas.cut(top)
    z, y, x = part.frame.open_zyx
    forward = np.arctan2(np.abs(x), y + 30) / np.float32(np.pi)  # 0 at the spine, 1 at the front
    pitch = 27.0
    phase = (z + 150 * forward + np.float32(rng.uniform(0, pitch))) / pitch
    number = np.floor(phase)
    up = np.abs(phase - number - 0.5) * pitch
    depth = np.abs(scene.muscle_mm[top] - scene.cavity_mm[top])
    middle = np.where(depth > 20, 20, depth * 0.6)  # over the back muscles they lie deep
    middle = scene.cavity_mm[top] + middle * np.float32(0.55)
    off = np.sqrt((up / 5.5) ** 2 + (middle / 3.4) ** 2)
    solid = (1 - off) * 3.4
    solid = np.minimum(solid, 120 * (0.68 - forward))
    solid = np.minimum(solid, np.abs(x) - 34)
    solid = np.minimum(solid, (z + 80 - 170 * forward) * 0.5)
    part.paint(solid, 420.0)
    part.paint(solid - np.float32(1.6), 170.0)


def _paint_spine(scene: Scene) -> None:
    canvas, rng = scene.canvas, scene.rng
    cut = canvas.frame.slices((SACRUM_MM, -40, -60), (1e4, 90, 60))
    if cut is None:
        return
    part = canvas.cut(cut)
    z, y, x = part.frame.open_zyx
    along = np.abs(((z / VERTEBRA_MM + rng.uniform()) % 1) - 0.5) * VERTEBRA_MM  # 0 mid-body, 17 mid-disc
    waist = 1 - np.float32(0.05) * np.cos(along / 17 * np.pi)
    r = np.sqrt((x / (26 * waist)) ** 2 + ((y + 1) / (19 * waist)) ** 2)
    body = np.minimum((1 - r) * 19, 16.5 - y)  # flat towards the canal
    density = float(rng.uniform(120, 230))
    spongy = density + 25 * smooth_noise(rng, part.frame, 3.5)
    bone = np.minimum(body, 13.0 - along)
    part.paint(body, 85.0)  # the disc
    part.paint(bone, 430.0)
    part.paint(bone - np.float32(1.6), spongy)
    canal = (1 - np.sqrt((x / 11.5) ** 2 + ((y - 25) / 9.0) ** 2)) * 9
    pedicle = np.minimum(5.5 - np.abs(np.abs(x) - 15), np.minimum(y - 10, 28 - y)) + np.minimum(0, 7 - along)
    lamina = np.minimum(canal + 6.0, np.minimum(y - 20 - 0 * z, 11 - np.abs(along - 5)))
    process = np.minimum(3.2 + 0.02 * (y - 40) - np.abs(x), np.minimum(y - 32, 62 - y)) + np.minimum(0, 9 - along)
    wings = np.minimum(4.0 - np.abs(y - 24 - 0.4 * (np.abs(x) - 15)), np.minimum(np.abs(x) - 15, 42 - np.abs(x)))
    wings = wings + np.minimum(0, 6 - along)
    facets = np.minimum(6 - np.hypot(np.abs(x) - 17, y - 33), along - 9)
    for piece in (pedicle, lamina, process, wings, facets):
        part.paint(piece, 390.0)
        part.paint(piece - np.float32(2.0), 230.0)
    part.paint(canal + 0 * z, 28.0)
    part.paint(canal - np.float32(4.0) + 0 * z, 40.0)
