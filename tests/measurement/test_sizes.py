"""Volumes within 1 % and diameters within a voxel, on KiTS19's slices, in eight orientations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.geometry import Triple
from bisc.evaluation.diameters import axial_line, line
from tests.measurement.test_area import KITS, TURNS, body

VOXEL_MM = float(np.prod(KITS))


def axial_mm(radii_mm: Triple, turn: npt.NDArray[np.float64]) -> float:
    """The longest line in an axial slice of a turned ellipsoid: the long axis of its section through the centre."""
    quadric = turn @ np.diag(1 / np.square(radii_mm)) @ turn.T
    return float(2 / np.sqrt(np.linalg.eigvalsh(quadric[1:, 1:]).min()))


@pytest.mark.parametrize("radii_mm", [(12.0, 12.0, 12.0), (25.0, 25.0, 25.0), (12.0, 15.0, 20.0), (20.0, 25.0, 55.0)])
@pytest.mark.parametrize("share", [-2.0, 0.0, 0.3])
def test_ellipsoids_whole_and_cut(radii_mm: Triple, share: float) -> None:
    """Cut at a share of the third radius, -2 for whole. Of a flat cut no mask tells where between two voxels it lies:
    half a voxel of its area is allowed where that is more."""
    kept = 1.0 if share < -1 else (1 - share) ** 2 * (2 + share) / 4
    expected_mm3 = kept * 4 / 3 * np.pi * np.prod(radii_mm)
    for turn in TURNS:
        inside, height = body(radii_mm, turn)
        mask = inside & (height > share)
        half_voxel_mm = np.abs(turn[:, 2]) @ KITS / 2 if share > -1 else 0.0
        unsure_mm3 = half_voxel_mm * np.pi * radii_mm[0] * radii_mm[1] * (1 - share**2)
        allowed_mm3 = float(max(0.01 * expected_mm3, unsure_mm3))
        assert np.count_nonzero(mask) * VOXEL_MM == pytest.approx(expected_mm3, abs=allowed_mm3)
        if share > -1:
            continue
        longest, axial = line(mask, KITS), axial_line(mask, KITS)
        assert longest is not None and axial is not None
        for found, expected in ((longest, 2 * max(radii_mm)), (axial, axial_mm(radii_mm, turn))):
            along = np.abs(np.subtract(found.first_zyx, found.last_zyx) * KITS)
            voxel_mm = float(along @ KITS / np.linalg.norm(along))
            assert found.length_mm == pytest.approx(expected, abs=max(voxel_mm, 1.13))  # a pixel's diagonal
