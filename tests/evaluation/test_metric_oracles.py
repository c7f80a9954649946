"""The metrics against other implementations of them, on real label maps and changed ones."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from bisc.evaluation.cases import score_arrays
from bisc.evaluation.lesions import LesionCounts
from tests.evaluation import oracles
from tests.evaluation.oracles import (
    CHANGES,
    KITS,
    QUICK,
    Change,
    batch,
    check_case,
    check_surfaces,
    check_volumes,
    every,
    kits19,
    lesions,
    monai,
    noisy,
    real,
    shifted,
    without_a_part,
)

pytestmark = oracles.pytestmark


@pytest.mark.parametrize("change", CHANGES)
def test_a_small_real_tumour_by_every_oracle(change: Change) -> None:
    """Cut by the borders, slices of 5 mm and pixels of 2 mm."""
    check_case(QUICK[0], change, step=2)


@pytest.mark.parametrize("case", QUICK[1:])
@pytest.mark.parametrize("change", [without_a_part, noisy])
def test_several_tumours_are_counted_alike(case: str, change: Change) -> None:
    """Two tumours and a satellite, by components and k-d trees."""
    reference, spacing = every(4, *real(case))
    prediction = change(reference)
    scores = score_arrays(case, reference, prediction, spacing)
    counts = LesionCounts(scores.tumors_ref or 0, scores.tumors_found or 0, scores.tumors_false or 0)
    assert counts == lesions(reference == 2, prediction == 2, spacing)
    assert counts.reference >= 2


def test_empty_masks_by_every_oracle() -> None:
    """Nothing in both: MONAI's and our Dice 1, KiTS19's NaN. One empty: 0 in all; the diagonal where MONAI has inf."""
    reference, spacing = real(QUICK[0])
    empty = np.zeros_like(reference)
    _, metrics = monai()
    dice = metrics.DiceMetric(include_background=True, ignore_empty=False)
    both = score_arrays("a", empty, empty, spacing)
    assert (both.dice_kidney, both.dice_tumor) == tuple(dice(batch(empty), batch(empty))[0].tolist()) == (1.0, 1.0)
    assert np.isnan(kits19(empty, empty)).all()
    for ref, pred in ((reference, empty), (empty, reference)):
        one = score_arrays("a", ref, pred, spacing)
        assert kits19(ref, pred) == (one.dice_kidney, one.dice_tumor) == (0.0, 0.0)
        assert dice(batch(pred), batch(ref))[0].tolist() == [0.0, 0.0]
        check_surfaces(one, ref, pred, spacing)
        check_volumes(one, ref, pred, spacing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = metrics.HausdorffDistanceMetric(include_background=True, percentile=95)(batch(empty), batch(reference))
    assert not np.isfinite(theirs.numpy()).any()


@pytest.mark.long
@pytest.mark.parametrize("case", sorted(p.name for p in KITS.glob("case_*"))[::3])
def test_real_tumours_by_every_oracle(case: str) -> None:
    """Every third of 167 label maps, eight changes, both ways round."""
    for change in CHANGES:
        check_case(case, change)
    real.cache_clear()


@pytest.mark.long
@pytest.mark.parametrize("case", sorted(p.name for p in KITS.glob("case_*"))[::14])
def test_whole_organs_by_every_oracle(case: str) -> None:
    """Twelve label maps with both kidneys."""
    for change in (shifted, noisy, without_a_part):
        check_case(case, change, tumour_only=False)
    real.cache_clear()
