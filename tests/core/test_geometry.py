"""Where voxels lie: index to mm by hand, all 48 axis orders, oblique grids, ITK as oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.geometry import (
    GRID_TOLERANCE_VOXELS,
    AxisOrder,
    Geometry,
    as_int_triple,
    as_triple,
    canonical_axis_order,
)
from tests.support.grids import AXIS_ORDERS, axis_angle, grid, rotation, signed_permutation

POSITION_MM = 1e-9
"""Positions of a few hundred mm in double precision: rounding stays below 1e-12 of that."""
EXACT = 1e-12

sizes = st.tuples(*[st.integers(1, 9)] * 3)
spacings = st.tuples(*[st.floats(0.3, 6.0)] * 3)
origins = st.tuples(*[st.floats(-500, 500)] * 3)
rotations = st.builds(
    axis_angle,
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1),
    st.floats(-40, 40),
)
orders = st.sampled_from(AXIS_ORDERS)


@st.composite
def stored_grids(draw: st.DrawFn) -> tuple[Geometry, AxisOrder]:
    """A grid stored in one of 48 orders, turned by up to 40 degrees, and the order that makes it canonical."""
    order = draw(orders)
    direction = draw(rotations) @ signed_permutation(order)
    stored = grid(draw(sizes), draw(spacings), draw(origins), direction)
    return stored, order


def numbered(geometry: Geometry) -> npt.NDArray[np.int64]:
    """An array in which every voxel has a number of its own."""
    return np.arange(np.prod(geometry.shape_zyx)).reshape(geometry.shape_zyx)


def test_index_to_physical_by_hand() -> None:
    """Voxel (z 2, y 3, x 4): x = -12.5 + 4 * 0.7, y = 30.25 + 3 * 0.8, z = 411 + 2 * 3."""
    assert grid().index_to_physical((2, 3, 4)) == pytest.approx((-9.7, 32.65, 417.0), abs=EXACT)


def test_index_to_physical_of_a_turned_grid_by_hand() -> None:
    """The first index axis runs downwards (-z), as in KiTS19's IPL files; each step is 0.7 mm."""
    ipl = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    turned = grid(direction=ipl)
    assert turned.index_to_physical((2, 3, 4)) == pytest.approx((-12.5 + 6.0, 30.25 + 2.4, 411.0 - 2.8), abs=EXACT)


def test_extent_volume_and_corners_by_hand() -> None:
    """5 x 6 x 7 voxels of 3 x 0.8 x 0.7 mm."""
    assert grid().extent_mm_zyx == pytest.approx((15.0, 4.8, 4.9), abs=EXACT)
    assert grid().voxel_volume_ml == pytest.approx(3.0 * 0.8 * 0.7 / 1000, abs=EXACT)
    assert grid().corners()[0] == pytest.approx((-12.5, 30.25, 411.0), abs=EXACT)
    assert grid().corners()[-1] == pytest.approx((-12.5 + 6 * 0.7, 30.25 + 5 * 0.8, 411.0 + 4 * 3.0), abs=EXACT)


@given(stored_grids(), st.tuples(*[st.floats(-20, 20)] * 3))
def test_physical_to_index_inverts(case: tuple[Geometry, AxisOrder], index: tuple[float, float, float]) -> None:
    """Index to mm and back is the identity, outside the grid too."""
    stored, _ = case
    assert stored.physical_to_index(stored.index_to_physical(index)) == pytest.approx(index, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"shape_zyx": (0, 4, 4)}, "shape_zyx"),
        ({"shape_zyx": (4, 4)}, "shape_zyx"),
        ({"spacing_mm_zyx": (1.0, 0.0, 1.0)}, "spacing"),
        ({"spacing_mm_zyx": (1.0, -1.0, 1.0)}, "spacing"),
        ({"spacing_mm_zyx": (1.0, float("nan"), 1.0)}, "spacing"),
        ({"direction": (1.0,) * 9}, "singular"),
        ({"direction": (1.0, 0.0)}, "nine"),
        ({"direction": (float("inf"), *(0.0,) * 8)}, "nine finite"),
    ],
)
def test_impossible_grids_are_refused(change: dict[str, Any], match: str) -> None:
    """No grid without voxels, extent or three axes."""
    with pytest.raises(ValueError, match=match):
        replace(Geometry((4, 4, 4), (1.0, 1.0, 1.0)), **change)


@pytest.mark.parametrize("order", AXIS_ORDERS, ids=str)
@pytest.mark.parametrize("angle", [0.0, 40.0])
def test_each_of_48_orders_is_recognised(order: AxisOrder, angle: float) -> None:
    """A grid stored in any order, straight or turned by 40 degrees, names the order that undoes it."""
    stored = grid(direction=axis_angle((1, 2, -1.5), angle) @ signed_permutation(order))
    assert canonical_axis_order(stored) == order


