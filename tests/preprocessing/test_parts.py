"""Which parts of a rough mask make one kidney: torn, severed, bridged, with false regions, on any grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.geometry import AxisOrder, Geometry
from bisc.core.volume import Box, NativeGrid
from bisc.preprocessing.kidneys import Kidney, RoiRule, find_kidneys, roi_box
from bisc.preprocessing.parts import MAX_GROUPS, Component, connected_components, divide_mm, waist_mm
from tests.support.grids import AXIS_ORDERS, axis_angle, signed_permutation

Mask = npt.NDArray[np.bool_]

GRID = Geometry((30, 40, 60), (5.0, 5.0, 5.0))
"""Voxels of 0.125 ml; the middle lies at x index 29.5."""
RULE = RoiRule(sides_px=[16, 32], multiple_px=16, margin_mm=6.0, min_kidney_ml=5.0)
Block = tuple[tuple[int, int, int], tuple[int, int, int]]
RIGHT: Block = ((5, 10, 12), (20, 10, 8))
LEFT: Block = ((5, 10, 40), (20, 10, 8))
"""Kidneys of 200 ml, 100 mm along z, centres 140 mm apart (start, shape)."""


def mask_of(*blocks: Block) -> Mask:
    mask = np.zeros(GRID.shape_zyx, bool)
    for start, shape in blocks:
        mask[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))] = True
    return mask


def box_of(block: Block) -> Box:
    return Box(block[0], tuple(np.add(*block).tolist()))


def by_side(mask: Mask, grid: Geometry = GRID, middle: float | None = None) -> dict[str, list[Kidney]]:
    found: dict[str, list[Kidney]] = {}
    for kidney in find_kidneys(mask, grid, 5.0, middle):
        found.setdefault(kidney.side, []).append(kidney)
    return found


@pytest.mark.parametrize("thick", [1, 4, 9])
@pytest.mark.parametrize("start", [8, 12])
def test_a_missing_band_tears_no_kidney(thick: int, start: int) -> None:
    """Four halves, two of one large kidney being the largest: still two kidneys, each with both its halves."""
    large: Block = ((5, 6, 40), (20, 14, 10))
    mask = mask_of(RIGHT, large)
    mask[start : start + thick] = False
    assert len(connected_components(mask)) == 4
    found = by_side(mask)
    assert {side: [k.box for k in kidneys] for side, kidneys in found.items()} == {
        "right": [box_of(RIGHT)],
        "left": [box_of(large)],
    }


def test_a_gap_of_more_than_45_mm_is_no_missing_band() -> None:
    """Nine slices of 5 mm are; ten are not: another organ, with an ROI of its own."""
    for slices, n in ((9, 1), (10, 2)):
        lower, upper = ((2, 10, 40), (5, 8, 8)), ((7 + slices, 10, 40), (5, 8, 8))
        assert len(by_side(mask_of(lower, upper))["left"]) == n


def test_what_lies_beside_in_plane_is_not_above() -> None:
    """20 mm higher and overlapping by less than half of the smaller box: apart; by half: one."""
    for y, n in ((13, 2), (14, 1)):
        one, other = ((5, 18, 40), (5, 8, 8)), ((14, y, 40), (5, 8, 8))
        assert len(by_side(mask_of(one, other))["left"]) == n


@pytest.mark.parametrize(("gap", "n"), [(1, 1), (3, 1), (4, 2)])
def test_a_severed_tumour_joins_within_15_mm(gap: int, n: int) -> None:
    """Beside its kidney: 5 and 15 mm away it is the kidney's, 20 mm away it has an ROI of its own."""
    tumor: Block = ((8, 10, 48 + gap), (6, 6, 6))
    left = by_side(mask_of(RIGHT, LEFT, tumor))["left"]
    assert len(left) == n
    assert left[0].box == (box_of(LEFT).union(box_of(tumor)) if n == 1 else box_of(LEFT))
    assert sum(k.volume_ml for k in left) == pytest.approx((1600 + 216) * 0.125)


