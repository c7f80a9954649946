"""Tumours one by one: found, missed, made up; split, merged, and specks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bisc.evaluation.lesions import MIN_TUMOR_ML, LesionCounts, count_lesions

VOXEL_ML = (10.0, 10.0, 10.0)
"""Voxels of 1 ml: each is a tumour."""


def row(text: str) -> npt.NDArray[np.bool_]:
    """A line of voxels along x in the middle of a small volume: `#` is tumour."""
    mask = np.zeros((3, 3, len(text)), dtype=bool)
    mask[1, 1] = [mark == "#" for mark in text]
    return mask


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        ("......", "......", LesionCounts(0, 0, 0)),
        ("##....", "......", LesionCounts(1, 0, 0)),
        ("......", "##..#.", LesionCounts(0, 0, 2)),
        ("##..##", "##....", LesionCounts(2, 1, 0)),
        ("##....", "#....#", LesionCounts(1, 1, 1)),
        # One tumour in two pieces: IoU 4 / 5, neither piece is false.
        ("#####.", "##.##.", LesionCounts(1, 1, 0)),
        # Two predicted as one: each is nearer to half of it, IoU 2 / 2 and 2 / 3 (the tie in the middle goes to one).
        ("##.##.", "#####.", LesionCounts(2, 2, 0)),
        # Too large by far: IoU 1 / 11 < 0.1, so the tumour is missed and the blob false.
        ("#..........", "###########", LesionCounts(1, 0, 1)),
        ("#.........", "##########", LesionCounts(1, 1, 0)),  # 1 / 10 reaches the threshold
    ],
)
def test_matching(reference: str, prediction: str, expected: LesionCounts) -> None:
    assert count_lesions(row(reference), row(prediction), VOXEL_ML) == expected


def test_a_small_tumour_is_not_lost_beside_a_large_one() -> None:
    # Of the 22 predicted voxels 2 lie nearest to the small tumour of 1: IoU 1 / 2, though 1 / 22 of the component.
    reference = row("####################.#")
    assert count_lesions(reference, row("######################"), VOXEL_ML) == LesionCounts(2, 2, 0)


def test_corners_connect() -> None:
    mask = np.zeros((2, 2, 2), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert count_lesions(mask, mask, VOXEL_ML) == LesionCounts(1, 1, 0)


def test_specks_are_no_tumours() -> None:
    side = (1000 * MIN_TUMOR_ML) ** (1 / 3)
    below, above = (side * 0.99,) * 3, (side * 1.01,) * 3
    reference, prediction = row("#....."), row("....#.")
    assert count_lesions(reference, prediction, below) == LesionCounts(0, 0, 0)
    assert count_lesions(reference, prediction, above) == LesionCounts(1, 0, 1)


def test_nearest_is_measured_in_mm() -> None:
    # A long tumour in slice 0, one voxel in slice 2, 60 mm away; a line of 30 voxels predicted through the latter. All
    # of the line lies within 19 mm of its one voxel, so IoU 1 / 30. Counted in voxels the long tumour, 2 slices off,
    # would own all but 5 of them, and the miss would pass for a find of IoU 1 / 5.
    reference = np.zeros((3, 1, 30), dtype=bool)
    reference[0] = reference[2, 0, 10] = True
    prediction = reference.copy()
    prediction[2] = True
    assert count_lesions(reference, prediction, (30.0, 10.0, 1.0)) == LesionCounts(2, 1, 1)
