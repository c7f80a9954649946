"""Synthetic kidneys whose poles, polar lines, side and outline are known: every part of every score comes out right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid, Volume
from bisc.imageio import CaseImage
from bisc.measurement.measure import GUESS, ONE_KIDNEY
from bisc.measurement.measures import Measure
from bisc.measurement.scores import a_of, e_of, l_of, n_of, r_of
from bisc.measurement.sides import CUT, FUSED, NO_KIDNEY
from bisc.measurement.table import rows_of
from bisc.measurement.tumor_place import Lines, gap_mm
from bisc.pipeline.measure import measure_labels
from tests.support.grids import AXIS_ORDERS
from tests.support.known_kidneys import GRID, LINE_MM, ORIGIN, RADII, SHAPE, SPACING, Ball, kidneys, measured, of


def points(one: Measure) -> int:
    """The number that a part has."""
    assert isinstance(one.value, int)
    return one.value


PLACES = [
    # at a pole, before the axis, bulging by more than half
    (Ball(42.0, 16.0, 0.0, 11.0), {"renal_r": 1, "renal_e": 1, "renal_a": "a", "renal_l": 1}),
    # crosses the upper polar line, behind, most of it beyond the line, less than half bulges
    (Ball(30.0, -11.0, -2.0, 12.0), {"renal_r": 1, "renal_e": 2, "renal_a": "p", "renal_l": 2}),
    # between the lines, within the parenchyma
    (Ball(0.0, 0.0, -16.0, 11.0), {"renal_e": 3, "renal_a": "x", "renal_l": 3}),
    # across the lower line, most of it between the lines
    (Ball(-18.0, 13.0, -4.0, 11.0), {"renal_a": "a", "renal_l": 3}),
    # below the lower line, 44 mm wide
    (Ball(-52.0, 0.0, -8.0, 22.0), {"renal_r": 2, "renal_e": 1, "renal_a": "x", "renal_l": 1}),
    # crosses the middle between the poles
    (Ball(8.0, -20.0, -8.0, 14.0), {"renal_a": "p", "renal_l": 3, "dap_p": 3, "padua_polar": 2}),
]


@pytest.mark.parametrize(("ball", "expected"), PLACES)
@pytest.mark.parametrize(("side", "turned_deg"), [("left", 40.0), ("right", 0.0)])
def test_scores_of_known_kidneys(ball: Ball, expected: dict[str, object], side: str, turned_deg: float) -> None:
    found = of(measured(kidneys(ball, side, turned_deg)), f"Tumour 1 ({side})")
    assert {name: found[name].value for name in expected} == expected
    assert found["renal_n"].value is None  # no CT
    parts = [found[f"renal_{part}"] for part in "rel"]
    low = sum(int(one.low or points(one)) for one in parts)  # with a pole that is a guess E and L may be anything
    most = sum(int(one.high or points(one)) for one in parts)
    assert (found["renal"].value, found["renal"].high) == (None, most + 3)
    assert found["renal"].low in (low + 1, low + 2, low + 3)


@pytest.mark.parametrize(("side", "turned_deg"), [("left", 0.0), ("right", 25.0), ("left", 40.0)])
def test_polar_lines_poles_and_split(side: str, turned_deg: float) -> None:
    """The lines lie where the sinus ends, to a slice; the other kidney is told by the other side."""
    found = of(measured(kidneys(None, side, turned_deg)), f"{side.capitalize()} kidney")
    for name, mm in (("lower_line_percent", -LINE_MM), ("upper_line_percent", LINE_MM)):
        value = found[name].value
        assert value == pytest.approx(50.0 + 100.0 * mm / (2 * RADII[0]), abs=100.0 * 3.0 / (2 * RADII[0]))
    assert found["length_mm"].value == pytest.approx(2 * RADII[0], abs=3.5)
    assert found["split_percent"].value == 50
    assert found["remaining_percent"].value == 100


def test_place_by_hand() -> None:
    """A ball of 10 mm, its centre 40 mm above the kidney's, at 87 % of the length; a C-index of 4."""
    found = of(measured(kidneys(Ball(40.0, 0.0, 0.0, 10.0))), "Tumour 1 (left)")
    assert found["axial_mm"].value == pytest.approx(20.0, abs=0.8)
    assert found["c_index"].value == pytest.approx(4.0, abs=0.1)
    assert found["along_percent"].value == pytest.approx(50 + 100 * 40 / 108, abs=2)
    assert found["dap_a"].value == 3  # it holds the axis
    assert found["dap_p"].value == 1  # its edge lies 30 mm from the middle
    assert found["padua_polar"].value == 1
    assert found["exophytic_percent"].value == 0
    inside = found["contact_percent"].value
    assert isinstance(inside, float | int)
    assert inside == pytest.approx(100, abs=4)  # kidney all around
    assert found["contact_cm2"].value == pytest.approx(4 * np.pi, rel=0.05)


