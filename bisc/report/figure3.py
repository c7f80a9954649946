"""The paper's figure 3 for one case: CT, rough result, fine result and reference, axial and coronal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import IntTriple
from bisc.core.labels import TUMOR
from bisc.core.volume import Box, Volume
from bisc.report.canvas import (
    LEVEL_HU,
    WIDTH_HU,
    Canvas,
    draw_contours,
    draw_ct,
    draw_scale,
    draw_sides,
    drawable,
    save_png,
)
from bisc.report.style import FAINT_COLOUR
from bisc.report.views import View, choose_box, choose_slice, display_slices

COLUMN: Final = 430
GAP: Final = 8
MARGIN: Final = 12
HEAD: Final = 100
MAX_ROW: Final = 620
"""Sizes in pixels of the figure's parts."""


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

    Raises:
        ValueError: If a label volume is not of the image's size.
    """

    case: str
    image: Volume
    rough: Volume
    fine: Volume
    reference: Volume | None = None
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, volume in self.stages().items():
            if volume.array.shape != self.image.array.shape:
                have, want = volume.array.shape, self.image.array.shape
                raise ValueError(f"{self.case}: {what} labels are {have} but the image {want} (z, y, x)")

    def stages(self) -> dict[str, Volume]:
        """The label volumes to show, by stage, in the figure's order."""
        stages = {"rough": self.rough, "fine": self.fine}
        return stages if self.reference is None else {**stages, "reference": self.reference}

    def view(self) -> tuple[IntTriple, Box]:
        """The voxel where the planes meet, and the part of the volume to show."""
        labels = {stage: np.asarray(volume.array, dtype=np.uint8) for stage, volume in self.stages().items()}
        by_authority = list(reversed(labels.values()))
        # The rough result is a locator: what it found in error elsewhere must not shrink the view of the kidneys.
        trusted = [array for stage, array in labels.items() if stage != "rough" and array.any()]
        return choose_slice(by_authority), choose_box(trusted or by_authority, self.image.geometry)


def draw_case(figure: CaseFigure, path: Path) -> None:
    """Write the figure as a PNG; safe in threads and worker processes."""
    save_png(render_case(figure), path)


def draw_overlay(figure: CaseFigure, path: Path) -> None:
    """Write `render_overlay` as a PNG; safe in threads and worker processes."""
    save_png(render_overlay(figure), path)


def render_case(figure: CaseFigure) -> npt.NDArray[np.uint8]:
    """The figure as an (height, width, 3) uint8 RGB array."""
    stages = figure.stages()
    at, box = figure.view()
    ct = display_slices(figure.image, at, box)
    outlined = [display_slices(volume, at, box) for volume in stages.values()]
    scale = pixels_per_mm(ct)
    heights = [max(1, round(view.height_mm * scale)) for view in ct]
    n_columns = 1 + len(stages)
    width = 2 * MARGIN + n_columns * COLUMN + (n_columns - 1) * GAP
    canvas = Canvas(width, HEAD + sum(heights) + GAP + MARGIN)

    canvas.text(MARGIN, 12, drawable(figure.case, 60), size=20, weight="bold")
    canvas.legend(width - MARGIN, 14)
    for column, (title, facts) in enumerate(_titles(figure).items()):
        left = MARGIN + column * (COLUMN + GAP)
        canvas.text(left, 47, title, size=17, weight="bold")
        canvas.text(left, 72, facts, size=15.5, colour=FAINT_COLOUR)
        top = HEAD
        for row, view in enumerate(ct):
            panel_width = max(1, round(view.width_mm * scale))
            axes = canvas.axes(left + (COLUMN - panel_width) // 2, top, panel_width, heights[row])
            draw_ct(axes, view)
            if column:
                draw_contours(axes, outlined[column - 1][row])
            else:
                draw_scale(axes, view)
            draw_sides(axes, view, with_place=column == 0)
            top += heights[row] + GAP
    return canvas.pixels()


def render_overlay(figure: CaseFigure, width: int = 640) -> npt.NDArray[np.uint8]:
    """The axial slice with the fine result's outlines under the reference's; (height, `width`, 3) uint8 RGB."""
    at, box = figure.view()
    view, _ = display_slices(figure.image, at, box)
    height = max(1, round(width * view.height_mm / view.width_mm))
    canvas = Canvas(width, height)
    axes = canvas.axes(0, 0, width, height)
    draw_ct(axes, view)
    draw_contours(axes, display_slices(figure.fine, at, box)[0], linewidth=2.0)
    if figure.reference is not None:
        draw_contours(axes, display_slices(figure.reference, at, box)[0], linewidth=1.0, reference=True)
    draw_scale(axes, view)
    draw_sides(axes, view, with_place=True)
    return canvas.pixels()


def pixels_per_mm(views: tuple[View, View], column: int = COLUMN, max_row: int = MAX_ROW) -> float:
    """The one scale of both planes: a column's width is filled unless a row grows taller than `max_row`."""
    return min(column / max(view.width_mm for view in views), max_row / max(view.height_mm for view in views))


def _titles(figure: CaseFigure) -> dict[str, str]:
    """Column titles, each with a line of facts."""
    window = f"level {LEVEL_HU:g}, width {WIDTH_HU:g} HU"
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
