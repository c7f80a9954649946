"""Above the diaphragm: lungs, heart, the mediastinum's tubes, breastbone, shoulder blades, breasts and arms."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.simulation.frame import Field, smooth_noise
from bisc.simulation.scene import Scene
from bisc.simulation.shapes import Canvas, ellipsoid_distance, local_axes, tube_distance

GAS = -950.0
DIAPHRAGM_MM: Final = 105.0
"""Height of the diaphragm's dome above the kidneys' middle."""
APEX_MM: Final = 318.0
ARM_ZYX: Final = np.array([(262.0, 12, -18), (225, 14, 22), (-25, 30, 44), (-250, -18, 34), (-330, -28, 30)])
"""Shoulder, armpit, elbow, wrist and knuckles of an arm that lies beside the trunk; x from the trunk's side."""


def paint_chest(scene: Scene, rng: np.random.Generator) -> None:
    """All of it; nothing where the scan ends below."""
    dome = DIAPHRAGM_MM + float(rng.normal(0, 8))
    if scene.patient.arms_down:
        _paint_arms(scene, rng)
    cut = scene.canvas.frame.slices((-10, -500, -500), (1e4, 500, 500))
    if cut is None:
        return
    part = scene.canvas.cut(cut)
    cavity, gap = scene.cavity_mm[cut], scene.gap_mm[cut]
    _paint_lungs(scene, part, cavity, gap, dome, rng)
    if part.frame.z[-1] > dome + 40:
        _paint_mediastinum(scene, dome)
        _paint_front_and_back(part, cavity, scene.skin_mm[cut])
        if scene.patient.female:
            _paint_breasts(scene, rng)


def _paint_lungs(scene: Scene, part: Canvas, cavity: Field, gap: Field, dome: float, rng: np.random.Generator) -> None:
    """Air above the diaphragm's domes, lowest at the back and sides; the heart between."""
    p = scene.patient
    z, y, x = part.frame.open_zyx
    width = p.half_width_mm - p.fat_mm - p.wall_mm
    behind = np.clip((y - p.depth_centre_mm) / 90, 0, 1.3)
    rim = np.hypot(x / width, (y - p.depth_centre_mm) / (0.5 * (p.front_mm + p.back_mm) - p.fat_mm))
    floor = dome - (55 * np.clip(2 * rim - 1, 0, 1.2) ** 2 + 30 * behind**2) - 6 * (x > 0)
    ripples = 3 * smooth_noise(rng, part.frame, 25.0)
    between = 24 + 14 * np.clip((dome + 90 - z) / 60, 0, 1)  # the mediastinum stays; it is widest around the heart
    middle = np.abs(x) - between + ripples - 20 * np.clip(-(y + 60) / 60, 0, 1) * (x > 0) * (z < dome + 95)
    spine = np.hypot(x / 36, (y - 6) / 32) * 32 - 32
    middle = np.maximum(middle, np.minimum(np.abs(x) - 34, spine))
    lung = np.minimum(np.minimum((z - floor) * 0.6, np.minimum(middle, spine)), cavity - np.float32(2))
    lung = np.minimum(np.minimum(lung, gap - np.float32(6)), (APEX_MM - z) * 0.5)
    heart = ellipsoid_distance(z - dome - 42, y + 0.45 * p.front_mm, x - 22, (42, 50, 58)) + ripples
    room = cavity - np.float32(4)
    part.paint(np.minimum(heart + 4, room), p.hu.fat)
    blood = 0.5 * (p.hu.aorta + p.hu.cava)
    chambers = np.clip(1.6 * smooth_noise(rng, part.frame, 28.0) + 0.8, 0, 1)
    part.paint(np.minimum(heart, room), np.float32(p.hu.muscle + 20) + chambers * np.float32(blood - p.hu.muscle - 20))
    tissue = smooth_noise(rng, part.frame, 6.0)
    part.paint(np.minimum(lung, -heart - 3), -840 + 40 * tissue + 700 * np.clip(tissue - 1.9, 0, 1))


def _paint_mediastinum(scene: Scene, dome: float) -> None:
    """Aortic arch, upper vena cava, windpipe and gullet; the aorta behind the heart belongs to the vessels."""
    hu, canvas = scene.patient.hu, scene.canvas
    arch = [(255.0, -17, 23), (272, -40, 20), (276, -62, 8), (262, -82, -8), (215, -84, -16), (dome + 70, -78, -4)]
    canvas.tube(np.asarray(arch), 13.0, hu.aorta)
    canvas.tube([(310.0, -70.0, -26.0), (250.0, -72.0, -28.0), (dome + 60, -62.0, -30.0)], 9.0, hu.cava)
    canvas.tube([(330.0, -34.0, 2.0), (225.0, -26.0, 4.0), (dome + 10, -34.0, 8.0)], 7.5, hu.muscle)
    canvas.tube([(235.0, -62.0, 4.0), (226.0, -58.0, 34.0)], 11.0, 0.5 * (hu.aorta + hu.cava))
    canvas.tube([(340.0, -52.0, 0.0), (248.0, -40.0, 0.0)], 8.5, GAS)
    for side in (-1, 1):
        canvas.tube([(248.0, -40.0, 0.0), (222.0, -34.0, 40.0 * side)], 6.0, GAS)