def test_depth_exophytic_share_and_removal_by_hand() -> None:
    """A ball on a flat face would be half beyond it; on the kidney's convex back a little more."""
    found = measured(kidneys(Ball(0.0, 0.0, -30.0, 10.0)))
    tumor, kidney = of(found, "Tumour 1 (left)"), of(found, "Left kidney")
    assert tumor["exophytic_percent"].value == pytest.approx(55, abs=10)
    assert tumor["depth_mm"].value == pytest.approx(10.0, abs=1.6)
    assert tumor["padua_rim"].value == 1
    removed_ml = kidney["volume_ml"].value
    left_ml = kidney["remaining_ml"].value
    assert isinstance(removed_ml, float) and isinstance(left_ml, float)
    # what a ball of 15 mm at the kidney's lateral end takes from it, without the tumour's own share
    z, y, x = np.mgrid[-54:55:1, -22:23:1, -30:31:1].astype(float)
    organ = (z / 54) ** 2 + (y / 22) ** 2 + (x / 30) ** 2 <= 1
    away = np.sqrt(z**2 + y**2 + (x + 30) ** 2)
    expected = np.count_nonzero(organ & (away > 10) & (away <= 15)) / 1000.0
    assert removed_ml - left_ml == pytest.approx(expected, rel=0.15)  # from centre to centre: half a voxel less


def test_the_sinus_fat_of_the_ct_gives_n() -> None:
    """Fat fills the sinus from 8 mm off the axis on; a ball of 8 mm whose edge lies 2 mm from it, and one 9 mm off."""
    for medial, expected, near in ((-2.0, 3, "possible"), (-11.0, 1, "unlikely")):
        labels = kidneys(Ball(0.0, 0.0, medial, 8.0), turned_deg=0.0)
        hu = np.where(labels > 0, 150, -90).astype(np.int16)
        found = of(measured(labels, Volume(hu, GRID)), "Tumour 1 (left)")
        assert (found["renal_n"].value, found["renal_n"].proxy) == (expected, True)
        assert found["renal_h"].value == near
        most = 3 + sum(points(found[f"renal_{part}"]) for part in "rel")
        assert (found["renal"].high or points(found["renal"])) == most
        watery = of(measured(labels, Volume(np.full(SHAPE, 40, np.int16), GRID)), "Tumour 1 (left)")
        assert watery["renal_n"].value is None
        assert "no fat" in watery["renal_n"].why


