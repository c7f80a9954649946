"""Decoys lie in soft tissue and hold no kidney."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.volume import Volume
from bisc.preprocessing.decoys import DECOYS, SIZE_MM, decoy_boxes
from tests.support.grids import grid

SPACING = (5.0, 4.0, 3.0)


def scan() -> tuple[Volume, npt.NDArray[np.bool_]]:
    """Fat everywhere, a block of muscle, and in its one half a kidney."""
    hu = np.full((60, 60, 80), -100, np.int16)
    hu[10:50, 20:40, 10:70] = 50
    kidney = np.zeros(hu.shape, bool)
    kidney[20:30, 25:35, 10:40] = True
    return Volume(hu, grid((60, 60, 80), SPACING)), kidney


def test_decoys_are_soft_and_hold_no_kidney() -> None:
    """By hand: 110 x 60 x 60 mm are 22 x 15 x 20 voxels; in the middle is muscle."""
    image, kidney = scan()
    boxes = decoy_boxes(image, kidney, "case_00000")
    assert len(boxes) == DECOYS
    for box in boxes:
        assert box.shape_zyx == (22, 15, 20) == tuple(np.round(np.divide(SIZE_MM, SPACING)))
        middle = tuple(start + n // 2 for start, n in zip(box.start_zyx, box.shape_zyx, strict=True))
        assert image.array[middle] == 50
        seen = box.clipped(image.geometry.shape_zyx)
        assert seen is not None
        assert not kidney[seen.to_slices()].any()


def test_nothing_of_a_kidney_is_in_what_is_cut() -> None:
    """With 8 voxels of room along x a box that begins right beside the kidney, at 40, is none any more."""
    image, kidney = scan()
    tight = [decoy_boxes(image, kidney, name) for name in "abcdef"]
    roomy = [decoy_boxes(image, kidney, name, lambda box: box.padded((0, 0, 8))) for name in "abcdef"]
    beside = [box for boxes in tight for box in boxes if 40 <= box.start_zyx[2] < 48 and box.start_zyx[0] < 30]
    assert beside
    assert not {*beside} & {box for boxes in roomy for box in boxes}
    assert all(len(boxes) == DECOYS for boxes in roomy)


def test_a_name_gives_the_same_places_and_another_other_ones() -> None:
    image, kidney = scan()
    assert decoy_boxes(image, kidney, "a") == decoy_boxes(image, kidney, "a") != decoy_boxes(image, kidney, "b")


@pytest.mark.parametrize("what", ["no soft tissue", "kidney everywhere"])
def test_where_there_is_no_place_there_are_none(what: str) -> None:
    image, kidney = scan()
    if what == "no soft tissue":
        image = Volume(np.full_like(image.array, -100), image.geometry)
    else:
        kidney = np.ones_like(kidney)
    assert decoy_boxes(image, kidney, "a") == []
