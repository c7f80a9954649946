"""The cascade with a network whose answer is known: masks on the right voxels, ROIs around the kidneys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from bisc.core.geometry import Geometry, as_int_triple, as_triple
from bisc.core.volume import Box, Volume
from bisc.inference.cascade import (
    NO_OFFSETS,
    CascadeResult,
    NativeRoi,
    _average_overlaps,
    _inside,
    labels_of_rois,
    run_cascade,
    upsample_labels,
)
from tests.support.stub_model import OBLIQUE, PLAN, STEEPNESS, ByIntensity, dice, kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
GRID = OBLIQUE.canonical


@pytest.fixture(scope="module")
def result() -> CascadeResult:
    """Two kidneys, a tumour in the patient's left one, and a bright speck that is no kidney."""
    return run_cascade(kidneys(GRID)[0], stub_model(), "argmax")


def test_masks_lie_on_the_right_voxels(result: CascadeResult) -> None:
    """Oblique, anisotropic, stored slices first, through two resamplings: organ and tumour are found to the voxel."""
    truth, labels = kidneys(GRID)[1], result.labels(NO_OFFSETS)
    assert labels.dtype == np.uint8
    assert labels.shape == GRID.shape_zyx == (48, 190, 200)
    assert dice(labels > 0, truth > 0) > 0.95
    assert dice(labels == 2, truth == 2) > 0.95
    assert result.status(labels) == "ok"


def test_a_scan_stored_in_32_bits_has_the_same_mask() -> None:
    """As a NIfTI header has it, beside what DICOM writes: every probability is the same."""
    grid = Geometry((48, 96, 96), (3.293464019, 3.7, 3.7), (-170.123456789, -169.1, -207.488233207))
    single = replace(
        grid,
        spacing_mm_zyx=as_triple(np.asarray(grid.spacing_mm_zyx, np.float32)),
        origin_mm_xyz=as_triple(np.asarray(grid.origin_mm_xyz, np.float32)),
    )
    image = kidneys(grid)[0]
    one, other = (run_cascade(Volume(image.array, on), stub_model(), "argmax") for on in (grid, single))
    assert single != grid
    assert np.array_equal(one.rough.array, other.rough.array)
    assert [
        np.array_equal(a.probabilities, b.probabilities) for a, b in zip(one.native, other.native, strict=True)
    ] == [True] * 2


def test_sides_are_the_patients(result: CascadeResult) -> None:
    """Left is where LPS x grows: the tumour's side, whose kidney is the larger."""
    assert [roi.kidney.side for roi in result.rois] == ["left", "right"]
    labels = result.labels(NO_OFFSETS)
    tumor_x = GRID.index_to_physical(np.argwhere(labels == 2)).mean(axis=0)[0]
    assert tumor_x > GRID.index_to_physical(np.subtract(GRID.shape_zyx, 1) / 2.0)[0] + 40


def test_rois_hold_the_kidneys_and_are_what_the_rule_says(result: CascadeResult) -> None:
    """Every true kidney voxel lies inside one ROI with half the margin to spare; edges are multiples of 16."""
    truth = np.argwhere(kidneys(GRID)[1])
    middle = (GRID.shape_zyx[2] - 1) / 2.0
    for roi in result.rois:
        own = truth[(truth[:, 2] > middle) == (roi.kidney.side == "left")]
        index = roi.softmax.geometry.physical_to_index(GRID.index_to_physical(own))
        spare = 3.0 / np.asarray(roi.softmax.geometry.spacing_mm_zyx)
        assert (index.min(axis=0) >= spare).all()
        assert (index.max(axis=0) <= np.subtract(roi.softmax.geometry.shape_zyx, 1) - spare).all()
        assert roi.softmax.geometry.spacing_mm_zyx == PLAN.target_spacing_mm_zyx
        z, y, x = roi.softmax.geometry.shape_zyx
        assert y == x
        assert x in (48, 64)
        assert z % 16 == 0
        assert roi.softmax.array.shape == (3, z, y, x)


