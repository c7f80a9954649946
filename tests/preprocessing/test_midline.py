"""The middle of a body in its scan."""

from __future__ import annotations

import numpy as np
import pytest

from bisc.core.volume import Volume
from bisc.preprocessing.kidneys import body_middle_mm
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
    hu[0, 0, :30] = 40
    assert body_middle_mm(Volume(hu, geometry)) is not None
