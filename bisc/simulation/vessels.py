"""Aorta, vena cava, the vessels to the kidneys and those in the fat."""

from __future__ import annotations

import numpy as np

from bisc.simulation.scene import Scene
from bisc.simulation.tissue import Tissue

FORK_MM = -105.0
"""Height where aorta and vena cava part for the legs."""
ARCH_MM = 255.0
"""Height of the aortic arch; above the diaphragm the aorta lies beside the spine (see `chest`)."""
AORTA_YX, CAVA_YX = (-31.0, 7.0), (-28.0, -20.0)


def paint_vessels(scene: Scene, tissue: Tissue | None) -> None:
    """All vessels outside the organs."""
    _paint_mesentery(scene)
    if tissue is not None:
        _paint_renal(scene, tissue)
    _paint_trunks(scene)


def _paint_trunks(scene: Scene) -> None:
    """Aorta (with a plaque in half of the patients), vena cava, crura of the diaphragm, iliac vessels."""
    rng, hu, canvas = scene.rng, scene.patient.hu, scene.canvas
    z = np.arange(FORK_MM, ARCH_MM + 1, 40.0)
    wander = np.cumsum(rng.normal(0, 1.2, (2, z.size)), axis=1)
    radius = float(rng.uniform(8, 11.5))
    aorta = np.stack([z, AORTA_YX[0] + 0.3 * wander[0], AORTA_YX[1] + wander[1]], axis=1)
    aorta[:, 1:] += np.clip((z - 60) / 60, 0, 1)[:, None] * [14, 16]
    low = np.append(z[z < 135], 150.0)  # the heart begins above
    cava = np.stack([low, CAVA_YX[0] - 0.1 * np.clip(low, 0, 80), CAVA_YX[1] - 0.05 * np.clip(low, 0, 80)], axis=1)
    for side in (-1, 1):
        crus = [(-30.0, -16.0, side * 14.0 + 2), (30.0, -24.0, side * 17.0 + 3), (90.0, -38.0, side * 15.0 + 6)]
        canvas.tube(crus, [2.0, 4.5, 4.5], hu.muscle)
    canvas.tube(cava, float(rng.uniform(8, 11.5)), hu.cava)
    canvas.tube(aorta, radius + 1.2, 50.0)
    canvas.tube(aorta, radius, hu.aorta)
    if rng.random() < 0.5:
        spot = aorta[int(rng.integers(min(5, len(aorta))))] + [rng.uniform(-15, 15), radius * 0.7, radius * 0.6]
        canvas.ellipsoid(spot, (6, 1.8, 2.5), 650.0)
    for side in (-1, 1):
        iliac = np.array([(-160.0, -6.0, side * 42.0), (-200.0, -24.0, side * 60.0), (-235.0, -46.0, side * 74.0)])
        canvas.tube(np.vstack([(aorta[0][0], aorta[0][1], side * 8.0 + 4), iliac]), [7, 6, 5.5, 5], hu.aorta)
        iliac[:, 1] += 9
        canvas.tube(np.vstack([(cava[0][0], cava[0][1], side * 12.0 - 8), iliac]), [8, 7.5, 7, 6], hu.cava)


def _paint_renal(scene: Scene, tissue: Tissue) -> None:
    """An artery and a vein from every renal sinus to the great vessels."""
    part = scene.canvas.frame.cut(tissue.box)
    hollow = tissue.sinus > 0.5
    for side in (-1, 1):
        own = hollow & (part.x * side > 22)[None, None, :]
        if own.sum() < 20:
            continue
        z, y, x = (float(axis[i].mean()) for axis, i in zip(part.axes, np.nonzero(own), strict=True))
        hilum = np.array([z, y, x - side * 10])
        start = np.array([z + 8, -27.0, side * 32.0])
        for offset, (sy, sx), radius, hu in (
            (-5.0, CAVA_YX, 4.6, scene.patient.hu.cava),
            (4.0, AORTA_YX, 2.8, scene.patient.hu.aorta),
        ):
            middle = start + np.array([offset, -2 * np.sign(offset), 0])
            trunk = np.array([z + 12 + offset, sy, sx])
            front = np.array([z + 12 + offset, -43.0, 5.0])  # the left vein passes before the aorta
            path = [trunk, front, middle, hilum] if offset < 0 and side > 0 else [trunk, middle, hilum]
            scene.canvas.tube(np.stack(path), radius, hu)


def _paint_mesentery(scene: Scene) -> None:
    """Short pieces of vessel all over the fat in the front of the cavity; most run along the body."""
    rng, p = scene.rng, scene.patient
    low, high = max(float(scene.canvas.frame.z[0]), -230.0), min(float(scene.canvas.frame.z[-1]), 80.0)
    for _ in range(int(max(high - low, 0) * 0.8)):
        centre = np.array([rng.uniform(low, high), rng.uniform(-0.8 * p.front_mm, -38), rng.normal(0, 50)])
        half = rng.normal(size=3) * [1.6, 1, 1]
        half *= rng.uniform(6, 22) / np.linalg.norm(half)
        hu = 0.85 * p.hu.aorta if rng.random() < 0.35 else p.hu.cava
        radius = float(rng.uniform(0.8, 2.4))
        scene.canvas.tube(np.stack([centre - half, centre + rng.normal(0, 3, 3), centre + half]), radius, float(hu))
