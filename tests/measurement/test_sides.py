"""What lies apart from a kidney is no part of its outline, and what cannot be told of a side is not told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from bisc.measurement.measure import APART, GUESS
from bisc.measurement.measures import CaseMeasures
from bisc.measurement.sides import CUT, NO_SIDE, SEVERAL
from tests.support.known_kidneys import GRID, ORIGIN, SHAPE, Ball, kidneys, measured, of

BALL = Ball(20.0, 16.0, 0.0, 11.0)
TUMOR, KIDNEY = "Tumour 1 (left)", "Left kidney"


def values(found: CaseMeasures, name: str, but: str = "") -> dict[str, object]:
    return {key: one.value for key, one in of(found, name).items() if key != but}


def test_a_speck_of_kidney_changes_its_volume_alone() -> None:
    """One voxel far below, and one at the image's border: with a hull over it the kidney would be twice as long."""
    labels = kidneys(BALL)
    sound = measured(labels)
    labels[1, 100, 200] = labels[0, 2, 240] = 1
    found = measured(labels)
    assert values(found, TUMOR) == values(sound, TUMOR)
    assert values(found, KIDNEY) == values(sound, KIDNEY)  # 0.004 ml are below what is written
    assert len(found.notes) == 1
    assert "left kidney: 0.00384 ml lie more than 15 mm apart" in found.notes[0]


def test_a_second_kidney_on_one_side_is_told() -> None:
    """As a graft is: one volume of both, said to be of both, and no length, split or place."""
    labels = kidneys(BALL)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    graft = ((z - 5) * 3.0 / 14) ** 2 + ((y - 95) * 0.8 / 11) ** 2 + ((x - 230) * 0.8 / 14) ** 2 <= 1
    labels[graft] = 1  # 9 ml, 20 mm from the kidney
    found = measured(labels)
    kidney, tumor = of(found, KIDNEY), of(found, TUMOR)
    assert kidney["volume_ml"].value is not None
    assert kidney["volume_ml"].why == SEVERAL
    for name in ("length_mm", "split_percent", "remaining_ml"):
        assert (kidney[name].value, kidney[name].why) == (None, SEVERAL)
    assert (tumor["along_percent"].value, tumor["c_index"].value) == (None, None)
    assert tumor["axial_mm"].value is not None
    assert of(found, "Right kidney")["split_percent"].value is None
    assert found.notes == (f"left kidney: {SEVERAL}",)


def test_a_tumour_apart_from_the_kidney_has_no_place_in_it() -> None:
    labels = kidneys(None)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    labels[((z - 55) * 3.0) ** 2 + ((y - 15) * 0.8) ** 2 + ((x - 235) * 0.8) ** 2 <= 10.0**2] = 2
    tumor = of(measured(labels), TUMOR)
    for name in ("along_percent", "to_sinus_mm", "c_index", "renal_e", "renal_l", "padua_rim"):
        assert (tumor[name].value, tumor[name].why) == (None, APART)
    assert tumor["contact_cm2"].value == 0.0
    assert tumor["axial_mm"].value == pytest.approx(20.0, abs=1.0)


def test_a_lone_kidney_by_the_images_middle() -> None:
    """Far from it the side is told, with a note; near it, as in an image cut out around a kidney, nothing medial is."""
    labels = kidneys(BALL, only=True)
    far = measured(labels)
    assert of(far, TUMOR)["renal_a"].value == "a"
    assert "by the image's middle" in far.notes[0]
    grid = GRID.cropped((0, 0, 90), (*SHAPE[:2], 160))  # its centre lies 19 mm from the middle now
    near = measured(labels[:, :, 90:].copy(), grid=grid)
    (name,) = (one.segment.name for one in near.structures if one.segment.organ == "tumor")
    assert (of(near, name)["renal_a"].value, of(near, name)["renal_a"].why) == (None, NO_SIDE)
    seen = Volume(np.where(labels > 0, 150, -90).astype(np.int16), GRID)
    seen.array[:, :, :5] = seen.array[:, :, -5:] = -1000
    assert measured(labels, seen).notes == ()


