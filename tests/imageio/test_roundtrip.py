"""File to mask and back, whatever the axis order: the input's grid is given back, and no landmark moves.

A bright ball is put at a point in mm, the file is written by ITK alone, and the mask the pipeline writes is read by
ITK and by nibabel: where the ball then lies is told by its centroid.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bisc.core.geometry import AxisOrder, Geometry, as_int_triple
from bisc.core.volume import Box, Volume
from bisc.evaluation.cases import score_images
from bisc.imageio import read_image, read_labels, write_image
from bisc.imageio.case import InputCase
from bisc.inference.cascade import BACKGROUND_FILL
from bisc.inference.model import Model
from bisc.pipeline.options import PredictOptions
from bisc.pipeline.predict import predict_cases
from bisc.preprocessing.resample import resample, resample_labels, rough_grid
from bisc.simulation import SimulationSpec, simulate_dataset
from tests.support.grids import AXIS_ORDERS, axis_angle, grid, signed_permutation, write_itk
from tests.support.stub_model import PLAN, STAGE, stub_model
from tests.support.training_fixtures import FAT_HU, KIDNEY_HU, use_one_thread

use_one_thread()

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
HEADER_MM = 1e-3
"""NIfTI keeps float32: a few hundred mm are exact to 3e-5, cosines move the far corner by less than 1e-4."""
CENTROID_VOXELS = 0.3
"""A centroid may lie this far, in steps of the coarsest grid passed through, from where the ball was put. The least
mix-up there is, voxel corner for voxel centre, moves it by half a step of each axis (0.87 in space); interpolating,
binning and cutting at a half are symmetric and measured to move it by less than 0.2."""
FLOAT16 = 2.0**-10
"""Stored softmax is rounded to 2**-11 of 1, so that nearly equal classes may change places."""
RADIUS_MM = 13.0
"""9.2 ml: a kidney by the stub's plan."""

odd_sizes = st.tuples(*[st.integers(17, 29)] * 3)
spacings = st.tuples(*[st.floats(1.6, 4.0)] * 3)
angles = st.one_of(st.just(0.0), st.floats(-44.0, 44.0))
axes = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1)


class Scan(NamedTuple):
    """A stored grid and the point in LPS mm where its ball lies."""

    stored: Geometry
    centre_xyz: npt.NDArray[Any]

    def distances(self) -> npt.NDArray[Any]:
        """Of each stored voxel from the ball's centre, in mm."""
        index = np.stack(np.meshgrid(*map(np.arange, self.stored.shape_zyx), indexing="ij"), axis=-1)
        return np.asarray(np.linalg.norm(self.stored.index_to_physical(index) - self.centre_xyz, axis=-1))

    def image(self) -> npt.NDArray[Any]:
        """int16 HU: kidney within the ball, fat around it, a slope of one voxel between (partial volume)."""
        slope = max(self.stored.spacing_mm_zyx)
        part = np.clip((RADIUS_MM - self.distances()) / slope + 0.5, 0.0, 1.0)
        return np.rint(FAT_HU + (KIDNEY_HU - FAT_HU) * part).astype(np.int16)


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    """Any of 48 orders, straight or oblique, anisotropic, any origin; the ball lies inside, off the middle."""
    order = draw(st.sampled_from(AXIS_ORDERS))
    direction = axis_angle(draw(axes), draw(angles)) @ signed_permutation(order)
    spacing = draw(spacings)
    least = np.ceil((2 * RADIUS_MM + 6.0) / np.asarray(spacing) + 6).astype(int)
    shape = tuple(int(v) for v in np.maximum(draw(odd_sizes), least))
    stored = grid(shape, spacing, draw(st.tuples(*[st.floats(-400, 400)] * 3)), direction)  # type: ignore[arg-type]
    margin = (RADIUS_MM + 3.0) / np.asarray(spacing) + 1
    share = np.array(draw(st.tuples(*[st.floats(0, 1)] * 3)))
    return Scan(stored, stored.index_to_physical(margin + share * (np.subtract(shape, 1) - 2 * margin)))


