"""The middle of a body in its scan."""

from __future__ import annotations

import numpy as np
import pytest

from bisc.core.volume import Volume
from bisc.preprocessing.midline import body_middle_mm, hides_middle
from tests.support.grids import axis_angle, grid


def test_by_hand() -> None:
    """Tissue from column 10 to 29 of 5 mm, first column at x = 100: its middle is column 19.5, x = 197.5."""
    geometry = grid((4, 6, 50), (3.0, 5.0, 5.0), (100.0, 0.0, 0.0))
    hu = np.full(geometry.shape_zyx, -1000, np.int16)
    hu[:, :, 10:30] = 40
    assert body_middle_mm(Volume(hu, geometry)) == pytest.approx(197.5)


def test_on_a_tilted_grid_of_many_voxels() -> None:
    """Sparse samples of a round body 30 mm off centre, fat and soft tissue, find its LPS x to 1 mm."""
    tilted = grid((80, 200, 210), (2.0, 1.5, 1.5), direction=axis_angle((1, 2, 1), 30))
    centre = tilted.index_to_physical(np.subtract(tilted.shape_zyx, 1) / 2.0) + np.array([30.0, 5.0, 0.0])
    at = tilted.index_to_physical(np.moveaxis(np.indices(tilted.shape_zyx), 0, -1)) - centre
    hu = np.where(np.linalg.norm(at, axis=-1) <= 60.0, -80, -1024).astype(np.int16)
    assert body_middle_mm(Volume(hu, tilted)) == pytest.approx(centre[0], abs=1.0)


def test_without_a_body_there_is_no_middle() -> None:
    """Air alone, and a few voxels of something."""
    geometry = grid((4, 6, 50), (3.0, 5.0, 5.0))
    hu = np.full(geometry.shape_zyx, -1000, np.int16)
    assert body_middle_mm(Volume(hu, geometry)) is None
    hu[0, 0, :20] = 40
    assert body_middle_mm(Volume(hu, geometry)) is None
    hu[0, 0] = -1000
    hu[0, 0, 10:40] = 40
    assert body_middle_mm(Volume(hu, geometry)) is not None


WIDE = grid((4, 40, 50), (3.0, 5.0, 5.0), (-122.5, 0.0, 0.0))


def body(first: int, stop: int, rows: int = 40, air: int = -1000) -> Volume:
    """Tissue in these columns of 5 mm, in the first of the rows; elsewhere in columns 15 to 34."""
    hu = np.full(WIDE.shape_zyx, air, np.int16)
    hu[:, :, 15:35] = 40
    hu[:, :rows, first:stop] = 40
    return Volume(hu, WIDE)


@pytest.mark.parametrize(("first", "stop"), [(0, 30), (20, 50), (0, 50)])
def test_half_a_body_has_no_middle(first: int, stop: int) -> None:
    """It goes on beyond the field of view, to the right, to the left or to both sides, in all of its rows."""
    assert hides_middle(body(first, stop))


def test_a_flank_may_touch_the_border() -> None:
    """In 20 of 40 rows, as an arm or a table does; in 21 the body is cut."""
    assert not hides_middle(body(15, 50, rows=20))
    assert hides_middle(body(15, 50, rows=21))


def test_a_body_300_mm_wide_has_its_middle() -> None:
    """Stout patients reach beyond the field of view on both sides."""
    wide = grid((4, 40, 62), (3.0, 5.0, 5.0), (-152.5, 0.0, 0.0))
    image = Volume(np.full(wide.shape_zyx, 40, np.int16), wide)
    assert body_middle_mm(image) == pytest.approx(0.0)
    assert not hides_middle(image)


def test_what_is_filled_in_beside_a_round_field_of_view_is_no_air() -> None:
    """A body that ends at it goes on; one with air between the two does not."""
    whole = body(15, 35)
    whole.array[:, :, :10] = whole.array[:, :, 40:] = -3024
    assert not hides_middle(whole)
    assert hides_middle(body(15, 35, air=-3024))


def through_round(centre_x: int, filled: int, noise: int = 0, smallest: int = 0) -> Volume:
    """A round body of 130 mm radius in a round field of view of 120 mm, beyond which one value is filled in."""
    geometry = grid((4, 120, 120), (3.0, 2.0, 2.0))
    y, x = np.ogrid[-59.5:60, -59.5:60]
    hu = np.where(np.hypot(y, x - centre_x) < 65 - smallest, 40, -1000) + np.zeros((4, 1, 1))
    hu += np.random.default_rng(1).integers(-noise, noise + 1, hu.shape)
    hu[:, np.hypot(y, x) > 60] = filled
    return Volume(hu.astype(np.int16), geometry)


@pytest.mark.parametrize("filled", [-1000, -1024])
@pytest.mark.parametrize("centre_x", [0, -50, 50])
def test_a_body_that_reaches_a_round_field_of_view_is_cut(filled: int, centre_x: int) -> None:
    """By air too, on either side; a smaller body in the middle of it is whole."""
    assert hides_middle(through_round(centre_x, filled, noise=10))
    assert not hides_middle(through_round(0, filled, noise=10, smallest=10))


def test_noise_beyond_a_circle_is_a_bodys_air() -> None:
    """Nothing is filled in: a body as round as that, and as large, is seen whole."""
    image = through_round(0, -1000)
    air = image.array == -1000
    image.array[air] += np.random.default_rng(2).integers(-9, 9, air.sum()).astype(np.int16)
    assert not hides_middle(image)