def test_a_tumour_joins_no_kidney_of_the_other_side() -> None:
    """10 mm from the right kidney, but left of the line between them: near enough, and still not the right one's."""
    near: Block = ((5, 10, 20), (20, 10, 9))
    found = by_side(mask_of(near, ((5, 10, 31), (20, 10, 17))))
    assert [len(found["right"]), len(found["left"])] == [1, 1]


def test_a_thin_bridge_is_cut_and_a_thick_one_is_a_fused_kidney() -> None:
    """3 x 4 voxels of 25 mm2 are 300 mm2, below 350: two kidneys. 4 x 4 are 400: one, with one ROI around all of it."""
    thin, thick = ((10, 12, 20), (3, 4, 20)), ((10, 12, 20), (4, 4, 20))
    found = by_side(mask_of(RIGHT, LEFT, thin))
    assert [len(found["right"]), len(found["left"])] == [1, 1]
    (right,), (left,) = found["right"], found["left"]
    assert right.box.contains(box_of(RIGHT))
    assert left.box.contains(box_of(LEFT))
    assert right.box.stop_zyx[2] == left.box.start_zyx[2]
    (fused,) = find_kidneys(mask_of(RIGHT, LEFT, thick), GRID, 5.0)
    assert (fused.side, fused.box) == ("middle", box_of(RIGHT).union(box_of(LEFT)))


def test_a_waist_needs_two_lobes() -> None:
    """Both of 30 ml, 60 mm apart: a stalk, a single bean and near lobes are not cut."""
    lobe = np.repeat(np.arange(0.0, 30.0), 40)  # 1200 voxels
    thread = np.arange(30.0, 60.0)
    other = np.repeat(np.arange(60.0, 100.0), 40)
    whole = np.concatenate([lobe, thread, other])
    waist = waist_mm(whole, 0.03, 1.0)
    assert waist is not None
    assert 28 < waist < 62
    assert waist_mm(whole, 0.02, 1.0) is None  # lobes of 24 and 32 ml
    assert waist_mm(np.concatenate([lobe, thread[:10], other - 20.0]), 0.03, 1.0) is None  # 45 mm apart
    assert waist_mm(lobe, 0.03, 1.0) is None
    assert waist_mm(np.concatenate([lobe, np.repeat(thread, 20), other]), 0.03, 1.0) is None  # 600 mm2


@pytest.mark.parametrize("step_mm", [0.44, 0.78125, 1.04, 2.9, 3.1, 5.0, 7.3])
def test_no_waist_is_seen_between_columns_of_voxels(step_mm: float) -> None:
    """A bar of 400 mm2 and 400 mm has no waist, whatever the pixel: no bin misses a column or holds one too many."""
    columns = np.float32(-200.0) + np.arange(round(400.0 / step_mm), dtype=np.float32) * np.float32(step_mm)
    assert waist_mm(np.repeat(columns, 100), 4.0 * step_mm / 1000.0, step_mm) is None


def test_a_false_region_in_a_vertebra_leaves_both_kidneys_their_sides() -> None:
    """Larger than either kidney, between and behind them: it gets a region of its own, and they keep theirs."""
    vertebra: Block = ((8, 24, 24), (14, 12, 11))
    found = find_kidneys(mask_of(RIGHT, LEFT, vertebra), GRID, 5.0)
    assert found[0].box == box_of(vertebra)
    assert {k.side: k.box for k in found[1:]} == {"right": box_of(RIGHT), "left": box_of(LEFT)}


def test_a_false_region_in_the_spleen_makes_no_second_kidney() -> None:
    """A solitary left kidney and 40 mm lateral of it a spleen: both left, so no kidney is called right."""
    spleen: Block = ((14, 12, 53), (8, 8, 6))
    assert set(by_side(mask_of(((5, 10, 37), (20, 10, 8)), spleen))) == {"left"}