def same_header(a: Path, b: Path) -> None:
    """By ITK's reading both files place the same number of voxels in the same places."""
    one, two = sitk.ReadImage(str(a)), sitk.ReadImage(str(b))
    assert one.GetSize() == two.GetSize()
    assert one.GetOrigin() == pytest.approx(two.GetOrigin(), abs=HEADER_MM)
    assert one.GetSpacing() == pytest.approx(two.GetSpacing(), abs=1e-6)
    assert one.GetDirection() == pytest.approx(two.GetDirection(), abs=2e-6)


def centroids(path: Path) -> list[npt.NDArray[Any]]:
    """LPS mm of the mean place of a mask's voxels, by ITK and (NIfTI) by nibabel, from arrays as each gives them."""
    image = sitk.ReadImage(str(path))
    z, y, x = np.argwhere(sitk.GetArrayViewFromImage(image)).mean(axis=0)
    found = [np.array(image.TransformContinuousIndexToPhysicalPoint((x, y, z)))]
    if ".nii" in path.name:
        other = nib.load(path)
        index = np.argwhere(np.asarray(other.dataobj)).mean(axis=0)
        found.append((other.affine @ (*index, 1.0))[:3] * (-1, -1, 1))
    return found


def check_mask(path: Path, source: Path, scan: Scan, coarsest_mm: float) -> None:
    """The mask has its source's header, and the ball lies where it was put."""
    same_header(path, source)
    for centre in centroids(path):
        assert np.linalg.norm(centre - scan.centre_xyz) < CENTROID_VOXELS * coarsest_mm


def through(scan: Scan, folder: Path, suffix: str, way: str) -> tuple[Path, Path, float]:
    """Write, read, resample to a coarser grid, back, cut at a half, write; the coarsest step passed through."""
    source = write_itk(folder / f"in{suffix}", scan.image(), scan.stored)
    image = read_image(source)
    native = image.volume.geometry
    if way == "rough":
        there = rough_grid(native, 3.3, 24)
    elif way == "target":
        there = native.resampled((3.0, 2.1, 2.1))
    else:  # a ROI that reaches beyond the scan, as those of kidneys at its edge do
        target = native.resampled((3.0, 1.9, 1.9))
        there = target.cropped((-3, -4, -5), as_int_triple(np.add(target.shape_zyx, (7, 6, 11))))
    hu = resample(image.volume, there, fill=float(FAT_HU)).array
    kidney = (hu - FAT_HU) / (KIDNEY_HU - FAT_HU)
    softmax = np.stack([1.0 - kidney, kidney, 0.0 * kidney]).astype(np.float32)
    back = resample(Volume(softmax, there), native, BACKGROUND_FILL).array
    mask = (back[1] > 0.5).astype(np.uint8)
    write_image(folder / f"out{suffix}", mask, image.native)
    return folder / f"out{suffix}", source, max(*native.spacing_mm_zyx, *there.spacing_mm_zyx)


@pytest.mark.parametrize("way", ["rough", "target", "roi"])
@given(scans(), st.sampled_from(SUFFIXES))
@settings(max_examples=20)
def test_a_ball_comes_back_where_it_was_put(
    tmp_path_factory: pytest.TempPathFactory, way: str, scan: Scan, suffix: str
) -> None:
    """Through each stage's grid and back, in every format."""
    out, source, coarsest = through(scan, tmp_path_factory.mktemp("ball"), suffix, way)
    check_mask(out, source, scan, coarsest)


def test_cosines_next_to_nothing(tmp_path: Path) -> None:
    """A grid of which ITK made an empty image, found by the long run."""
    e = 1.9130906212351367e-303
    stored = Geometry((22, 22, 22), (2.0, 2.0, 2.0), direction=(1.0, -e, 2 * e, e, 1.0, 0.0, -2 * e, 0.0, 1.0))
    scan = Scan(stored, np.array([18.0, 18.0, 18.0]))
    out, source, coarsest = through(scan, tmp_path, ".nrrd", "rough")
    check_mask(out, source, scan, coarsest)


