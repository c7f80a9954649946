"""Two kidneys that are one region of a mask have no side, wherever they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.geometry import Geometry
from bisc.imageio import read_labels
from bisc.measurement.measure import measure
from bisc.measurement.sides import FUSED
from bisc.preprocessing.segments import divide, is_two
from tests.support.grids import axis_angle, grid
from tests.support.training_fixtures import ellipsoid

Labels = npt.NDArray[np.uint8]
LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((40, 80, 120), (4.0, 2.5, 2.5), (-150.0, -100.0, 0.0), LPS)
MIDDLE_MM = -1.25
"""LPS x of the grid's middle."""


def joined(right_mm: float, left_mm: float, radius: float = 22.0) -> Labels:
    """Two balls of kidney at these x from the grid's middle, 45 ml each, and a tumour that touches both."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    for x in (right_mm, left_mm):
        labels[ellipsoid(GRID, (0.0, 0.0, x), (radius,) * 3)] = 1
    half = (left_mm - right_mm) / 2
    tumor = ellipsoid(GRID, (0.0, -20.0, (right_mm + left_mm) / 2), (30.0, 22.0, half))
    labels[tumor & (labels == 0)] = 2
    return labels


def bar(width_mm: float, centre_mm: float) -> Labels:
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[ellipsoid(GRID, (0.0, 0.0, centre_mm), (30.0, 30.0, width_mm / 2))] = 1
    return labels


def names(labels: Labels, middle_mm: float | None = MIDDLE_MM) -> list[str]:
    return [one.name for one in divide(labels, GRID, 5.0, middle_mm)[1]]


def test_kidneys_joined_by_a_tumour_are_no_left_kidney() -> None:
    """Their common centre lies 25 mm left of the body's middle; nothing is measured of a medial side or an outline."""
    labels = joined(-15.0, 65.0)
    assert names(labels) == names(labels, None) == ["Kidney", "Tumour 1"]
    numbered, segments = divide(labels, GRID, 5.0, MIDDLE_MM)
    assert np.array_equal(numbered, labels)
    kidney, tumor = (one.measures for one in measure("case", numbered, segments, GRID).structures)
    assert (kidney["length_mm"].value, kidney["length_mm"].why) == (None, FUSED)
    assert (tumor["renal_l"].value, tumor["renal_l"].why) == (None, FUSED)
    assert kidney["volume_ml"].value == round(segments[0].volume_ml, 1)


def test_two_pieces_near_each_other_are_one_kidney() -> None:
    """A tumour that severs a kidney leaves pieces whose centres lie less than 60 mm apart; or one is small."""
    assert names(joined(20.0, 75.0)) == ["Left kidney", "Tumour 1 (left)"]
    small = joined(-15.0, 65.0)
    x = np.arange(GRID.shape_zyx[2]) * 2.5 - 148.75
    small[(small == 1) & (x < -15.0)] = 0  # 22 ml are left of it
    assert names(small) == ["Left kidney", "Tumour 1 (left)"]


def test_a_fused_kidney_off_the_middle() -> None:
    assert names(bar(160.0, 45.0)) == ["Kidney"]
    assert names(bar(130.0, 45.0)) == ["Left kidney"]


def test_two_kidneys_keep_their_sides() -> None:
    """However wide one is, the other one tells them apart."""
    labels = bar(150.0, 60.0)
    labels[ellipsoid(GRID, (0.0, 0.0, -100.0), (30.0, 20.0, 20.0))] = 1
    assert names(labels) == ["Right kidney", "Left kidney"]


@pytest.mark.parametrize(("degrees", "two"), [(0, True), (15, True), (40, False)])
def test_width_is_along_the_patient(degrees: float, two: bool) -> None:
    """61 voxels of 2.5 mm along the grid's x are 152.5 mm, 147 where it is turned by 15 degrees, 117 by 40."""
    turned = grid((40, 80, 120), (2.5, 2.5, 2.5), direction=axis_angle((0, 0, 1), degrees))
    tissue = np.zeros(turned.shape_zyx, bool)
    tissue[2:38, 40, 10:71] = True
    assert is_two(tissue, turned) == two


def test_nothing_is_not_two() -> None:
    assert not is_two(np.zeros((3, 4, 5), bool), GRID)


@pytest.mark.parametrize(("case", "name"), [("case_00005", "Kidney"), ("case_00194", "Right kidney")])
def test_real_maps_of_one_region(shared_folder: Path, case: str, name: str) -> None:
    """A fused kidney 88 mm off the middle, 161 mm wide, and a solitary one of 82 mm."""
    path = shared_folder / "kits19" / case / "segmentation.nii.gz"
    if not path.is_file():
        pytest.skip("no label maps")
    volume = read_labels(path).volume
    assert divide(volume.array, volume.geometry, 5.0)[1][0].name == name