def test_two_kidneys_beside_the_grids_middle_are_told_by_each_other() -> None:
    """Both in one half of an off-centre scan, 100 mm apart; not where the body's middle is known to lie elsewhere."""
    near, far = ((5, 10, 31), (20, 10, 6)), ((5, 10, 51), (20, 10, 6))
    assert {side: [k.box for k in kidneys] for side, kidneys in by_side(mask_of(near, far)).items()} == {
        "right": [box_of(near)],
        "left": [box_of(far)],
    }
    assert set(by_side(mask_of(near, far), middle=0.0)) == {"left"}


def test_a_single_kidney_is_told_by_the_bodys_middle() -> None:
    """At x = 217.5 mm, right of the body's middle at 250, though left of the grid's at 147.5."""
    mask = mask_of(LEFT)
    assert set(by_side(mask)) == {"left"}
    assert set(by_side(mask, middle=250.0)) == {"right"}
    assert set(by_side(mask, middle=225.0)) == {"middle"}


def test_divide_by_hand() -> None:
    """Means of two clusters, weighted: (0 + 3 * 20) / 4 = 15 and 100 give 57.5; one cluster or one side gives None."""
    assert divide_mm([0.0, 20.0, 100.0], [1, 3, 2], 50.0, True) == pytest.approx(57.5)
    assert divide_mm([0.0, 59.0], [1, 1], 30.0, True) is None
    assert divide_mm([0.0, 60.0], [1, 1], 30.0, True) == 30.0
    assert divide_mm([0.0, 99.0], [1, 1], -1.0, False) is None
    assert divide_mm([0.0, 100.0], [1, 1], -1.0, False) == 50.0
    assert divide_mm([0.0, 100.0], [1, 1], -1.0, True) is None
    assert divide_mm([7.0], [1], 0.0, True) is None
    assert divide_mm([], [], 0.0, True) is None


def scattered() -> Mask:
    mask = np.zeros(GRID.shape_zyx, bool)
    for z, y, x in np.ndindex(2, 3, 4):
        mask[2 + 16 * z :, 2 + 13 * y :, 2 + 15 * x :][:4, :4, :4] = True
    return mask


def test_a_scattered_mask_costs_few_rois() -> None:
    """24 regions of 8 ml all over the body: `MAX_GROUPS` groups, and every region whole in one of them."""
    found = find_kidneys(scattered(), GRID, 5.0)
    assert len(found) == MAX_GROUPS
    assert all(any(k.box.contains(c.box) for k in found) for c in connected_components(scattered()))
    assert sum(k.volume_ml for k in found) == pytest.approx(24 * 8.0)


blocks = st.tuples(
    st.tuples(st.integers(0, 24), st.integers(0, 32), st.integers(0, 52)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12)),
)


@given(st.lists(blocks, max_size=12), st.sampled_from([None, 0.0, 120.0, 290.0]))
@settings(max_examples=60)
def test_nothing_of_5_ml_is_lost(found: list[Block], middle: float | None) -> None:
    """Whatever lies wherever: every component of 5 ml lies whole in some kidney's ROI, or, where a thin waist was cut,
    its every voxel in one or the other; edges are multiples of 16; volumes add up."""
    mask = np.zeros(GRID.shape_zyx, bool)
    for start, shape in found:
        mask |= mask_of((start, shape))
    kidneys = find_kidneys(mask, GRID, 5.0, middle)
    rois = [roi_box(k.reach, GRID, RULE) for k in kidneys]
    covered = np.zeros_like(mask)
    for kidney, roi in zip(kidneys, rois, strict=True):
        assert [n % 16 for n in roi.shape_zyx] == [0, 0, 0]
        assert roi.contains(kidney.reach)
        assert kidney.reach.contains(kidney.box)
        covered[kidney.box.to_slices()] = True
    plausible = [c for c in connected_components(mask) if c.n_voxels * 0.125 >= 5.0]
    for component in plausible:
        whole = any(k.box.contains(component.box) for k in kidneys)
        assert whole or (component.box.shape_zyx[2] * 5.0 > 60.0 and component.n_voxels * 0.125 >= 60.0)
    assert not (mask & ~covered)[_of(plausible, mask)].any()
    assert sum(k.volume_ml for k in kidneys) == pytest.approx(sum(c.n_voxels for c in plausible) * 0.125)
    assert [k.volume_ml for k in kidneys] == sorted((k.volume_ml for k in kidneys), reverse=True)
    assert len(kidneys) <= MAX_GROUPS