@pytest.mark.long
@pytest.mark.parametrize("way", ["rough", "target", "roi"])
@given(scans(), st.sampled_from(SUFFIXES))
@settings(max_examples=1500)
def test_many_balls_come_back_where_they_were_put(
    tmp_path_factory: pytest.TempPathFactory, way: str, scan: Scan, suffix: str
) -> None:
    """The same on 4500 scans."""
    out, source, coarsest = through(scan, tmp_path_factory.mktemp("ball"), suffix, way)
    check_mask(out, source, scan, coarsest)
    out.unlink()
    source.unlink()


@pytest.mark.parametrize("order", AXIS_ORDERS, ids=str)
def test_each_of_48_orders_by_name(tmp_path: Path, order: AxisOrder) -> None:
    """None left to chance: each order, oblique, through the rough grid."""
    stored = grid(
        (25, 23, 27), (2.1, 2.9, 1.9), (-100.0, 50.0, 700.0), axis_angle((1, -2, 1), 25.0) @ signed_permutation(order)
    )
    scan = Scan(stored, stored.index_to_physical((10.3, 12.1, 15.2)))
    out, source, coarsest = through(scan, tmp_path, ".nii", "rough")
    check_mask(out, source, scan, coarsest)


@given(scans())
@settings(max_examples=15)
def test_labels_go_there_and_back(scan: Scan) -> None:
    """`resample_labels`: the training grid's labels lie where the scan's do."""
    labels = (scan.distances() < RADIUS_MM).astype(np.uint8)
    canonical = Volume(labels, scan.stored)
    there = scan.stored.resampled((2.7, 2.3, 2.3))
    at = np.argwhere(resample_labels(canonical, there)).mean(axis=0)
    coarsest = max(*there.spacing_mm_zyx, *scan.stored.spacing_mm_zyx)
    assert np.linalg.norm(there.index_to_physical(at) - scan.centre_xyz) < CENTROID_VOXELS * coarsest


SMALL = replace(STAGE, patch_size_zyx=(16, 32, 32))
SMALL_PLAN = replace(
    PLAN,
    target_spacing_mm_zyx=(2.5, 1.9, 1.9),
    rough_in_plane_px=32,
    rough=SMALL,
    fine=SMALL,
    roi=replace(PLAN.roi, sides_px=[16, 32], margin_mm=4.0),
)


def small_stub() -> Model:
    return stub_model(plan=SMALL_PLAN)


def predict(scan: Scan, folder: Path, suffix: str) -> tuple[Path, Path]:
    """The whole of bisc_predict on one file by the stub cascade: the mask's and the input's path."""
    source = write_itk(folder / f"case{suffix}", scan.image(), scan.stored)
    errors: list[Exception] = []
    options = PredictOptions("argmax", save_probabilities=True)
    (row,) = predict_cases([InputCase("case", source)], small_stub(), folder / "out", options, errors.append)
    assert errors == []
    assert row.status == "one_kidney"
    return folder / "out" / "case.nii.gz", source


