"""A DICOM SEG without its image: where the scan ends, and how far slices lie apart, is told by what it holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from bisc.imageio.formats.dicom.segmentation import _is_cut, read_segmentation
from bisc.pipeline.measure_jobs import tell_if_edited
from bisc.system.console import collecting
from tests.report.test_dicom_objects import grid, made
from tests.support.ct_series import write_ct
from tests.support.known_kidneys import kidneys

STEP_MM = 4.0
Change = Callable[[Dataset], None]


def told(path: Path, change: Change) -> tuple[tuple[float, ...], list[str]]:
    """Spacing (z, y, x) of a SEG whose PixelMeasuresSequence item was changed, and what was said."""
    seg = pydicom.dcmread(path)
    change(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0])
    seg.save_as(path.with_name("changed.dcm"))
    with collecting(quiet=True) as notes:
        volume = read_segmentation(path.with_name("changed.dcm")).volume
    return volume.geometry.spacing_mm_zyx, notes


def test_half_the_distance_of_slices_is_not_believed(tmp_path: Path) -> None:
    """Where the thickness is that of the positions; where it is smaller too, every second slice may be empty."""
    case = made(tmp_path, write_ct, grid(), kinds=("seg",))

    def half(item: Dataset) -> None:
        item.SpacingBetweenSlices = STEP_MM / 2

    def half_and_thin(item: Dataset) -> None:
        item.SpacingBetweenSlices = item.SliceThickness = STEP_MM / 2

    spacing, notes = told(case.out / "seg.dcm", half)
    assert spacing[0] == pytest.approx(STEP_MM)
    assert "SpacingBetweenSlices (0018,0088) is 2 mm, and no slices lie nearer than 4 mm" in notes[0]
    spacing, notes = told(case.out / "seg.dcm", half_and_thin)
    assert spacing[0] == pytest.approx(STEP_MM / 2)
    assert "read with empty slices between them" in notes[0]


@pytest.mark.parametrize(("first", "last"), [(0, 62), (20, 62), (0, 40), (20, 40)])
def test_a_wide_end_is_a_cut(first: int, last: int) -> None:
    """Background is added where kidneys end as kidneys do, alone."""
    there = kidneys(None)[first:last]
    there = there[there.any(axis=(1, 2))]
    assert _is_cut(there, (3.0, 0.8, 0.8)) == (first > 0)
    assert _is_cut(there[::-1], (3.0, 0.8, 0.8)) == (last < 62)
    specks = np.zeros_like(there)
    specks[0, 4:8, 4:8] = 1
    assert not _is_cut(specks, (3.0, 0.8, 0.8))


def test_a_newer_seg_beside_a_mask_is_told(tmp_path: Path) -> None:
    """A prediction's own comes some seconds behind its label map."""
    mask, seg = tmp_path / "case.nii.gz", tmp_path / "case_seg.dcm"
    for path in (mask, seg):
        path.touch()
    for behind_s, expected in ((20, 0), (600, 1)):
        os.utime(seg, (1e9 + behind_s, 1e9 + behind_s))
        os.utime(mask, (1e9, 1e9))
        with collecting(quiet=True) as notes:
            tell_if_edited(seg, mask)
        assert len(notes) == expected