def _of(components: list[Component], mask: Mask) -> Mask:
    """Voxels in the boxes of the given components that belong to no smaller component."""
    inside = np.zeros_like(mask)
    for component in components:
        inside[component.box.to_slices()] = True
    for component in connected_components(mask):
        if component.n_voxels * 0.125 < 5.0:
            inside[component.box.to_slices()] = False
    return inside


@given(
    st.sampled_from(AXIS_ORDERS),
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.2),
    st.floats(-40, 40),
    st.tuples(st.floats(-25, 25), st.floats(-70, 70)),
)
@settings(max_examples=60)
def test_sides_are_the_patients_on_every_grid(
    order: AxisOrder, axis: tuple[float, float, float], angle: float, lower: tuple[float, float]
) -> None:
    """All 48 storage orders, tilted by up to 40 degrees: the kidney with the larger LPS x is the left one, however far
    the other lies behind or below (there the array's index says otherwise)."""
    spacing, shape = (10.0, 8.0, 9.0), (34, 43, 38)
    turned = axis_angle(axis, angle) @ signed_permutation(order)
    stored = Geometry(shape, spacing, (0.0, 0.0, 0.0), tuple(float(v) for v in turned.ravel()))
    centre = stored.index_to_physical(np.subtract(shape, 1) / 2.0)
    left = centre + np.array([50.0, lower[0], lower[1]])
    right = centre - np.array([50.0, lower[0], lower[1]])
    points = stored.index_to_physical(np.moveaxis(np.indices(shape), 0, -1))
    mask = np.minimum(np.linalg.norm(points - left, axis=-1), np.linalg.norm(points - right, axis=-1)) <= 26.0
    volume = NativeGrid.of(stored).to_canonical(mask)
    found = by_side(volume.array, volume.geometry)
    assert {side: len(kidneys) for side, kidneys in found.items()} == {"left": 1, "right": 1}
    for side, where in (("left", left), ("right", right)):
        box = found[side][0].box
        at = volume.geometry.index_to_physical((np.add(box.start_zyx, box.stop_zyx) - 1) / 2.0)
        assert np.linalg.norm(at - where) < 10.0


@pytest.mark.parametrize("angle", [-40.0, 25.0, 40.0])
def test_a_bridge_is_cut_on_a_tilted_grid(angle: float) -> None:
    """The profile runs along the patient's x, not along the array's."""
    shape = (48, 40, 60)
    tilted = Geometry(shape, (4.0, 4.0, 4.0), direction=tuple(float(v) for v in axis_angle((0, 1, 0), angle).ravel()))
    at = tilted.index_to_physical(np.moveaxis(np.indices(shape), 0, -1))
    at -= tilted.index_to_physical(np.subtract(shape, 1) / 2.0)
    balls = np.minimum(*(np.linalg.norm(at - np.array([x, 0.0, 0.0]), axis=-1) for x in (-55.0, 55.0))) <= 30.0
    bridge = (np.abs(at[..., 0]) < 55.0) & (np.hypot(at[..., 1], at[..., 2]) <= 7.0)
    assert len(connected_components(balls | bridge)) == 1
    found = by_side(balls | bridge, tilted)
    assert {side: len(kidneys) for side, kidneys in found.items()} == {"left": 1, "right": 1}
    assert abs(found["left"][0].volume_ml - found["right"][0].volume_ml) < 10.0
