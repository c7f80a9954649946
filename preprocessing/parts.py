"""Which parts of a rough mask make one kidney: bridges are cut, severed parts are joined. Pure functions.

A rough mask tears a kidney in two where slices are missing, severs a tumour from it, joins two kidneys by a thread, and
finds regions that are none. Here parts are told apart by the side of the body they lie on, and joined where they lie as
the parts of one kidney do. Nothing is thrown away, so nothing can be lost. Every length is in mm; figures behind the
constants stand in docs/explanation/anatomy.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Geometry
from bisc.core.labels import CONNECT_26
from bisc.core.volume import Box

Mask = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]

NEAR_MM: Final = 15.0
"""Parts of one side whose boxes lie this near are one kidney: a tumour that the mask severed from it."""
BAND_MM: Final = 45.0
"""Parts above each other with as many mm between them are one kidney: slices are missing."""
OVERLAP: Final = 0.5
"""'Above each other': as much of the smaller one's box lies, seen along z, in that of the larger one."""
APART_MM: Final = 60.0
"""Two kidneys' centres lie farther apart along x: 76 mm or more in the 164 pairs of KiTS19's 167 maps here."""
FAR_APART_MM: Final = 100.0
"""Two kidneys even where the grid's middle does not lie between them (an off-centre scan)."""
WAIST_MM2: Final = 350.0
"""A thinner waist between two lobes is a bridge that a rough mask made; KiTS19's fused kidney has 1500 mm2."""
LOBE_ML: Final = 30.0
"""Both lobes beside a bridge hold as much: the smallest kidney of the maps has 110 ml."""
MAX_GROUPS: Final = 6
"""A mask scattered over the whole body must not cost an ROI per fleck: beyond these the smallest join the nearest."""
BIN_MM: Final = 3.0
"""Bins of a part's profile along x are at least this wide."""


@dataclass(frozen=True, eq=False)
class Part:
    """A component of a mask, or what a cut bridge leaves of one.

    Attributes:
        box: Its box in the grid of the mask.
        mask: (z, y, x) inside its box.
        n_voxels: Its size.
        centre_mm_xyz: Mean position of its voxels, LPS.
    """

    box: Box
    mask: Mask
    n_voxels: int
    centre_mm_xyz: Float


def parts_of(foreground: Mask, grid: Geometry, min_ml: float) -> list[Part]:
    """The components of at least `min_ml` of a (z, y, x) mask, those that a bridge joins cut apart; largest first."""
    found, numbered, around = label_components(foreground)
    parts: list[Part] = []
    for component in found:
        if around is None or component.n_voxels * grid.voxel_volume_ml < min_ml:
            break
        parts += _cut_bridges(_part_of(component, numbered, around, grid), grid)
    return sorted(parts, key=lambda p: -p.n_voxels)


def join_parts(parts: Sequence[Part], grid: Geometry, middle_mm: float, certain: bool) -> list[list[Part]]:
    """Groups of parts, one group a kidney (or a false region that lies apart).

    Args:
        parts: Of one patient, largest first.
        grid: The grid of their mask.
        middle_mm: LPS x of the body's middle.
        certain: Whether that is the body's, not only the grid's.
    """
    divide = divide_mm([p.centre_mm_xyz[0] for p in parts], [p.n_voxels for p in parts], middle_mm, certain)
    groups: list[list[Part]] = []
    for part in parts:
        mates = [g for g in groups if any(_belong(part, other, grid, divide) for other in g)]
        groups = [g for g in groups if g not in mates] + [[part, *(p for g in mates for p in g)]]
    while len(groups) > MAX_GROUPS:
        groups.sort(key=lambda g: -sum(p.n_voxels for p in g))
        least = groups.pop()
        min(groups, key=lambda g: _gap_of_groups_mm(least, g, grid)).extend(least)
    return groups


