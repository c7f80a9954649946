"""The contact surface of a tumour that is small for its slices bears a caution."""

from __future__ import annotations

import pytest

from bisc.core.geometry import Geometry
from bisc.measurement.measure import THICK
from tests.support.known_kidneys import GRID, ORIGIN, Ball, kidneys, measured, of

THICK_SLICES = Geometry((24, 36, 66), (8.0, 2.8, 3.0), ORIGIN)


@pytest.mark.parametrize(
    ("grid", "radius", "why"), [(THICK_SLICES, 11.0, THICK), (THICK_SLICES, 16.0, ""), (GRID, 11.0, "")]
)
def test_a_caution_below_a_radius_of_two_slices(grid: Geometry, radius: float, why: str) -> None:
    """8 mm are 0.73 of the radius, 0.5 of it; 3 mm 0.27. The value stays."""
    tumor = of(measured(kidneys(Ball(20.0, 16.0, 0.0, radius), grid=grid), grid=grid), "Tumour 1 (left)")
    for name in ("contact_cm2", "contact_percent"):
        assert tumor[name].value
        assert tumor[name].why == why


def test_none_where_nothing_touches() -> None:
    labels = kidneys(None, grid=THICK_SLICES)
    labels[19:22, 2:6, 60:64] = 2
    tumor = of(measured(labels, grid=THICK_SLICES), "Tumour 1 (left)")
    assert (tumor["contact_cm2"].value, tumor["contact_cm2"].why) == (0.0, "")
