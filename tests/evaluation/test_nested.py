"""One candidate of several: where it earns, where it is noise, and by whom it is judged."""

from __future__ import annotations

import numpy as np
import pytest

from bisc.evaluation.nested import choose

FOLDS = [fold for fold in range(5) for _ in range(8)]


def test_what_earns_in_every_fold_is_adopted() -> None:
    """Candidate 2 gains 0.02 a case on average; candidate 1 nothing."""
    chance = np.random.default_rng(1)
    before = chance.uniform(0.5, 0.9, 40)
    scores = np.stack([before, before, before + chance.normal(0.02, 0.02, 40)], axis=1)
    choice = choose(scores, FOLDS)
    assert (choice.best, choice.adopted) == (2, 2)
    assert choice.nested.difference == pytest.approx((scores[:, 2] - before).mean(), abs=1e-8)
    assert choice.nested.low > 0.0


def test_the_best_of_noise_is_not_adopted() -> None:
    """Five candidates that do nothing but noise: one looks good on its own cases nearly always, and the nested gain's
    interval alone lets too many pass."""
    chance = np.random.default_rng(2)
    adopted, looked_good, by_interval = 0, 0, 0
    for _ in range(120):
        scores = 0.8 + np.pad(chance.normal(0.0, 0.02, (40, 5)), ((0, 0), (1, 0)))
        choice = choose(scores, FOLDS)
        adopted += choice.adopted > 0
        looked_good += choice.best > 0
        by_interval += choice.nested.low > 0.0
    assert looked_good > 100
    assert adopted <= 6 < by_interval  # 5 %


def test_a_group_is_scored_by_the_choice_of_the_others() -> None:
    """By hand: fold 0 alone makes candidate 1 the best of all; without it, it is not chosen, and so it gains nothing
    there; the others would choose it with fold 0, and lose."""
    scores = np.array([[0.5, 0.9], [0.5, 0.9], [0.5, 0.45], [0.5, 0.45]])
    choice = choose(scores, [0, 0, 1, 1])
    assert (choice.best, choice.adopted) == (1, 0)
    assert choice.nested.mean_b == pytest.approx((0.5 + 0.5 + 0.45 + 0.45) / 4)


def test_equals_are_left_as_they_are() -> None:
    """Of equal means the first; thirds that sum differently in binary tie."""
    scores = np.array([[0.1 + 0.2, 0.3], [0.3, 0.1 + 0.2]] * 4)
    assert choose(scores, list(range(8))).best == 0


def test_few_cases_are_too_few() -> None:
    scores = np.array([[0.5, 0.9]] * 5)
    choice = choose(scores, [0, 0, 1, 1, 1])
    assert (choice.best, choice.adopted) == (1, 0)
    assert np.isnan(choice.nested.low)
    with pytest.raises(ValueError, match="two or more"):
        choose(scores, [0] * 5)
