"""Overwritten values of a plan: by hand, what follows of them, and each refusal by its own word."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from msgspec.structs import replace

from bisc.core.errors import InputError
from bisc.planners.dataset import load_plan, plan_dataset
from bisc.planners.memory import training_gb
from bisc.planners.planner import explain, make_plan
from bisc.planners.values import NONE_OVERWRITTEN, given, values_of
from tests.support.grids import hand_fingerprint


def test_the_planner_derives_from_overwritten_values() -> None:
    """At 1.6 mm in plane the sides of 144 px are 72 -> 80, and 40 slices of 3 mm are 60 of 2 mm -> 64."""
    values = values_of(["target_spacing_mm_zyx=2,1.6,1.6", "base_features=16"])
    plan = make_plan(hand_fingerprint(), 1e6, values=values)
    assert plan.target_spacing_mm_zyx == (2.0, 1.6, 1.6)
    assert plan.roi.sides_px == [80]
    assert plan.fine.patch_size_zyx == (64, 80, 80)
    stages = [plan.rough, plan.fine, plan.packed, plan.packed_rough]
    assert [stage.base_features for stage in stages if stage is not None] == [16] * 4


def test_what_is_fixed_is_paid_for_by_what_is_free() -> None:
    """Batch 1 of both, but 2 of the fine stage; memory is estimated for them, and the norm is theirs."""
    values = values_of(["batch_size=1", "fine.batch_size=2", "fine.patch_size_zyx=[32, 96, 96]", "rough.norm=batch"])
    own, plan = make_plan(hand_fingerprint(), 12.0), make_plan(hand_fingerprint(), 12.0, values=values)
    assert (plan.rough.batch_size, plan.rough.norm) == (1, "batch")
    assert (plan.fine.batch_size, plan.fine.norm, plan.fine.patch_size_zyx) == (2, "instance", (32, 96, 96))
    assert plan.fine.estimated_memory_gb == round(training_gb((32, 96, 96), 2, 32), 2)
    assert math.prod(plan.rough.patch_size_zyx) >= math.prod(own.rough.patch_size_zyx)


def test_mean_and_deviation_are_those_between_overwritten_clips() -> None:
    """Levels 0 to 1000 clipped at 0 and 100: 0..99 once each and 100 for the other 901, mean 95.054."""
    cases = hand_fingerprint().cases[:1]
    fingerprint = hand_fingerprint([replace(cases[0], hu_quantiles=list(range(1001)))])
    plan = make_plan(fingerprint, values=values_of(["intensity.clip_low_hu=0", "intensity.clip_high_hu=100"]))
    assert (plan.intensity.clip_low_hu, plan.intensity.clip_high_hu) == (0.0, 100.0)
    assert plan.intensity.mean_hu == pytest.approx((99 * 100 / 2 + 901 * 100) / 1001, abs=1e-3)


def test_plan_txt_says_what_was_overwritten_and_what_it_was() -> None:
    """Both values in one line, and no reason that belongs to the value of before."""
    values = values_of(["target_spacing_mm_zyx=3,1.5,1.5", "fine.batch_size=4", "roi.margin_mm=0"])
    text = explain(make_plan(hand_fingerprint(), 1e6, values=values))
    assert "target_spacing_mm_zyx = 3,1.5,1.5 (the planner's own: 3,0.8,0.8)" in text
    assert "fine.batch_size = 4 (the planner's own: 8)" in text
    assert "roi.margin_mm = 0.0 (the planner's own: 6.0)" in text
    assert "Target spacing 1.5 x 1.5 x 3 mm (x, y, z): overwritten by hand." in text
    assert "ROI margin 0 mm: overwritten by hand." in text
    assert "some of it overwritten by hand" in text
    assert "verwritten" not in explain(make_plan(hand_fingerprint()))


def test_without_values_the_plan_is_the_same() -> None:
    """None overwritten is the default plan, to the last reason."""
    assert values_of([]) == NONE_OVERWRITTEN
    assert given(NONE_OVERWRITTEN) == {}
    assert make_plan(hand_fingerprint(), 12.0, values=NONE_OVERWRITTEN) == make_plan(hand_fingerprint(), 12.0)


@pytest.mark.parametrize(
    ("items", "found"),
    [
        (["base_features"], "no value"),
        (["base_feature=16"], "unknown field `base_feature`"),
        (["fine.patch=16"], "unknown field `patch`"),
        (["dataset=Other"], "unknown field `dataset`"),
        (["base_features=sixteen"], "Expected `int | null`, got `str`"),
        (["base_features=16.5"], "Expected `int | null`"),
        (["base_features=0"], ">= 1"),
        (["base_features=4096"], "<= 128"),
        (["fine.batch_size=true"], "got `bool`"),
        (["target_spacing_mm_zyx=3,1.5"], "length 3"),
        (["target_spacing_mm_zyx=3,1.5,-1"], "0.001"),
        (["target_spacing_mm_zyx=3,1.5,NaN"], "target_spacing_mm_zyx"),
        (["rough.patch_size_zyx=30,128,128"], "multiple"),
        (["rough.norm=group"], "Invalid enum value 'group'"),
        (["memory_gb=0"], "0.0"),
        (["fine=3"], "Expected `object`"),
        (["fine.batch_size=2", "fine.batch_size=4"], "given twice"),
    ],
)
def test_refused_by_its_own_word(items: list[str], found: str) -> None:
    """The line names the word and what is wrong with it."""
    with pytest.raises(InputError) as caught:
        values_of(items)
    assert str(caught.value).startswith(f"--set {items[-1]}: ")
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("items", "found"),
    [
        (["target_spacing_mm_zyx=3,0.01,0.01"], "impossible value"),
        (["rough.patch_size_zyx=32,256,256"], "a rough patch of 256 px on a grid of 128 px"),
        (["intensity.clip_low_hu=500"], "the lower one above the upper"),
        (["rough_in_plane_px=72"], "a packed patch of 72 x 72 px in plane would follow; expected multiples of 16 px"),
        (["fine.patch_size_zyx=32,96,104"], "a packed patch of 104 x 96 px"),
        (["roi.sides_px=[168]"], "a packed patch of "),
    ],
)
def test_refused_for_what_would_follow(items: list[str], found: str) -> None:
    """A value that is one, and whose plan would be none."""
    with pytest.raises(InputError) as caught:
        make_plan(hand_fingerprint(), values=values_of(items))
    assert str(caught.value).startswith("--set")
    assert found in str(caught.value)


def test_values_stay_until_others_are_given(tmp_path: Path) -> None:
    """A rerun keeps them, also where the data set has grown; other values are all there are then."""
    fingerprint = hand_fingerprint()
    assert plan_dataset(fingerprint, tmp_path, 12.0, values=values_of(["base_features=8"])).fine.base_features == 8
    assert plan_dataset(fingerprint, tmp_path, 12.0).fine.base_features == 8
    grown = hand_fingerprint([*fingerprint.cases, *hand_fingerprint().cases[:1]])
    assert plan_dataset(grown, tmp_path, 12.0).fine.base_features == 8
    plan_dataset(grown, tmp_path, 12.0, values=values_of(["rough.batch_size=2"]))
    plan = load_plan(tmp_path)
    assert (plan.rough.batch_size, plan.fine.base_features) == (2, 32)
