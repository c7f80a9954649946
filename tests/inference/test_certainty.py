"""Expected Dice, agreement of folds, the outline's margin: by hand; votes as the networks give them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bisc.inference.cascade import NO_OFFSETS, run_cascade
from bisc.inference.certainty import expected_dice, margin_at_outline, pairwise_dice
from bisc.inference.flags import flags_of
from bisc.inference.model import FoldNetwork
from bisc.inference.windows import softmax_volume
from tests.support.stub_model import CPU, OBLIQUE, ByIntensity, kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()


class Split(nn.Module):
    """Sure of kidney where the first voxels along x are, of background elsewhere."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward_region(self, image: Tensor) -> Tensor:
        logits = torch.zeros(image.shape[0], 3, *image.shape[2:])
        logits[:, 0], logits[:, 1, ..., : self.n] = 5.0, 10.0
        return logits


def test_expected_dice_by_hand() -> None:
    """Four voxels of 0.9 marked, four of 0.2 not: 2 x 3.6 / (4 + 4.4)."""
    assert expected_dice(3.6, 4.0, 4.4) == pytest.approx(7.2 / 8.4)
    assert expected_dice(4.0, 4.0, 4.0) == 1.0
    assert expected_dice(0.0, 0.0, 0.0) == 1.0


def test_three_folds_by_hand() -> None:
    """Masks {a, b}, {a, b}, {a, c}: Dice 1, 1/2, 1/2; pooled 2 (2 + 1 + 1) / (4 + 4 + 4)."""
    assert pairwise_dice(np.array([3, 2, 1, 0], np.uint8), 3) == pytest.approx(8 / 12)
    assert pairwise_dice(np.zeros(4, np.uint8), 3) == 1.0


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_votes_are_as_good_as_the_masks(n_folds: int, seed: int) -> None:
    """The pooled Dice of all pairs, from the votes alone."""
    masks = np.random.default_rng(seed).random((n_folds, 50)) < 0.5
    pairs = [(i, j) for i in range(n_folds) for j in range(i)]
    shared = sum(2 * np.count_nonzero(masks[i] & masks[j]) for i, j in pairs)
    total = sum(np.count_nonzero(masks[i]) + np.count_nonzero(masks[j]) for i, j in pairs)
    assert pairwise_dice(masks.sum(axis=0).astype(np.uint8), n_folds) == pytest.approx(shared / total)


def test_a_margin_by_hand() -> None:
    """A row 0.9, 0.5 | 0.3, 0.9: the outline runs between 0.5 and 0.3."""
    margin = np.array([[[0.9, 0.5, 0.3, 0.9]]], np.float32)
    assert margin_at_outline(margin, np.array([[[True, True, False, False]]])) == pytest.approx(0.4)
    assert margin_at_outline(margin, np.zeros((1, 1, 4), bool)) is None


def test_each_fold_has_a_vote() -> None:
    """Two of three folds hold the second voxel; the softmax is what it is without votes."""
    folds = [FoldNetwork(k, Split(n), CPU, None, None) for k, n in enumerate((1, 2, 2))]
    image, votes = np.zeros((16, 16, 16), np.float32), np.zeros((16, 16, 16), np.uint8)
    found = softmax_volume(folds, image, 0.0, votes=votes)
    assert np.array_equal(votes[0, 0, :4], [3, 2, 0, 0])
    assert np.array_equal(found, softmax_volume(folds, image, 0.0))


def test_a_vote_is_for_the_most_probable_class() -> None:
    """0.45 background, 0.3 kidney and 0.25 tumour is background, though less than half."""

    class Undecided(nn.Module):
        def forward_region(self, image: Tensor) -> Tensor:
            logits = torch.log(torch.tensor([0.45, 0.3, 0.25]))
            return logits.view(1, 3, 1, 1, 1).expand(-1, -1, *image.shape[2:])

    votes = np.zeros((16, 16, 16), np.uint8)
    softmax_volume([FoldNetwork(0, Undecided(), CPU, None, None)], np.zeros(votes.shape, np.float32), 0.0, votes=votes)
    assert not votes.any()


def test_a_vote_seen_both_ways_is_one() -> None:
    """A network that minds no side votes alike with and without `mirror`."""
    image = np.random.default_rng(0).normal(0.0, 2.0, (16, 16, 16)).astype(np.float32)
    votes = [np.zeros(image.shape, np.uint8) for _ in range(2)]
    for mirror in (False, True):
        softmax_volume(stub_model().fine, image, 0.0, mirror=mirror, votes=votes[mirror])
    assert np.array_equal(votes[0], votes[1])
    assert set(np.unique(votes[0])) == {0, 1}


def test_a_cascade_of_two_folds_tells_how_they_agree() -> None:
    """Equal networks wholly; a single one is not asked."""
    one = stub_model()
    other = replace(one.fine[0], fold=1, network=ByIntensity())
    image = kidneys(OBLIQUE.canonical)[0]
    values = []
    for model in (one, replace(one, fine=(*one.fine, other))):
        result = run_cascade(image, model, "argmax")
        labels = result.labels(NO_OFFSETS)
        flags = flags_of(result, labels, result.kidneys(labels), NO_OFFSETS, NO_OFFSETS)
        values.append({flag.name: flag.value for flag in flags.flags}["folds_dice"])
        assert flags.light in ("green", "amber", "red")
    assert values == [None, 1.0]
