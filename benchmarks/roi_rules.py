"""The ROI rules that are compared: the paper's literal one and ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Geometry
from bisc.core.volume import Box
from bisc.preprocessing.kidneys import RoiRule, centred_box, find_kidneys, next_multiple, roi_box
from bisc.preprocessing.parts import connected_components

KITS19_RULE: Final = RoiRule(sides_px=[160, 192], multiple_px=16, margin_mm=6.0, min_kidney_ml=5.0)
"""What bisc_plan_and_preprocess finds on KiTS19."""
MIDDLE_MM: Final = 15.0
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Roi:
    """A ROI in voxels of the target grid and the side its rule gives it."""

    box: Box
    side: str


Rule = Callable[[Mask, Geometry], list[Roi]]


def paper(foreground: Mask, target: Geometry) -> list[Roi]:
    """The two largest 26-connected components; 160 x 160, or 192 x 192 where 160 is too small, cut there; z the next
    multiple of 16 above the mask's. Sides by the grid's middle: the paper has none."""
    rois = []
    for component in connected_components(foreground)[:2]:
        depth, height, width = component.box.shape_zyx
        side = 160 if max(height, width) <= 160 else 192
        roi = centred_box(component.box, (next_multiple(depth + 1), side, side))
        rois.append(Roi(roi, _side_by_index(component.centroid_zyx[2], target)))
    return rois


def ours(foreground: Mask, target: Geometry) -> list[Roi]:
    """The rule of `bisc.preprocessing.kidneys`."""
    found = find_kidneys(foreground, target, KITS19_RULE.min_kidney_ml)
    return [Roi(roi_box(k.reach, target, KITS19_RULE), k.side) for k in found]


RULES: Final[Mapping[str, Rule]] = {"paper": paper, "ours": ours}


def _side_by_index(x_index: float, grid: Geometry) -> str:
    offset_mm = (x_index - (grid.shape_zyx[2] - 1) / 2.0) * grid.spacing_mm_zyx[2]
    if abs(offset_mm) < MIDDLE_MM:
        return "middle"
    return "left" if offset_mm > 0 else "right"
