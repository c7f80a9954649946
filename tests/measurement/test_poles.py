"""A pole that a tumour took: ellipsoids whose outline is known, with a ball at an end, at a side and in the midst."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bisc.measurement.hull import hull_of
from bisc.measurement.kidney_shape import KidneyShape
from bisc.measurement.measure import GUESS, POLE
from tests.support.known_kidneys import RADII, Ball, kidneys, measured, of

Mask = npt.NDArray[np.bool_]

MM = (3.0, 1.0, 1.0)


@pytest.mark.parametrize("end", [-1.0, 1.0])
def test_a_ball_around_a_pole(end: float) -> None:
    """Its centre is the pole: at 0 or 100 % of the length, and what lies outside is what a fine grid counts."""
    found = measured(kidneys(Ball(end * RADII[0], 0.0, 0.0, 16.0)))
    tumor, kidney = of(found, "Tumour 1 (left)"), of(found, "Left kidney")
    z, y, x = np.mgrid[-16:17, -16:17, -16:17].astype(float)
    ball = z**2 + y**2 + x**2 <= 16**2
    organ = ((z + RADII[0]) / RADII[0]) ** 2 + (y / RADII[1]) ** 2 + (x / RADII[2]) ** 2 <= 1
    assert tumor["exophytic_percent"].value == pytest.approx(100 * np.mean(~organ[ball]), abs=3)
    assert tumor["along_percent"].value == pytest.approx(50 + 50 * end, abs=2)
    assert kidney["length_mm"].value == pytest.approx(2 * RADII[0], abs=3.5)
    assert (kidney["length_mm"].why, tumor["exophytic_percent"].why) == (POLE, POLE)
    assert (tumor["renal_e"].value, tumor["renal_e"].low, tumor["renal_e"].high) == (1, 1, 3)
    assert of(found, "Right kidney")["length_mm"].why == ""


@pytest.mark.parametrize("leaning_deg", [0.0, 35.0])
@pytest.mark.parametrize(("along", "aside", "radius"), [(46.0, 0.0, 15.0), (40.0, 5.0, 20.0), (-42.0, 3.0, 25.0)])
def test_the_outline_is_the_whole_kidneys(leaning_deg: float, along: float, aside: float, radius: float) -> None:
    """With a pole in a tumour, along z or leaning: exophytic as of the whole, within 4 points of a hundred (the hull of
    the rest: 14 and more too much); nothing is made up outside of the tumour."""
    whole, tumor = _ellipsoid_and_ball(leaning_deg, along, aside, radius)
    shape = KidneyShape(whole & ~tumor, tumor, MM, 1)
    assert not (shape.lost & ~tumor).any()
    expected = np.mean(~whole[tumor])
    assert np.mean(~shape.outline[tumor]) == pytest.approx(expected, abs=0.04)
    assert np.mean(~hull_of(whole & ~tumor, MM)[tumor]) > expected + 0.14


@pytest.mark.parametrize(("along", "aside", "radius"), [(0.0, 25.0, 18.0), (20.0, 24.0, 15.0), (25.0, 0.0, 12.0)])
def test_nothing_is_made_up_elsewhere(along: float, aside: float, radius: float) -> None:
    """A tumour that reaches neither end leaves the hull as it is, to the voxel."""
    whole, tumor = _ellipsoid_and_ball(20.0, along, aside, radius)
    shape = KidneyShape(whole & ~tumor, tumor, MM, 1)
    assert not shape.lost.any()
    np.testing.assert_array_equal(shape.outline, hull_of(whole & ~tumor, MM))
    healthy = KidneyShape(whole, np.zeros_like(whole), MM, 1)
    np.testing.assert_array_equal(healthy.outline, hull_of(whole, MM))


def test_of_a_rest_smaller_than_the_tumour_no_pole_is_made_up() -> None:
    found = of(measured(kidneys(Ball(34.0, 0.0, 0.0, 34.0))), "Tumour 1 (left)")
    assert found["exophytic_percent"].why == GUESS
    whole, tumor = _ellipsoid_and_ball(0.0, 30.0, 0.0, 36.0)
    assert not KidneyShape(whole & ~tumor, tumor, MM, 1).lost.any()


def _ellipsoid_and_ball(leaning_deg: float, along: float, aside: float, radius: float) -> tuple[Mask, Mask]:
    z, y, x = np.meshgrid(np.arange(-84.0, 85.0, 3.0), np.arange(-70.0, 71.0), np.arange(-70.0, 71.0), indexing="ij")
    angle = np.deg2rad(leaning_deg)
    axis, across = z * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - z * np.sin(angle)
    whole = (axis / 55) ** 2 + (y / 24) ** 2 + (across / 28) ** 2 <= 1
    ball = (axis - along) ** 2 + y**2 + (across - aside) ** 2 <= radius**2
    return whole, ball
