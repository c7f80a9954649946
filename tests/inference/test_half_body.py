"""Prediction of a scan that shows half a body."""

from __future__ import annotations

from bisc.inference.cascade import NO_OFFSETS, run_cascade
from tests.support.stub_model import OBLIQUE, kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
GRID = OBLIQUE.canonical


def test_a_single_kidney_in_half_a_body_has_no_side() -> None:
    """What is seen of the body goes on beyond the field of view, so that its middle is not the body's."""
    image, _ = kidneys(GRID, (60.0,), None, speck=False)
    image.array[:, :, -4:] = -1000
    found = run_cascade(image, stub_model(), "argmax")
    assert not found.sided
    assert [roi.kidney.side for roi in found.rois] == ["middle"]
    assert [kidney.side for kidney in found.kidneys(found.labels(NO_OFFSETS))] == ["middle"]
