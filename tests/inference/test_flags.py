"""Each flag is raised by a case made for it and by no sound one; none changes a mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.flags import LIGHTS, Flag
from bisc.core.geometry import as_int_triple
from bisc.core.labels import MAX_KIDNEY_ML
from bisc.inference.cascade import NO_OFFSETS
from bisc.inference.flags import flags_of
from bisc.inference.light import EMPTY, LIMITS, flag_of, judged
from tests.support.flagged import GRID, KIDNEY_MM_ZYX, Made, sound
from tests.support.training_fixtures import ellipsoid


def flag(made: Made, name: str) -> Flag:
    return next(flag for flag in made.flags().flags if flag.name == name)


def third_region() -> Made:
    made = sound()
    for z_mm, y_mm in ((0.0, -90.0), (0.0, 90.0)):
        made.labels[ellipsoid(GRID, (z_mm, y_mm, 0.0), (20.0, 20.0, 20.0))] = 1
    return made


def with_kidney(radii_mm: tuple[float, float, float], tumor: bool = False) -> Made:
    """The patient's right kidney is of another size."""
    made = sound((60.0,), (0.0,), tumor=tumor)
    made.labels[ellipsoid(GRID, (0.0, 0.0, -80.0), radii_mm)] = 1
    return made


def in_kidneys(hu: int, share: float = 1.0) -> Made:
    """So much of the mask is so dense."""
    made = sound(tumor=False)
    at = np.flatnonzero(made.labels)
    made.hu.ravel()[at[: round(at.size * share)]] = hu
    return made


def shifted(mm_zyx: tuple[float, float, float]) -> Made:
    """The mask and what lies in it, moved in the scan."""
    made = sound()
    by = tuple(round(mm / step) for mm, step in zip(mm_zyx, GRID.spacing_mm_zyx, strict=True))
    made.labels = np.roll(made.labels, by, (0, 1, 2))
    return made


def cut_at_the_border() -> Made:
    """A scan whose sides were cropped through both kidneys."""
    made = sound(tumor=False)
    inside = (slice(None), slice(None), slice(20, 60))
    made.labels, made.hu = made.labels[inside], made.hu[inside]
    made.grid = replace(
        GRID, shape_zyx=as_int_triple(made.labels.shape), origin_mm_xyz=(-158.0 + 20 * 4.0, -118.0, 0.0)
    )
    return made


def cut_by_filling() -> Made:
    """The reconstructed circle ends within a kidney; outside of it -2000 is filled in."""
    made = sound(tumor=False)
    edge = int(np.flatnonzero(made.labels.any(axis=(0, 1)))[5])
    made.labels[..., :edge], made.hu[..., :edge] = 0, -2000
    return made


def rough_elsewhere() -> Made:
    made = sound()
    made.rough = np.roll(made.labels, 8, axis=1)
    return made


def much_left_out() -> Made:
    """Much that the fine stage marked is not in the mask."""
    made = sound()
    made.found = np.maximum(made.labels, np.uint8(1) * (np.indices(made.labels.shape)[1] < 40)).astype(np.uint8)
    return made


def folds_apart(dice: float) -> Made:
    """Two folds that share so much of each other's mask."""
    made = sound()
    votes = 2 * (made.labels > 0).astype(np.uint8)
    at = np.flatnonzero(votes)
    votes.ravel()[at[round(at.size * dice / (2.0 - dice)) :]] = 1  # of the union, d / (2 - d) is shared
    made.fold_votes, made.n_folds = votes, 2
    return made


def edges_elsewhere(by: int) -> Made:
    """The edge branches see the outline so many voxels further on."""
    made = sound()
    made.seen = np.roll(made.labels, by, axis=1)
    return made


def unsure(sure: float) -> Made:
    made = sound()
    made.sure = sure
    return made


RAISED: dict[str, list[Callable[[], Made]]] = {
    "kidneys": [lambda: sound((), ()), lambda: sound((60.0,), (0.0,)), third_region],
    "total_ml": [lambda: with_kidney((75.0, 75.0, 75.0))],
    "smallest_ml": [lambda: with_kidney((20.0, 16.0, 16.0))],
    "asymmetry": [lambda: with_kidney((14.0, 12.0, 12.0))],
    "shortest_mm": [lambda: with_kidney((20.0, 30.0, 30.0))],
    "height_apart_mm": [lambda: sound(z_mm=(-44.0, 44.0))],
    "off_middle_mm": [lambda: shifted((0.0, 0.0, 52.0))],
    "cut_by_slices": [lambda: shifted((40.0, 0.0, 0.0))],
    "cut_by_field": [cut_at_the_border, cut_by_filling],
    "kidney_hu": [lambda: in_kidneys(30), lambda: in_kidneys(-100), lambda: in_kidneys(320)],
    "fat_share": [lambda: in_kidneys(-90, 0.3)],
    "bone_share": [lambda: in_kidneys(700, 0.1)],
    "hu_spread": [lambda: in_kidneys(500, 0.4)],
    "expected_dice": [much_left_out],
    "margin": [lambda: unsure(0.6)],
    "rough_dice": [rough_elsewhere],
    "left_out_share": [much_left_out],
    "folds_dice": [lambda: folds_apart(0.8), lambda: folds_apart(0.5)],
    "outline_agreement": [lambda: edges_elsewhere(4)],
    "kidney_risk": [lambda: unsure(0.6)],
    "tumor_risk": [lambda: unsure(0.6)],
}


SOUND = [sound().flags(), sound(tumor=False).flags(), folds_apart(0.95).flags(), edges_elsewhere(0).flags()]


