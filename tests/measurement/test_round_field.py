"""What a round field of view cuts off is larger than what is seen, as what the grid's border cuts off is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.geometry import Geometry
from bisc.core.volume import Box, Volume
from bisc.inference.signs import cuts
from bisc.measurement.sides import CUT
from bisc.pipeline.dicom_cases import divided
from bisc.preprocessing.field import beyond_field
from tests.support.known_kidneys import Ball, kidneys, measured, of

GRID = Geometry((62, 300, 300), (3.0, 0.8, 0.8), (-131.1, -189.6, -91.5))
"""Its inscribed circle ends about 1 mm beyond the left kidney's flank, 23 mm before the grid does."""
BUBBLE = np.s_[:, 190:216, 205:225]
TUMOR, KIDNEY = "Tumour 1 (left)", "Left kidney"
LABELS = kidneys(Ball(0.0, 0.0, -26.0, 14.0), turned_deg=0.0, grid=GRID)
"""A tumour whose lateral third lies beyond that circle."""
BEYOND = np.hypot(*np.meshgrid(*(np.arange(300) * 0.8 - 119.6,) * 2)) > 120.0


def scanned(filled: int | None, labels: npt.NDArray[np.uint8] = LABELS, gas: int = -1000) -> Volume:
    """A wide body with a bubble of gas before the left kidney, noise all over; one value beyond the circle."""
    hu = np.where(labels > 0, 150, -90)
    hu[BUBBLE] = np.where(labels[BUBBLE] > 0, 150, gas)
    hu += np.random.default_rng(3).integers(-12, 13, hu.shape)
    if filled is not None:
        hu[:, BEYOND] = filled
    return Volume(np.maximum(hu, -1024 if filled != -3024 else -3024).astype(np.int16), GRID)


def seen(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What a person, or a network, outlines of them."""
    return np.where(BEYOND, 0, labels).astype(np.uint8)


@pytest.mark.parametrize("filled", [-1000, -1024, -2000, -3024, 0])
def test_a_tumour_cut_by_the_circle_is_at_least_so_large(filled: int) -> None:
    """Whatever the scanner fills in; the other kidney is measured."""
    labels, image = seen(LABELS), scanned(filled)
    found = measured(labels, image, GRID)
    tumor, kidney = of(found, TUMOR), of(found, KIDNEY)
    ml = np.count_nonzero(labels == 2) * GRID.voxel_volume_ml
    assert ml < 0.8 * np.count_nonzero(LABELS == 2) * GRID.voxel_volume_ml
    assert (tumor["volume_ml"].value, tumor["volume_ml"].why) == (None, CUT)
    assert tumor["volume_ml"].low == pytest.approx(ml, abs=0.01)
    for name in ("axial_mm", "exophytic_percent", "contact_cm2", "renal_e"):
        assert tumor[name].value is None
    assert (kidney["organ_ml"].value, kidney["organ_ml"].why) == (None, CUT)
    assert of(found, "Right kidney")["length_mm"].value is not None
    assert {one["name"]: one.get("cut", False) for one in divided(labels, GRID, 5.0, None, image=image).told()} == {
        "Right kidney": False,
        KIDNEY: True,
        TUMOR: True,
    }
    share = cuts(labels, Box.of_mask(labels), image)["cut_by_field"]
    assert share is not None
    assert share > 0.002


@pytest.mark.parametrize("gas", [-1000, -1024])
def test_a_kidney_beside_gas_is_whole(gas: int) -> None:
    """As dark as what is filled in, some of it, but within the body; and nothing is filled in here."""
    labels = LABELS.copy()
    assert (labels[BUBBLE] == 1).any(), "it touches the bubble"
    image = scanned(None, labels, gas)
    assert beyond_field(image, Box.of_shape(GRID.shape_zyx)) is None
    found = measured(labels, image, GRID)
    assert of(found, KIDNEY)["volume_ml"].value is not None
    assert of(found, TUMOR)["volume_ml"].value is not None


def test_gas_beside_a_kidney_is_not_filled_in_where_something_is() -> None:
    """The circle lies elsewhere: what is dark and does not reach the slice's border is gas."""
    labels = LABELS.copy()
    labels[labels == 2] = 1
    image = scanned(-1024, labels, -1024)
    filled = beyond_field(image, Box.of_shape(GRID.shape_zyx))
    assert filled is not None
    assert not filled[BUBBLE].any()
    assert filled[:, BEYOND].all()


@pytest.mark.parametrize("around", [-1024, -1000])
def test_a_kidney_that_a_person_cut_out_is_whole(around: int) -> None:
    """All that surrounds it has one value: no scanner's circle does that."""
    image = Volume(np.where(LABELS > 0, 150, around).astype(np.int16), GRID)
    found = measured(LABELS, image, GRID)
    assert of(found, TUMOR)["volume_ml"].value is not None
    assert of(found, KIDNEY)["volume_ml"].value is not None


def test_slices_that_end_earlier_elsewhere_cut_too() -> None:
    """As in a volume that was sheared or turned: a slice's own part is filled in above the kidney."""
    labels = LABELS.copy()
    labels[labels == 2] = 1
    image = scanned(None, labels)
    image.array[45:, :, 165:] = -1024
    labels[45:, :, 165:] = 0
    found = measured(labels, image, GRID)
    assert of(found, KIDNEY)["volume_ml"].value is None
    assert of(found, "Right kidney")["volume_ml"].value is not None


def test_the_share_at_the_border_counts_a_voxel_once() -> None:
    """A mask that fills the slices, 4 x 4: twelve of sixteen voxels lie at their border, corners too."""
    labels = np.ones((3, 4, 4), np.uint8)
    image = Volume(np.full((3, 4, 4), 40, np.int16), replace(GRID, shape_zyx=(3, 4, 4)))
    assert cuts(labels, Box.of_mask(labels), image)["cut_by_field"] == 12 / 16
