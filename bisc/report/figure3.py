"""The paper's figure 3 for one case: CT, rough result, fine result and reference, axial and coronal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from bisc.core.volume import Volume
from bisc.report.style import CANVAS_COLOUR, FAINT_COLOUR, KIDNEY_COLOUR, TEXT_COLOUR, TUMOR_COLOUR
from bisc.report.views import View, choose_box, choose_slice, display_slices
from bisc.system.files import atomic_file

FONT: Final = "DejaVu Sans"
"""Comes with matplotlib, so a figure looks the same everywhere."""
DPI: Final = 100


@dataclass(frozen=True)
class Layout:
    """Sizes in pixels of the figure's parts."""

    column: int = 430
    gap: int = 8
    margin: int = 12
    head: int = 100
    max_row: int = 620


@dataclass(frozen=True, eq=False)
class CaseFigure:
    """What one figure shows; all volumes lie on one grid, canonical (z, y, x) LPS.

    Attributes:
        case: The case's name.
        image: int16 HU.
        rough: uint8 labels (0 background, 1 kidney, 2 tumour) of the rough stage on the image's grid.
        fine: uint8 labels of the fine stage, the final result.
        reference: uint8 labels of the reader, or None where there is none; its column is then left out.
        scores: Per stage ("rough", "fine") the metrics "dice_kidney" and "dice_tumor", each 0 to 1 or NaN.
        level_hu: Centre of the grey window.
        width_hu: Width of the grey window.

    Raises:
        ValueError: If a label volume is not of the image's size.
    """

    case: str
    image: Volume
    rough: Volume
    fine: Volume
    reference: Volume | None = None
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    level_hu: float = 40.0
    width_hu: float = 400.0

    def __post_init__(self) -> None:
        for what, volume in self.stages().items():
            if volume.array.shape != self.image.array.shape:
                have, want = volume.array.shape, self.image.array.shape
                raise ValueError(f"{self.case}: {what} labels are {have} but the image {want} (z, y, x)")

    def stages(self) -> dict[str, Volume]:
        """The label volumes to show, by stage, in the figure's order."""
        stages = {"rough": self.rough, "fine": self.fine}
        return stages if self.reference is None else {**stages, "reference": self.reference}


def draw_case(figure: CaseFigure, path: Path) -> None:
    """Write the figure as a PNG, whole or not at all; safe in threads and worker processes.

    Args:
        figure: The case.
        path: The PNG file; its folder is made if need be.
    """
    pixels = render_case(figure)
    with atomic_file(path) as scratch:
        Image.fromarray(pixels).save(scratch, format="PNG", optimize=False, compress_level=9)


