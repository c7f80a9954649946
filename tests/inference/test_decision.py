"""From probabilities to labels: argmax, offsets, and their fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bisc.core.choices import DECISIONS
from bisc.inference.cascade import NO_OFFSETS, decide, offsets_of
from bisc.pipeline.calibrate import OffsetFit

Float = npt.NDArray[np.float32]


def softmax(logits: npt.NDArray[Any]) -> Float:
    """Over the first axis."""
    e = np.exp(logits - logits.max(axis=0))
    return np.asarray(e / e.sum(axis=0), np.float32)


logits_arrays = hnp.arrays(np.float64, st.tuples(st.just(3), *(st.integers(1, 4),) * 3), elements=st.floats(-8, 8))
offset = st.floats(-5, 3).map(lambda b: round(b, 2))


@given(logits_arrays)
def test_without_offsets_it_is_argmax(logits: npt.NDArray[np.float64]) -> None:
    """uint8 labels; of equals the lower class wins."""
    p = softmax(logits)
    labels = decide(p, NO_OFFSETS)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, p.argmax(axis=0))


@given(logits_arrays, offset, offset, offset)
def test_with_offsets_it_is_argmax_of_log_p_plus_offset(
    logits: npt.NDArray[np.float64], a: float, b: float, c: float
) -> None:
    """Wherever the best leads the second by more than float32 can lose."""
    p = softmax(logits)
    score = np.log(p.astype(np.float64)) + np.asarray((a, b, c))[:, None, None, None]
    second, first = np.sort(score, axis=0)[1:]
    clear = first - second > 1e-4
    labels = decide(p, (a, b, c))
    assert labels.dtype == np.uint8
    assert np.array_equal(labels[clear], score.argmax(axis=0)[clear])


def test_offsets_by_hand() -> None:
    """p = (0.6, 0.3, 0.1): kidney overtakes at log 2, tumour at log 6; of equals the lower class wins."""
    p = np.asarray([0.6, 0.3, 0.1], np.float32).reshape(3, 1, 1, 1)
    assert decide(p, (0.0, np.log(2) - 0.01, 0.0)).item() == 0
    assert decide(p, (0.0, np.log(2) + 0.01, 0.0)).item() == 1
    assert decide(p, (0.0, 0.0, np.log(6) + 0.01)).item() == 2
    assert decide(p, (-np.log(6) - 0.01, -np.log(3) - 0.01, 0.0)).item() == 2
    even = np.full((3, 1, 1, 1), 1 / 3, np.float32)
    assert decide(even, (0.0, 0.0, -1.0)).item() == decide(even, NO_OFFSETS).item() == 0


def shifted_fit(b: tuple[float, float], n_cases: int = 3) -> OffsetFit:
    """Cases whose true labels are the argmax of log p + (0, *b)."""
    fit = OffsetFit()
    rng = np.random.default_rng(1)
    for _ in range(n_cases):
        true = 2.0 * rng.normal(size=(3, 5, 20, 40))
        given_p = softmax(true - np.asarray((0.0, *b))[:, None, None, None])
        fit.add([given_p], [true.argmax(axis=0).astype(np.uint8)])
    return fit


@pytest.mark.parametrize("b", [(-2.0, 1.0), (1.5, -3.0), (-1.3, 0.85), (-4.1, -3.6)])
def test_a_known_offset_is_recovered(b: tuple[float, float]) -> None:
    """Probabilities times exp(-b), renormalised: the fit finds b again, on its grid and between."""
    fit = shifted_fit(b)
    offsets = fit.fit()
    assert offsets == pytest.approx((0.0, *b), abs=0.15)
    assert fit.score(offsets) > 0.985
    assert fit.score(NO_OFFSETS) < 0.9


def test_a_right_network_keeps_its_argmax() -> None:
    """Nothing to gain: no offsets, exactly."""
    assert shifted_fit((0.0, 0.0)).fit() == NO_OFFSETS
    fit = OffsetFit()
    labels = np.arange(3, dtype=np.uint8).reshape(1, 1, 3)
    fit.add([np.eye(3, dtype=np.float32).reshape(3, 1, 1, 3)], [labels])  # certain and right: many offsets serve
    assert fit.fit() == NO_OFFSETS


def test_the_smaller_of_equal_offsets_wins() -> None:
    """A tumour voxel with p = (0.6, 0, 0.4) needs an offset above log 1.5 = 0.405: 0.5 of the grid, refined no further
    than it serves."""
    fit = OffsetFit()
    p = np.asarray([[0.6, 0.9], [0.0, 0.0], [0.4, 0.1]], np.float32).reshape(3, 1, 1, 2)
    for _ in range(2):
        fit.add([p], [np.asarray([[[2, 0]]], np.uint8)])
    background, kidney, tumor = fit.fit()
    assert (background, kidney) == (0.0, 0.0)
    assert 0.405 < tumor <= 0.51


def test_score_by_hand() -> None:
    """Four voxels found (kidney, tumour, nothing, kidney), true (kidney, kidney, tumour, nothing):
    label > 0 Dice 2 * 2 / (3 + 3), tumour 0 / (1 + 1), composite their mean."""
    found, true = np.asarray([1, 2, 0, 1]), np.asarray([1, 1, 2, 0], np.uint8)
    p = np.full((3, 4), 0.1, np.float32)
    p[found, np.arange(4)] = 0.8
    fit = OffsetFit()
    fit.add([p.reshape(3, 1, 2, 2)], [true.reshape(1, 2, 2)])
    assert fit.score(NO_OFFSETS) == pytest.approx((4 / 6 + 0.0) / 2)
    fit.add([p.reshape(3, 1, 2, 2)], [found.reshape(1, 2, 2).astype(np.uint8)])
    assert fit.score(NO_OFFSETS) == pytest.approx(((4 / 6 + 0.0) / 2 + 1.0) / 2)  # the mean over cases
    rough = OffsetFit(kidney_weight=0.8)
    rough.add([p.reshape(3, 1, 2, 2)], [true.reshape(1, 2, 2)])
    assert rough.score(NO_OFFSETS) == pytest.approx(0.8 * 4 / 6)


def certain(found: list[int], true: list[int]) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.uint8]]]:
    """A case whose network gives each voxel 0.8 of one class; p = 0.8 falls to another at an offset of log 8."""
    p = np.full((3, len(found)), 0.1, np.float32)
    p[found, np.arange(len(found))] = 0.8
    return [p.reshape(3, 1, 1, -1)], [np.asarray(true, np.uint8).reshape(1, 1, -1)]


def test_a_case_without_a_tumour_counts_by_what_is_called_one() -> None:
    """Median tumour 4 voxels (of 2 and 6): 3 false ones cost what they would beside 4 right ones, 8 / (8 + 3)."""
    fit = OffsetFit(kidney_weight=0.0)
    fit.add(*certain([2] * 2, [2] * 2))
    fit.add(*certain([2] * 6, [2] * 6))
    assert fit.score(NO_OFFSETS) == 1.0
    fit.add(*certain([1, 2, 2, 2], [1] * 4))
    assert fit.score(NO_OFFSETS) == pytest.approx((1 + 1 + 8 / 11) / 3)


def test_where_no_case_has_a_tumour_the_kidney_counts_alone() -> None:
    """What a tumour would lose is not known: nothing is gained by calling none."""
    p = np.asarray([[0.05, 0.05, 0.9], [0.9, 0.15, 0.05], [0.05, 0.8, 0.05]], np.float32).reshape(3, 1, 1, 3)
    fit = OffsetFit()
    for _ in range(4):
        fit.add([p], [np.asarray([[[1, 1, 0]]], np.uint8)])
    assert decide(p, NO_OFFSETS).tolist() == [[[1, 2, 0]]]
    assert decide(p, (0.0, 0.0, -2.0)).tolist() == [[[1, 1, 0]]]
    assert fit.score(NO_OFFSETS) == fit.score((0.0, 0.0, -2.0)) == 1.0
    assert fit.fit() == NO_OFFSETS


def test_patients_without_a_tumour_do_not_outvote_those_with_one() -> None:
    """Three of four have none, and a stray voxel each, for which all of the fourth's faint tumour would be given up."""
    fit, rng = OffsetFit(), np.random.default_rng(0)
    for i in range(40):
        true = rng.normal(size=(3, 4, 8, 8))
        true[2] -= 2.0 if i % 4 == 0 else 5.0
        labels = true.argmax(axis=0).astype(np.uint8)
        if i % 4:
            labels[labels == 2] = 1
            true[:, 0, 0, 0] = 0.0, 0.0, 3.0
        fit.add([softmax(true)], [labels])
    assert fit.fit() == NO_OFFSETS
    assert fit.score(NO_OFFSETS) > fit.score((0.0, 0.0, -4.0)) + 0.05


