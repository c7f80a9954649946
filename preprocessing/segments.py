"""A label map divided into what is spoken of: each kidney by its side, each tumour by a number. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Geometry
from bisc.core.labels import CONNECT_26, TUMOR
from bisc.preprocessing.kidneys import WHOLE_ML, Kidney, Side, find_kidneys
from bisc.preprocessing.parts import APART_MM, Component, label_components

Organ = Literal["kidney", "tumor"]
SPECK_ML: Final = 0.05
"""A smaller component is part of the tumour beside it: the smallest tumour of 167 label maps that is its patient's
largest has 0.82 ml."""
BESIDE_MM: Final = 10.0
"""Farther off a speck is a tumour of its own: a line through both would be as long as the patient is wide."""
MOST_TUMORS: Final = 99
WIDEST_MM: Final = 145.0
"""Kidney tissue in one piece that is wider along x is that of two: the fused kidney among 283 real maps has 161
mm, the widest other one 137 (1004 ml), the widest lone one 92."""
SIDES: Final[tuple[Side, ...]] = ("right", "left", "middle")


@dataclass(frozen=True)
class Segment:
    """One kidney or tumour.

    Attributes:
        number: Its value in the divided map, from 1 on.
        organ: What it is.
        side: The patient's; 'middle' for a fused kidney, or one whose side is not known, and what lies in it.
        rank: Of a tumour its place by size, 1 for the largest; 0 for a kidney.
        volume_ml: Its own voxels; a kidney's are without its tumours'.
    """

    number: int
    organ: Organ
    side: Side
    rank: int
    volume_ml: float

    @property
    def name(self) -> str:
        """'Right kidney', 'Tumour 1 (left)'."""
        where = "" if self.side == "middle" else self.side
        if self.organ == "kidney":
            return f"{where} kidney".strip().capitalize()
        return f"Tumour {self.rank}" + (f" ({where})" if where else "")


@dataclass(frozen=True)
class Sizes:
    """What is measured of one segment.

    Attributes:
        volume_ml: Its volume; a kidney's without its tumours.
        axial_mm: Its largest axial diameter; None of a kidney.
        diameter_mm: Its largest diameter; None of a kidney.
        cut: Whether it reaches the image's border: it is larger than what is seen, by nobody knows how much.
    """

    volume_ml: float
    axial_mm: float | None = None
    diameter_mm: float | None = None
    cut: bool = False


def divide(
    labels: npt.NDArray[np.uint8],
    grid: Geometry,
    min_kidney_ml: float,
    body_middle_mm: float | None = None,
    *,
    sided: bool = True,
) -> tuple[npt.NDArray[np.uint8], list[Segment]]:
    """Number the kidneys and tumours of a canonical label map.

    Every voxel that is labelled gets a number, so that the segments together are the label map. A component of tumour
    below `SPECK_ML` goes with the nearest larger one, where one lies within `BESIDE_MM`. A lone kidney that is two by
    its tissue (`is_two`: fused, or joined by a tumour) has no side, wherever it lies.

    Args:
        labels: (z, y, x), 0 background, 1 kidney, 2 tumour.
        grid: Its grid, in LPS.
        min_kidney_ml: As of `find_kidneys`.
        body_middle_mm: Likewise.
        sided: Likewise.

    Returns:
        (z, y, x) numbers, 0 is background, and the segments in their order: kidneys, the right one first; then
        tumours, the largest first.
    """
    numbered = np.zeros(labels.shape, np.uint8)
    found, components, box = label_components(labels > 0)
    if box is None:
        return numbered, []
    kidneys = find_kidneys(labels > 0, grid, min_kidney_ml, body_middle_mm, sided=sided)
    inside, sides = labels[box.to_slices()], np.zeros(box.shape_zyx, np.uint8)
    x_mm = _x_of(grid)[box.start_zyx[2] : box.stop_zyx[2]]
    named: set[Side] = set()
    tissue = (inside > 0) & (inside != TUMOR)
    with_tissue = {*np.unique(components[tissue]).tolist()}
    loose = []
    for one in found:
        if one.label not in with_tissue and kidneys and not any(one.box.contains(kidney.box) for kidney in kidneys):
            loose.append(one.label)  # tumour alone, beside kidneys that are others
            continue
        own = components == one.label
        for side, part in _sides_of(one, kidneys, x_mm, grid, body_middle_mm):
            sides[own & part] = SIDES.index(side) + 1
            named.add(side)
    if loose and sides.any():
        _join_nearest(sides, components, loose, grid)
    if len(named) == 1 and is_two(tissue, grid):
        sides[sides > 0] = SIDES.index("middle") + 1
    inner = numbered[box.to_slices()]
    segments: list[Segment] = []
    for k, side in enumerate(SIDES, start=1):
        of_side = (sides == k) & (inside != TUMOR)
        if of_side.any():
            inner[of_side] = len(segments) + 1
            segments.append(Segment(len(segments) + 1, "kidney", side, 0, _ml(of_side, grid)))
    tumors, sizes = _tumors(inside == TUMOR, grid)
    for rank in range(1, len(sizes) + 1):
        own = tumors == rank
        inner[own] = len(segments) + 1
        side = SIDES[int(np.bincount(sides[own], minlength=4)[1:].argmax())]
        segments.append(Segment(len(segments) + 1, "tumor", side, rank, _ml(own, grid)))
    return numbered, segments


def is_two(tissue: npt.NDArray[np.bool_], grid: Geometry) -> bool:
    """Whether the tissue of one kidney, a (z, y, x) mask on a grid or a part of it, is that of two.

    In two pieces of `WHOLE_ML` or more whose centres lie `APART_MM` apart along LPS x, as a tumour between them leaves
    it; or in one piece wider than `WIDEST_MM`.
    """
    found, pieces, box = label_components(tissue)
    whole = [one for one in found if one.n_voxels * grid.voxel_volume_ml >= WHOLE_ML]
    if box is None or not whole:
        return False
    if np.ptp([grid.index_to_physical(one.centroid_zyx)[0] for one in whole]) >= APART_MM:
        return True
    at = np.argwhere(pieces == whole[0].label)
    return float(np.ptp(grid.index_to_physical(at)[:, 0])) + grid.spacing_mm_zyx[2] >= WIDEST_MM


def _ml(mask: npt.NDArray[np.bool_], grid: Geometry) -> float:
    return int(np.count_nonzero(mask)) * grid.voxel_volume_ml


def _x_of(grid: Geometry) -> npt.NDArray[np.float64]:
    """LPS x of every voxel along the last axis of a canonical grid, through the grid's middle."""
    z, y, n = grid.shape_zyx
    index = np.stack([np.full(n, (z - 1) / 2), np.full(n, (y - 1) / 2), np.arange(n)], axis=1)
    return np.asarray(grid.index_to_physical(index)[:, 0])