def test_what_is_cut_off_is_at_least_so_large() -> None:
    ball = Ball(42.0, 8.0, 0.0, 12.0)
    labels = kidneys(ball)
    upper = labels[: SHAPE[0] // 2 + 15].copy()  # through the tumour
    grid = GRID.cropped((0, 0, 0), (len(upper), *SHAPE[1:]))
    found = measured(upper, grid=grid)
    tumor, kidney = of(found, "Tumour 1 (left)"), of(found, "Left kidney")
    whole = of(measured(labels), "Tumour 1 (left)")["volume_ml"].value
    assert tumor["volume_ml"].value is None
    assert tumor["volume_ml"].low is not None and isinstance(whole, float) and 0 < tumor["volume_ml"].low < whole
    assert tumor["renal_r"].value is None
    assert (tumor["renal_r"].low, tumor["renal_r"].high) == (1, 3)
    for name in ("c_index", "along_percent", "contact_cm2"):
        assert (tumor[name].value, tumor[name].why) == (None, CUT)
    assert (kidney["length_mm"].value, kidney["length_mm"].why) == (None, CUT)
    assert "left kidney: cut off by the field of view" in found.notes


def test_fused_missing_and_replaced_kidneys() -> None:
    """Nothing is said of a medial side, a split or an outline that is not there."""
    joined = kidneys(Ball(42.0, 16.0, 0.0, 11.0))
    joined[13:18, 50:60, 60:190] = np.maximum(joined[13:18, 50:60, 60:190], 1)  # a bridge at the lower poles
    tumor = of(measured(joined), "Tumour 1 (left)")
    assert (tumor["renal_l"].value, tumor["renal_l"].why) == (None, FUSED)
    assert tumor["volume_ml"].value == pytest.approx(5.57, abs=0.2)
    alone = of(measured(kidneys(None, only=True)), "Left kidney")
    assert (alone["split_percent"].value, alone["split_percent"].why) == (None, ONE_KIDNEY)
    labels = kidneys(None)
    labels[:, :, SHAPE[2] // 2 :][labels[:, :, SHAPE[2] // 2 :] > 0] = 2
    no_tissue = of(measured(labels), "Tumour 1 (left)")
    assert (no_tissue["renal_e"].value, no_tissue["renal_e"].why) == (None, NO_KIDNEY)
    assert (no_tissue["renal"].low, no_tissue["renal"].high) == (5, 11)  # 60 mm wide
    huge = of(measured(kidneys(Ball(0.0, 6.0, -10.0, 30.0))), "Tumour 1 (left)")
    assert huge["renal_e"].why == GUESS
    assert (huge["renal_e"].low, huge["renal_e"].high) == (1, 3)


def test_nothing_there() -> None:
    assert measured(np.zeros(SHAPE, np.uint8)).structures == ()


def test_all_axis_orders_and_flips_give_the_same() -> None:
    """A map stored in any of the 48 ways gives the same rows, end points in the patient among them."""
    grid = Geometry((24, 36, 66), (8.0, 2.8, 3.0), ORIGIN)
    labels = kidneys(Ball(30.0, -11.0, -2.0, 12.0), grid=grid)
    expected = rows_of(measured(labels, grid=grid))
    assert len(expected) == 3
    for order in AXIS_ORDERS:
        there = order.inverse()
        stored = np.ascontiguousarray(there.apply(labels))
        native = NativeGrid.of(there.apply_to_geometry(grid))
        found = measure_labels("case", CaseImage(Path("stored"), native.to_canonical(stored), native))
        assert rows_of(found.measures) == expected


def test_rules_at_their_borders() -> None:
    assert [r_of(mm) for mm in (40.0, 40.1, 69.9, 70.0)] == [1, 2, 2, 3]
    assert [e_of(share) for share in (0.5, 0.499, 0.011, 0.01)] == [1, 2, 2, 3]
    assert [n_of(mm) for mm in (7.0, 6.9, 4.1, 4.0)] == [1, 2, 2, 3]
    assert [a_of(share) for share in (0.67, 0.5, 0.33)] == ["a", "x", "p"]
    assert l_of(Lines(1.0, 0.0, False)) == l_of(Lines(0.0, 1.0, False)) == 1
    assert l_of(Lines(0.6, 0.0, False)) == 2
    assert l_of(Lines(0.4, 0.0, False)) == l_of(Lines(0.6, 0.0, True)) == l_of(Lines(0.0, 0.0, False)) == 3


def test_gap_by_hand() -> None:
    """Neighbours touch; with two voxels between them it is two voxels, along each axis."""
    one = np.zeros((9, 9, 9), bool)
    one[4, 4, 4] = True
    for axis, mm in enumerate(SPACING):
        for between in (0, 2):
            other = np.roll(one, between + 1, axis)
            assert gap_mm(one, other, SPACING) == pytest.approx(between * mm, abs=1e-9)
    assert gap_mm(one, np.zeros_like(one), SPACING) is None


def test_gap_to_what_is_longer() -> None:
    """A slanted pair of voxels is no nearer than the two that face each other; corners that meet touch."""
    one, other = np.zeros((2, 9, 9, 24), bool)
    one[4, 4, 2] = True
    other[3:6, 3:6, 9:12] = True
    assert gap_mm(one, other, (5.0, 0.8, 0.8)) == pytest.approx(6 * 0.8)
    corner = np.roll(one, (1, 1, 1), (0, 1, 2))
    assert gap_mm(one, corner, (5.0, 0.8, 0.8)) == 0.0
    aside = np.roll(one, (2, 0, 3), (0, 1, 2))
    assert gap_mm(one, aside, (5.0, 0.8, 0.8)) == pytest.approx(np.hypot(5.0, 1.6))
