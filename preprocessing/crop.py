"""The ROIs of one patient from a mask of its kidneys. Pure functions.

Past the paper's rule (two largest regions, 160 or 192 pixels): a component must be plausible in size to be a kidney,
a part that lies apart from its kidney joins it, and a kidney larger than 192 gets the next multiple of 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Geometry, IntTriple, as_int_triple
from bisc.core.jsonfile import Document
from bisc.core.limits import Amount, Edge
from bisc.core.roi import Box
from bisc.preprocessing.components import Component, connected_components

MULTIPLE_PX: Final = 16
MAX_KIDNEYS: Final = 2
Side = Literal["left", "right", "middle"]
MIDDLE_MM: Final = 15.0
"""A kidney whose centre lies closer than this to the grid's middle is called 'middle' (fused, or off-centre scans)."""


class RoiRule(Document, frozen=True):
    """How a kidney's ROI is cut at target spacing."""

    sides_px: list[Edge]
    """In-plane sides to try, ascending; beyond the last, the next multiple."""
    multiple_px: Edge
    """All ROI edges are multiples of this."""
    margin_mm: Amount
    """Room around the mask on every side."""
    min_kidney_ml: Amount
    """A smaller component is no kidney."""


@dataclass(frozen=True)
class Kidney:
    """One kidney with its tumour in a mask.

    Attributes:
        box: Its box, voxels of the mask's grid.
        volume_ml: Its volume.
        side: Patient's left or right, from LPS space.
    """

    box: Box
    volume_ml: float
    side: Side


def find_kidneys(foreground: npt.NDArray[np.bool_], grid: Geometry, min_kidney_ml: float) -> list[Kidney]:
    """The kidneys of a (z, y, x) mask on a canonical grid, the larger first; empty where nothing plausible is found.

    At most two lead; every other component of at least `min_kidney_ml` is taken for a severed part (a tumour that the
    mask does not join to its kidney) and joins the leader whose box lies nearer.
    """
    ml = grid.voxel_volume_ml
    plausible = [c for c in connected_components(foreground) if c.n_voxels * ml >= min_kidney_ml]
    kidneys = []
    for group in _join_parts(plausible, grid):
        box = group[0].box
        for part in group[1:]:
            box = box.union(part.box)
        n = sum(c.n_voxels for c in group)
        x = sum(c.centroid_zyx[2] * c.n_voxels for c in group) / n
        kidneys.append(Kidney(box, n * ml, _side(x, grid)))
    return kidneys


def roi_box(mask_box: Box, grid: Geometry, rule: RoiRule) -> Box:
    """The ROI of one kidney, centred on its mask: square in plane, every edge a multiple of `rule.multiple_px`.

    The in-plane side is the first of the rule's that holds the mask with its margin, else the next multiple; the
    depth is the next multiple above the mask's extent with its margin. The ROI may reach beyond the grid.

    Args:
        mask_box: Box of the kidney in voxels of `grid`.
        grid: The patient's grid at target spacing.
        rule: Sides, multiple, margin.
    """
    margin = np.ceil(np.divide(rule.margin_mm, grid.spacing_mm_zyx))
    need_z, need_y, need_x = np.asarray(mask_box.shape_zyx) + 2 * margin
    need = max(need_y, need_x)
    side = next((s for s in rule.sides_px if s >= need), next_multiple(need, rule.multiple_px))
    return centred_box(mask_box, (next_multiple(need_z, rule.multiple_px), side, side))


def centred_box(inner: Box, shape_zyx: IntTriple) -> Box:
    """A box of `shape_zyx` whose centre is that of `inner` (half voxels rounded down)."""
    twice_start = np.add(inner.start_zyx, inner.stop_zyx) - np.asarray(shape_zyx)
    start = as_int_triple(twice_start // 2)
    return Box(start, as_int_triple(np.add(start, shape_zyx)))


def map_box(box: Box, source: Geometry, target: Geometry) -> Box:
    """The smallest box of `target` voxels that holds every voxel centre of `box` in `source`."""
    index = target.physical_to_index(source.cropped(box.start_zyx, box.shape_zyx).corners())
    start = np.floor(index.min(axis=0) + 1e-6)
    stop = np.ceil(index.max(axis=0) - 1e-6) + 1
    return Box(as_int_triple(start), as_int_triple(stop))


def next_multiple(value: float, multiple: int = MULTIPLE_PX) -> int:
    """The smallest positive multiple that is not less than `value`."""
    return max(1, int(np.ceil(round(float(value), 6) / multiple))) * multiple


def _join_parts(components: list[Component], grid: Geometry) -> list[list[Component]]:
    groups = [[c] for c in components[:MAX_KIDNEYS]]
    for part in components[MAX_KIDNEYS:]:
        min(groups, key=lambda g: _gap_mm(g[0].box, part.box, grid)).append(part)
    return groups


def _gap_mm(a: Box, b: Box, grid: Geometry) -> float:
    """Distance between two boxes (0 where they meet)."""
    apart = np.maximum(0, np.maximum(np.subtract(a.start_zyx, b.stop_zyx), np.subtract(b.start_zyx, a.stop_zyx)))
    return float(np.linalg.norm(apart * np.asarray(grid.spacing_mm_zyx)))


def _side(x_index: float, grid: Geometry) -> Side:
    """LPS: x grows to the patient's left. The grid is canonical, so index and physical x grow together."""
    offset_mm = (x_index - (grid.shape_zyx[2] - 1) / 2.0) * grid.spacing_mm_zyx[2]
    if abs(offset_mm) < MIDDLE_MM:
        return "middle"
    return "left" if offset_mm > 0 else "right"
