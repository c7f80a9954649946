"""Intervals of sizes: by hand on a bar of known probabilities, and what holds for any."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.measurement.intervals import Widening, diameter_interval_mm, shifted_masks, volume_interval_ml

PLAIN = Widening(factor=1.0, share=0.0)
SPACING = (2.0, 1.0, 1.0)


def bar() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """A row of 10 x 10 voxel squares along x, from surely to hardly; cut at a half: the first five."""
    chances = np.repeat(np.array([0.99, 0.95, 0.92, 0.8, 0.6, 0.3, 0.2, 0.05, 0.01, 0.2], np.float32), 2)
    probability = np.broadcast_to(chances, (10, 10, 20)).copy()
    return probability, probability > 0.5


def test_a_bar_by_hand() -> None:
    """200 voxels a step of 2 mm3: own 5 steps, 2.0 ml; strict 3 steps, 1.2 ml; lax 7 steps, 2.8 ml. What is likely
    beyond a gap is no part of it."""
    probability, own = bar()
    assert volume_interval_ml(probability, own, SPACING, "kidney", widening=PLAIN) == pytest.approx((1.2, 2.8))
    doubled = volume_interval_ml(probability, own, SPACING, "kidney", widening=Widening(2.0, 0.1))
    assert doubled == pytest.approx((2.0 - 1.6 - 0.2, 2.0 + 1.6 + 0.2))


def test_a_diameter_by_hand() -> None:
    """Across 10 x 10 voxels of 1 mm, 9 mm from centre to centre; along 6, 10 and 14 voxels of 1 mm likewise."""
    probability, own = bar()
    low, high = diameter_interval_mm(probability, own, SPACING, widening=PLAIN)
    assert low == pytest.approx(np.hypot(5, 9))
    assert high == pytest.approx(np.hypot(13, 9))
    whole = diameter_interval_mm(probability, own, SPACING, widening=PLAIN, axial=False)
    assert whole[0] > low
    assert whole[1] > high


def test_it_does_not_grow_into_others() -> None:
    """The next steps are a tumour's."""
    probability, own = bar()
    other = np.zeros_like(own)
    other[..., 10:] = True
    assert volume_interval_ml(probability, own, SPACING, "kidney", other, PLAIN) == pytest.approx((1.2, 2.0))


def test_nothing_has_no_size() -> None:
    nothing = np.zeros((4, 4, 4), bool)
    assert volume_interval_ml(nothing.astype(float), nothing, SPACING, "tumor") == (0.0, 0.0)
    assert diameter_interval_mm(nothing.astype(float), nothing, SPACING) == (0.0, 0.0)


def test_arrays_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        volume_interval_ml(np.zeros((2, 2, 2)), np.zeros((2, 2, 3), bool), SPACING, "tumor")


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 3.0), st.floats(0.0, 0.5))
def test_the_size_lies_within(seed: int, factor: float, share: float) -> None:
    """Whatever the softmax and the decision; wider factors and shares never give a narrower interval."""
    rng = np.random.default_rng(seed)
    probability = rng.random((5, 6, 7))
    own = probability > 0.4
    size = np.count_nonzero(own) * 0.002
    low, high = volume_interval_ml(probability, own, SPACING, "tumor", widening=Widening(factor, share))
    wide = volume_interval_ml(probability, own, SPACING, "tumor", widening=Widening(factor + 0.5, share + 0.1))
    assert 0.0 <= wide[0] <= low <= size <= high <= wide[1]
    strict, lax = shifted_masks(probability, own, None)
    assert not (strict & ~own).any()
    assert not (own & ~lax).any()
