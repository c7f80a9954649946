"""Kidneys and their ROIs from a mask: which components are kidneys, and boxes that never cut one off."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.geometry import Geometry
from bisc.core.volume import Box
from bisc.preprocessing.kidneys import (
    MIDDLE_MM,
    RoiRule,
    centred_box,
    find_kidneys,
    map_box,
    next_multiple,
    roi_box,
)
from bisc.preprocessing.parts import connected_components, label_components
from tests.support.grids import axis_angle, grid

Mask = npt.NDArray[np.bool_]

RULE = RoiRule(sides_px=[160, 192], multiple_px=16, margin_mm=6.0, min_kidney_ml=5.0)
TARGET = grid((200, 600, 600), (3.0, 0.78125, 0.78125))
FIVE_MM = Geometry((20, 40, 40), (5.0, 5.0, 5.0))
"""Voxels of 0.125 ml: 40 of them are 5 ml. The grid's middle lies at x index 19.5."""
KIDNEY = (4, 4, 4)
"""64 voxels, 8 ml."""


def mask_of(*blocks: tuple[tuple[int, int, int], tuple[int, int, int]], geometry: Geometry = FIVE_MM) -> Mask:
    """Blocks given as (start, shape)."""
    mask = np.zeros(geometry.shape_zyx, bool)
    for start, shape in blocks:
        mask[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))] = True
    return mask


@pytest.mark.parametrize(
    ("value", "multiple"),
    [(0, 16), (1, 16), (15.9, 16), (16, 16), (16 + 1e-9, 16), (16.001, 32), (153.8, 160), (185.9, 192), (160, 160)],
)
def test_next_multiple_by_hand(value: float, multiple: int) -> None:
    """The smallest positive multiple not below; rounding noise is no reason for another 16."""
    assert next_multiple(value) == multiple


@given(st.integers(0, 5000), st.integers(1, 64))
def test_next_multiple_is_the_smallest(value: int, multiple: int) -> None:
    """Not below, a multiple, and one less would be too small (or zero)."""
    found = next_multiple(value, multiple)
    assert found % multiple == 0
    assert found >= max(value, 1)
    assert found - multiple < max(value, 1)


def test_components_by_hand() -> None:
    """Corner contact joins (26 neighbours); the larger comes first; box, size and centroid are those of the voxels."""
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 1, 1] = mask[2, 2, 2] = True
    mask[4, 3:6, 6] = True
    first, second = connected_components(mask)
    assert (first.n_voxels, first.box, first.centroid_zyx) == (3, Box((4, 3, 6), (5, 6, 7)), (4.0, 4.0, 6.0))
    assert (second.n_voxels, second.box, second.centroid_zyx) == (2, Box((1, 1, 1), (3, 3, 3)), (1.5, 1.5, 1.5))
    found, numbered, around = label_components(mask)
    assert around == Box((1, 1, 1), (5, 6, 7))
    assert [int((numbered == c.label).sum()) for c in found] == [3, 2]
    assert connected_components(np.zeros((2, 2, 2), bool)) == []
    assert label_components(np.zeros((2, 2, 2), bool))[2] is None


def test_two_kidneys_with_their_sides() -> None:
    """LPS: the larger x index is the patient's left; the larger kidney comes first."""
    mask = mask_of(((5, 10, 4), (4, 4, 4)), ((6, 12, 30), (5, 4, 4)))
    left, right = find_kidneys(mask, FIVE_MM, 5.0)
    assert (left.side, left.box, left.volume_ml) == ("left", Box((6, 12, 30), (11, 16, 34)), 10.0)
    assert (right.side, right.box, right.volume_ml) == ("right", Box((5, 10, 4), (9, 14, 8)), 8.0)


def test_sides_hold_on_an_oblique_grid() -> None:
    """Canonical index and physical x grow together up to 40 degrees."""
    oblique = grid((20, 40, 40), (5.0, 5.0, 5.0), direction=axis_angle((1, 1, 1), 40))
    mask = mask_of(((5, 10, 4), KIDNEY), ((6, 12, 30), KIDNEY))
    kidneys = {k.side: k for k in find_kidneys(mask, oblique, 5.0)}
    x = {side: oblique.index_to_physical(k.box.start_zyx)[0] for side, k in kidneys.items()}
    assert x["left"] > x["right"]


