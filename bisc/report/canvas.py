"""What figures are made of: a canvas in pixels, and a CT slice on it with outlines, letters and a scale."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from PIL import Image

from bisc.core.labels import TUMOR
from bisc.report.style import CANVAS_COLOUR, KIDNEY_COLOUR, TEXT_COLOUR, TUMOR_COLOUR
from bisc.report.views import View
from bisc.system.files import atomic_file

FONT: Final = "DejaVu Sans"
"""Comes with matplotlib, so a figure looks the same everywhere."""
DPI: Final = 100
LEVEL_HU: Final = 40.0
WIDTH_HU: Final = 400.0
"""The grey window: soft tissue, as abdominal CT is read."""


class Canvas:
    """A matplotlib figure addressed in pixels from its top left corner; no pyplot, no global state."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=CANVAS_COLOUR)
        self.agg = FigureCanvasAgg(self.figure)

    def axes(self, left: int, top: int, width: int, height: int) -> Axes:
        axes = self.figure.add_axes(
            (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        )
        axes.set_axis_off()
        return axes

    def text(
        self, left: int, top: int, text: str, size: float, weight: str = "normal", colour: str = TEXT_COLOUR
    ) -> None:
        self.figure.text(
            left / self.width, 1 - top / self.height, text, va="top", size=size * 72 / DPI,
            weight=weight, color=colour, family=FONT, parse_math=False,
        )  # fmt: skip

    def legend(self, right: int, top: int) -> None:
        handles = [
            Line2D([], [], color=KIDNEY_COLOUR, linewidth=2.5, label="kidney (with tumour)"),
            Line2D([], [], color=TUMOR_COLOUR, linewidth=2.5, label="tumour"),
        ]
        self.figure.legend(
            handles=handles, loc="upper right", ncols=2,
            bbox_to_anchor=(right / self.width, 1 - top / self.height),
            frameon=False, borderaxespad=0, borderpad=0, handlelength=1.6,
            labelcolor=TEXT_COLOUR, prop={"family": FONT, "size": 12},
        )  # fmt: skip

    def pixels(self) -> npt.NDArray[np.uint8]:
        self.agg.draw()  # type: ignore[no-untyped-call]
        drawn = np.asarray(self.agg.buffer_rgba(), dtype=np.uint8)  # type: ignore[no-untyped-call]
        return drawn[..., :3].copy()


def draw_ct(axes: Axes, view: View) -> None:
    """The slice in the grey window; `axes` are in mm from the view's top left corner from now on."""
    low = LEVEL_HU - WIDTH_HU / 2
    grey = np.clip((view.pixels.astype(np.float32) - low) / WIDTH_HU, 0.0, 1.0)
    axes.imshow(grey, cmap="gray", vmin=0.0, vmax=1.0, extent=view.extent_mm, interpolation="bilinear", aspect="auto")


def draw_contours(axes: Axes, labels: View, linewidth: float = 1.15, reference: bool = False) -> None:
    """Outlines of the organ (kidney with tumour) and of the tumour, half-way between voxel centres; a reference's are
    dashed and white, to lie over a prediction's."""
    for lowest, colour in ((1, KIDNEY_COLOUR), (TUMOR, TUMOR_COLOUR)):
        mask = np.asarray(labels.pixels, dtype=np.uint8) >= lowest
        if not mask.any():
            continue
        padded = np.pad(mask, 1).astype(np.float32)  # a rim of background closes outlines at the view's edge
        rows, columns = ((np.arange(n) - 0.5) * mm for n, mm in zip(padded.shape, labels.pixel_mm, strict=True))
        axes.contour(
            columns,
            rows,
            padded,
            levels=[0.5],
            colors=["white" if reference else colour],
            linewidths=linewidth,
            linestyles="dashed" if reference else "solid",
        )


def draw_scale(axes: Axes, view: View, length_mm: float = 50.0) -> None:
    """A bar of 50 mm at the bottom right, shorter (10 mm) in a view too narrow for it."""
    if length_mm > 0.6 * view.width_mm:
        length_mm = 10.0
    scale = axes.bbox.width / view.width_mm
    right, bottom = view.width_mm - 10 / scale, view.height_mm - 12 / scale
    halo = [withStroke(linewidth=3.5, foreground="black")]
    axes.plot(
        [right - length_mm, right],
        [bottom, bottom],
        color=TEXT_COLOUR,
        linewidth=2,
        solid_capstyle="butt",
        path_effects=halo,
    )
    _letter(axes, right - length_mm / 2, bottom - 5 / scale, f"{length_mm:g} mm", "center", "bottom", 11)


def draw_sides(axes: Axes, view: View, with_place: bool) -> None:
    """R, L and A, P or S, I at the borders and, in the first column, which slice this is. Drawn last."""
    left, right, top, bottom = tuple(view.sides)
    width, height, inset = view.width_mm, view.height_mm, 5 * view.width_mm / axes.bbox.width
    _letter(axes, inset, height / 2, left, "left", "center")
    _letter(axes, width - inset, height / 2, right, "right", "center")
    _letter(axes, width / 2, inset, top, "center", "top")
    _letter(axes, width / 2, height - inset, bottom, "center", "bottom")
    if with_place:
        place = f"{view.plane.capitalize()} {view.index + 1}/{view.count}"
        _letter(axes, 1.4 * inset, 1.2 * inset, place, "left", "top", 11)
    axes.set(xlim=view.extent_mm[:2], ylim=view.extent_mm[2:])  # lines drawn near the edge have widened them


def _letter(axes: Axes, x: float, y: float, text: str, ha: str, va: str, size: float = 12.5) -> None:
    halo = [withStroke(linewidth=2.5, foreground="black")]
    axes.text(
        x,
        y,
        text,
        ha=ha,
        va=va,
        size=size,
        color=TEXT_COLOUR,
        family=FONT,
        parse_math=False,
        path_effects=halo,
    )


def save_png(pixels: npt.NDArray[np.uint8], path: Path) -> None:
    """Write (height, width, 3) uint8 pixels as a PNG, whole or not at all; its folder is made if need be."""
    with atomic_file(path) as scratch:
        Image.fromarray(pixels).save(scratch, format="PNG", optimize=False, compress_level=9)


def drawable(text: str, longest: int) -> str:
    """`text` without what the font cannot draw (each such sign as '?'), cut to `longest` signs."""
    known = _known_signs()
    clean = "".join(sign if ord(sign) in known else "?" for sign in text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


@lru_cache(maxsize=1)
def _known_signs() -> frozenset[int]:
    return frozenset(FT2Font(findfont(FONT)).get_charmap())
