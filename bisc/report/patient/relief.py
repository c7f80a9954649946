"""Kidneys and tumours in the round, drawn on the CPU: the picture that stands where there is no WebGL, and in print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Triple
from bisc.core.volume import Box
from bisc.preprocessing.segments import Segment
from bisc.report.canvas import Canvas, draw_scale, draw_sides
from bisc.report.style import colour_of
from bisc.report.views import View

Float = npt.NDArray[np.float32]
From = Literal["front", "back"]
RAY_MM: Final = 0.7
"""A picture's pixels, and the steps of a ray."""
MARGIN_MM: Final = 8.0
LEAST_MM: Final = 120.0
SMOOTH: Final = 0.6
"""Blur by so many of the largest spacing (sigma): slices of 5 mm show no steps, a tumour of three voxels stays."""
LEAST_SIGMA_MM: Final = 0.9
VEIL: Final = 0.42
"""How much of a kidney in front hides a tumour behind."""
AMBIENT: Final = 0.35
LIGHT: Final = np.array([-0.45, -0.75, -0.48])
"""Towards the light in (z down, y towards the viewer, x): from above, the viewer's left."""
BACKGROUND: Final = 22.0
WIDTH: Final = 560


def reliefs(
    numbered: npt.NDArray[np.uint8], segments: Sequence[Segment], spacing_mm_zyx: Triple
) -> dict[From, npt.NDArray[np.uint8]]:
    """A picture from either side, (height, width, 3) uint8, by parallel rays; none where nothing is labelled.

    'front' has the patient's right on the viewer's left, 'back' the other way round.

    Args:
        numbered: Canonical (z, y, x) segment numbers.
        segments: Drawn in `bisc.report.style.colour_of`; kidneys veil the tumours behind them.
        spacing_mm_zyx: Of the grid.
    """
    found = Box.of_mask(numbered)
    if found is None:
        return {}
    inside = numbered[found.to_slices()][::-1]  # superior is up
    front, back = (_Frame(inside.shape, spacing_mm_zyx) for _ in range(2))
    for one in sorted(segments, key=lambda one: one.organ == "tumor"):  # these last: they know what lies before them
        box = Box.of_mask(inside == one.number)
        if box is None:
            continue
        field, start_mm = _field(inside[box.to_slices()] == one.number, box, spacing_mm_zyx)
        front.draw(field, start_mm, one)
        beyond_mm = start_mm + (np.array(field.shape) - 1) * RAY_MM
        whole_mm = np.multiply(inside.shape, spacing_mm_zyx)
        turned_mm = np.array([start_mm[0], whole_mm[1] - beyond_mm[1], whole_mm[2] - beyond_mm[2]])
        back.draw(field[:, ::-1, ::-1], turned_mm, one)
    return {"front": _lettered(front.pixels, "RLSI"), "back": _lettered(back.pixels, "LRSI")}


class _Frame:
    """A picture that segments are drawn into."""

    def __init__(self, shape_zyx: tuple[int, ...], spacing_mm_zyx: Triple) -> None:
        extent = np.array([shape_zyx[0] * spacing_mm_zyx[0], shape_zyx[2] * spacing_mm_zyx[2]])
        whole = np.maximum(extent + 2 * MARGIN_MM, LEAST_MM)
        self.offset_mm = (whole - extent) / 2
        rows, columns = (int(n) for n in np.ceil(whole / RAY_MM))
        self.pixels = np.full((rows, columns, 3), BACKGROUND)
        self.depth_mm = np.full((rows, columns), np.inf)

    def draw(self, field: Float, start_mm: npt.NDArray[np.float64], segment: Segment) -> None:
        """Put a segment's field where its first sample lies, in (z, y, x) mm of what is labelled."""
        colour = colour_of(segment)
        hit, depth_mm, shade = _seen(field)
        top, left = (round((mm + off) / RAY_MM) for mm, off in zip(start_mm[::2], self.offset_mm, strict=True))
        rows, columns = np.nonzero(hit)
        at = (rows + top, columns + left)
        fits = (at[0] >= 0) & (at[1] >= 0) & (at[0] < self.depth_mm.shape[0]) & (at[1] < self.depth_mm.shape[1])
        at, rows, columns = (at[0][fits], at[1][fits]), rows[fits], columns[fits]
        depths = depth_mm[rows, columns] + start_mm[1]
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        own = rgb * shade[rows, columns, None]
        behind = depths >= self.depth_mm[at]
        if segment.organ == "tumor":
            mixed = np.where(behind[:, None], VEIL * self.pixels[at] + (1 - VEIL) * own, own)
            self.pixels[at] = mixed
            self.depth_mm[at] = np.where(behind, self.depth_mm[at], depths)
        else:
            self.pixels[at] = np.where(behind[:, None], self.pixels[at], own)
            self.depth_mm[at] = np.minimum(self.depth_mm[at], depths)


def _field(mask: npt.NDArray[np.bool_], box: Box, spacing_mm_zyx: Triple) -> tuple[Float, npt.NDArray[np.float64]]:
    """A mask blurred and resampled to `RAY_MM`, and where its first sample lies, in mm of the frame."""
    sigma_mm = max(LEAST_SIGMA_MM, SMOOTH * max(spacing_mm_zyx))
    room = [int(np.ceil(2.5 * sigma_mm / mm)) + 1 for mm in spacing_mm_zyx]
    padded = np.pad(mask, [(n, n) for n in room]).astype(np.float32)
    blurred = ndimage.gaussian_filter(padded, [sigma_mm / mm for mm in spacing_mm_zyx], truncate=2.5)
    if blurred.max() <= 0.5:  # too small to be blurred
        blurred = padded
    field = ndimage.zoom(blurred, [mm / RAY_MM for mm in spacing_mm_zyx], order=1, mode="nearest", grid_mode=True)
    start = [(first - n) * mm + RAY_MM / 2 for first, n, mm in zip(box.start_zyx, room, spacing_mm_zyx, strict=True)]
    return np.asarray(field, dtype=np.float32), np.asarray(start)


def _seen(field: Float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Per ray along y: whether it hits, at what depth in mm, and how light the surface is there, 0 to 1."""
    inside = field > 0.5
    hit = np.asarray(inside.any(axis=1))
    first = np.clip(inside.argmax(axis=1), 1, None)
    z, x = np.indices(hit.shape)
    before, after = field[z, first - 1, x], field[z, first, x]
    part = np.clip((0.5 - before) / np.maximum(after - before, 1e-6), 0.0, 1.0)
    depth_mm = (first - 1 + part) * RAY_MM
    normal = np.stack([-np.gradient(field, axis=axis)[z, first, x] for axis in range(3)])
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-6)
    light = LIGHT / np.linalg.norm(LIGHT)
    lit = np.clip(np.tensordot(light, normal, axes=1), 0.0, 1.0)
    return hit, depth_mm, AMBIENT + (1 - AMBIENT) * lit


def _lettered(pixels: npt.NDArray[np.float64], sides: str) -> npt.NDArray[np.uint8]:
    """The picture with the patient's sides and a scale."""
    view = View("coronal", pixels.clip(0, 255).astype(np.uint8), (RAY_MM, RAY_MM), 0, 1, sides)
    canvas = Canvas(WIDTH, max(1, round(WIDTH * view.height_mm / view.width_mm)))
    axes = canvas.axes(0, 0, canvas.width, canvas.height)
    axes.imshow(view.pixels, extent=view.extent_mm, interpolation="bilinear", aspect="auto")
    draw_scale(axes, view)
    draw_sides(axes, view, with_place=False)
    return canvas.pixels()
