"""The bony pelvis, the hip joints and the thigh bones."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.simulation.frame import Field, Frame, smooth_noise
from bisc.simulation.legs import bone_scale
from bisc.simulation.scene import Scene
from bisc.simulation.shapes import Canvas, ellipsoid_distance, local_axes, tube_distance

TOP_MM: Final = -66.0
Table = npt.NDArray[np.float64]
Rod = tuple[tuple[tuple[float, float, float], ...], tuple[float, ...]]
"""(z, y, x) points of a chain, on the left side, and its radius at each."""
WING: Final = np.array(
    [
        [-232, 22, 84, -22, 90, 9],
        [-198, 25, 72, -28, 92, 8],
        [-165, 48, 46, -40, 102, 5],
        [-120, 52, 42, -44, 116, 4],
        [-88, 28, 84, -16, 114, 4.5],
        [-76, 12, 100, 0, 109, 2],
    ],
    float,
)
"""The ilium in axial cuts: height, (y, x) of its back end, (y, x) of its front end, half thickness; mm."""
HEAD_ZYX: Final = np.array([-236.0, -4.0, 90.0])
"""Middle of the femoral head."""
RODS: Final[tuple[Rod, ...]] = (
    (((-240, -22, 76), (-258, -46, 40), (-264, -52, 6)), (9, 7, 9)),
    (((-270, -48, 8), (-290, -20, 34), (-303, 14, 55)), (7, 6, 9)),
    (((-236, 18, 84), (-270, 22, 68), (-300, 22, 58)), (13, 11, 14)),
)
"""Pubic rami and ischium."""
FEMUR: Final[tuple[Rod, Rod]] = (
    (((-236, -4, 90), (-258, 6, 122)), (16, 17)),
    (((-252, 10, 126), (-285, 8, 119), (-330, 4, 106), (-480, 0, 92), (-700, 0, 84)), (17, 15, 14, 14, 15)),
)
"""Neck and shaft."""


def plate(
    frame: Frame, side: int, table: Table, scale: float, offset_mm: float = 0.0, thicker_mm: float = 0.0
) -> Field:
    """Signed distance to a curved sheet whose axial cuts are straight.

    Args:
        frame: Where.
        side: +1 left, -1 right.
        table: Rows as in `WING`, upwards.
        scale: Stretches x.
        offset_mm: Moves it outwards (to the side and the back) along its normal.
        thicker_mm: Added to the half thickness at the back end; 0.4 of it at the front end.
    """
    z, y, x = frame.open_zyx
    rows = [np.interp(frame.z, table[:, 0], c).astype(np.float32)[:, None, None] for c in table[:, 1:].T]
    ay, ax, by, bx, half = rows[0], rows[1] * np.float32(scale), rows[2], rows[3] * np.float32(scale), rows[4]
    dy, dx = by - ay, bx - ax
    length = np.hypot(dy, dx)
    ay, ax = ay + np.float32(offset_mm) * dx / length, ax - np.float32(offset_mm) * dy / length
    t = np.clip(((y - ay) * dy + (side * x - ax) * dx) / length**2, 0, 1)
    gap = np.hypot(y - ay - t * dy, side * x - ax - t * dx)
    ends = np.minimum(z - np.float32(table[0, 0]), np.float32(table[-1, 0]) - z)
    return np.asarray(np.minimum(half + np.float32(thicker_mm) * (1 - np.float32(0.6) * t) - gap, ends + 3), np.float32)


def paint_pelvis(scene: Scene, rng: np.random.Generator) -> None:
    """Bones from the iliac crests to the thighs; nothing where the scan ends above."""
    part = scene.canvas.window((-1e4, -1e4, -1e4), (TOP_MM, 1e4, 1e4))
    scale, spongy = bone_scale(scene.patient), float(rng.uniform(90, 220))
    if part is None:
        return
    for side in (-1, 1):
        half = part.window((-1e4, -1e4, min(3 * side, 200 * side)), (1e4, 1e4, max(3 * side, 200 * side)))
        if half is not None:
            marrow = np.asarray(spongy + 40 * smooth_noise(rng, half.frame, 4.5), np.float32)
            _paint_hip(half, side, scale, marrow)
            _paint_femur(half, side, scale, marrow)
    _paint_sacrum(part, spongy + 40 * smooth_noise(rng, part.frame, 5.0))


def _paint_hip(canvas: Canvas, side: int, scale: float, marrow: Field) -> None:
    solid = plate(canvas.frame, side, WING, scale)
    for rod in RODS:
        solid = np.maximum(solid, _rod(canvas.frame, rod, side, scale))
    head = HEAD_ZYX * [1, 1, side * scale]
    ball = ellipsoid_distance(*local_axes(canvas.frame, head, None), (23, 23, 23))
    cup = np.minimum(np.minimum(ball + 9, -ball - 3), (head[2] + 8 * side - canvas.frame.open_zyx[2]) * side)
    _paint_bone(canvas, np.maximum(solid, cup), 1.8, marrow)


def _paint_femur(canvas: Canvas, side: int, scale: float, marrow: Field) -> None:
    ball = ellipsoid_distance(*local_axes(canvas.frame, HEAD_ZYX * [1, 1, side * scale], None), (23, 23, 23))
    _paint_bone(canvas, np.maximum(ball, _rod(canvas.frame, FEMUR[0], side, scale)), 1.5, marrow + 60)
    shaft = _rod(canvas.frame, FEMUR[1], side, scale)
    fatty = np.clip((-275 - canvas.frame.open_zyx[0]) / 40, 0, 1)  # below the trochanter the marrow is fat
    canvas.paint(shaft, 1100.0)
    canvas.paint(np.asarray(shaft - (1.6 + 5 * fatty), np.float32), np.asarray(marrow + fatty * (-40 - marrow)))


def _paint_bone(canvas: Canvas, solid: Field, cortex_mm: float, marrow: Field) -> None:
    canvas.paint(solid, 520.0)
    canvas.paint(solid - np.float32(cortex_mm), marrow)


def _rod(frame: Frame, rod: Rod, side: int, scale: float) -> Field:
    points, radii = rod
    return tube_distance(frame, np.asarray(points, float) * [1, 1, side * scale], radii)


def _paint_sacrum(canvas: Canvas, marrow: Field) -> None:
    """A wedge between the iliac bones, hollow in front, with nerve roots in rows of holes; the coccyx below."""
    z, y, x = canvas.frame.open_zyx
    heights = [-262.0, -240.0, -200.0, -160.0, -120.0, -104.0]
    wide, deep, middle = (
        np.interp(canvas.frame.z, heights, values).astype(np.float32)[:, None, None]
        for values in ([4, 7, 24, 42, 46, 20], [4, 6, 9, 14, 22, 14], [62, 68, 70, 60, 38, 30])
    )
    r = np.sqrt((x / wide) ** 2 + ((y - middle + 0.004 * x**2) / deep) ** 2)
    solid = np.minimum((1 - r) * np.minimum(wide, deep), np.minimum(z + 262, -104 - z))
    _paint_bone(canvas, solid, 1.8, marrow)
    ring = np.abs(((z + 120) / 22) % 1 - 0.5) * 22
    roots = 5 - np.sqrt((np.abs(x) - 0.5 * wide) ** 2 + (y - middle) ** 2 + ring**2)
    canvas.paint(np.minimum(roots, z + 215), -20.0)
    canal = np.minimum(6 - np.hypot(x / 1.8, y - middle - 0.45 * deep), z + 215)
    canvas.paint(np.minimum(canal, -106 - z), 5.0)
