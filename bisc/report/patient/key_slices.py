"""Key slices with outlines and diameters: what a reader looks at first, and all that is left in print."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from PIL import Image

from bisc.core.geometry import Geometry, IntTriple, as_int_triple
from bisc.core.volume import Box, Volume
from bisc.measurement.measures import Point, Structure
from bisc.preprocessing.segments import Segment
from bisc.report.canvas import FONT, Canvas, draw_ct, draw_scale, draw_sides
from bisc.report.style import KIDNEY_COLOUR, TEXT_COLOUR, colour_of
from bisc.report.views import PLANES, Plane, View, choose_box, choose_slice, display_slice

WIDTH: Final = 600
MOST_HIGH: Final = 560
MOST_TUMORS: Final = 6
"""So many have pictures of their own; the slices show the others."""
AXIAL: Final = "axial_mm"
"""The measure whose end points are drawn."""
QUALITY: Final = 88

Ends = tuple[Point, Point]


@dataclass(frozen=True)
class Picture:
    """A picture in the page.

    Attributes:
        data: Its `data:` address.
        width: In pixels.
        height: In pixels.
        alt: What it shows, with the finding, for whoever does not see it.
        caption: Below it.
    """

    data: str
    width: int
    height: int
    alt: str
    caption: str


@dataclass(frozen=True)
class KeySlices:
    """The three planes through one finding."""

    title: str
    number: int
    pictures: tuple[Picture, ...]


def picture_of(pixels: npt.NDArray[np.uint8], alt: str, caption: str) -> Picture:
    """(height, width, 3) uint8 pixels as a WebP inside the page."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="WEBP", quality=QUALITY, method=4)
    data = base64.b64encode(file.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{data}", pixels.shape[1], pixels.shape[0], alt, caption)


def key_slices(
    image: Volume, numbered: npt.NDArray[np.uint8], structures: Sequence[Structure], segments: Sequence[Segment]
) -> list[KeySlices]:
    """Three planes through each tumour; through the kidneys where there is none, else through the scan's middle.

    Args:
        image: Canonical HU.
        numbered: (z, y, x) segment numbers on its grid.
        structures: With the diameters that are drawn.
        segments: All that is outlined.
    """
    box = choose_box([numbered], image.geometry)
    tumors = [one for one in structures if one.segment.organ == "tumor"][:MOST_TUMORS]
    if not tumors:
        at = _middle(image, numbered)
        title = "Kidneys" if segments else "No kidney was found"
        what = "the kidneys, outlined" if segments else "no kidney was found; nothing is outlined"
        shown = [_drawn(image, numbered, segments, plane, at, box, None, what) for plane in PLANES]
        return [KeySlices(title, 0, tuple(shown))]
    slices = []
    for one in tumors:
        number = one.segment.number
        measured = one.measures.get(AXIAL)
        ends = None if measured is None else measured.ends
        at = place_of(numbered == number, image.geometry, ends)
        words = one.segment.name
        if measured is not None and isinstance(measured.value, int | float) and ends is not None:
            words += f", largest axial diameter {measured.value:.0f} mm"
        shown = [
            _drawn(image, numbered, segments, plane, at, box, ends if plane == "axial" else None, words)
            for plane in PLANES
        ]
        slices.append(KeySlices(one.segment.name, number, tuple(shown)))
    return slices


def place_of(mask: npt.NDArray[np.bool_], grid: Geometry, ends: Ends | None) -> IntTriple:
    """The voxel where a finding's planes meet: on its diameter's slice, in the middle of what it has there.

    Args:
        mask: (z, y, x), not empty.
        grid: Its grid.
        ends: Of the diameter; None takes the slice with the most voxels.
    """
    areas = mask.sum(axis=(1, 2))
    z = int(areas.argmax())
    if ends is not None:
        z = int(np.clip(round(float(np.mean(grid.physical_to_index(ends)[:, 0]))), 0, len(areas) - 1))
    inside = np.argwhere(mask[z]) if areas[z] else np.argwhere(mask[int(areas.argmax())])
    middle = inside[np.abs(inside - inside.mean(axis=0)).sum(axis=1).argmin()]  # a voxel of its own, also of a crescent
    return as_int_triple([z, *middle])


def _middle(image: Volume, numbered: npt.NDArray[np.uint8]) -> IntTriple:
    """Where most kidney is; x goes through the larger one, not between the two."""
    z, y, x = choose_slice([np.minimum(numbered, 1)])
    if numbered.any():
        x = int((numbered > 0).sum(axis=(0, 1)).argmax())
    return z, y, x


def _drawn(
    image: Volume,
    numbered: npt.NDArray[np.uint8],
    segments: Sequence[Segment],
    plane: Plane,
    at: IntTriple,
    box: Box,
    ends: Ends | None,
    what: str,
) -> Picture:
    view = display_slice(image, plane, at, box)
    labels = display_slice(image.with_array(numbered), plane, at, box)
    scale = _pixels_per_mm(image.geometry, box)
    canvas = Canvas(max(1, round(view.width_mm * scale)), max(1, round(view.height_mm * scale)))
    axes = canvas.axes(0, 0, canvas.width, canvas.height)
    draw_ct(axes, view)
    draw_segments(axes, labels, segments)
    if ends is not None:
        _draw_diameter(axes, view, image.geometry, ends, box)
    draw_scale(axes, view)
    draw_sides(axes, view, with_place=True)
    place = f"{plane.capitalize()} slice {view.index + 1} of {view.count}"
    return picture_of(canvas.pixels(), f"{place}: {what}", place)


def _pixels_per_mm(grid: Geometry, box: Box) -> float:
    """One scale for the three planes."""
    high, deep, wide = (n * mm for n, mm in zip(box.shape_zyx, grid.spacing_mm_zyx, strict=True))
    return min(WIDTH / max(wide, deep), MOST_HIGH / max(high, deep))


def draw_segments(axes: Axes, labels: View, segments: Sequence[Segment], linewidth: float = 1.4) -> None:
    """The organ's outline, and each tumour's in its colour with its number beside it."""
    pixels = np.asarray(labels.pixels, dtype=np.uint8)
    _outline(axes, labels, pixels > 0, KIDNEY_COLOUR, linewidth)
    for one in segments:
        mask = pixels == one.number
        if one.organ == "kidney" or not mask.any():
            continue
        _outline(axes, labels, mask, colour_of(one), linewidth + 0.4)
        rows, columns = np.nonzero(mask)
        right, middle = (columns.max() + 1) * labels.pixel_mm[1], (rows.mean() + 0.5) * labels.pixel_mm[0]
        halo = [withStroke(linewidth=2.5, foreground="black")]
        gap = 4 * labels.width_mm / axes.bbox.width
        axes.text(
            right + gap, middle, f"{one.rank}", ha="left", va="center", size=12, color=colour_of(one), weight="bold",
            family=FONT, parse_math=False, path_effects=halo,
        )  # fmt: skip


def _outline(axes: Axes, view: View, mask: npt.NDArray[np.bool_], colour: str, linewidth: float) -> None:
    if not mask.any():
        return
    padded = np.pad(mask, 1).astype(np.float32)  # a rim of background closes outlines at the view's edge
    rows, columns = ((np.arange(n) - 0.5) * mm for n, mm in zip(padded.shape, view.pixel_mm, strict=True))
    axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=linewidth)


def _draw_diameter(axes: Axes, view: View, grid: Geometry, ends: Ends, box: Box) -> None:
    """A line between the two end points of an axial diameter, in mm of the view."""
    index = grid.physical_to_index(ends)
    y = (index[:, 1] - box.start_zyx[1] + 0.5) * view.pixel_mm[0]
    x = (index[:, 2] - box.start_zyx[2] + 0.5) * view.pixel_mm[1]
    halo = [withStroke(linewidth=3, foreground="black")]
    axes.plot(x, y, color=TEXT_COLOUR, linewidth=1.4, marker="o", markersize=3.5, path_effects=halo)