def check_prediction(mask: Path, source: Path, scan: Scan) -> None:
    """Mask, predictions.csv and the stored softmax all speak of the voxels where the ball lies."""
    canonical = read_image(source).volume.geometry
    rough_mm = max(*rough_grid(canonical, 2.5, 32).spacing_mm_zyx, *canonical.spacing_mm_zyx, 2.5)
    check_mask(mask, source, scan, rough_mm)
    labels = read_labels(mask).volume.array
    with (mask.parent / "predictions.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    (roi,) = json.loads(row["rois"])
    centre_zyx = canonical.physical_to_index(scan.centre_xyz)
    first, last = np.array(roi["first_xyz"])[::-1], np.array(roi["last_xyz"])[::-1]
    reach = RADIUS_MM / np.asarray(canonical.spacing_mm_zyx)
    assert (first <= np.maximum(0, centre_zyx - reach) + 0.5).all()
    assert (last >= np.minimum(np.subtract(labels.shape, 1), centre_zyx + reach) - 0.5).all()
    with np.load(mask.parent / "case_probabilities.npz") as arrays:
        softmax, start = arrays["roi_0"].astype(np.float32), arrays["start_0"]
    assert np.array_equal(start, first)
    assert np.array_equal(start + softmax.shape[1:], last + 1)
    box = Box(tuple(start.tolist()), tuple((start + softmax.shape[1:]).tolist()))
    sure = np.abs(softmax[1] - softmax[0]) > FLOAT16  # no tumour here: two classes
    assert sure.mean() > 0.9
    assert np.array_equal(softmax.argmax(axis=0)[sure], labels[box.to_slices()][sure])
    assert np.count_nonzero(labels) * canonical.voxel_volume_ml == pytest.approx(float(row["kidney_ml"]), abs=1e-3)


@given(scans(), st.sampled_from(SUFFIXES))
@settings(max_examples=12)
def test_the_cascade_marks_the_ball(tmp_path_factory: pytest.TempPathFactory, scan: Scan, suffix: str) -> None:
    """bisc_predict's whole path with a network that knows the answer."""
    mask, source = predict(scan, tmp_path_factory.mktemp("cascade"), suffix)
    check_prediction(mask, source, scan)


@pytest.mark.long
@given(scans(), st.sampled_from(SUFFIXES))
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_the_cascade_marks_many_balls(tmp_path_factory: pytest.TempPathFactory, scan: Scan, suffix: str) -> None:
    """The same on 400 scans."""
    mask, source = predict(scan, tmp_path_factory.mktemp("cascade"), suffix)
    check_prediction(mask, source, scan)


@given(scans(), st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3), st.sampled_from(SUFFIXES))
@settings(max_examples=20)
def test_a_mask_equals_itself_in_another_order(
    tmp_path_factory: pytest.TempPathFactory, scan: Scan, order: list[int], flips: tuple[bool, bool, bool], suffix: str
) -> None:
    """The same mask, its axes permuted and flipped by ITK (which keeps each voxel's place): every score is perfect."""
    folder = tmp_path_factory.mktemp("orders")
    labels = (scan.distances() < RADIUS_MM).astype(np.uint8) + (scan.distances() < 6.0).astype(np.uint8)
    one = write_itk(folder / f"one{suffix}", labels, scan.stored)
    turned = sitk.Flip(sitk.PermuteAxes(sitk.ReadImage(str(one)), order), flips)
    sitk.WriteImage(turned, str(folder / "two.nii.gz"))
    scores = score_images("a", read_labels(one), read_labels(folder / "two.nii.gz"))
    assert (scores.dice_kidney, scores.dice_tumor, scores.dice_kidney_only) == (1.0, 1.0, 1.0)
    assert (scores.hd95_kidney_mm, scores.hd95_tumor_mm) == (0.0, 0.0)
    assert scores.volume_kidney_pred_ml == pytest.approx(
        np.count_nonzero(labels) * scan.stored.voxel_volume_ml, rel=1e-6
    )


def test_simulated_files_lie_where_their_labels_do(tmp_path: Path) -> None:
    """Simulate around a given oblique label map, read by nibabel: same affine as the labels', kidneys bright there."""
    stored = grid(
        (40, 64, 60), (5.0, 5.5, 5.2), (140.0, -160.0, 80.0), axis_angle((0, 0, 1), 8.0) @ np.diag([-1.0, 1.0, -1.0])
    )
    labels = np.zeros(stored.shape_zyx, np.uint8)
    for x in (22, 40):
        labels[14:27, 30:38, x - 4 : x + 4] = 1
    (tmp_path / "labels" / "case_00000").mkdir(parents=True)
    given_labels = write_itk(tmp_path / "labels" / "case_00000" / "segmentation.nii.gz", labels, stored)
    simulate_dataset(tmp_path / "sim", SimulationSpec(n=1, seed=3, labels_dir=tmp_path / "labels"))
    (image_path,) = (tmp_path / "sim").rglob("imaging.nii.gz")
    same_header(image_path, given_labels)
    image, truth = nib.load(image_path), nib.load(given_labels)
    assert image.affine == pytest.approx(truth.affine, abs=HEADER_MM)
    hu, inside = np.asarray(image.dataobj), np.asarray(truth.dataobj) > 0
    for moved in (inside[::-1], inside[:, ::-1], inside[:, :, ::-1]):
        assert hu[inside].mean() > hu[moved & ~inside].mean() + 30.0