@pytest.mark.parametrize("order", AXIS_ORDERS, ids=str)
def test_inverse_undoes_each_order(order: AxisOrder) -> None:
    """Apply, then apply the inverse: every voxel is back; the inverse of the inverse is the order itself."""
    array = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2)
    assert np.array_equal(order.inverse().apply(order.apply(array)), array)
    assert np.array_equal(order.apply(order.inverse().apply(array)), array)
    assert order.inverse().inverse() == order


@given(stored_grids())
def test_no_voxel_moves(case: tuple[Geometry, AxisOrder]) -> None:
    """Each numbered voxel has the same position in mm on the stored and on the canonical grid."""
    stored, order = case
    canonical = order.apply_to_geometry(stored)
    here, there = numbered(stored), order.apply(numbered(stored))
    assert there.shape == canonical.shape_zyx
    at = {int(here[i]): stored.index_to_physical(i) for i in np.ndindex(here.shape)}
    for index in np.ndindex(there.shape):
        assert canonical.index_to_physical(index) == pytest.approx(at[int(there[index])], abs=POSITION_MM)


@given(stored_grids())
def test_canonical_is_nearest_to_identity_and_stable(case: tuple[Geometry, AxisOrder]) -> None:
    """Of the 48 directions none has a larger trace, the diagonal is positive, and canonical stays canonical."""
    stored, _ = case
    canonical = canonical_axis_order(stored).apply_to_geometry(stored)
    matrix = canonical.direction_matrix
    traces = [np.trace(o.apply_to_geometry(stored).direction_matrix) for o in AXIS_ORDERS]
    assert np.trace(matrix) == pytest.approx(max(traces), abs=EXACT)
    assert (np.diag(matrix) > 0).all()
    assert canonical_axis_order(canonical) == AxisOrder((0, 1, 2), (False, False, False))


@given(stored_grids())
@settings(max_examples=60)
def test_itk_dicom_orient_agrees(case: tuple[Geometry, AxisOrder]) -> None:
    """Oracle: sitk.DICOMOrient(image, 'LPS') gives the same voxels, size, spacing, origin and direction."""
    stored, _ = case
    image = sitk.GetImageFromArray(numbered(stored).astype(np.int32))
    image.SetSpacing(stored.spacing_mm_zyx[::-1])
    image.SetOrigin(stored.origin_mm_xyz)
    image.SetDirection(stored.direction)
    oracle = sitk.DICOMOrient(image, "LPS")
    order = canonical_axis_order(stored)
    ours = order.apply_to_geometry(stored)
    assert np.array_equal(order.apply(numbered(stored)), sitk.GetArrayFromImage(oracle))
    assert ours.shape_zyx == oracle.GetSize()[::-1]
    assert ours.spacing_mm_zyx == oracle.GetSpacing()[::-1]
    assert ours.origin_mm_xyz == pytest.approx(oracle.GetOrigin(), abs=POSITION_MM)
    assert ours.direction == pytest.approx(oracle.GetDirection(), abs=EXACT)


def test_flipped_zeros_are_plus_zero() -> None:
    """-0.0 in a direction would show in headers and messages."""
    stored = grid(direction=np.diag([-1.0, -1.0, 1.0]))
    canonical = canonical_axis_order(stored).apply_to_geometry(stored)
    assert not np.signbit(canonical.direction).any()


def test_vanishing_cosines_become_zero() -> None:
    """ITK's resampling returns an empty image where their squares underflow; others stay to the bit."""
    tiny = 1.9e-303
    stored = grid(direction=np.array([[1.0, -tiny, 2 * tiny], [tiny, 1.0, 6e-17], [-2 * tiny, 0.0, 1.0]]))
    assert stored.orthonormal().direction == (1.0, 0.0, 0.0, 0.0, 1.0, 6e-17, 0.0, 0.0, 1.0)
    same = grid()
    assert same.orthonormal() is same


def test_cropped_by_hand() -> None:
    """From voxel (1, -2, 0.5): x = -12.5 + 0.35, y = 30.25 - 1.6, z = 411 + 3; the voxel (0, 0, 0) is that point."""
    part = grid().cropped((1, -2, 0.5), (2, 3, 4))
    assert part.shape_zyx == (2, 3, 4)
    assert part.spacing_mm_zyx == grid().spacing_mm_zyx
    assert part.origin_mm_xyz == pytest.approx((-12.15, 28.65, 414.0), abs=EXACT)


