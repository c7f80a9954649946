"""Contrast phase by HU: of painted phantoms, and of simulated patients of every phase."""

from __future__ import annotations

import numpy as np
import pytest

from bisc.core.choices import Phase
from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from bisc.preprocessing.phase import aorta_hu, kidney_hu, phase_of
from tests.support.training_fixtures import ellipsoid

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((60, 128, 128), (3.0, 3.0, 3.0), (-190.0, -190.0, 0.0), LPS)


def phantom(
    kidney: float, aorta: float, bone: float = 180.0
) -> tuple[Volume, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """A body of muscle with two kidneys, a vertebra as wide as a vertebra is, and an aorta in front of it, left."""
    hu = np.full(GRID.shape_zyx, -1000.0)
    hu[ellipsoid(GRID, (0.0, 0.0, 0.0), (1e4, 110.0, 160.0))] = 55.0
    hu[ellipsoid(GRID, (0.0, 35.0, 0.0), (1e4, 18.0, 24.0))] = bone
    hu[ellipsoid(GRID, (0.0, 2.0, 8.0), (1e4, 11.0, 11.0))] = aorta
    kidneys = np.zeros(GRID.shape_zyx, dtype=bool)
    for x in (-60.0, 60.0):
        kidneys |= ellipsoid(GRID, (0.0, 30.0, x), (50.0, 25.0, 25.0))
    hu[kidneys] = kidney
    return Volume((hu + np.random.default_rng(0).normal(0, 8, hu.shape)).astype(np.float32), GRID), kidneys


@pytest.mark.parametrize(
    ("kidney", "aorta", "phase"),
    [
        (30, 42, "plain"),
        (16, 40, "plain"),
        (120, 300, "early"),
        (150, 210, "early"),
        (190, 150, "late"),
        (130, 105, "late"),
    ],
)
def test_phase_of_a_phantom(kidney: float, aorta: float, phase: Phase) -> None:
    image, kidneys = phantom(kidney, aorta)
    labels = kidneys.astype(np.uint8)
    assert phase_of(image, labels) == phase
    assert np.median(kidney_hu(image, labels)) == pytest.approx(kidney, abs=3)
    if phase != "plain":  # else it is no brighter than a vertebra, and not asked for
        assert aorta_hu(image, kidneys) == pytest.approx(aorta, abs=12)


def test_without_kidneys_there_is_no_phase() -> None:
    image, kidneys = phantom(150, 200)
    nothing = np.zeros(kidneys.shape, np.uint8)
    assert (phase_of(image, nothing), len(kidney_hu(image, nothing)), aorta_hu(image, nothing > 0)) == (None, 0, None)


def test_a_tumor_does_not_make_a_scan_plain() -> None:
    """A dark mass that fills most of both kidneys."""
    image, kidneys = phantom(150, 300)
    labels = kidneys.astype(np.uint8)
    labels[26:] *= 2
    hu = np.where(labels == 2, 40.0, image.array)
    assert (labels == 2).sum() > 1.5 * (labels == 1).sum()
    assert phase_of(Volume(hu.astype(np.float32), GRID), labels) == "early"