def _sides_of(
    one: Component, kidneys: Sequence[Kidney], x_mm: npt.NDArray[np.float64], grid: Geometry, middle_mm: float | None
) -> list[tuple[Side, npt.NDArray[np.bool_]]]:
    """The side of a component, or of its two halves where it joins two kidneys, and which x are of each."""
    everywhere = np.ones((1, 1, x_mm.size), dtype=bool)
    z, y, x = one.centroid_zyx
    at_mm = float(grid.index_to_physical([z, y, x])[0])
    if not kidneys:
        middle = float(np.mean(_x_of(grid))) if middle_mm is None else middle_mm
        return [("left" if at_mm > middle else "right", everywhere)]
    centre_mm = {
        kidney: float(grid.index_to_physical(np.add(kidney.box.start_zyx, kidney.box.stop_zyx) / 2.0 - 0.5)[0])
        for kidney in kidneys
    }
    within = [kidney for kidney in kidneys if one.box.contains(kidney.box)]
    if len({kidney.side for kidney in within}) > 1:
        low, high = (pick(within, key=centre_mm.__getitem__) for pick in (min, max))
        is_high = x_mm[None, None, :] > (centre_mm[low] + centre_mm[high]) / 2
        return [(low.side, ~is_high), (high.side, is_high)]
    return [(min(kidneys, key=lambda kidney: abs(centre_mm[kidney] - at_mm)).side, everywhere)]


def _join_nearest(
    sides: npt.NDArray[np.uint8], components: npt.NDArray[np.int32], loose: Sequence[int], grid: Geometry
) -> None:
    """Give components the side of the kidney whose surface is nearest: by their centres a large tumour of one kidney
    takes what lies beside the other."""
    mm, nearest = ndimage.distance_transform_edt(
        sides == 0, sampling=grid.spacing_mm_zyx, return_distances=True, return_indices=True
    )
    side_of = np.zeros(int(components.max()) + 1, np.uint8)
    for label, (z, y, x) in zip(loose, ndimage.minimum_position(mm, components, loose), strict=True):
        side_of[label] = sides[tuple(nearest[:, z, y, x])]
    sides += side_of[components]


def _tumors(mask: npt.NDArray[np.bool_], grid: Geometry) -> tuple[npt.NDArray[np.int32], list[int]]:
    """Tumours numbered by size, specks with the one beside them, else in groups of their own; what is beyond
    `MOST_TUMORS` with the one beside it, or the last. And their sizes in voxels, of the large ones without specks."""
    numbered, box = np.zeros(mask.shape, np.int32), None
    found, components, box = label_components(mask)
    if box is None:
        return numbered, []
    kept = [one for one in found if one.n_voxels * grid.voxel_volume_ml >= SPECK_ML][:MOST_TUMORS] or found[:1]
    rank_of = np.zeros(len(found) + 1, np.int32)
    for rank, one in enumerate(kept, start=1):
        rank_of[one.label] = rank
    ranked = rank_of[components]
    sizes = [one.n_voxels for one in kept]
    if len(kept) < len(found):
        mm, nearest = ndimage.distance_transform_edt(
            ranked == 0, sampling=grid.spacing_mm_zyx, return_distances=True, return_indices=True
        )
        labelled = components > 0
        apart = np.zeros(len(found) + 1, bool)
        labels = [one.label for one in found]
        apart[labels] = ndimage.minimum(mm[labelled], components[labelled], labels) > BESIDE_MM
        specks = apart[components]
        ranked = np.where(labelled & ~specks, ranked[tuple(nearest)], 0)
        for group in _groups(specks, grid):
            if len(sizes) < MOST_TUMORS:
                sizes.append(int(np.count_nonzero(group)))
            ranked[group] = len(sizes)
    numbered[box.to_slices()] = ranked
    return numbered, sizes


def _groups(specks: npt.NDArray[np.bool_], grid: Geometry) -> list[npt.NDArray[np.bool_]]:
    """Specks that lie within `BESIDE_MM` of each other, the largest group first."""
    if not specks.any():
        return []
    mm = ndimage.distance_transform_edt(~specks, sampling=grid.spacing_mm_zyx)
    numbers, _ = ndimage.label(mm <= BESIDE_MM / 2, structure=CONNECT_26)
    sizes = np.bincount(numbers[specks])
    return [specks & (numbers == i) for i in np.argsort(-sizes, kind="stable") if sizes[i]]