def divide_mm(x_mm: Sequence[float], weights: Sequence[float], middle_mm: float, certain: bool) -> float | None:
    """The LPS x that tells right from left kidney, or None where the parts lie on one side.

    The parts fall into two clusters along x (two means, begun at both ends). These are the two kidneys if they lie
    on either side of the body's middle, `APART_MM` apart; or `FAR_APART_MM` apart wherever the grid's middle lies.
    """
    if not x_mm:
        return None
    x, w = np.asarray(x_mm, dtype=float), np.asarray(weights, dtype=float)
    low, high = float(x.min()), float(x.max())
    for _ in range(len(x)):
        right = np.abs(x - low) <= np.abs(x - high)
        if right.all():
            return None
        low, high = float(np.average(x[right], weights=w[right])), float(np.average(x[~right], weights=w[~right]))
    astride = low < middle_mm < high
    if high - low >= (APART_MM if astride else np.inf if certain else FAR_APART_MM):
        return (low + high) / 2.0
    return None


def _belong(a: Part, b: Part, grid: Geometry, divide: float | None) -> bool:
    """Whether two parts lie as those of one kidney do."""
    if divide is not None and (a.centre_mm_xyz[0] < divide) != (b.centre_mm_xyz[0] < divide):
        return False
    gap = _gap_mm_zyx(a.box, b.box, grid)
    if float(np.linalg.norm(gap)) <= NEAR_MM:
        return True
    return float(gap[0]) <= BAND_MM and _overlap(a.box, b.box) >= OVERLAP


def _gap_of_groups_mm(a: list[Part], b: list[Part], grid: Geometry) -> float:
    return min(float(np.linalg.norm(_gap_mm_zyx(p.box, q.box, grid))) for p in a for q in b)


def _gap_mm_zyx(a: Box, b: Box, grid: Geometry) -> Float:
    """Distance between two boxes per axis (0 where they overlap)."""
    apart = np.maximum(np.subtract(a.start_zyx, b.stop_zyx), np.subtract(b.start_zyx, a.stop_zyx))
    return np.asarray(np.maximum(0, apart) * np.asarray(grid.spacing_mm_zyx))


def _overlap(a: Box, b: Box) -> float:
    """Share of the smaller box, seen along z, that lies in the other one."""
    start, stop = np.maximum(a.start_zyx, b.start_zyx)[1:], np.minimum(a.stop_zyx, b.stop_zyx)[1:]
    area = np.prod(np.maximum(0, stop - start))
    return float(area / min(np.prod(a.shape_zyx[1:]), np.prod(b.shape_zyx[1:])))


def _part_of(component: Component, numbered: npt.NDArray[np.int32], around: Box, grid: Geometry) -> Part:
    mask = numbered[component.box.within(around).to_slices()] == component.label
    return Part(component.box, mask, component.n_voxels, grid.index_to_physical(component.centroid_zyx))


def _cut_bridges(part: Part, grid: Geometry) -> list[Part]:
    """The two lobes of a part whose waist along LPS x is thin; the part itself where there is none."""
    if part.n_voxels * grid.voxel_volume_ml < 2.0 * LOBE_ML:
        return [part]
    x_mm = _x_of_voxels(part.box, grid)
    step_mm = abs(float(grid.direction_matrix[0, 0])) * grid.spacing_mm_zyx[2]
    waist = waist_mm(np.broadcast_to(x_mm, part.mask.shape)[part.mask], grid.voxel_volume_ml, step_mm)
    if waist is None:
        return [part]
    return [_cropped(part, part.mask & side, grid) for side in (x_mm < waist, x_mm >= waist)]


def waist_mm(x_mm: npt.NDArray[np.floating], voxel_ml: float, step_mm: float) -> float | None:
    """Where two lobes that lie side by side along x meet in a waist thinner than `WAIST_MM2`.

    Args:
        x_mm: LPS x of the voxels of a component.
        voxel_ml: Volume of each.
        step_mm: Distance along x between neighbouring columns of voxels.

    Returns:
        LPS x of the thinnest place between two lobes of at least `LOBE_ML` whose centres lie `APART_MM` apart; None
        where there is none thin enough.
    """
    # Bins of whole columns: a bin without its column, or with one too many, would be a waist that is none.
    columns = max(1, int(np.ceil(BIN_MM / step_mm)))
    width, first = columns * step_mm, float(x_mm.min())
    ml = np.bincount(np.floor((x_mm - first) / width + 0.5 / columns).astype(np.intp)) * voxel_ml
    x = first - step_mm / 2.0 + (np.arange(ml.size) + 0.5) * width
    left, moment = np.cumsum(ml), np.cumsum(ml * x)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = (moment[-1] - moment) / (left[-1] - left) - moment / left
    lobes = (left >= LOBE_ML) & (left[-1] - left >= LOBE_ML) & (apart >= APART_MM)
    area = np.where(lobes, ml * 1000.0 / width, np.inf)
    at = int(np.argmin(area))
    return float(x[at]) if area[at] < WAIST_MM2 else None


