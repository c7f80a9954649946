"""The ROIs of one patient from a mask of its kidneys. Pure functions.

Past the paper's rule (two largest regions, 160 or 192 pixels): a component must be plausible in size to be a kidney,
parts of one kidney get one ROI (`bisc.preprocessing.parts`), a kidney that the mask cuts through is expected to go on,
and one larger than 192 gets the next multiple of 16. docs/explanation/anatomy.md has what that saves on real anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta
from scipy import ndimage

from bisc.core.geometry import Geometry, IntTriple, as_int_triple
from bisc.core.labels import HALF_LENGTH_MM, KIDNEY
from bisc.core.limits import MULTIPLE, Amount, Edge
from bisc.core.volume import Box
from bisc.preprocessing.parts import APART_MM, Part, centroid, divide_mm, join_parts, number_components, parts_of
from bisc.system.jsonfile import Document

Side = Literal["left", "right", "middle"]
MIDDLE_MM: Final = 15.0
"""A kidney whose centre lies closer than this to the body's middle is called 'middle': a fused one, mostly."""
ABRUPT_MM: Final = 12.0
"""An end of a mask that seems to lack less than this is a pole: the blunt ones do, and so do thick slices."""
FRAYED_MM: Final = 9.0
"""So deep the end of a mask may be frayed."""
WHOLE_ML: Final = 30.0
"""Of kidney tissue in a kidney that is there: the least beside a tumour in those maps is 51 ml."""
FAR_MM: Final = 50.0
"""From a kidney: in 283 real maps pieces of one kidney lie at most 29 mm apart."""
SMALL_SHARE: Final = 0.5
"""Of the smaller kidney."""


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
    foreground: npt.NDArray[np.bool_],
    grid: Geometry,
    min_kidney_ml: float,
    body_middle_mm: float | None = None,
    *,
    sided: bool = True,
) -> list[Kidney]:
    """The kidneys of a (z, y, x) mask on a canonical grid, the larger first; empty where nothing plausible is found.

    Every component of at least `min_kidney_ml` lies whole in the box of one of them, or, where a thin bridge joins two
    kidneys, each half in its own. Of a rough mask there may be more than two: false regions that lie apart from both
    kidneys, which the fine stage has to tell.

    Args:
        foreground: The mask.
        grid: Its grid.
        min_kidney_ml: Smaller components are specks.
        body_middle_mm: LPS x of the body's middle (`body_middle_mm`); None takes the grid's.
        sided: Whether that tells a lone kidney's side, too: where an image `hides_middle` it is 'middle'.
    """
    middle_mm = _grid_middle_mm(grid) if body_middle_mm is None else body_middle_mm
    certain = body_middle_mm is not None
    groups = join_parts(parts_of(foreground, grid, min_kidney_ml), grid, middle_mm, certain)
    groups.sort(key=lambda g: -sum(p.n_voxels for p in g))
    sizes = [sum(p.n_voxels for p in g) for g in groups]
    xs = [sum(p.centre_mm_xyz[0] * p.n_voxels for p in g) / n for g, n in zip(groups, sizes, strict=True)]
    divide = divide_mm(xs, sizes, middle_mm, certain)
    origin = middle_mm if divide is None else divide
    sided = sided or divide is not None
    return [
        Kidney(_box_of(group), reach_of(group, grid), n * grid.voxel_volume_ml, _side(x - origin if sided else 0.0))
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


def seen_box(source: Geometry, target: Geometry) -> Box:
    """The box of `target` voxels whose centres lie within the outer faces of `source`: those it says anything of."""
    index = target.physical_to_index(source.corners())
    half = np.divide(source.spacing_mm_zyx, target.spacing_mm_zyx) / 2.0
    start = np.ceil(index.min(axis=0) - half - 1e-6)
    stop = np.ceil(index.max(axis=0) + half - 1e-6)
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


def drop_strays(
    labels: npt.NDArray[np.uint8], min_kidney_voxels: float, doubtful: bool = False
) -> npt.NDArray[np.uint8]:
    """Keep the 26-connected foreground components that hold enough kidney; without any, the largest one.

    The fallback keeps a kidney that is all tumour.

    Args:
        labels: (z, y, x) of one ROI: 0 background, 1 kidney, 2 tumour.
        min_kidney_voxels: Voxels of label 1 that make a component a kidney.
        doubtful: The ROI may well hold no kidney: the fallback, too, must be as large as one.

    Returns:
        (z, y, x) labels; the given array where nothing is dropped.
    """
    numbered, box = number_components(labels > 0)
    if box is None:
        return labels
    inside = labels[box.to_slices()]
    sizes = np.bincount(numbered.ravel())
    kept = np.bincount(numbered[inside == KIDNEY], minlength=sizes.size) >= min_kidney_voxels
    sizes[0] = 0
    kept[0] = False
    if not kept.any() and (not doubtful or sizes.max() >= min_kidney_voxels):
        kept[sizes.argmax()] = True
    if kept[1:].all():
        return labels
    out = np.zeros_like(labels)
    out[box.to_slices()] = np.where(kept[numbered], inside, 0)
    return out


def drop_apart(labels: npt.NDArray[np.uint8], grid: Geometry) -> tuple[npt.NDArray[np.uint8], float]:
    """Where both kidneys are there, drop the components beside them that are more tumour than kidney, and those that
    are far from both and small beside either: muscle or bowel that looks like a kidney.

    A kidney that is all tumour looks like one of the first, but only where it is the one that is missing; a
    transplanted one is no smaller than the two that failed.

    Args:
        labels: (z, y, x) of the whole image: 0 background, 1 kidney, 2 tumour; changed in place.
        grid: Its geometry.

    Returns:
        The labels, and the ml that were dropped.
    """
    numbered, box = number_components(labels > 0)
    if box is None:
        return labels, 0.0
    inside = labels[box.to_slices()]
    sizes = np.bincount(numbered.ravel())
    tissue = np.bincount(numbered[inside == KIDNEY], minlength=sizes.size)
    sizes[0] = tissue[0] = 0
    kidneys = np.flatnonzero(tissue * grid.voxel_volume_ml >= WHOLE_ML)
    if len(kidneys) < 2 or np.count_nonzero(sizes) == len(kidneys) == 2:
        return labels, 0.0
    centres = [centroid(numbered == number, int(sizes[number])) for number in kidneys]
    from_right_mm = grid.index_to_physical(centres)[:, 0]
    if np.ptp(from_right_mm) < APART_MM:
        return labels, 0.0
    tumorous = np.setdiff1d(np.flatnonzero(2 * tissue < sizes), kidneys)
    apart = np.union1d(tumorous, _small_and_far(numbered, sizes, kidneys, from_right_mm, grid))
    inside[np.isin(numbered, apart)] = 0
    return labels, float(sizes[apart].sum() * grid.voxel_volume_ml)


def _small_and_far(
    numbered: npt.NDArray[np.int32],
    sizes: npt.NDArray[np.int_],
    kidneys: npt.NDArray[np.int_],
    from_right_mm: npt.NDArray[np.float64],
    grid: Geometry,
) -> npt.NDArray[np.int_]:
    """The components far from the largest kidney and from the largest one across the body from it, and small beside
    both."""
    one = kidneys[np.argmax(sizes[kidneys])]
    across: npt.NDArray[np.int_] = kidneys[np.abs(from_right_mm - from_right_mm[kidneys == one]) >= APART_MM]
    if not len(across):
        return across
    pair = (one, across[np.argmax(sizes[across])])
    small = np.flatnonzero((sizes > 0) & (sizes < SMALL_SHARE * sizes[list(pair)].min()))
    places = ndimage.find_objects(numbered)
    far = [n for n in small if min(_gap_mm(places[n - 1], places[k - 1], grid) for k in pair) >= FAR_MM]
    return np.asarray(far, dtype=np.int_)


def _gap_mm(one: tuple[slice, ...], other: tuple[slice, ...], grid: Geometry) -> float:
    """From one component's box to another's: no more than from the one to the other."""
    gaps = [max(0, a.start - b.stop + 1, b.start - a.stop + 1) for a, b in zip(one, other, strict=True)]
    return float(np.linalg.norm(np.multiply(gaps, grid.spacing_mm_zyx)))