def test_offsets_that_only_fit_their_own_cases_are_not_taken() -> None:
    """Labels at random: what is best on these cases is chance, and one case alone proves nothing."""
    rng = np.random.default_rng(4)
    fit = OffsetFit()
    for _ in range(6):
        true = rng.normal(size=(3, 2, 6, 6))
        fit.add([softmax(true + rng.normal(size=true.shape))], [true.argmax(axis=0).astype(np.uint8)])
    assert fit.fit() == NO_OFFSETS
    alone = OffsetFit()
    alone.add(*certain([0, 0, 2, 1], [0, 1, 2, 1]))
    assert alone.fit() == NO_OFFSETS


def test_several_rois_are_one_case() -> None:
    """Their voxels are pooled before the Dice is taken."""
    p, labels = softmax(np.random.default_rng(0).normal(size=(3, 4, 4, 4))), np.ones((4, 4, 4), np.uint8)
    apart, together = OffsetFit(), OffsetFit()
    apart.add([p[:, :2], p[:, 2:]], [labels[:2], labels[2:]])
    together.add([p], [labels])
    assert len(apart.cases) == 1
    assert apart.score((0.0, 0.5, 0.0)) == pytest.approx(together.score((0.0, 0.5, 0.0)))


def test_a_large_case_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the limit, without replacement, the same way each time."""
    monkeypatch.setattr(OffsetFit, "MAX_VOXELS", 50)
    p = softmax(np.random.default_rng(0).normal(size=(3, 5, 5, 5)))
    fits = [OffsetFit(), OffsetFit()]
    for fit in fits:
        fit.add([p], [np.zeros((5, 5, 5), np.uint8)])
    (first, y), (second, _) = fits[0].cases[0], fits[1].cases[0]
    assert first.shape == (3, 50)
    assert y.shape == (50,)
    assert np.array_equal(first, second)
    assert len(np.unique(first, axis=1).T) == 50


def test_voxels_that_no_offset_can_move_are_not_kept() -> None:
    """Of four voxels the sure background is dropped; under offsets at the limit the Dice is that of all four."""
    logits = np.array([[9.0, 1.0, 0.0, 0.0], [0.0, 0.0, 9.0, 1.0], [0.0, 0.0, 0.0, 3.0]]).reshape(3, 1, 2, 2)
    y = np.array([0, 0, 1, 2], np.uint8).reshape(1, 2, 2)
    p, fit = softmax(logits), OffsetFit()
    fit.add([p], [y])
    assert fit.cases[0][1].tolist() == [0, 1, 2]
    for offsets in (NO_OFFSETS, (0.0, OffsetFit.MOST, 0.0), (0.0, -2.0, OffsetFit.MOST)):
        found = decide(p, offsets)
        dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in ((found > 0, y > 0), (found == 2, y == 2))]
        assert fit.score(offsets) == pytest.approx(np.mean(dice))


def test_without_cases_there_are_no_offsets() -> None:
    """A fold whose rough stage found nothing."""
    assert OffsetFit().fit() == NO_OFFSETS


class Fold:
    """What of a fold the offsets depend on."""

    def __init__(self, offsets: tuple[float, ...] | None) -> None:
        self.offsets = offsets


def test_folds_offsets_are_averaged() -> None:
    """Those of the folds that have any; argmax looks at none of them."""
    folds: Any = [Fold((0.0, -1.0, 2.0)), Fold(None), Fold((0.0, -2.0, 1.0))]
    assert DECISIONS == ("argmax", "calibrated")
    assert offsets_of(folds, "argmax") == NO_OFFSETS
    assert offsets_of(folds, "calibrated") == pytest.approx((0.0, -1.5, 1.5))
    assert offsets_of(folds[1:2], "calibrated") == NO_OFFSETS
