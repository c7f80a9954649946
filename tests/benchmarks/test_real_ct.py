"""What is told of a mask on a real scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.real_ct import against, scans_in


def test_what_lies_far_from_the_reference() -> None:
    """By hand, voxels of 5 x 1 x 1 mm: of four found voxels one is right, one lies 10 mm off and two 11 mm or more."""
    truth = np.zeros((4, 1, 30), bool)
    truth[0, 0, :2] = True
    mask = np.zeros_like(truth)
    mask[0, 0, [0, 11, 12]] = mask[3, 0, 0] = True
    found = against(mask, truth, (5.0, 1.0, 1.0), 0.005)
    assert found == {"dice": pytest.approx(2 / 6), "far_ml": pytest.approx(0.01)}


def test_scans_are_told_by_what_a_folder_holds(tmp_path: Path) -> None:
    """A file and its reference, or a series; what is no folder is none."""
    for name in ("b/ct.nii.gz", "b/kidneys.nii.gz", "a/IM0001.dcm", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    series, volume = scans_in(tmp_path)
    assert (series.name, series.image, series.reference) == ("a", tmp_path / "a", None)
    assert (volume.image, volume.reference) == (tmp_path / "b/ct.nii.gz", tmp_path / "b/kidneys.nii.gz")