def test_nothing_rests_on_a_kidney_that_is_cut_off() -> None:
    """A whole tumour in it: its sizes and contact are told, its distance to a sinus seen in part is not."""
    labels = kidneys(Ball(-10.0, 14.0, 0.0, 9.0))[: SHAPE[0] // 2 + 8].copy()
    tumor = of(measured(labels, grid=GRID.cropped((0, 0, 0), (len(labels), *SHAPE[1:]))), TUMOR)
    assert tumor["axial_mm"].value is not None
    assert tumor["contact_cm2"].value is not None
    assert (tumor["to_sinus_mm"].value, tumor["to_sinus_mm"].why) == (None, CUT)
    assert (tumor["renal_n"].low, tumor["renal_n"].high) == (1, 3)
    assert (tumor["padua_sinus"].value, tumor["padua_sinus"].low) == (None, 1)


def test_a_guessed_outline_is_said_to_be_one() -> None:
    tumor = of(measured(kidneys(Ball(0.0, 6.0, -10.0, 30.0))), TUMOR)
    for name, least, most in (("renal_l", 1, 3), ("padua_polar", 1, 2), ("padua_sinus", 1, 2)):
        if tumor[name].value is not None:
            assert (tumor[name].why, tumor[name].low, tumor[name].high) == (GUESS, least, most)
    assert (tumor["renal_n"].low, tumor["renal_n"].high) == (1, 3)


@settings(max_examples=12, deadline=None)
@given(
    place=st.tuples(st.floats(-50, 50), st.floats(-20, 20), st.floats(-28, 28)),
    radius=st.floats(4, 32),
    fat=st.sampled_from(["none", "all", "far"]),
)
def test_every_value_lies_within_its_interval(place: tuple[float, float, float], radius: float, fat: str) -> None:
    """Fat nowhere, everywhere, or only where it is far from the tumour: no part and no sum is outside of what it can
    be."""
    grid = Geometry((24, 36, 66), (8.0, 2.8, 3.0), ORIGIN)
    labels = kidneys(Ball(*place, radius), grid=grid)
    hu = np.where(labels > 0, 150, 40 if fat == "none" else -90).astype(np.int16)
    if fat == "far":
        hu[8:][labels[8:] == 0] = 40
    for structure in measured(labels, Volume(hu, grid), grid).structures:
        for name, one in structure.measures.items():
            if isinstance(one.value, int | float) and one.low is not None and one.high is not None:
                assert one.low <= one.value <= one.high, name


def test_a_speck_does_not_make_a_lone_kidneys_side_unsure() -> None:
    """Nor does a mass that lies apart make the outline a guess, nor a slice that is missing two kidneys of one."""
    labels = kidneys(BALL, only=True)
    sound = measured(labels)
    labels[20, 50, 5] = 1
    assert of(measured(labels), TUMOR)["renal_a"].value == of(sound, TUMOR)["renal_a"].value == "a"
    both = kidneys(BALL)
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    both[((z - 5) * 3.0 / 14) ** 2 + ((y - 90) * 0.8 / 14) ** 2 + ((x - 160) * 0.8 / 40) ** 2 <= 1] = 2
    largest = of(measured(both), "Tumour 2 (left)")
    assert (largest["renal_e"].why, largest["renal_e"].low) == ("", None)
    lacking = kidneys(BALL)
    lacking[20:23] = 0
    assert measured(lacking).notes == ()


def test_pieces_of_five_ml_in_all_are_told() -> None:
    """Each is smaller than a kidney, together they are not specks."""
    labels = kidneys(BALL)
    for start in (140, 185, 230):
        labels[2:10, 95:107, start : start + 10] = 1  # 1.8 ml each
    assert measured(labels).notes == (f"left kidney: {SEVERAL}",)
