"""Boxes of voxels, by hand and as properties."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bisc.core.geometry import as_int_triple
from bisc.core.volume import Box

Mask = npt.NDArray[np.bool_]

starts = st.tuples(*[st.integers(-8, 8)] * 3)
edges = st.tuples(*[st.integers(1, 9)] * 3)
boxes = st.builds(lambda start, shape: Box(start, tuple(np.add(start, shape).tolist())), starts, edges)
shifts = st.tuples(*[st.integers(-5, 5)] * 3)
masks = arrays(bool, st.tuples(*[st.integers(1, 6)] * 3))


def voxels(box: Box) -> set[tuple[int, int, int]]:
    """Every voxel of a box."""
    return {tuple(np.add(box.start_zyx, i).tolist()) for i in np.ndindex(box.shape_zyx)}


def test_of_mask_by_hand() -> None:
    """Two voxels at (1, 2, 3) and (2, 0, 3): from (1, 0, 3) up to (3, 3, 4)."""
    mask = np.zeros((4, 4, 5), bool)
    mask[1, 2, 3] = mask[2, 0, 3] = True
    assert Box.of_mask(mask) == Box((1, 0, 3), (3, 3, 4))
    assert Box((1, 0, 3), (3, 3, 4)).shape_zyx == (2, 3, 1)


def test_of_an_empty_mask_is_none() -> None:
    """Nothing found is a result, and so is nothing to look at."""
    for shape in ((3, 3, 3), (0, 3, 3), (3, 0, 3), (3, 3, 0)):
        assert Box.of_mask(np.zeros(shape, bool)) is None


@given(masks, st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([1, -1, 2])] * 3), st.sampled_from("?Bhf"))
def test_of_mask_is_the_smallest(mask: Mask, axes: list[int], steps: tuple[int, ...], kind: str) -> None:
    """It holds every voxel of the mask, and each of its six faces touches one, however the mask lies in memory."""
    mask = mask.astype(kind).transpose(axes)[tuple(slice(None, None, step) for step in steps)]
    box = Box.of_mask(mask)
    found = np.argwhere(mask)
    if found.size == 0:
        assert box is None
        return
    assert box is not None
    assert box.start_zyx == tuple(found.min(axis=0).tolist())
    assert box.stop_zyx == tuple((found.max(axis=0) + 1).tolist())
    assert mask[box.to_slices()].sum() == mask.sum()


@pytest.mark.parametrize("stop", [(1, 2, 3), (1, 3, 4), (0, 3, 4)])
def test_empty_boxes_are_refused(stop: tuple[int, int, int]) -> None:
    """Each axis needs a voxel."""
    with pytest.raises(ValueError, match="empty box"):
        Box((1, 2, 3), stop)


def test_slices_of_a_box_that_begins_outside_are_refused() -> None:
    """A negative start would count from the array's far end."""
    with pytest.raises(ValueError, match="clip it first"):
        Box((-1, 0, 0), (2, 2, 2)).to_slices()
    assert Box((1, 0, 2), (2, 2, 4)).to_slices() == (slice(1, 2), slice(0, 2), slice(2, 4))


def test_shifted_padded_clipped_union_by_hand() -> None:
    """One box through every method."""
    box = Box((1, 2, 3), (4, 6, 8))
    assert box.shifted((1, -2, 0)) == Box((2, 0, 3), (5, 4, 8))
    assert box.padded((1, 3, 0)) == Box((0, -1, 3), (5, 9, 8))
    assert box.padded((1, 3, 0)).clipped((4, 7, 7)) == Box((0, 0, 3), (4, 7, 7))
    assert box.clipped((1, 9, 9)) is None
    assert box.union(Box((0, 4, 9), (1, 5, 10))) == Box((0, 2, 3), (4, 6, 10))
    assert Box.of_shape((2, 3, 4)) == Box((0, 0, 0), (2, 3, 4))


@given(boxes, boxes)
def test_union_and_contains_are_those_of_voxel_sets(a: Box, b: Box) -> None:
    """`contains` means subset; the union holds both and is the smallest box that does."""
    assert a.contains(b) == (voxels(b) <= voxels(a))
    both = a.union(b)
    assert both.contains(a)
    assert both.contains(b)
    every = np.array(sorted(voxels(a) | voxels(b)))
    assert both == Box(tuple(every.min(axis=0).tolist()), tuple((every.max(axis=0) + 1).tolist()))


@given(boxes, edges)
def test_clipped_is_the_intersection(box: Box, shape: tuple[int, int, int]) -> None:
    """The voxels that lie in both, or None where there are none."""
    clipped = box.clipped(shape)
    expected = voxels(box) & voxels(Box.of_shape(shape))
    assert (set() if clipped is None else voxels(clipped)) == expected


@given(boxes, boxes)
def test_meeting_is_the_intersection(a: Box, b: Box) -> None:
    """Of two boxes, which may begin anywhere; cut out of either it is the same voxels."""
    both = a.meeting(b)
    assert (set() if both is None else voxels(both)) == voxels(a) & voxels(b)
    assert b.meeting(a) == both
    if both is not None:
        assert both.within(a).shifted(a.start_zyx) == both
        assert Box.of_shape(a.shape_zyx).contains(both.within(a))


@given(masks, st.sets(st.integers(0, 2)))
def test_mirrored_is_where_the_voxels_go(mask: Mask, axes: set[int]) -> None:
    """Along any axes of its grid."""
    box = Box.of_mask(mask)
    if box is not None:
        assert box.mirrored(as_int_triple(mask.shape), axes) == Box.of_mask(np.flip(mask, sorted(axes)))


@given(boxes, shifts)
def test_shifting_back_is_the_identity(box: Box, by: tuple[int, int, int]) -> None:
    """A shift keeps the size and can be undone."""
    moved = box.shifted(by)
    assert moved.shape_zyx == box.shape_zyx
    assert moved.shifted(as_int_triple(np.negative(by))) == box
