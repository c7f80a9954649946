"""Kidneys that the scan's end or the rough mask cuts."""

from __future__ import annotations

import numpy as np
import pytest

from bisc.core.geometry import Geometry, as_int_triple
from bisc.preprocessing.kidneys import find_kidneys
from tests.preprocessing.test_parts import Mask


def ellipsoid_mask(cut_mm: float, below: bool) -> Mask:
    """A kidney of 110 x 60 x 60 mm in 3 mm slices without its last `cut_mm`."""
    z, y, x = np.ogrid[-25:25, -20:20, -20:20]
    mask = (z * 3.0 / 55.0) ** 2 + (y * 2.0 / 30.0) ** 2 + (x * 2.0 / 30.0) ** 2 <= 1.0
    mask[(z * 3.0 < -55.0 + cut_mm).ravel() if below else (z * 3.0 > 55.0 - cut_mm).ravel()] = False
    return mask


THREE = Geometry((50, 40, 40), (3.0, 2.0, 2.0))


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("cut_mm", [18.0, 30.0, 45.0])
def test_a_mask_that_is_cut_through_is_expected_to_go_on(cut_mm: float, below: bool) -> None:
    """The reach grows at the cut end by what an ellipsoid lacks there, and at no other face."""
    (whole,) = find_kidneys(ellipsoid_mask(0.0, below), THREE, 5.0)
    (cut,) = find_kidneys(ellipsoid_mask(cut_mm, below), THREE, 5.0)
    assert whole.reach == whole.box
    low, high = np.subtract(cut.box.start_zyx, cut.reach.start_zyx), np.subtract(cut.reach.stop_zyx, cut.box.stop_zyx)
    grown, kept = (low, high) if below else (high, low)
    assert kept.tolist() == [0, 0, 0]
    assert grown[1:].tolist() == [0, 0]
    assert grown[0] * 3.0 == pytest.approx(cut_mm, abs=6.0)


def test_a_frayed_cut_is_seen_too() -> None:
    """Two ragged slices below the cut, a tenth of its area: the reach still grows to the pole."""
    mask = ellipsoid_mask(30.0, below=True)
    first = int(np.flatnonzero(mask.any(axis=(1, 2)))[0])
    mask[first - 2 : first, 18:23, 18:23] = True
    (kidney,) = find_kidneys(mask, THREE, 5.0)
    assert kidney.box.start_zyx[0] == first - 2
    assert kidney.reach.start_zyx[0] == pytest.approx(first - 10, abs=2)


def test_the_end_of_the_scan_is_no_missing_slice() -> None:
    """A kidney cut off by the first slice of the image does not reach beyond it."""
    mask = ellipsoid_mask(30.0, below=True)
    first = int(np.flatnonzero(mask.any(axis=(1, 2)))[0])
    scan = mask[first:]
    (kidney,) = find_kidneys(scan, THREE.cropped((first, 0, 0), as_int_triple(scan.shape)), 5.0)
    assert kidney.reach == kidney.box