def test_every_limit_has_a_case() -> None:
    """But for a height that this small scan has no room for, which is judged by its number."""
    assert RAISED.keys() | {"longest_mm"} == LIMITS.keys()
    assert flag_of("longest_mm", 250.0).level == "amber"
    assert flag_of("longest_mm", 150.0).level == "green"


@pytest.mark.parametrize("name", RAISED)
def test_it_is_raised_where_it_must_be(name: str) -> None:
    for make in RAISED[name]:
        raised = flag(make(), name)
        assert raised.level != "green", (name, raised)
        assert raised.value is not None
        assert raised.words not in ("in order", "could not be told")


@pytest.mark.parametrize("name", LIMITS)
def test_a_sound_case_raises_none(name: str) -> None:
    for told in SOUND:
        assert next(flag for flag in told.flags if flag.name == name).level == "green"


def test_a_sound_case_is_green_and_its_risk_small() -> None:
    flags = sound().flags()
    assert flags.light == "green"
    assert flags.raised == ()
    assert flags.risk is not None
    assert flags.risk < 0.5  # most of it the tumour's
    assert flag(sound(), "kidney_risk").value == pytest.approx(0.0, abs=0.02)


def test_the_light_is_the_worst_of_all() -> None:
    """Red where one is, whatever else is amber; raised are told in the order of the numbers."""
    made = in_kidneys(-100)
    made.sure = 0.6
    flags = made.flags()
    assert flags.light == "red"
    assert {flag.level for flag in flags.raised} == {"amber", "red"}
    assert sound((60.0,), (0.0,)).flags().light == "amber"


def test_nothing_found_is_amber() -> None:
    """It may be right: no number of a mask can be told, none is an error."""
    flags = sound((), ()).flags()
    assert (flags.light, flags.risk) == ("amber", EMPTY)
    told = {flag.name: flag for flag in flags.flags}
    assert told["kidneys"].words.startswith("no kidney found")
    assert told["expected_dice"].value is None
    assert told["expected_dice"].words == "could not be told"


def test_what_the_mask_is_doubted_for_is_red() -> None:
    """`doubt` and the flag are of one mind."""
    assert LIMITS["total_ml"][0].red == MAX_KIDNEY_ML
    assert flag_of("total_ml", MAX_KIDNEY_ML + 1).level == "red"
    assert flag_of("total_ml", 1372.0).level == "green"  # the most of 42 real label maps


def test_a_single_fold_has_no_word_of_folds() -> None:
    assert flag(sound(), "folds_dice").value is None
    assert flag(folds_apart(0.8), "folds_dice").value == pytest.approx(0.8, abs=0.01)


def test_edges_that_nobody_asked_have_no_word() -> None:
    assert flag(sound(), "outline_agreement").value is None
    for name in ("outline_agreement", "tumor_outline_agreement"):
        assert flag(edges_elsewhere(0), name).value == 1.0
        assert 0.0 < (flag(edges_elsewhere(4), name).value or 0.0) < 0.6


def test_limits_widen_outwards() -> None:
    """Amber before red, on whichever side; every limit has words that take the value."""
    for limits in LIMITS.values():
        for limit in limits:
            outwards = 1.0 if limit.red > limit.amber else -1.0
            assert limit.level(limit.amber) == "green"
            assert limit.level(limit.amber + outwards * 1e-6) == "amber"
            if np.isfinite(limit.red):
                assert limit.level(limit.red + outwards * 1e-6) == "red"
            assert "{" not in limit.words.format(value=1.5)


@settings(max_examples=8)
@given(
    st.tuples(st.floats(-80.0, 80.0), st.floats(-80.0, 80.0)),
    st.floats(0.4, 0.99),
    st.booleans(),
    st.integers(-900, 900),
)
def test_flags_change_no_mask(x_mm: tuple[float, float], sure: float, tumor: bool, hu: int) -> None:
    """Nor image nor softmax, whatever they look at; the light is one of the three and the risk a probability."""
    made = sound(x_mm, tumor=tumor)
    made.sure = sure
    made.hu[made.labels > 0] = hu
    result = made.result()
    labels = result.labels(NO_OFFSETS)
    arrays: list[npt.NDArray[Any]] = [
        labels,
        made.hu,
        result.rough.array,
        *(roi.probabilities for roi in result.native),
    ]
    before = [array.copy() for array in arrays]
    flags = flags_of(result, labels, result.kidneys(labels), NO_OFFSETS, NO_OFFSETS)
    for old, new in zip(before, [result.labels(NO_OFFSETS), *arrays[1:]], strict=True):
        assert np.array_equal(old, new)
    assert np.array_equal(labels, before[0])
    assert flags.light in LIGHTS
    assert flags.risk is not None
    assert 0.0 <= flags.risk <= 1.0


@given(st.floats(0.6, 0.95), st.floats(0.01, 0.04))
def test_a_clearer_outline_is_no_greater_risk(margin: float, more: float) -> None:
    """All else equal."""
    numbers = {"kidneys": 2.0, "expected_dice": 0.9, "rough_dice": 0.8, "expected_dice_tumor": 0.8, "margin": margin}
    less, greater = (judged(numbers | {"margin": value}).risk for value in (margin + more, margin))
    assert less is not None
    assert greater is not None
    assert less < greater


def test_kidneys_are_as_large_as_told() -> None:
    """An ellipsoid of 50 x 26 x 26 mm has 142 ml."""
    expected = 4.0 / 3.0 * np.pi * np.prod(KIDNEY_MM_ZYX) / 1000.0
    assert flag(sound(tumor=False), "smallest_ml").value == pytest.approx(expected, rel=0.05)
    assert flag(sound(tumor=False), "total_ml").value == pytest.approx(2 * expected, rel=0.05)