@given(stored_grids(), st.tuples(*[st.integers(-3, 3)] * 3), st.tuples(*[st.integers(0, 5)] * 3))
def test_cropped_keeps_positions(
    case: tuple[Geometry, AxisOrder], start: tuple[int, int, int], index: tuple[int, int, int]
) -> None:
    """Voxel i of a crop is voxel start + i of its parent, on oblique grids too."""
    stored, _ = case
    part = stored.cropped(start, (6, 6, 6))
    expected = stored.index_to_physical(np.add(start, index))
    assert part.index_to_physical(index) == pytest.approx(expected, abs=POSITION_MM)


def test_resampled_by_hand() -> None:
    """12 voxels of 1 mm from 0 to 12: six of 2 mm have centres 1, 3, ... = index 0.5, 2.5, ..."""
    fine = Geometry((12, 12, 12), (1.0, 1.0, 1.0))
    coarse = fine.resampled((2.0, 3.0, 5.0))
    assert coarse.shape_zyx == (6, 4, 2)  # 12 / 5 = 2.4 -> 2
    # x: two voxels of 5 mm, centred: they begin 1 mm after the old face, the first centre is -0.5 + 1 + 2.5
    assert coarse.origin_mm_xyz == pytest.approx((3.0, 1.0, 0.5), abs=EXACT)


@given(stored_grids(), sizes)
def test_resampled_covers_the_same_extent(case: tuple[Geometry, AxisOrder], shape: tuple[int, int, int]) -> None:
    """With spacing = extent / size the outer faces of both grids coincide."""
    stored, _ = case
    spacing = as_triple(np.divide(stored.extent_mm_zyx, shape))
    other = stored.resampled(spacing, shape)
    for index in (-0.5, -0.5, -0.5), np.array(shape) - 0.5:
        face = np.where(np.asarray(index) < 0, -0.5, np.array(stored.shape_zyx) - 0.5)
        assert other.index_to_physical(index) == pytest.approx(stored.index_to_physical(face), abs=POSITION_MM)


@given(stored_grids(), spacings)
def test_resampled_shares_the_rounding_error(
    case: tuple[Geometry, AxisOrder], spacing: tuple[float, float, float]
) -> None:
    """The centre stays, and no end is off by more than a quarter of a new voxel (where one voxel is not too large)."""
    stored, _ = case
    other = stored.resampled(spacing)
    middle = (np.array(stored.shape_zyx) - 1) / 2
    other_middle = (np.array(other.shape_zyx) - 1) / 2
    assert other.index_to_physical(other_middle) == pytest.approx(stored.index_to_physical(middle), abs=POSITION_MM)
    old, new = np.asarray(stored.extent_mm_zyx), np.asarray(other.extent_mm_zyx)
    fits = old >= np.asarray(spacing) / 2
    assert (np.abs(new - old)[fits] / 2 <= np.asarray(spacing)[fits] / 4 + POSITION_MM).all()


def test_same_grid_tolerance() -> None:
    """A shift just within the tolerance is the same grid, one just beyond is not; nor is another size.

    The tolerance is one of voxels, no longer of mm.
    """
    base = grid()
    near = grid(origin_mm_xyz=(-12.5 + 0.99 * GRID_TOLERANCE_VOXELS * 0.7, 30.25, 411.0))
    far = grid(origin_mm_xyz=(-12.5 + 1.01 * GRID_TOLERANCE_VOXELS * 0.7, 30.25, 411.0))
    assert base.is_same_grid(base)
    assert base.is_same_grid(near)
    assert not base.is_same_grid(far)
    assert base.is_same_grid(far, tolerance_voxels=1.02 * GRID_TOLERANCE_VOXELS)
    assert not base.is_same_grid(grid(shape_zyx=(5, 6, 8)))


def test_same_grid_sees_spacing_and_direction() -> None:
    """The last of five faces lies 4.5 steps from the first centre, the first half a step: 2.5 x 0.5 mm on average."""
    assert grid().voxels_off(grid(spacing_mm_zyx=(3.5, 0.8, 0.7))) == pytest.approx(2.5 * 0.5 / 3.0)
    assert not grid().is_same_grid(grid(spacing_mm_zyx=(3.5, 0.8, 0.7)))
    assert grid().is_same_grid(grid(spacing_mm_zyx=(3.002, 0.8, 0.7)))
    assert not grid().is_same_grid(grid(direction=rotation((0.0, 0.0, 10.0))))


def test_describe_is_one_line_in_viewer_order() -> None:
    """x first, as image viewers show it."""
    text = grid().describe()
    assert text.startswith("size 7 x 6 x 5, spacing 0.7 x 0.8 x 3 mm, origin (-12.5, 30.25, 411)")
    assert "\n" not in text


def test_triples_have_plain_types() -> None:
    """NumPy scalars do not leak into frozen types."""
    assert [type(v) for v in as_triple(np.array([1, 2, 3]))] == [float] * 3
    assert [type(v) for v in as_int_triple(np.array([1.0, 2.0, 3.0]))] == [int] * 3
