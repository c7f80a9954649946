"""Voxels with their geometry: the native grid comes back exactly, crops know where they lie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.core.geometry import AxisOrder
from bisc.core.volume import Box, NativeGrid, Volume
from tests.support.grids import AXIS_ORDERS, axis_angle, grid, signed_permutation

POSITION_MM = 1e-9


def numbered(shape: tuple[int, int, int]) -> npt.NDArray[np.int32]:
    return np.arange(np.prod(shape), dtype=np.int32).reshape(shape)


@pytest.mark.parametrize("order", AXIS_ORDERS, ids=str)
def test_stored_to_canonical_to_stored_is_the_identity(order: AxisOrder) -> None:
    """Voxel for voxel, on an oblique, anisotropic grid of odd size; the way there copies nothing."""
    stored = grid((3, 5, 7), direction=axis_angle((1, -1, 2), 25.0) @ signed_permutation(order))
    native = NativeGrid.of(stored)
    array = numbered(stored.shape_zyx)
    volume = native.to_canonical(array)
    assert native.order == order
    assert np.shares_memory(volume.array, array)
    back = native.to_stored(volume.array)
    assert np.array_equal(back, array)
    assert back.flags.c_contiguous
    assert native.geometry is stored


@pytest.mark.parametrize("order", AXIS_ORDERS[::7], ids=str)
def test_trailing_axis_travels_along(order: AxisOrder) -> None:
    """Probabilities (z, y, x, classes) go back to the native grid as labels do."""
    native = NativeGrid.of(grid((3, 5, 7), direction=signed_permutation(order)))
    canonical = np.random.default_rng(0).random((*native.canonical.shape_zyx, 3))
    stored = native.to_stored(canonical)
    assert stored.shape == (3, 5, 7, 3)
    for channel in range(3):
        assert np.array_equal(stored[..., channel], native.to_stored(canonical[..., channel]))


@given(st.sampled_from(AXIS_ORDERS), st.tuples(*[st.integers(0, 6)] * 3), st.floats(-40, 40))
def test_a_landmark_keeps_its_position(order: AxisOrder, at: tuple[int, int, int], angle: float) -> None:
    """One marked voxel lies at the same mm before and after reorientation."""
    stored = grid((7, 7, 7), direction=axis_angle((0.3, 1, -0.7), angle) @ signed_permutation(order))
    array = np.zeros(stored.shape_zyx, np.uint8)
    array[at] = 1
    volume = NativeGrid.of(stored).to_canonical(array)
    (found,) = np.argwhere(volume.array)
    expected = stored.index_to_physical(at)
    assert volume.geometry.index_to_physical(found) == pytest.approx(expected, abs=POSITION_MM)


def test_kits19_storage_by_hand() -> None:
    """IPL: the x index axis runs inferior, y posterior, z left, so the stored array is (left, posterior, inferior)."""
    ipl = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    native = NativeGrid.of(grid((4, 3, 2), (0.9, 0.9, 3.0), direction=ipl))
    array = numbered((4, 3, 2))
    canonical = native.to_canonical(array).array
    assert canonical.shape == (2, 3, 4)
    assert native.canonical.spacing_mm_zyx == (3.0, 0.9, 0.9)
    # canonical z counts upwards, so its slice 0 is the last stored one
    assert canonical[0, 2, 3] == array[3, 2, 1]
    assert canonical[1, 2, 3] == array[3, 2, 0]


def test_cropped_volume_is_a_view_at_the_right_place() -> None:
    """Voxel (1, 1, 1) of the crop is voxel (2, 3, 4) of the volume, in value and in mm."""
    volume = Volume(numbered((5, 6, 7)), grid())
    part = volume.cropped(Box((1, 2, 3), (4, 6, 7)))
    assert part.array.shape == part.geometry.shape_zyx == (3, 4, 4)
    assert part.array[1, 1, 1] == volume.array[2, 3, 4]
    assert np.shares_memory(part.array, volume.array)
    assert part.geometry.index_to_physical((1, 1, 1)) == pytest.approx(
        volume.geometry.index_to_physical((2, 3, 4)), abs=POSITION_MM
    )


def test_array_and_geometry_must_agree() -> None:
    """A transposed array is the commonest of all errors."""
    with pytest.raises(ValueError, match=r"array is \(7, 6, 5\) but its geometry \(5, 6, 7\)"):
        Volume(numbered((7, 6, 5)), grid())
    with pytest.raises(ValueError, match="array is"):
        Volume(numbered((5, 6, 7)), grid()).with_array(np.zeros((5, 6, 8)))
    with pytest.raises(ValueError, match="array is"):
        Volume(numbered((5, 6, 7)), grid()).cropped(Box((3, 0, 0), (6, 6, 7)))


def test_with_array_leaves_the_old_volume_alone() -> None:
    """A new object on the same grid."""
    volume = Volume(numbered((5, 6, 7)), grid())
    other = volume.with_array(np.zeros((5, 6, 7)))
    assert other.geometry is volume.geometry
    assert volume.array.max() == 5 * 6 * 7 - 1
