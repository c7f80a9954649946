"""The ROIs of one patient from a mask of its kidneys. Pure functions.

Past the paper's rule (two largest regions, 160 or 192 pixels): a component must be plausible in size to be a kidney,
parts of one kidney get one ROI (`bisc.preprocessing.parts`), a kidney that the mask cuts through is expected to go on,
and one larger than 192 gets the next multiple of 16. docs/anatomy.md has what that saves on real anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from bisc.core.box import Box
from bisc.core.geometry import Geometry, IntTriple, as_int_triple
from bisc.core.limits import MULTIPLE, Amount, Edge
from bisc.core.volume import Volume
from bisc.preprocessing.parts import Part, divide_mm, join_parts, parts_of
from bisc.system.jsonfile import Document

Side = Literal["left", "right", "middle"]
MIDDLE_MM: Final = 15.0
"""A kidney whose centre lies closer than this to the body's middle is called 'middle': a fused one, mostly."""
ABRUPT_MM: Final = 12.0
"""An end of a mask that seems to lack less than this is a pole: the blunt ones do, and so do thick slices."""
FRAYED_MM: Final = 9.0
"""So deep the end of a mask may be frayed."""
HALF_LENGTH_MM: Final = 55.0
"""Half the median length along z of the 331 kidneys of KiTS19's 167 maps here."""


class RoiRule(Document, frozen=True):
    """How a kidney's ROI is cut at target spacing."""

    sides_px: Annotated[list[Edge], Meta(min_length=1)]
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
        reach: The box that its ROI should hold where the mask is a network's: grown along z at an end that is cut
            straight through the kidney, as if slices were missing. A true mask's kidney ends at its `box`.
        volume_ml: Its volume.
        side: Patient's left or right, from LPS space.
    """

    box: Box
    reach: Box
    volume_ml: float
    side: Side


def find_kidneys(
    foreground: npt.NDArray[np.bool_], grid: Geometry, min_kidney_ml: float, body_middle_mm: float | None = None
) -> list[Kidney]:
    """The kidneys of a (z, y, x) mask on a canonical grid, the larger first; empty where nothing plausible is found.

    Every component of at least `min_kidney_ml` lies whole in the box of one of them, or, where a thin bridge joins two
    kidneys, each half in its own. Of a rough mask there may be more than two: false regions that lie apart from both
    kidneys, which the fine stage has to tell.

    Args:
        foreground: The mask.
        grid: Its grid.
        min_kidney_ml: Smaller components are specks.
        body_middle_mm: LPS x of the body's middle; None takes the grid's.
    """
    middle_mm = _grid_middle_mm(grid) if body_middle_mm is None else body_middle_mm
    certain = body_middle_mm is not None
    groups = join_parts(parts_of(foreground, grid, min_kidney_ml), grid, middle_mm, certain)
    groups.sort(key=lambda g: -sum(p.n_voxels for p in g))
    sizes = [sum(p.n_voxels for p in g) for g in groups]
    xs = [sum(p.centre_mm_xyz[0] * p.n_voxels for p in g) / n for g, n in zip(groups, sizes, strict=True)]
    divide = divide_mm(xs, sizes, middle_mm, certain)
    origin = middle_mm if divide is None else divide
    return [
        Kidney(_box_of(group), reach_of(group, grid), n * grid.voxel_volume_ml, _side(x - origin))
        for group, n, x in zip(groups, sizes, xs, strict=True)
    ]


def reach_of(parts: Sequence[Part], grid: Geometry) -> Box:
    """The box of a kidney's parts, each grown along z, within the grid, where it ends abruptly."""
    box = _box_of(parts)
    for part in parts:
        areas = np.count_nonzero(part.mask, axis=(1, 2))
        low, high = (_lacking_slices(a, grid.spacing_mm_zyx[0]) for a in (areas, areas[::-1]))
        start, stop = list(part.box.start_zyx), list(part.box.stop_zyx)
        start[0] = max(start[0] - low, 0)
        stop[0] = min(stop[0] + high, grid.shape_zyx[0])
        box = box.union(Box(as_int_triple(start), as_int_triple(stop)))
    return box


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


def next_multiple(value: float, multiple: int = MULTIPLE) -> int:
    """The smallest positive multiple that is not less than `value`."""
    return max(1, int(np.ceil(round(float(value), 6) / multiple))) * multiple


def _box_of(parts: Sequence[Part]) -> Box:
    box = parts[0].box
    for part in parts[1:]:
        box = box.union(part.box)
    return box


def _grid_middle_mm(grid: Geometry) -> float:
    return float(grid.index_to_physical(np.subtract(grid.shape_zyx, 1) / 2.0)[0])


def _lacking_slices(areas: npt.NDArray[np.int_], spacing_mm: float) -> int:
    """Slices that a kidney lacks below the first of its cross sections; 0 where it ends as a pole does.

    An ellipsoid of half length H that ends where its cross section is the share q of its largest lacks
    H (1 - sqrt(1 - q)). A whole one seems to lack d when it is looked at d above its pole, so d is taken off; looking
    deeper than the first slice sees through the frayed border of a noisy mask.
    """
    depth_mm = np.arange(areas.size) * spacing_mm
    near = depth_mm <= FRAYED_MM
    seeming = HALF_LENGTH_MM * (1.0 - np.sqrt(1.0 - areas[near] / areas.max())) - depth_mm[near]
    lacking = float(seeming.max())
    return int(np.ceil(lacking / spacing_mm)) if lacking >= ABRUPT_MM else 0


def _side(offset_mm: float) -> Side:
    """LPS: x grows to the patient's left."""
    if abs(offset_mm) < MIDDLE_MM:
        return "middle"
    return "left" if offset_mm > 0 else "right"


TISSUE_HU: Final = -300.0
"""Above it lie fat and all other tissue, below it lung, air and most of the table's foam."""
SAMPLES: Final = 64
"""Voxels looked at along each axis: enough to find the middle to a few mm, and next to no work."""
MIN_SHARE: Final = 0.02
"""A scan with less tissue than this shows no body."""


def body_middle_mm(image: Volume) -> float | None:
    """LPS x that halves the tissue of a canonical HU image; None where there is hardly any.

    Two kidneys are told apart by each other; this is for a single one, in a scan whose field of view is off centre.
    """
    steps = [max(1, n // SAMPLES) for n in image.array.shape]
    z, y, x = (slice(s // 2, None, s) for s in steps)
    tissue = np.argwhere(image.array[z, y, x] > TISSUE_HU)
    if len(tissue) < MIN_SHARE * image.array[z, y, x].size:
        return None
    index = tissue * steps + np.asarray([s // 2 for s in steps])
    return float(np.median(image.geometry.index_to_physical(index)[:, 0]))