def test_near_the_middle_a_side_is_not_claimed() -> None:
    """A fused kidney, or a scan off centre: within MIDDLE_MM of the grid's middle."""
    for start_x, side in ((14, "middle"), (15, "middle"), (13, "right"), (24, "left")):
        (kidney,) = find_kidneys(mask_of(((5, 10, start_x), (4, 4, 8))), FIVE_MM, 5.0)
        offset_mm = (start_x + 3.5 - 19.5) * 5
        assert kidney.side == side
        assert (abs(offset_mm) < MIDDLE_MM) == (side == "middle")


def test_one_kidney_and_none() -> None:
    """A solitary kidney is one; an empty mask gives an empty list, no error."""
    assert [k.side for k in find_kidneys(mask_of(((5, 10, 4), KIDNEY)), FIVE_MM, 5.0)] == ["right"]
    assert find_kidneys(mask_of(), FIVE_MM, 5.0) == []


def test_specks_are_no_kidneys() -> None:
    """39 voxels of 0.125 ml are 4.875 ml, below 5; 40 are exactly 5, enough."""
    kidney = ((5, 10, 4), KIDNEY)
    assert len(find_kidneys(mask_of(kidney, ((5, 10, 30), (1, 3, 13))), FIVE_MM, 5.0)) == 1
    assert len(find_kidneys(mask_of(kidney, ((5, 10, 25), (2, 2, 10))), FIVE_MM, 5.0)) == 2
    assert find_kidneys(mask_of(((5, 10, 25), (1, 3, 13))), FIVE_MM, 5.0) == []


@pytest.mark.parametrize(("part_x", "joined"), [(12, 0), (26, 1)], ids=["right", "left"])
def test_a_severed_part_joins_its_kidney(part_x: int, joined: int) -> None:
    """A third component of plausible size is a tumour the mask does not join: box and volume grow by it."""
    blocks = [((5, 10, 4), (5, 5, 5)), ((5, 10, 32), (5, 5, 5))]
    part = ((5, 10, part_x), KIDNEY)
    kidneys = find_kidneys(mask_of(*blocks, part), FIVE_MM, 5.0)
    assert len(kidneys) == 2
    right, left = sorted(kidneys, key=lambda k: k.box.start_zyx[2])
    grown, other = (right, left) if joined == 0 else (left, right)
    part_box = Box(part[0], (9, 14, part_x + 4))
    assert grown.volume_ml == pytest.approx(125 * 0.125 + 8.0)
    assert grown.box.contains(part_box)
    assert other.volume_ml == pytest.approx(125 * 0.125)
    assert not other.box.contains(part_box)
    assert (right.side, left.side) == ("right", "left")


def test_nearness_counts_in_mm() -> None:
    """With 5 mm slices and 1 mm pixels: 16 pixels are apart, and so are four slices beside it; three slices are not."""
    thin = Geometry((30, 60, 90), (5.0, 1.0, 1.0))
    kidney = ((3, 20, 40), (10, 12, 12))
    for start, n in (((16, 32, 52), 1), ((17, 32, 52), 2), ((3, 20, 67), 1), ((3, 20, 68), 2)):
        part = (start, (8, 13, 10))
        assert len(find_kidneys(mask_of(kidney, part, geometry=thin), thin, 5.0)) == n


@pytest.mark.parametrize(
    ("extent_px", "side"),
    [(100, 160), (144, 160), (145, 192), (176, 192), (177, 208), (192, 208), (193, 224), (283, 304)],
)
def test_roi_side_rule_by_hand(extent_px: int, side: int) -> None:
    """A margin of 6 mm is 8 px of 0.78125 mm at each end: 144 + 16 = 160, 176 + 16 = 192, then the next multiple."""
    for shape in ((30, extent_px, 60), (30, 60, extent_px)):
        roi = roi_box(Box((10, 100, 200), (40, 100 + shape[1], 200 + shape[2])), TARGET, RULE)
        assert roi.shape_zyx[1:] == (side, side)


