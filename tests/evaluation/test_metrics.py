"""Dice, volumes, surface measures and the columns of a case, on masks small enough to recompute by hand."""

from __future__ import annotations

import math
import time
from dataclasses import astuple

import numpy as np
import numpy.typing as npt
import pytest
import surface_distance
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bisc.evaluation.cases import COLUMNS, METRICS, CaseScores, score_arrays, unscored
from bisc.evaluation.overlap import dice, volume_ml
from bisc.evaluation.surface import (
    KIDNEY_TOLERANCE_MM,
    TUMOR_TOLERANCE_MM,
    SurfaceScores,
    image_diagonal_mm,
    surface_scores,
)

SHAPE = (4, 6, 7)
SPACING = (3.0, 0.75, 0.5)
NUMBERS = [name for name in METRICS if not name.startswith("volume")]
label_maps = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 1, 2]))
quick = settings(max_examples=40, deadline=None)


def voxel(z: int, y: int, x: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[z, y, x] = True
    return mask


def surfaces(reference: npt.NDArray[np.bool_], prediction: npt.NDArray[np.bool_], **changes: object) -> SurfaceScores:
    options = {"spacing_mm_zyx": (1.0, 1.0, 1.0), "tolerance_mm": 1.0, "penalty_mm": 99.0} | changes
    return surface_scores(reference, prediction, **options)  # type: ignore[arg-type]


def test_dice_by_hand() -> None:
    reference = np.array([[[1, 1], [1, 0]]], dtype=bool)
    prediction = np.array([[[0, 1], [1, 1]]], dtype=bool)
    assert dice(reference, prediction) == pytest.approx(2 * 2 / (3 + 3))


def test_dice_of_empty_masks() -> None:
    empty = np.zeros((1, 2, 2), dtype=bool)
    assert dice(empty, empty) == 1.0
    assert dice(empty, ~empty) == dice(~empty, empty) == 0.0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 2\).*\(1, 1, 2\)"):
        dice(np.ones((1, 2, 2), dtype=bool), np.ones((1, 1, 2), dtype=bool))


def test_volume_by_hand() -> None:
    # 2 voxels of 5 x 10 x 10 mm are 1000 mm3, one millilitre.
    assert volume_ml(voxel(0, 0, 0) | voxel(1, 1, 1), (5.0, 10.0, 10.0)) == pytest.approx(1.0)
    assert volume_ml(np.zeros(SHAPE, dtype=bool), SPACING) == 0.0


@pytest.mark.parametrize(("shift", "hd95", "surface_dice"), [(0, 0.0, 1.0), (1, 1.0, 1.0), (2, 2.0, 0.5)])
def test_one_voxel_beside_another(shift: int, hd95: float, surface_dice: float) -> None:
    # A voxel's surface is its 8 corners, equal in area. Moved by 2 mm, the 4 corners facing the other voxel are 1 mm
    # from it, within the tolerance of 1 mm, and the 4 averted ones 2 mm: (4 + 4) / (8 + 8) = 0.5, and HD95 is 2.
    assert surfaces(voxel(1, 1, 1), voxel(1, 1, 1 + shift)) == SurfaceScores(hd95, surface_dice)


@pytest.mark.parametrize(("moved", "mm"), [((1, 0, 0), 3.0), ((0, 1, 0), 0.75), ((0, 0, 1), 0.5)])
def test_spacing_belongs_to_its_axis(moved: tuple[int, int, int], mm: float) -> None:
    z, y, x = moved
    scores = surfaces(voxel(1, 1, 1), voxel(1 + z, 1 + y, 1 + x), spacing_mm_zyx=SPACING)
    assert scores.hd95_mm == pytest.approx(mm)
    assert scores.surface_dice == (0.5 if mm > 1.0 else 1.0)


def test_hd95_is_the_larger_direction_and_ignores_a_small_part() -> None:
    block = np.zeros((12, 30, 30), dtype=bool)
    block[1:11, 1:11, 1:11] = True
    speck = block.copy()
    speck[5, 5, 28] = True  # its share of the surface is far below 5 %
    assert surfaces(block, speck).hd95_mm == 0.0
    large = block.copy()
    large[1:11, 1:11, 15:25] = True  # a second block, half of the surface: 4 to 14 mm from the first
    assert surfaces(block, large).hd95_mm == surfaces(large, block).hd95_mm == 14.0