def render_case(figure: CaseFigure, layout: Layout | None = None) -> npt.NDArray[np.uint8]:
    """The figure as an (height, width, 3) uint8 RGB array."""
    layout = layout or Layout()
    stages = figure.stages()
    labels = {stage: np.asarray(volume.array, dtype=np.uint8) for stage, volume in stages.items()}
    by_authority = list(reversed(labels.values()))
    at = choose_slice(by_authority)
    # The rough result is a locator: what it found in error elsewhere must not shrink the view of the kidneys.
    trusted = [array for stage, array in labels.items() if stage != "rough" and array.any()]
    box = choose_box(trusted or by_authority, figure.image.geometry)

    ct = display_slices(figure.image, at, box)
    outlined = [display_slices(volume, at, box) for volume in stages.values()]
    scale = pixels_per_mm(ct, layout)
    heights = [max(1, round(view.height_mm * scale)) for view in ct]
    n_columns = 1 + len(stages)
    width = 2 * layout.margin + n_columns * layout.column + (n_columns - 1) * layout.gap
    height = layout.head + sum(heights) + layout.gap + layout.margin
    canvas = _Canvas(width, height)

    canvas.text(layout.margin, 12, _drawable(figure.case, 60), size=20, weight="bold")
    canvas.legend(width - layout.margin, 14)
    for column, (title, facts) in enumerate(_titles(figure).items()):
        left = layout.margin + column * (layout.column + layout.gap)
        canvas.text(left, 47, title, size=17, weight="bold")
        canvas.text(left, 72, facts, size=15.5, colour=FAINT_COLOUR)
        top = layout.head
        for row, view in enumerate(ct):
            panel_width = max(1, round(view.width_mm * scale))
            axes = canvas.axes(left + (layout.column - panel_width) // 2, top, panel_width, heights[row])
            _draw_ct(axes, view, figure.level_hu, figure.width_hu)
            if column:
                _draw_contours(axes, outlined[column - 1][row])
            else:
                _draw_scale(axes, view)
            _draw_sides(axes, view, with_place=column == 0)
            axes.set(xlim=view.extent_mm[:2], ylim=view.extent_mm[2:])  # lines drawn near the edge widen them
            top += heights[row] + layout.gap
    return canvas.pixels()


def pixels_per_mm(views: tuple[View, View], layout: Layout) -> float:
    """The one scale of both planes: a column's width is filled unless a row grows taller than `max_row`."""
    return min(
        layout.column / max(view.width_mm for view in views),
        layout.max_row / max(view.height_mm for view in views),
    )


def _titles(figure: CaseFigure) -> dict[str, str]:
    """Column titles, each with a line of facts."""
    window = f"level {figure.level_hu:g}, width {figure.width_hu:g} HU"
    titles = {"CT": window}
    names = {"rough": "Rough result", "fine": "Fine result", "reference": "Reference"}
    for stage, volume in figure.stages().items():
        scores = figure.scores.get(stage, {})
        dice = " · ".join(
            f"{organ} {_score(scores[key])}"
            for organ, key in (("kidney", "dice_kidney"), ("tumour", "dice_tumor"))
            if key in scores
        )
        titles[names[stage]] = f"Dice: {dice}" if dice else _volumes(volume)
    return titles


def _score(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "n/a"


def _volumes(labels: Volume) -> str:
    """Kidney (with tumour) and tumour volume in ml, in words where there is none."""
    kidney = np.count_nonzero(labels.array) * labels.geometry.voxel_volume_ml
    if kidney == 0:
        return "no kidney"
    tumor = np.count_nonzero(np.asarray(labels.array, dtype=np.uint8) == TUMOR) * labels.geometry.voxel_volume_ml
    return f"kidney {kidney:.0f} ml · " + (f"tumour {tumor:.1f} ml" if tumor else "no tumour")


def _draw_ct(axes: Axes, view: View, level_hu: float, width_hu: float) -> None:
    low = level_hu - width_hu / 2
    grey = np.clip((view.pixels.astype(np.float32) - low) / width_hu, 0.0, 1.0)
    axes.imshow(grey, cmap="gray", vmin=0.0, vmax=1.0, extent=view.extent_mm, interpolation="bilinear", aspect="auto")


def _draw_contours(axes: Axes, labels: View) -> None:
    """Outlines of the organ (kidney with tumour) and of the tumour, half-way between voxel centres."""
    for lowest, colour in ((1, KIDNEY_COLOUR), (TUMOR, TUMOR_COLOUR)):
        mask = np.asarray(labels.pixels, dtype=np.uint8) >= lowest
        if not mask.any():
            continue
        padded = np.pad(mask, 1).astype(np.float32)  # a rim of background closes outlines at the view's edge
        rows, columns = ((np.arange(n) - 0.5) * mm for n, mm in zip(padded.shape, labels.pixel_mm, strict=True))
        axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=1.15)


def _draw_scale(axes: Axes, view: View, length_mm: float = 50.0) -> None:
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


def _draw_sides(axes: Axes, view: View, with_place: bool) -> None:
    """R, L and A, P or S, I at the borders and, in the first column, which slice this is."""
    left, right, top, bottom = tuple(view.sides)
    width, height, inset = view.width_mm, view.height_mm, 5 * view.width_mm / axes.bbox.width
    _letter(axes, inset, height / 2, left, "left", "center")
    _letter(axes, width - inset, height / 2, right, "right", "center")
    _letter(axes, width / 2, inset, top, "center", "top")
    _letter(axes, width / 2, height - inset, bottom, "center", "bottom")
    if with_place:
        place = f"{view.plane.capitalize()} {view.index + 1}/{view.count}"
        _letter(axes, 1.4 * inset, 1.2 * inset, place, "left", "top", 11)


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


class _Canvas:
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


def _drawable(text: str, longest: int) -> str:
    """`text` without what the font cannot draw (each such sign as '?'), cut to `longest` signs."""
    known = _known_signs()
    clean = "".join(sign if ord(sign) in known else "?" for sign in text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


@lru_cache(maxsize=1)
def _known_signs() -> frozenset[int]:
    return frozenset(FT2Font(findfont(FONT)).get_charmap())
