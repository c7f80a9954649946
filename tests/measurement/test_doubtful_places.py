"""Tumours that lie in no kidney, and a sinus without fat: said, and nothing told that rests on them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.volume import Volume
from bisc.measurement.measure import BULGES, measure
from bisc.measurement.sides import BETWEEN
from bisc.preprocessing.segments import divide
from bisc.report.patient.words import totals
from tests.support.known_kidneys import GRID, ORIGIN, SHAPE, SPACING, Ball, kidneys, measured, of

TUMOR, KIDNEY = "Tumour 1 (left)", "Left kidney"


def ball_at(labels: npt.NDArray[np.uint8], x: float, y: float, z: float, radius: float) -> None:
    """Add a tumour at a place in LPS mm."""
    axes = np.meshgrid(*(np.arange(n) * mm for n, mm in zip(SHAPE, SPACING, strict=True)), indexing="ij")
    away = [axis + start - at for axis, start, at in zip(axes, ORIGIN[::-1], (z, y, x), strict=True)]
    labels[sum(one**2 for one in away) <= radius**2] = 2


@pytest.mark.parametrize(("tissue", "noise"), [(5, 12), (30, 15)])
def test_noise_is_no_fat(tissue: int, noise: int) -> None:
    """Single voxels as dark as fat do not make a sinus; fat does, with the same noise."""
    labels = kidneys(Ball(0.0, 0.0, -2.0, 8.0), turned_deg=0.0)
    grain = np.random.default_rng(4).normal(0.0, noise, SHAPE)
    for around, told in ((tissue, False), (-90, True)):
        hu = np.where(labels > 0, 150, around) + grain
        found = of(measured(labels, Volume(hu.astype(np.int16), GRID)), TUMOR)
        assert (found["renal_n"].value is not None) == told
        assert (found["renal_h"].value is not None) == told


def test_a_tumour_between_two_kidneys_fuses_none() -> None:
    labels = kidneys(None)
    ball_at(labels, 0.0, -30.0, 0.0, 12.0)
    found = measure("case", *divide(labels, GRID, 5.0), GRID)
    assert found.notes == ()
    tumor = of(found, "Tumour 1")
    assert tumor["axial_mm"].value is not None
    assert (tumor["exophytic_percent"].value, tumor["exophytic_percent"].why) == (None, BETWEEN)
    assert of(found, KIDNEY)["length_mm"].value == of(measured(kidneys(None)), KIDNEY)["length_mm"].value


def test_a_tumour_apart_is_told_beside_the_kidneys_sums() -> None:
    """It counts in them still."""
    labels = kidneys(Ball(20.0, 16.0, 0.0, 11.0))
    sound = of(measured(labels), KIDNEY)
    ball_at(labels, 86.0, -30.0, 80.0, 7.0)
    kidney = of(measured(labels), KIDNEY)
    assert kidney["tumors"].value == 2
    for name in ("tumors", "tumor_ml", "organ_ml"):
        assert kidney[name].why == "1 of its tumours: more than 15 mm from it"
        assert not sound[name].why


def test_a_contact_of_what_bulges_has_a_caution() -> None:
    for medial, why in ((-32.0, BULGES), (-20.0, "")):
        found = of(measured(kidneys(Ball(0.0, 0.0, medial, 10.0), turned_deg=0.0)), TUMOR)
        assert found["contact_cm2"].value is not None
        assert found["contact_cm2"].why == found["contact_percent"].why == why


@pytest.mark.parametrize(
    ("first", "last", "whole_is", "tumor_is"),
    [(0, 62, "", ""), (16, 62, "at least ", ""), (0, 45, "at least ", "at least ")],
)
def test_totals_of_what_is_cut_are_at_least(first: int, last: int, whole_is: str, tumor_is: str) -> None:
    """Of the whole where a kidney is cut, of both where a tumour is."""
    part = kidneys(Ball(40.0, 0.0, 0.0, 11.0))[first:last].copy()
    grid = GRID.cropped((first, 0, 0), (last - first, *SHAPE[1:]))
    whole, tumor = (np.count_nonzero(part >= lowest) * GRID.voxel_volume_ml for lowest in (1, 2))
    words = totals(divide(part, grid, 20.0)[1], measured(part, grid=grid))
    assert words == f"Kidneys with tumours {whole_is}{whole:.1f} ml, tumours {tumor_is}{tumor:.1f} ml together."