def test_surfaces_of_empty_masks() -> None:
    empty = np.zeros(SHAPE, dtype=bool)
    assert surfaces(empty, empty) == SurfaceScores(0.0, 1.0)
    assert surfaces(empty, ~empty) == surfaces(~empty, empty) == SurfaceScores(99.0, 0.0)


@quick
@pytest.mark.filterwarnings("ignore:Please (import|use) .* `scipy.ndimage`:DeprecationWarning")
@given(hnp.arrays(bool, SHAPE), hnp.arrays(bool, SHAPE), st.sampled_from([0.6, 0.9, 2.2]))
def test_any_two_masks_score_as_the_library_scores_them(
    reference: npt.NDArray[np.bool_], prediction: npt.NDArray[np.bool_], tolerance: float
) -> None:
    assume(reference.any() and prediction.any())
    ours = surfaces(reference, prediction, spacing_mm_zyx=SPACING, tolerance_mm=tolerance)
    theirs = surface_distance.compute_surface_distances(reference, prediction, SPACING)
    assert ours.hd95_mm == pytest.approx(surface_distance.compute_robust_hausdorff(theirs, 95), rel=1e-6)
    expected = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
    assert ours.surface_dice == pytest.approx(expected, rel=1e-9)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Please (import|use) .* `scipy.ndimage`:DeprecationWarning")
def test_specks_all_over_a_scan_are_measured_in_seconds() -> None:
    # What a barely trained network leaves: one box over the whole scan. The library's own distances took nine times as
    # long as ours at this size (7.3 s against 0.8 s), so both are timed here: 10 s alone would let them pass.
    specks = np.random.default_rng(0).random((64, 256, 256)) > 0.9
    kidney = np.zeros(specks.shape, dtype=bool)
    kidney[20:40, 60:120, 60:120] = True
    start = time.perf_counter()
    assert surfaces(kidney, specks).hd95_mm > 50.0
    ours_seconds = time.perf_counter() - start
    assert ours_seconds < 10.0
    surface_distance.compute_surface_distances(kidney, specks, (1.0, 1.0, 1.0))
    assert ours_seconds < (time.perf_counter() - start - ours_seconds) / 2.0


def test_tolerances_are_those_of_kits23() -> None:
    assert KIDNEY_TOLERANCE_MM == 1.0330772532390826
    assert TUMOR_TOLERANCE_MM == 1.1498198361434828


def test_the_columns_are_the_contract() -> None:
    expected = (
        "case status dice_kidney dice_tumor dice_composite dice_kidney_only hd95_kidney_mm hd95_tumor_mm "
        "surface_dice_kidney surface_dice_tumor volume_kidney_ref_ml volume_kidney_pred_ml volume_tumor_ref_ml "
        "volume_tumor_pred_ml tumors_ref tumors_found tumors_false"
    )
    assert " ".join(COLUMNS) == expected


def test_a_case_by_hand() -> None:
    reference = np.zeros((3, 4, 4), np.uint8)
    reference[1, 1] = [1, 1, 2, 2]
    prediction = np.zeros((3, 4, 4), np.uint8)
    prediction[1, 1] = [0, 1, 1, 2]
    scores = score_arrays("a", reference, prediction, (10.0, 10.0, 10.0))  # voxels of 1 ml
    assert (scores.case, scores.status) == ("a", "ok")
    assert scores.dice_kidney == pytest.approx(2 * 3 / (4 + 3))
    assert scores.dice_tumor == pytest.approx(2 * 1 / (2 + 1))
    assert scores.dice_composite == pytest.approx((6 / 7 + 2 / 3) / 2)
    assert scores.dice_kidney_only == pytest.approx(2 * 1 / (2 + 2))
    assert (scores.volume_kidney_ref_ml, scores.volume_kidney_pred_ml) == (4.0, 3.0)
    assert (scores.volume_tumor_ref_ml, scores.volume_tumor_pred_ml) == (2.0, 1.0)
    assert (scores.hd95_kidney_mm, scores.hd95_tumor_mm) == (10.0, 10.0)
    assert (scores.tumors_ref, scores.tumors_found, scores.tumors_false) == (1, 1, 0)