def test_outside_all_rois_is_background(result: CascadeResult) -> None:
    """Where the rough stage saw a bright speck of 2 ml the mask is empty."""
    labels, inside = result.labels(NO_OFFSETS), np.zeros(GRID.shape_zyx, bool)
    for roi in result.native:
        inside[roi.box.to_slices()] = True
    rough = upsample_labels(result.rough, GRID, NO_OFFSETS)
    speck = (kidneys(GRID)[0].array > 0) & (kidneys(GRID)[1] == 0)
    assert dice(rough > 0, (kidneys(GRID)[1] > 0) | speck) > 0.9
    assert (rough[speck] > 0).mean() > 0.5
    assert not inside[speck].any()
    assert not labels[~inside].any()


def test_only_rois_are_seen_at_full_resolution() -> None:
    """The fine network is shown one ROI per kidney and nothing larger; the rough one slides windows of 32 slices."""
    network = ByIntensity()
    found = run_cascade(kidneys(GRID)[0], stub_model(network), "argmax")
    rois = [roi.softmax.geometry.shape_zyx for roi in found.rois]
    assert network.seen[-2:] == rois
    assert set(network.seen[:-2]) == {(32, 128, 128)}


@pytest.mark.parametrize(
    ("centres", "tumor_at", "status", "sides"),
    [
        ((), None, "no_kidney", []),
        ((60.0,), 76.0, "one_kidney", ["left"]),
        ((-60.0,), None, "one_kidney", ["right"]),
        ((-20.0, 20.0), None, "one_kidney", ["middle"]),
    ],
    ids=["none", "left alone", "right alone", "fused"],
)
def test_status_and_sides(centres: tuple[float, ...], tumor_at: float | None, status: str, sides: list[str]) -> None:
    """Nothing found is a result, an empty mask; a solitary and a fused kidney get one ROI that holds all of it."""
    image, truth = kidneys(GRID, centres, tumor_at)
    image.array[:, :, :4] = image.array[:, :, -4:] = -1000  # the whole body is seen
    found = run_cascade(image, stub_model(), "argmax")
    labels = found.labels(NO_OFFSETS)
    assert found.status(labels) == status
    assert [roi.kidney.side for roi in found.rois] == sides
    if centres:
        assert dice(labels > 0, truth > 0) > 0.95
    else:
        assert not labels.any()
        assert labels.shape == GRID.shape_zyx


class Blind(ByIntensity):
    """Sees background everywhere."""

    def forward_region(self, image: Tensor) -> Tensor:
        return super().forward_region(image) + torch.tensor([99.0, 0.0, 0.0]).view(1, 3, 1, 1, 1)