@pytest.mark.parametrize(("slices", "depth"), [(1, 16), (12, 16), (13, 32), (28, 32), (29, 48), (60, 64)])
def test_roi_depth_rule_by_hand(slices: int, depth: int) -> None:
    """6 mm are two slices of 3 mm at each end: the next multiple of 16 above slices + 4."""
    roi = roi_box(Box((10, 100, 200), (10 + slices, 180, 280)), TARGET, RULE)
    assert roi.shape_zyx[0] == depth


spacings = st.tuples(st.floats(0.5, 6), st.floats(0.4, 1.2), st.floats(0.4, 1.2))
starts = st.tuples(st.integers(-20, 60), st.integers(-20, 400), st.integers(-20, 400))
shapes = st.tuples(st.integers(1, 90), st.integers(1, 320), st.integers(1, 320))


@given(starts, shapes, spacings)
def test_roi_holds_the_mask_with_its_margin(
    start: tuple[int, int, int], shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    """For any mask: 6 mm of room at each of six sides, multiples of 16, square, centred to half a voxel, not larger
    than needed."""
    target = grid((100, 500, 500), spacing)
    inner = Box(start, tuple(np.add(start, shape).tolist()))
    roi = roi_box(inner, target, RULE)
    depth, height, width = roi.shape_zyx
    low = np.subtract(inner.start_zyx, roi.start_zyx)
    high = np.subtract(roi.stop_zyx, inner.stop_zyx)
    whole = np.ceil(6.0 / np.array(spacing))
    assert (low + high >= 2 * whole).all()
    assert (np.minimum(low, high) >= whole).all()
    assert (np.abs(low - high) <= 1).all()
    assert height == width
    assert depth % 16 == height % 16 == 0
    assert depth - 16 < shape[0] + 2 * whole[0]
    assert height in (160, 192) or height > 192
    need = max(shape[1] + 2 * whole[1], shape[2] + 2 * whole[2])
    assert height == (160 if need <= 160 else 192 if need <= 192 else 16 * np.ceil(need / 16))


def test_centred_box_by_hand() -> None:
    """What is left over is halved; an odd voxel goes to the low side: 3 in 4 leaves 1 below and 0 above."""
    assert centred_box(Box((10, 10, 10), (12, 14, 13)), (4, 4, 4)) == Box((9, 10, 9), (13, 14, 13))


@given(
    starts,
    shapes,
    spacings,
    spacings,
    st.floats(-40, 40),
    st.tuples(*[st.floats(-9, 9)] * 3),
)
@settings(max_examples=60)
def test_map_box_covers_and_is_tight(
    start: tuple[int, int, int],
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    other: tuple[float, float, float],
    angle: float,
    shift: tuple[float, float, float],
) -> None:
    """Every voxel centre of the box lies in the mapped box; no face of it could move in by a voxel."""
    source = grid((90, 400, 400), spacing, direction=axis_angle((1, -1, 2), angle))
    target = source.cropped(shift, (90, 400, 400)).resampled(other)
    box = Box(start, tuple(np.add(start, shape).tolist()))
    mapped = map_box(box, source, target)
    last = np.subtract(box.stop_zyx, 1)
    corners = [np.where(np.array(pick) == 0, box.start_zyx, last) for pick in np.ndindex(2, 2, 2)]
    index = target.physical_to_index(source.index_to_physical(corners))
    tolerance = 1e-5
    assert (index.min(axis=0) >= np.array(mapped.start_zyx) - tolerance).all()
    assert (index.max(axis=0) <= np.array(mapped.stop_zyx) - 1 + tolerance).all()
    assert (index.min(axis=0) < np.array(mapped.start_zyx) + 1).all()
    assert (index.max(axis=0) > np.array(mapped.stop_zyx) - 2 - tolerance).all()


def test_map_box_to_its_own_grid_is_the_identity() -> None:
    """Rounding noise adds no voxel."""
    oblique = grid((20, 40, 40), (5.0, 0.7, 0.9), direction=axis_angle((1, 2, 3), 30))
    box = Box((3, 4, 5), (10, 20, 30))
    assert map_box(box, oblique, oblique) == box