def test_a_case_predicted_empty_gets_the_diagonal() -> None:
    reference = np.zeros((3, 4, 5), np.uint8)
    reference[1, 1, 1:4] = [1, 1, 2]
    scores = score_arrays("a", reference, np.zeros_like(reference), (4.0, 3.0, 2.4))
    assert scores.hd95_kidney_mm == scores.hd95_tumor_mm == pytest.approx(math.sqrt(12**2 + 12**2 + 12**2))
    assert (scores.dice_composite, scores.surface_dice_kidney, scores.surface_dice_tumor) == (0.0, 0.0, 0.0)
    assert scores.volume_kidney_pred_ml == 0.0


def test_nothing_in_both_is_right() -> None:
    empty = np.zeros(SHAPE, np.uint8)
    scores = score_arrays("a", empty, empty, SPACING)
    assert (scores.dice_kidney, scores.dice_tumor, scores.dice_composite, scores.dice_kidney_only) == (1, 1, 1, 1)
    assert (scores.hd95_kidney_mm, scores.surface_dice_tumor, scores.tumors_ref) == (0, 1, 0)


def test_unknown_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="labels up to 3"):
        score_arrays("a", np.full(SHAPE, 3, np.uint8), np.zeros(SHAPE, np.uint8), SPACING)


def test_an_unscored_row_has_no_numbers() -> None:
    assert all(value is None or math.isnan(value) for value in astuple(unscored("a"))[2:])


def same(a: CaseScores, b: CaseScores, names: list[str]) -> None:
    for name in names:
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-9), name


@quick
@given(label_maps)
def test_identity(labels: npt.NDArray[np.uint8]) -> None:
    scores = score_arrays("a", labels, labels.copy(), SPACING)
    for name in ("dice_kidney", "dice_tumor", "dice_composite", "dice_kidney_only", "surface_dice_kidney"):
        assert getattr(scores, name) == 1.0
    assert scores.hd95_kidney_mm == scores.hd95_tumor_mm == 0.0
    assert scores.tumors_found == scores.tumors_ref
    assert scores.tumors_false == 0


@quick
@given(label_maps, label_maps)
def test_symmetry(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> None:
    symmetric = [name for name in METRICS if name.startswith(("dice", "hd95", "surface"))]
    same(score_arrays("a", a, b, SPACING), score_arrays("a", b, a, SPACING), symmetric)


@quick
@given(label_maps, label_maps)
def test_range(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> None:
    scores = score_arrays("a", a, b, SPACING)
    for name in METRICS:
        value = getattr(scores, name)
        assert value >= 0, name
        if "dice" in name:
            assert value <= 1, name
        if name.startswith("hd95"):
            assert value <= image_diagonal_mm(SHAPE, SPACING)
    assert scores.tumors_ref is not None
    assert scores.tumors_found is not None
    assert scores.tumors_found <= scores.tumors_ref


@quick
@given(label_maps, label_maps, st.tuples(*[st.booleans()] * 3))
def test_flips_change_nothing(
    a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], flips: tuple[bool, bool, bool]
) -> None:
    axes = tuple(axis for axis in range(3) if flips[axis])
    flipped = score_arrays("a", np.flip(a, axes), np.flip(b, axes), SPACING)
    same(score_arrays("a", a, b, SPACING), flipped, list(METRICS))


@quick
@given(label_maps, label_maps, st.tuples(*[st.integers(0, 4)] * 3))
def test_a_shift_of_both_changes_nothing(
    a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], by: tuple[int, int, int]
) -> None:
    def placed(labels: npt.NDArray[np.uint8], start: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
        out = np.zeros([n + 4 for n in SHAPE], np.uint8)
        out[tuple(slice(s, s + n) for s, n in zip(start, SHAPE, strict=True))] = labels
        return out

    before = score_arrays("a", placed(a, (0, 0, 0)), placed(b, (0, 0, 0)), SPACING)
    assert before == score_arrays("a", placed(a, by), placed(b, by), SPACING)
