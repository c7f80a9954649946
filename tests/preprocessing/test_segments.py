"""A label map divided into kidneys by side and tumours by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.geometry import Geometry
from bisc.imageio import read_labels
from bisc.preprocessing.kidneys import find_kidneys
from bisc.preprocessing.segments import Segment, divide
from tests.support.training_fixtures import ellipsoid

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((40, 80, 120), (4.0, 2.5, 2.5), (-150.0, -100.0, 0.0), LPS)


def patient(*balls: tuple[int, tuple[float, float, float], float]) -> npt.NDArray[np.uint8]:
    """Balls of a label, at z, y, x mm from the grid's middle, with a radius in mm."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    for label, centre, radius in balls:
        labels[ellipsoid(GRID, centre, (radius,) * 3)] = label
    return labels


RIGHT, LEFT = (1, (0.0, 0.0, -70.0), 30.0), (1, (0.0, 0.0, 70.0), 28.0)


def check(labels: npt.NDArray[np.uint8], numbered: npt.NDArray[np.uint8], segments: list[Segment]) -> None:
    """Every voxel is in the segment that its label asks for, and volumes are those of the numbers."""
    assert np.array_equal(numbered > 0, labels > 0)
    assert [one.number for one in segments] == list(range(1, len(segments) + 1))
    for one in segments:
        own = numbered == one.number
        assert own.any()
        assert set(np.unique(labels[own])) == {1 if one.organ == "kidney" else 2}
        assert one.volume_ml == pytest.approx(own.sum() * GRID.voxel_volume_ml)


def test_two_kidneys_and_two_tumours() -> None:
    """LPS: the left kidney lies at larger x; the larger tumour is the first."""
    labels = patient(RIGHT, LEFT, (2, (0.0, 0.0, -90.0), 8.0), (2, (0.0, 0.0, 80.0), 14.0))
    numbered, segments = divide(labels, GRID, 5.0)
    check(labels, numbered, segments)
    assert [one.name for one in segments] == ["Right kidney", "Left kidney", "Tumour 1 (left)", "Tumour 2 (right)"]
    assert numbered[20, 40, 79] == 2


def test_a_tumour_by_itself_goes_with_the_nearest_kidney() -> None:
    """By surfaces: 12 mm from the left kidney, whose other tumour draws the left side's centre 25 mm away from it."""
    small, large = (2, (0.0, 0.0, 20.0), 8.0), (2, (0.0, 0.0, 122.0), 26.0)
    labels = patient(RIGHT, LEFT, large, small)
    numbered, segments = divide(labels, GRID, 5.0)
    check(labels, numbered, segments)
    names = [one.name for one in segments]
    assert names == ["Right kidney", "Left kidney", "Tumour 1 (left)", "Tumour 2 (left)"]
    low = patient(RIGHT, LEFT, (2, (44.0, 0.0, 30.0), 18.0))  # and below a pole, nearer the middle
    assert [one.name for one in divide(low, GRID, 5.0)[1]][-1] == "Tumour 1 (left)"


def test_a_kidney_that_is_all_tumour_keeps_its_side() -> None:
    """It is a kidney by its size, and goes with no other."""
    labels = patient(RIGHT, (2, (0.0, 0.0, 70.0), 28.0))
    names = [one.name for one in divide(labels, GRID, 5.0)[1]]
    assert names == ["Right kidney", "Tumour 1 (left)"]


def test_a_solitary_kidney_has_its_side() -> None:
    labels = patient(LEFT)
    assert [one.name for one in divide(labels, GRID, 5.0, body_middle_mm=0.0)[1]] == ["Left kidney"]


def test_a_fused_kidney_has_none() -> None:
    labels = patient(RIGHT, LEFT, *((1, (0.0, 0.0, float(x)), 24.0) for x in range(-60, 61, 20)))
    numbered, segments = divide(labels, GRID, 5.0, body_middle_mm=0.0)
    check(labels, numbered, segments)
    assert [one.name for one in segments] == ["Kidney"]


def test_a_thin_bridge_is_divided_between_both() -> None:
    labels = patient(RIGHT, LEFT)
    labels[20, 40, 32:88] = 1
    numbered, segments = divide(labels, GRID, 5.0)
    check(labels, numbered, segments)
    assert [one.name for one in segments] == ["Right kidney", "Left kidney"]
    assert (numbered[20, 40, 50], numbered[20, 40, 70]) == (1, 2)


def test_specks_go_with_the_tumour_beside_them() -> None:
    """Kidney specks by side; tumour specks with a tumour 10 mm off, else they are tumours of their own."""
    labels = patient(RIGHT, LEFT, (2, (0.0, 0.0, -75.0), 12.0))
    labels[2, 40, 20] = 1
    labels[20, 40, 37] = 2  # its centre lies 7.5 mm from the ball's last voxel
    labels[20, 40, 100] = 2  # in the other kidney
    numbered, segments = divide(labels, GRID, 5.0)
    check(labels, numbered, segments)
    assert numbered[2, 40, 20] == 1
    assert numbered[20, 40, 37] == numbered[20, 40, 30] == 3
    assert (numbered[20, 40, 100], segments[-1].name) == (4, "Tumour 2 (left)")


def test_specks_alone_are_one_where_they_lie_together() -> None:
    only = patient(RIGHT)
    only[20, 40, 30] = only[20, 40, 34] = 2
    numbered, segments = divide(only, GRID, 5.0)
    check(only, numbered, segments)
    assert [one.organ for one in segments] == ["kidney", "tumor"]
    only[20, 40, 34], only[20, 40, 36] = 1, 2
    assert [one.organ for one in divide(only, GRID, 5.0)[1]] == ["kidney", "tumor", "tumor"]


def test_nothing_has_no_segments() -> None:
    numbered, segments = divide(patient(), GRID, 5.0)
    assert (numbered.any(), segments) == (np.False_, [])


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_segments_together_are_the_label_map(seed: int, n: int) -> None:
    """Any balls of both labels anywhere."""
    random = np.random.default_rng(seed)
    balls = [
        (int(random.integers(1, 3)), tuple(random.uniform((-60, -80, -120), (60, 80, 120))), random.uniform(3, 30))
        for _ in range(n)
    ]
    labels = patient(*balls)
    numbered, segments = divide(labels, GRID, 5.0)
    check(labels, numbered, segments)
    again = divide(labels, GRID, 5.0)
    assert np.array_equal(again[0], numbered)
    assert again[1] == segments


def test_real_maps(shared_folder: Path) -> None:
    """Two kidneys, two sides, in ordinary patients; the segments together are the map."""
    files = sorted((shared_folder / "kits19").glob("case_*/segmentation.nii.gz"))[:3]
    if not files:
        pytest.skip("no label maps")
    n_both = 0
    for path in files:
        volume = read_labels(path).volume
        numbered, segments = divide(volume.array, volume.geometry, 5.0)
        assert np.array_equal(numbered > 0, volume.array > 0)
        sides = {kidney.side for kidney in find_kidneys(volume.array > 0, volume.geometry, 5.0)}
        kidneys = [one for one in segments if one.organ == "kidney"]
        assert {one.side for one in kidneys} == sides, path
        x_mm = {
            one.side: volume.geometry.index_to_physical(np.argwhere(numbered == one.number).mean(axis=0))[0]
            for one in kidneys
        }
        assert x_mm.get("left", np.inf) > x_mm.get("right", -np.inf)
        n_both += sides == {"left", "right"}
    assert n_both >= 2