def _paint_front_and_back(part: Canvas, cavity: Field, skin: Field) -> None:
    """Breastbone in the front wall, shoulder blades and fat planes in the back one."""
    z, y, x = part.frame.open_zyx
    sternum = np.minimum(np.minimum(17 - np.abs(x), 5 - np.abs(cavity + 8)), np.minimum(-y - 40, z - 120))
    part.paint(np.minimum(sternum, 285 - z), 330.0)
    part.paint(np.minimum(sternum, 285 - z) - np.float32(1.6), 110.0)
    blade = np.minimum(3.2 - np.abs(cavity + 16 + 0.05 * (z - 240)), np.minimum(np.abs(x) - 62, 132 - np.abs(x)))
    part.paint(np.minimum(blade, np.minimum(np.minimum(y - 5, z - 150), 320 - z)), 380.0)
    sheet = np.minimum(1.2 - np.abs(cavity + 10), np.minimum(z - 130, skin - 8))
    part.paint(np.minimum(sheet, np.abs(x) - 25), -85.0, opacity=0.7)


def _paint_breasts(scene: Scene, rng: np.random.Generator) -> None:
    """Fat with a little gland, fallen to the sides."""
    p, size = scene.patient, float(rng.uniform(0.7, 1.3))
    glands = float(rng.uniform(0, 120))
    for side in (-1, 1):
        centre = np.array([175.0, -0.80 * p.front_mm, 82.0 * side])
        semi = size * np.array([58.0, 44, 58])
        cut = scene.canvas.frame.slices(centre - semi - 3, centre + semi + 3)
        if cut is None:
            continue
        part = scene.canvas.cut(cut)
        solid = ellipsoid_distance(*local_axes(part.frame, centre, None), semi)
        outside = np.float32(2.2) - scene.skin_mm[cut]
        web = np.clip(smooth_noise(rng, part.frame, 9.0) - 0.3, 0, 1)
        part.paint(np.minimum(solid, outside), 20.0)
        part.paint(np.minimum(solid - np.float32(2), outside), np.asarray(p.hu.fat + glands * web, np.float32))


def _paint_arms(scene: Scene, rng: np.random.Generator) -> None:
    """Upper arm, forearm and hand: skin, fat, flesh around one bone and then two."""
    p = scene.patient
    for side in (-1, 1):
        off = np.array([0, float(rng.normal(0, 12)), p.half_width_mm + float(rng.uniform(4, 22))])
        path = (ARM_ZYX + off) * [1, 1, side]
        thick = np.array([46.0, 46, 38, 25, 20]) + 0.35 * p.fat_mm
        low, high = path.min(axis=0) - thick.max() - 3, path.max(axis=0) + thick.max() + 3
        cut = scene.canvas.frame.slices(low, high)
        if cut is None:
            continue
        part = scene.canvas.cut(cut)
        arm = tube_distance(part.frame, path, thick)
        clear = np.minimum(arm, 3 - scene.skin_mm[cut])
        part.paint(clear, 25.0)
        part.paint(clear - np.float32(2.2), p.hu.fat)
        flesh = p.hu.muscle + 8 * smooth_noise(rng, part.frame, (20.0, 5.0, 5.0))
        part.paint(np.minimum(clear - 3, arm - np.float32(6 + 0.3 * p.fat_mm)), flesh)
        _paint_arm_bones(scene.canvas, path, side)


def _paint_arm_bones(canvas: Canvas, path: npt.NDArray[np.float64], side: int) -> None:
    shoulder, armpit, elbow, wrist, knuckles = path
    canvas.ellipsoid(shoulder, (24, 24, 24), 330.0)
    apart = np.array([0, 0, 9.0 * side])
    for points, radius in (
        ([shoulder, armpit, elbow], 11.0),
        ([elbow + apart, wrist + apart], 7.0),
        ([elbow - apart, wrist - apart], 7.0),
        ([wrist + apart, knuckles + apart], 5.0),
        ([wrist - apart, knuckles - apart], 5.0),
    ):
        canvas.tube(np.stack(points), radius, 950.0)
        canvas.tube(np.stack(points), radius - 4, 40.0)
