"""Where ROIs meet: each says only what it has seen, and each voxel counts once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.core.geometry import Geometry, Triple
from bisc.core.volume import Box, Volume
from bisc.inference.cascade import (
    NO_OFFSETS,
    CascadeResult,
    NativeRoi,
    RoiResult,
    _average_overlaps,
    _to_native,
    labels_of_rois,
)
from bisc.inference.certainty import certainty_of
from bisc.inference.flags import flags_of
from bisc.preprocessing.kidneys import Kidney, seen_box

SPACING: Triple = (3.0, 0.78125, 0.78125)


def softmax(p_kidney: float, shape_zyx: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.stack([np.full(shape_zyx, p, np.float32) for p in (1.0 - p_kidney, p_kidney, 0.0)])


def inside(whole: npt.NDArray[np.float32], box: Box) -> npt.NDArray[np.float32]:
    z, y, x = box.to_slices()
    return whole[:, z, y, x].copy()


def kidney(box: Box) -> Kidney:
    return Kidney(box, box, 1.0, "left")


@given(
    native=st.tuples(st.floats(0.5, 6.0), st.floats(0.4, 1.5), st.floats(0.4, 1.5)),
    starts=st.tuples(st.integers(0, 5), st.integers(0, 20), st.integers(0, 20)),
)
def test_two_rois_of_one_opinion_hold_it_everywhere(native: Triple, starts: tuple[int, int, int]) -> None:
    """Whatever the grids, and wherever the second ROI lies: 0.9 in both is 0.9 in their mean, without a slit."""
    image = Geometry((40, 60, 60), native)
    target = image.resampled(SPACING)
    shape = (16, 32, 32)
    parts = [target.cropped((0, 0, 0), shape), target.cropped(starts, shape)]
    box = Box.of_shape(shape)
    rois = [_to_native(RoiResult(kidney(box), Volume(softmax(0.9, shape), part)), image) for part in parts]
    for roi in _average_overlaps(rois):
        assert np.allclose(roi.probabilities[1], 0.9, atol=1e-5)


@pytest.mark.parametrize(("step", "start", "stop"), [(1.0, 2, 6), (0.5, 4, 12), (2.0, 1, 3), (3.0, 1, 2)])
def test_the_box_that_a_roi_has_seen(step: float, start: int, stop: int) -> None:
    """By hand, along x: four voxels of 1 mm from 2 mm on have faces at 1.5 and 5.5 mm."""
    x0 = (step - 1.0) / 2.0 if step < 1.0 else 0.0  # halves of voxels: -0.25, 0.25, ...
    target = Geometry((1, 1, 30), (1.0, 1.0, step), (x0, 0.0, 0.0))
    source = Geometry((1, 1, 4), (1.0, 1.0, 1.0), (2.0, 0.0, 0.0))
    box = seen_box(source, target)
    assert (box.start_zyx[2], box.stop_zyx[2]) == (start, stop)


def test_what_two_rois_share_counts_once() -> None:
    """Numbers of a softmax are the same whether its ROIs overlap or only meet."""
    grid = Geometry((20, 50, 100), (3.0, 1.6, 1.6))
    whole = softmax(0.0, grid.shape_zyx)
    for x, label, p in ((20, 1, 0.9), (80, 1, 0.9), (50, 2, 0.8)):
        there = whole[:, 3:17, 15:35, x - 8 : x + 8]
        there[0], there[label] = 1.0 - p, p

    def numbers(*boxes: Box) -> dict[str, float | None]:
        rois = [NativeRoi(box, inside(whole, box)) for box in boxes]
        labels, _ = labels_of_rois(rois, grid, 5.0, NO_OFFSETS)
        seen = [
            RoiResult(kidney(b), Volume(r.probabilities, grid.cropped(b.start_zyx, b.shape_zyx)))
            for b, r in zip(boxes, rois, strict=True)
        ]
        image, rough = Volume(np.zeros(grid.shape_zyx, np.int16), grid), Volume(whole, grid)
        result = CascadeResult(image, rough, tuple(seen), tuple(rois), 5.0, None)
        return dict(certainty_of(result, labels, NO_OFFSETS, NO_OFFSETS))

    meeting = numbers(Box((0, 0, 0), (20, 50, 50)), Box((0, 0, 50), (20, 50, 100)))
    sharing = numbers(Box((0, 0, 0), (20, 50, 60)), Box((0, 0, 40), (20, 50, 100)))
    for name in ("expected_dice", "unsure_share", "left_out_share", "unclaimed_tumor_ml"):
        assert sharing[name] == pytest.approx(meeting[name], rel=1e-6), name


@pytest.mark.parametrize(("label", "regions"), [(1, 3.0), (2, 2.0)])
def test_what_was_left_out_counts_as_a_region_found(label: int, regions: float) -> None:
    """Kidney-like tissue 90 mm below both kidneys is not in the mask, and the mask is doubted for it all the same."""
    grid = Geometry((60, 50, 100), (3.0, 1.6, 1.6))
    whole = softmax(0.0, grid.shape_zyx)
    boxes = [Box((40, 10, 10), (60, 40, 30)), Box((40, 10, 70), (60, 40, 90)), Box((0, 10, 70), (9, 40, 90))]
    for box, one in zip(boxes, (1, 1, label), strict=True):
        z, y, x = box.padded((-2, -2, -2)).to_slices()
        whole[0, z, y, x], whole[one, z, y, x] = 0.05, 0.95
    rois = [NativeRoi(box, inside(whole, box)) for box in boxes]
    seen = [
        RoiResult(kidney(b), Volume(r.probabilities, grid.cropped(b.start_zyx, b.shape_zyx)))
        for b, r in zip(boxes, rois, strict=True)
    ]
    image, rough = Volume(np.zeros(grid.shape_zyx, np.int16), grid), Volume(whole, grid)
    result = CascadeResult(image, rough, tuple(seen), tuple(rois), 5.0, None)
    labels, left_out_ml = result.decided(NO_OFFSETS)
    assert left_out_ml > 10.0
    flags = flags_of(result, labels, result.kidneys(labels), NO_OFFSETS, NO_OFFSETS)
    assert {flag.name: flag.value for flag in flags.flags}["kidneys"] == regions