def _x_of_voxels(box: Box, grid: Geometry) -> npt.NDArray[np.float32]:
    """LPS x of the voxels of a box, in a shape that broadcasts to its own: (1, 1, x) on a straight grid."""
    step = grid.direction_matrix[0, ::-1] * np.asarray(grid.spacing_mm_zyx)
    z, y, x = (s * np.arange(n if s else 1, dtype=np.float32) for s, n in zip(step, box.shape_zyx, strict=True))
    first = np.float32(grid.index_to_physical(box.start_zyx)[0])
    return np.asarray(first + z[:, None, None] + y[None, :, None] + x[None, None, :], dtype=np.float32)


def _cropped(part: Part, mask: Mask, grid: Geometry) -> Part:
    inner = Box.of_mask(mask)
    assert inner is not None  # both lobes hold LOBE_ML
    box = inner.shifted(part.box.start_zyx)
    own = mask[inner.to_slices()]
    index = np.argwhere(own)
    return Part(box, own, len(index), grid.index_to_physical(index.mean(axis=0) + box.start_zyx))


@dataclass(frozen=True, eq=False)
class Component:
    """One 26-connected component.

    Attributes:
        box: Its box in the grid of the mask.
        n_voxels: Its size.
        centroid_zyx: Mean voxel index.
        label: Its number in the array returned with it (0 is outside).
    """

    box: Box
    n_voxels: int
    centroid_zyx: tuple[float, float, float]
    label: int


def connected_components(mask: npt.NDArray[np.bool_]) -> list[Component]:
    """26-connected components of a (z, y, x) mask, the largest first; an empty mask gives an empty list."""
    return label_components(mask)[0]


def label_components(
    mask: npt.NDArray[np.bool_],
) -> tuple[list[Component], npt.NDArray[np.int32], Box | None]:
    """The components, their numbered array inside the mask's box, and that box.

    Returns:
        Components (largest first), an int32 array of the box's shape where component k has its `label`, the box
        (None, with an empty array, for an empty mask).
    """
    numbered, around = number_components(mask)
    if around is None:
        return [], numbered, None
    components = []
    for label, slices in enumerate(ndimage.find_objects(numbered), start=1):
        start = (slices[0].start, slices[1].start, slices[2].start)
        box = Box(start, (slices[0].stop, slices[1].stop, slices[2].stop)).shifted(around.start_zyx)
        own = numbered[slices] == label
        n = int(np.count_nonzero(own))
        z, y, x = (s + c for s, c in zip(box.start_zyx, centroid(own, n), strict=True))
        components.append(Component(box, n, (z, y, x), label))
    components.sort(key=lambda c: (-c.n_voxels, c.label))
    return components, numbered, around


def number_components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], Box | None]:
    """The numbered array and box of `label_components` alone: cheap however many specks a mask has."""
    around = Box.of_mask(mask)
    if around is None:
        return np.zeros((0, 0, 0), np.int32), None
    numbered = np.empty(around.shape_zyx, np.int32)
    # Canonical masks are often turned views; labelling a contiguous copy takes half the time.
    ndimage.label(np.ascontiguousarray(mask[around.to_slices()]), structure=CONNECT_26, output=numbered)
    return numbered, around


def centroid(own: npt.NDArray[np.bool_], n: int) -> list[float]:
    """Mean (z, y, x) index of the `n` voxels of a mask, from sums along its axes: a list of indices would be huge."""
    sums = (own.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3))
    return [float(counts @ np.arange(counts.size)) / n for counts in sums]