def test_status_is_what_the_fine_stage_found(result: CascadeResult) -> None:
    """Two ROIs are two suspicions: where the fine stage finds one kidney or none, the status says so."""
    image, _ = kidneys(GRID)
    model = stub_model()
    blind = replace(model, fine=(replace(model.fine[0], network=Blind()),))
    found = run_cascade(image, blind, "argmax")
    assert len(found.rois) == 2
    assert found.status(found.labels(NO_OFFSETS)) == "no_kidney"
    labels = result.labels(NO_OFFSETS)
    assert result.status(labels) == "ok"
    labels[:, :, : GRID.shape_zyx[2] // 2] = 0
    assert result.status(labels) == "one_kidney"
    speck = np.zeros_like(labels)
    speck[:4, :4, :4] = 1
    assert result.status(speck) == "no_kidney"


def test_a_third_roi_needs_a_kidney() -> None:
    """What the fine stage sees in a third ROI stays if it is as large as a kidney; in the first two whatever it is."""
    grid = Geometry((8, 8, 60), (10.0, 10.0, 10.0))
    sure = np.zeros((3, 8, 8, 20), np.float32)
    sure[0] = 1.0
    sure[:, 2, 2, 2:5] = np.array([0.0, 0.0, 1.0])[:, None]  # 3 ml of tumour
    rois = [NativeRoi(Box((0, 0, 20 * i), (8, 8, 20 * (i + 1))), sure) for i in range(3)]
    labels, _ = labels_of_rois(rois, grid, 5.0, NO_OFFSETS)
    assert [int((labels[:, :, 20 * i : 20 * (i + 1)] == 2).sum()) for i in range(3)] == [3, 3, 0]
    labels, _ = labels_of_rois(rois, grid, 3.0, NO_OFFSETS)
    assert [int((labels[:, :, 20 * i : 20 * (i + 1)] == 2).sum()) for i in range(3)] == [3, 3, 3]


def test_a_single_kidney_is_told_by_the_body() -> None:
    """At the grid's middle, in a body of which the left half lies outside the field of view's right part: 'left'."""
    image, _ = kidneys(GRID, (0.0,), None, speck=False)
    hu = image.array.copy()
    hu[:, :, :4] = hu[:, :, 135:] = -1000
    found = run_cascade(Volume(hu, GRID), stub_model(), "argmax")
    assert found.middle_mm < GRID.index_to_physical(np.subtract(GRID.shape_zyx, 1) / 2.0)[0] - 40.0
    assert [roi.kidney.side for roi in found.rois] == ["left"]
    assert [roi.kidney.side for roi in run_cascade(image, stub_model(), "argmax").rois] == ["middle"]


def test_a_rough_mask_cut_through_gets_an_roi_for_the_whole_kidney(result: CascadeResult) -> None:
    """The rough stage misses the lower third of both kidneys; the ROIs hold them and the fine stage finds them."""
    image, truth = kidneys(GRID)
    low = int(np.flatnonzero(truth.any(axis=(1, 2)))[0])
    height = result.rough.geometry.physical_to_index(GRID.index_to_physical((low + 9, 0, 0)))[0]
    probabilities = result.rough.array.copy()
    probabilities[:, : round(height)] = np.array([1.0, 0.0, 0.0])[:, None, None, None]
    cut = replace(result, rough=result.rough.with_array(probabilities), rois=())
    found = run_cascade(image, stub_model(), "argmax", known=cut)
    inside = np.zeros(GRID.shape_zyx, bool)
    for roi in found.native:
        inside[roi.box.to_slices()] = True
    assert all(roi.kidney.reach.start_zyx[0] < roi.kidney.box.start_zyx[0] for roi in found.rois)
    assert inside[truth > 0].all()
    assert dice(found.labels(NO_OFFSETS) > 0, truth > 0) > 0.95


def test_a_kidney_larger_than_every_side_gets_the_next_multiple() -> None:
    """88 mm of fused kidney with 6 mm on either side at 1.2 mm: 83.3 px, so 96."""
    (roi,) = run_cascade(kidneys(GRID, (-20.0, 20.0), None)[0], stub_model(), "argmax").rois
    assert roi.softmax.geometry.shape_zyx[1:] == (96, 96)


def test_a_kidney_at_the_edge_of_the_scan() -> None:
    """Cut by the field of view: its ROI reaches beyond the image, and the mask is whole up to the last voxel."""
    image, truth = kidneys(GRID, (-60.0, 140.0), None)
    assert truth[:, :, -1].any()
    found = run_cascade(image, stub_model(), "argmax")
    assert dice(found.labels(NO_OFFSETS) > 0, truth > 0) > 0.95
    reach = [GRID.physical_to_index(roi.softmax.geometry.corners()).max(axis=0)[2] for roi in found.rois]
    assert max(reach) > GRID.shape_zyx[2]


def test_calibrated_offsets_reach_both_stages() -> None:
    """Offsets that favour one class beyond all measure: 'calibrated' obeys the rough stage's, argmax sees none."""
    image, truth = kidneys(GRID)
    model = stub_model()
    deaf = replace(model, rough=(replace(model.rough[0], offsets=(50.0, 0.0, 0.0)),))
    assert run_cascade(image, deaf, "calibrated").rois == ()
    assert len(run_cascade(image, deaf, "argmax").rois) == 2
    labels = run_cascade(image, model, "calibrated").labels((0.0, 0.0, 50.0))
    assert (labels[truth > 0] == 2).all()


def probabilities(value: float, *shape_zyx: int) -> npt.NDArray[np.float32]:
    return np.stack([np.full(shape_zyx, v, np.float32) for v in (1.0 - value, value, 0.0)])


def test_overlapping_rois_average_their_probabilities() -> None:
    """Kidney 0.2 and 0.8: 0.5 in the two shared columns of both, unchanged elsewhere."""
    a = NativeRoi(Box((0, 0, 0), (2, 4, 6)), probabilities(0.2, 2, 4, 6))
    b = NativeRoi(Box((1, 0, 4), (3, 4, 9)), probabilities(0.8, 2, 4, 5))
    apart = NativeRoi(Box((2, 0, 0), (3, 4, 4)), probabilities(0.7, 1, 4, 4))
    _average_overlaps([a, b, apart])
    assert np.allclose(a.probabilities[1, 1, :, 4:], 0.5)
    assert np.allclose(b.probabilities[1, 0, :, :2], 0.5)
    assert np.allclose(a.probabilities[1, 0], 0.2)
    assert np.allclose(a.probabilities[1, 1, :, :4], 0.2)
    assert np.allclose(b.probabilities[1, 1], 0.8)
    assert np.allclose(b.probabilities[1, 0, :, 2:], 0.8)
    assert np.allclose(apart.probabilities[1], 0.7)


def test_three_overlapping_rois_hold_one_mean() -> None:
    """Each voxel has one probability, whichever ROI is asked: of 0.9, 0.45 and 0 it is 0.45."""
    box = Box((0, 0, 0), (2, 4, 6))
    rois = [NativeRoi(box, probabilities(p, 2, 4, 6)) for p in (0.9, 0.45, 0.0)]
    beside = NativeRoi(Box((0, 0, 4), (2, 4, 8)), probabilities(0.3, 2, 4, 4))
    for roi in _average_overlaps([*rois, beside])[:3]:
        assert np.allclose(roi.probabilities[1, :, :, :4], 0.45)
        assert np.allclose(roi.probabilities[1, :, :, 4:], 1.65 / 4)
    assert np.allclose(beside.probabilities[1, :, :, :2], 1.65 / 4)
    assert np.allclose(beside.probabilities[1, :, :, 2:], 0.3)


class ByIntensityAndPlace(ByIntensity):
    """As its parent, but surer of the background towards the right end of what it is shown."""

    def forward_region(self, image: Tensor) -> Tensor:
        logits = super().forward_region(image)
        logits[:, 0] += torch.linspace(0.0, STEEPNESS, image.shape[-1])
        return logits


def test_close_kidneys_share_what_their_rois_share() -> None:
    """Two kidneys 14 mm apart: their ROIs meet, and both hold the same probabilities there, the mean of two others."""
    image, _ = kidneys(GRID, (-31.0, 31.0), None)
    found = run_cascade(image, stub_model(ByIntensityAndPlace()), "argmax")
    first, second = found.native
    start = np.maximum(first.box.start_zyx, second.box.start_zyx)
    stop = np.minimum(first.box.stop_zyx, second.box.stop_zyx)
    assert (stop > start).all()
    shared = Box(as_int_triple(start), as_int_triple(stop))
    ours, theirs = (_inside(roi, shared) for roi in found.native)
    assert np.array_equal(ours, theirs)
    assert np.allclose(ours.sum(axis=0), 1.0, atol=1e-3)
    assert np.isfinite(ours).all()


def test_probabilities_not_labels_are_interpolated(result: CascadeResult) -> None:
    """The rough stage's softmax at a border takes values between; it sums to one on its grid."""
    rough = result.rough
    assert rough.geometry.shape_zyx[1:] == (128, 128)
    assert np.allclose(rough.array.sum(axis=0), 1.0, atol=1e-4)
    assert np.allclose(rough.geometry.extent_mm_zyx[1:], GRID.extent_mm_zyx[1:])
    for roi in result.native:
        assert np.allclose(roi.probabilities.sum(axis=0), 1.0, atol=1e-3)
        assert ((roi.probabilities[1] > 0.05) & (roi.probabilities[1] < 0.95)).any()
