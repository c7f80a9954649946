"""The cascade on odd scans, and its masks in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from bisc.imageio import read_labels, write_image
from bisc.imageio.case import InputCase
from bisc.inference.cascade import NO_OFFSETS, run_cascade, run_rough
from bisc.pipeline.options import PredictOptions
from bisc.pipeline.predict import predict_case
from tests.inference.test_cascade import GRID
from tests.support.stub_model import OBLIQUE, PLAN, dice, kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()


def test_an_image_of_few_slices() -> None:
    """Three slices of 10 mm: less than any window, and still a result of the image's shape."""
    grid = Geometry((3, 60, 70), (10.0, 4.0, 4.0))
    image, truth = kidneys(grid, speck=False)
    labels = run_cascade(image, stub_model(), "argmax").labels(NO_OFFSETS)
    assert labels.shape == grid.shape_zyx
    assert dice(labels > 0, truth > 0) > 0.7


def test_air_alone_is_no_kidney() -> None:
    """An empty scan, one voxel wide even."""
    for shape in ((4, 20, 20), (1, 1, 1)):
        image = Volume(np.full(shape, -1000, np.int16), Geometry(shape, (5.0, 3.0, 3.0)))
        found = run_cascade(image, stub_model(), "argmax")
        labels = found.labels(NO_OFFSETS)
        assert found.status(labels) == "no_kidney"
        assert not labels.any()
        assert run_rough(image, PLAN, stub_model().rough).array.shape[1:] == (
            max(1, round(shape[0] * 5.0 / 2.0)), 128, 128,
        )  # fmt: skip


def test_a_files_mask_has_the_files_header(tmp_path: Path) -> None:
    """Size, spacing, origin and direction kept, the voxels on the kidneys of the stored file."""
    image, truth = kidneys(GRID)
    write_image(tmp_path / "in.nii.gz", image.array, OBLIQUE)
    write_image(tmp_path / "truth.nii.gz", truth, OBLIQUE)
    row = predict_case(InputCase("case", tmp_path / "in.nii.gz"), stub_model(), tmp_path, PredictOptions("argmax"))
    assert row.status == "ok"
    given, mask, right = (sitk.ReadImage(str(tmp_path / f"{n}.nii.gz")) for n in ("in", "case", "truth"))
    assert mask.GetSize() == given.GetSize() == (48, 190, 200)
    assert mask.GetSpacing() == given.GetSpacing()
    assert mask.GetOrigin() == given.GetOrigin()
    assert mask.GetDirection() == pytest.approx(given.GetDirection(), abs=1e-6)  # NIfTI keeps float32
    assert mask.GetPixelID() == sitk.sitkUInt8
    a, b = sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(right)
    assert dice(a > 0, b > 0) > 0.95
    assert dice(a == 2, b == 2) > 0.95
    assert np.array_equal(read_labels(tmp_path / "case.nii.gz").volume.array > 0, OBLIQUE.to_canonical(a).array > 0)
