"""Small tumours dropped: label maps by hand, and what holds for any."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.inference.postprocessing import drop_small_tumors
from bisc.system.console import collecting
from tests.support.postprocessed import a_rule, knowing
from tests.support.stub_model import stub_model

Labels = npt.NDArray[np.uint8]


def by_hand() -> Labels:
    """A kidney with a tumour of 5 voxels in it; one of 3 that touches it over a corner alone, one of 2 far away."""
    labels = np.zeros((6, 12, 12), np.uint8)
    labels[1:4, 1:5, 1:6] = 1
    labels[2, 2, 1:6] = 2
    labels[4, 5, 6:9] = 2
    labels[5, 10, 10:12] = 2
    return labels


def test_a_component_of_exactly_the_volume_stays() -> None:
    """0.05 ml a voxel: 0.25, 0.15 and 0.1 ml. 3 x 0.05 is more than 0.15 in binary, 2 x 0.05 is 0.1."""
    labels = by_hand()
    for smallest_ml, n, left in ((0.0, 0, 10), (0.1, 0, 10), (0.15, 1, 8), (0.25, 2, 5), (0.26, 3, 0)):
        kept, dropped, ml = drop_small_tumors(labels, 0.05, smallest_ml)
        assert (dropped, int((kept == 2).sum())) == (n, left), smallest_ml
        assert ml == pytest.approx((10 - left) * 0.05)
    assert (labels == by_hand()).all()


def test_a_volume_that_binary_rounds_down_is_the_volume() -> None:
    labels = np.zeros((1, 1, 9), np.uint8)
    labels[0, 0, 1:8] = 2
    ml = 0.1 / 7  # seven of it are 0.1, or a hair less
    assert drop_small_tumors(labels, np.nextafter(ml, 0.0), 0.1).n == 0
    assert drop_small_tumors(labels, ml * 0.999, 0.1).n == 1


def test_kidney_where_it_touches_kidney_else_background() -> None:
    kept = drop_small_tumors(by_hand(), 0.05, 0.25).labels
    assert (kept[4, 5, 6:9] == 1).all()  # over a corner is beside it, as for components
    assert (kept[5, 10, 10:12] == 0).all()  # at two edges of the image
    assert (kept[2, 2, 1:6] == 2).all()


def test_without_a_small_tumour_the_very_array_comes_back() -> None:
    for labels in (np.zeros((2, 3, 4), np.uint8), by_hand() % 2):
        assert drop_small_tumors(labels, 1.0, 1.0).labels is labels


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.0, 4.0, 30.0]))
def test_of_any_map(seed: int, smallest_ml: float) -> None:
    """No small one is left, no large one is touched, kidney grows alone by what was tumour; twice is once."""
    chance = np.random.default_rng(seed)
    labels = chance.choice(np.array([0, 1, 2], np.uint8), (5, 7, 6), p=(0.6, 0.28, 0.12))
    kept, n, ml = drop_small_tumors(labels, 1.0, smallest_ml)
    changed = kept != labels
    assert (labels[changed] == 2).all()
    assert ml == np.count_nonzero(changed)
    assert (n > 0) == changed.any()
    again = drop_small_tumors(kept, 1.0, smallest_ml)
    assert again.labels is kept


def test_a_model_applies_its_rule_to_the_decision_it_was_chosen_for() -> None:
    model = knowing(stub_model(), a_rule(0.25))
    with collecting(quiet=True) as notes:
        assert (model.postprocessed(by_hand(), 0.05, "calibrated", "ct.nii.gz") == 2).sum() == 5
        assert (model.postprocessed(by_hand(), 0.05, "argmax", "ct.nii.gz") == 2).sum() == 10
        nothing = knowing(stub_model(), a_rule(0.0))
        assert (nothing.postprocessed(by_hand(), 0.05, "calibrated", "ct.nii.gz") == 2).sum() == 10
    done = "dropped by the post-processing that cross-validation chose"
    assert notes == [f"ct.nii.gz: 2 tumours below 0.25 ml, 0.250 ml in all; {done}"]
