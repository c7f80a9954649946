"""Diameters of shapes that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.evaluation.diameters import axial_diameter_mm, diameter_mm

SPACING = (3.0, 0.8, 0.8)


def ball(
    radii_mm: tuple[float, float, float], spacing: tuple[float, float, float] = SPACING
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    n = [int(np.ceil(r / s)) + 1 for r, s in zip(radii_mm, spacing, strict=True)]
    z, y, x = np.ogrid[tuple(slice(-k, k + 1) for k in n)]
    return np.asarray(sum((i * s / r) ** 2 for i, s, r in zip((z, y, x), spacing, radii_mm, strict=True)) <= 1.0)


def test_by_hand() -> None:
    """A voxel is as long as it is wide; a row of five of 0.8 mm is 3.2 mm from centre to centre; nothing is 0."""
    mask = np.zeros((3, 5, 7), dtype=bool)
    assert (axial_diameter_mm(mask, SPACING), diameter_mm(mask, SPACING)) == (0.0, 0.0)
    mask[1, 2, 3] = True
    assert (axial_diameter_mm(mask, SPACING), diameter_mm(mask, SPACING)) == (0.8, 3.0)
    mask[1, 2, 1:6] = True
    assert axial_diameter_mm(mask, SPACING) == pytest.approx(3.2)
    assert diameter_mm(mask, SPACING) == pytest.approx(3.2)
    mask[:, 2, 1] = True
    assert axial_diameter_mm(mask, SPACING) == pytest.approx(3.2)
    assert diameter_mm(mask, SPACING) == pytest.approx(6.0)


@pytest.mark.parametrize("radius", [6.0, 12.0, 25.0])
def test_balls_are_within_a_voxel(radius: float) -> None:
    assert axial_diameter_mm(ball((radius,) * 3), SPACING) == pytest.approx(2 * radius, abs=0.8)
    assert diameter_mm(ball((radius,) * 3), SPACING) == pytest.approx(2 * radius, abs=0.8)


def test_a_long_ellipsoid() -> None:
    """20 mm across, 60 mm along z."""
    mask = ball((30.0, 10.0, 10.0))
    assert axial_diameter_mm(mask, SPACING) == pytest.approx(20, abs=0.8)
    assert diameter_mm(mask, SPACING) == pytest.approx(60, abs=0.8)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_as_all_pairs_say(seed: int) -> None:
    """The hull's corners hold the longest line between any two voxels; and the axial one is never the longer."""
    random = np.random.default_rng(seed)
    mask = random.random((4, 6, 7)) < random.uniform(0.03, 0.6)
    points = np.argwhere(mask) * SPACING
    if not len(points):
        return
    longest = np.linalg.norm(points[:, None] - points[None], axis=2).max()
    found = diameter_mm(mask, SPACING)
    assert found == pytest.approx(longest if len(points) > 1 else 3.0)
    assert axial_diameter_mm(mask, SPACING) <= found + 1e-9
