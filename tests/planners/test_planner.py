"""From fingerprint to plan: medians, percentiles and memory by hand."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.core.errors import InputError
from bisc.core.geometry import Geometry, as_int_triple
from bisc.core.volume import Volume
from bisc.network import SCUNet, count_parameters
from bisc.planners.fingerprint import measure_labels
from bisc.planners.memory import largest_that_fits, n_parameters, norm_for, training_gb
from bisc.planners.planner import CT_DEFAULT, explain, make_plan, roi_sides, target_spacing
from tests.support.grids import ball, grid, hand_case, hand_fingerprint


def test_target_spacing_is_the_median_per_axis() -> None:
    """Axis by axis: medians of (1, 3, 9), (0.7, 0.9, 0.8) and (0.6, 0.8, 1.5)."""
    assert target_spacing([(1.0, 0.7, 0.6), (3.0, 0.9, 0.8), (9.0, 0.8, 1.5)]) == (3.0, 0.8, 0.8)
    assert target_spacing([(1.0, 0.7, 0.6), (3.0, 0.9, 0.8)]) == (2.0, 0.8, 0.7)
    with pytest.raises(ValueError, match="no case"):
        target_spacing([])


def test_roi_sides_by_hand() -> None:
    """41 kidneys of 100, 101 ... 140 px: p95 is the 39th, 138 px -> 144; p97.5 the 40th, 139 px -> 144: one side.

    With the last three at 150, 170, 190: p95 = 150 -> 160, p97.5 = 170 -> 176.
    """
    spacing = (3.0, 0.5, 2.0)
    widths = [float(w) for w in range(100, 141)]
    assert roi_sides([(w * 0.5, 10.0) for w in widths], spacing) == [144]
    assert roi_sides([(10.0, w * 2.0) for w in [*widths[:-3], 150, 170, 190]], spacing) == [160, 176]
    with pytest.raises(ValueError, match="no kidney"):
        roi_sides([], spacing)


def test_make_plan_by_hand() -> None:
    """Spacing, sides, depths and the default intensity of the hand-made fingerprint."""
    plan = make_plan(hand_fingerprint(), 1e6)
    assert plan.target_spacing_mm_zyx == (3.0, 0.8, 0.8)
    assert plan.roi.sides_px == [144]
    assert plan.n_cases == 41
    assert plan.fine.patch_size_zyx == (48, 144, 144)  # 40 slices -> 48
    assert plan.rough.patch_size_zyx == (64, 128, 128)  # 100 slices, 64 at most
    assert (plan.fine.batch_size, plan.fine.base_features, plan.fine.norm) == (8, 32, "batch")
    assert plan.intensity == CT_DEFAULT


def test_intensity_by_hand() -> None:
    """Two cases of 0..1000 HU in steps of 1: percentiles 5 and 995, the mean of the clipped values 500."""
    levels = list(range(1001))
    plan = make_plan(hand_fingerprint([hand_case("a", hu=levels), hand_case("b", hu=levels)]), 12.0)
    assert (plan.intensity.clip_low_hu, plan.intensity.clip_high_hu) == (5.0, 995.0)
    assert plan.intensity.mean_hu == 500.0
    assert plan.intensity.std_hu == pytest.approx(np.clip(levels, 5, 995).std(), abs=1e-3)


def test_kidneys_of_one_hu_tell_no_window() -> None:
    """A data set painted in one number, say: planned with the default, and the plan says why."""
    fingerprint = hand_fingerprint([hand_case("a", hu=[40] * 1001), hand_case("b", hu=[40] * 1001)])
    plan = make_plan(fingerprint, 12.0)
    assert plan.intensity == CT_DEFAULT
    assert "all kidneys have 40 HU" in explain(plan)


def test_no_kidney_no_plan() -> None:
    """One line that names the data set."""
    empty = msgspec.structs.replace(hand_case("a"), kidneys=[])
    with pytest.raises(InputError, match=r"^Hand: no kidney of 5 ml or more"):
        make_plan(hand_fingerprint([empty]))


def test_measure_labels_by_hand() -> None:
    """Two kidneys, the larger with a tumour, and a speck below 5 ml; volumes counted in voxels of 0.002 ml."""
    geometry = Geometry((50, 120, 160), (2.0, 1.0, 1.0))
    labels = np.zeros(geometry.shape_zyx, np.uint8)
    labels[5:25, 10:40, 100:120] = 1  # 12000 voxels, 24 ml
    labels[5:15, 30:40, 110:130] = 2  # 2000 voxels, 4 ml, half of it outside the kidney: + 1000 voxels
    labels[30:40, 60:90, 10:30] = 1  # 6000 voxels, 12 ml
    labels[45:48, 5:15, 5:15] = 1  # 300 voxels, 0.6 ml
    measured = measure_labels("a", Volume(labels, geometry))
    assert measured.n_components == 3
    assert measured.tumor_ml == 4.0
    assert [(k.volume_ml, k.extent_mm_zyx) for k in measured.kidneys] == [
        (26.0, (40.0, 30.0, 30.0)),
        (12.0, (20.0, 30.0, 20.0)),
    ]


def test_measuring_an_empty_map() -> None:
    """No kidney, no tumour, no error: the planner tells what is missing."""
    measured = measure_labels("a", Volume(np.zeros(grid().shape_zyx, np.uint8), grid()))
    assert (measured.kidneys, measured.n_components, measured.tumor_ml) == ([], 0, 0.0)


def test_three_kidneys_count_as_two() -> None:
    """A severed part is not measured as a kidney."""
    geometry = grid((40, 60, 200), (3.0, 1.0, 1.0))
    balls = [ball(geometry, (60, 30, x), 25) for x in (30, 95, 160)]
    labels = np.any(balls, axis=0).astype(np.uint8)
    assert len(measure_labels("a", Volume(labels, geometry)).kidneys) == 2


@pytest.mark.parametrize("features", [8, 16, 32])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_n_parameters_is_the_networks_own(features: int, norm: Literal["instance", "batch"]) -> None:
    """The planner imports no torch: its formula must follow the network."""
    assert n_parameters(features) == count_parameters(SCUNet(features, norm))


sizes = st.tuples(*[st.integers(1, 20)] * 3).map(lambda t: tuple(16 * v for v in t))


@given(sizes, st.integers(1, 8), st.sampled_from([8, 16, 32]), st.integers(0, 2))
def test_memory_grows_with_everything(patch: tuple[int, int, int], batch: int, features: int, axis: int) -> None:
    """A longer patch, a larger batch and a wider network each need more."""
    here = training_gb(patch, batch, features)
    longer = as_int_triple([v + 16 * (a == axis) for a, v in enumerate(patch)])
    assert training_gb(longer, batch, features) > here
    assert training_gb(patch, batch + 1, features) > here
    assert training_gb(patch, batch, 2 * features) > here


@given(sizes, st.floats(0.3, 60))
def test_largest_that_fits_fits(start: tuple[int, int, int], memory_gb: float) -> None:
    """Within the target, unless it is the smallest there is; never above the start nor below the minimum."""
    minimum = as_int_triple(np.minimum(start, (32, 96, 96)))
    found = largest_that_fits(start, minimum, memory_gb, (3.0, 0.8, 0.8))
    smallest = (minimum, 2, 8)
    chosen = (found.patch_size_zyx, found.batch_size, found.base_features)
    assert found.memory_gb <= memory_gb or chosen == smallest
    assert all(m <= p <= s for m, p, s in zip(minimum, found.patch_size_zyx, start, strict=True))
    assert all(p % 16 == 0 for p in found.patch_size_zyx)
    assert 2 <= found.batch_size <= 8
    more = largest_that_fits(start, minimum, memory_gb * 1.5, (3.0, 0.8, 0.8))
    assert more.memory_gb >= found.memory_gb


def test_the_descent_by_hand() -> None:
    """The patch shrinks where it reaches farthest in mm, then the batch, then the width."""
    spacing = (3.0, 1.0, 1.0)  # 64 slices are 192 mm, 128 px are 128 mm: slices first
    start, minimum = (64, 128, 128), (32, 128, 128)
    seen = []
    memory_gb = training_gb(start, 8, 32)
    for _ in range(9):
        found = largest_that_fits(start, minimum, memory_gb, spacing)
        seen.append((found.patch_size_zyx[0], found.batch_size, found.base_features))
        memory_gb = found.memory_gb - 1e-6
    assert seen == [
        (64, 8, 32),
        (48, 8, 32),
        (32, 8, 32),
        (32, 6, 32),
        (32, 4, 32),
        (32, 3, 32),
        (32, 2, 32),
        (32, 2, 16),
        (32, 2, 8),
    ]


def test_the_patch_shrinks_where_it_reaches_farthest() -> None:
    """At 3 x 1 x 1 mm: 64 slices are 192 mm; then y and x (160 mm), and at 144 mm each z again, y, x."""
    seen = []
    memory_gb = training_gb((64, 160, 160), 8, 32)
    for _ in range(7):
        found = largest_that_fits((64, 160, 160), (32, 96, 96), memory_gb, (3.0, 1.0, 1.0))
        seen.append(found.patch_size_zyx)
        memory_gb = found.memory_gb - 1e-6
    assert seen == [
        (64, 160, 160),
        (48, 160, 160),
        (48, 144, 160),
        (48, 144, 144),
        (32, 144, 144),
        (32, 128, 144),
        (32, 128, 128),
    ]


@pytest.mark.parametrize(("batch", "norm"), [(1, "instance"), (3, "instance"), (4, "batch"), (8, "batch")])
def test_norm_follows_the_batch(batch: int, norm: str) -> None:
    """Batch norm needs a batch."""
    assert norm_for(batch) == norm


@pytest.mark.parametrize("memory_gb", [2.0, 12.0, 24.0, 80.0])
def test_the_plan_respects_its_memory(memory_gb: float) -> None:
    """Both stages fit, and the estimate in the plan is that of its sizes."""
    plan = make_plan(hand_fingerprint(), memory_gb)
    stages = [plan.stage(name, packs) for name in ("rough", "fine") for packs in (False, True)]
    assert [stage.packing for stage in stages] == [1, 2, 1, 2]
    for stage in stages:
        estimate = training_gb(stage.patch_size_zyx, stage.batch_size, stage.base_features, stage.packing)
        assert stage.estimated_memory_gb == pytest.approx(estimate, abs=0.005)
        assert estimate <= memory_gb
        assert stage.norm == norm_for(stage.batch_size)


def test_plans_of_before_packing_have_the_plain_sizes() -> None:
    plan = make_plan(hand_fingerprint())
    old = msgspec.structs.replace(plan, packed=None, packed_rough=None)
    assert old.stage("fine", packs=True) == old.fine != plan.stage("fine", packs=True)
    assert old.stage("rough", packs=True) == old.rough != plan.stage("rough", packs=True)
    assert "Packed fine stage: as it is" in explain(old)


def test_a_target_that_nothing_fits_is_said() -> None:
    """The smallest there is, and its reason says that it does not fit."""
    plan = make_plan(hand_fingerprint(), 0.3)
    assert (plan.fine.batch_size, plan.fine.base_features) == (2, 8)
    assert "does NOT fit the target of 0.3 GB" in plan.reasons["fine"]
    assert "does NOT fit" in explain(plan)


def test_explain_gives_every_decision_and_reason() -> None:
    """Each value of the plan and each recorded reason stands in the text."""
    plan = make_plan(hand_fingerprint([hand_case("a", hu=list(range(1001))), hand_case("b", extent_px=230, z_mm=5.0)]))
    text = explain(plan)
    for reason in plan.reasons.values():
        assert reason in text
    z, y, x = plan.target_spacing_mm_zyx
    values = [plan.dataset, f"{plan.n_cases} cases", f"{x:g} x {y:g} x {z:g} mm", plan.label_note, "128 px in plane"]
    values += [f"{v:g}" for v in (plan.memory_gb, plan.roi.margin_mm, plan.roi.min_kidney_ml)]
    values += [f"{v:g}" for v in msgspec.structs.astuple(plan.intensity)]
    values += [", ".join(map(str, plan.roi.sides_px)), f"multiples of {plan.roi.multiple_px}"]
    for stage in (plan.rough, plan.fine, plan.packed_rough, plan.packed):
        assert stage is not None
        pz, py, px = stage.patch_size_zyx
        values += [
            f"{px} x {py} x {pz}",
            f"batch {stage.batch_size}",
            f"{stage.base_features} base",
            f"{stage.norm} norm",
        ]
    for value in values:
        assert value in text
