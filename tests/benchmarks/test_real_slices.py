"""A slice made into a volume, and what is scored on it, where the answer is known by hand."""

from __future__ import annotations

from itertools import pairwise
from math import pi

import numpy as np
import pandas as pd
import pytest

from benchmarks.real_slices import DICE, FAT_HU, by_patient, inflated, places, scored, table_of, within
from benchmarks.realism.slices import Case, Slice
from bisc.core.labels import HALF_LENGTH_MM
from tests.support.stub_model import PLAN

RADIUS_MM, PIXEL_MM = 30.0, 1.0


def ball(patient: str = "a") -> Slice:
    """A disk of 120 HU in fat, which reads 0; its left half a tumour."""
    y, x = np.mgrid[:160, :160] * PIXEL_MM - 80.0
    disk = np.hypot(y, x) < RADIUS_MM
    labels = np.where(disk & (x < 0), 2, disk).astype(np.uint8)
    return Slice(np.where(disk, 120.0, 0.0), labels, patient, spacing_mm_yx=(PIXEL_MM, PIXEL_MM), index=20)


def test_a_disk_becomes_an_ellipsoid() -> None:
    """Its sections shrink both ways from the slice, and its volume is 4/3 pi times its half axes."""
    (place,) = places(ball(), PLAN)
    hu = inflated(place)
    spacing = np.asarray(place.spacing_mm_zyx)
    areas = (hu > (120 + FAT_HU) / 2).sum(axis=(1, 2)) * spacing[1] * spacing[2]
    middle = len(hu) // 2
    assert areas[middle] == pytest.approx(pi * RADIUS_MM**2, rel=0.02)
    assert all(far <= near for near, far in pairwise(areas[middle:]))
    assert all(far <= near for far, near in pairwise(areas[: middle + 1]))
    poles = slice(middle - int(40 / spacing[0]), middle + int(40 / spacing[0]) + 1)
    heights = (np.arange(poles.start, poles.stop) - middle) * spacing[0]
    by_hand = pi * RADIUS_MM**2 * (1 - (heights / HALF_LENGTH_MM) ** 2)
    assert areas[poles] == pytest.approx(by_hand, rel=0.05)


def test_a_slice_of_a_volume_is_seen_where_it_lay() -> None:
    """The control's middle slice is the made volume's; below it the volume's own."""
    s = ball()
    hu = np.zeros((40, *s.hu.shape))
    hu[:21] = s.hu
    (place,) = places(s, PLAN)
    volume = within(place, Case(hu, np.zeros(hu.shape, np.uint8), (place.spacing_mm_zyx[0], PIXEL_MM, PIXEL_MM)))
    middle = len(volume) // 2
    np.testing.assert_allclose(volume[middle], inflated(place)[middle], atol=1e-3)
    np.testing.assert_allclose(volume[middle - 5], volume[middle])
    assert (volume[middle + 1] == FAT_HU).all()


def test_dice_is_of_the_own_region_alone() -> None:
    """The right half called background: 2 * half / (half + whole); another kidney beside it counts for nothing."""
    s = ball()
    s.labels[46:50, 46:50] = 1  # too small to be a region of its own
    (place,) = places(s, PLAN)
    truth = place.cut(s.labels).astype(np.uint8)
    found = np.where(truth == 2, 2, 0).astype(np.uint8)
    dice = by_patient(pd.DataFrame([scored(place, found)])).loc["a"]
    assert dice.dice_kidney == pytest.approx(2 * 0.5 / 1.5, abs=0.02)
    assert dice.dice_tumor == 1.0
    everywhere = pd.Series(scored(place, np.ones_like(found)))
    other = (truth > 0).sum() - everywhere.dice_kidney_truth / np.prod(place.spacing_mm_zyx[1:])
    assert other > 0
    assert everywhere.dice_kidney_found == pytest.approx((truth.size - other) * np.prod(place.spacing_mm_zyx[1:]))
    assert everywhere.dice_tumor_both == 0.0


def test_a_patient_without_a_tumour_has_no_tumour_dice() -> None:
    """It is left out of the mean; the second model's difference is paired by patient."""
    rows = pd.DataFrame(
        [
            ("a", 90.0, 100.0, 100.0, 10.0, 20.0, 20.0),
            ("b", 80.0, 100.0, 100.0, 0.0, 5.0, 0.0),
        ],
        columns=["patient", *(f"{name}_{of}" for name in DICE for of in ("both", "found", "truth"))],
    )
    dice = by_patient(rows)
    assert dice.dice_kidney.to_dict() == {"a": pytest.approx(0.9), "b": pytest.approx(0.8)}
    assert dice.dice_tumor["a"] == pytest.approx(0.5) and np.isnan(dice.dice_tumor["b"])
    better = rows.assign(dice_tumor_both=[20.0, 0.0])
    first, second = table_of({"one": rows, "two": better}).splitlines()[2:]
    assert first == "| one | 2 | 0.850 (0.800 to 0.900) | 0.500 (0.500 to 0.500) | 1.25 |  |"
    assert second.endswith("| +0.500 (+0.500 to +0.500) |")
