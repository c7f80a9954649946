"""The series of a study that a mask is of: as a SEG or its row of predictions.csv says; else a notice, or a refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from bisc.core.errors import InputError
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid, Volume
from bisc.imageio import write_image
from bisc.imageio.inputs import find_inputs
from bisc.pipeline.mask_scans import scan_of_mask
from bisc.pipeline.measure_jobs import find_jobs, read_pair
from bisc.pipeline.options import PredictionRow
from bisc.pipeline.report import ReportOptions, begin_pages
from bisc.pipeline.rows import merge_rows
from bisc.report.dicom.identity import derived_uid
from tests.report.test_dicom_objects import LPS
from tests.support.ct_series import STEM, item, save, write_ct
from tests.support.noticed import noticed, unnoticed

GRID = Geometry((6, 8, 8), (4.0, 4.0, 4.5), (-18.0, -16.0, -300.0), LPS)
HU = {"1": 100, "2": 200, "3": 300}
EARLY, LATE, THIN = (f"{STEM}.2.1.{k}" for k in (1, 2, 3))
CHOICE = "series 1 Abdomen ART: 6 slices of 4 mm, early phase by its HU; left out: series 2 Abdomen VEN: as good"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Early and late phase on one grid, and the late one again on a finer one, which would be predicted."""
    for series, words in (("1", "Abdomen ART"), ("2", "Abdomen VEN"), ("3", "Abdomen VEN thin")):
        grid = GRID if series != "3" else GRID.resampled((2.0, 4.0, 4.5))
        volume = Volume(np.full(grid.shape_zyx, HU[series], np.int16), grid)
        write_ct(tmp_path / "in" / "PAT" / series, volume, series=series, number=int(series), description=words)
    return tmp_path / "in"


def seg(path: Path, series: str | None, frame: str = f"{STEM}.3.1") -> Path:
    """The head of a SEG, which says what it is of."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3", "SEG"
    data.FrameOfReferenceUID = frame
    if series is not None:
        data.ReferencedSeriesSequence = [item(SeriesInstanceUID=series)]
    save(data, path)
    return path


def nifti(path: Path, grid: Geometry = GRID) -> Path:
    write_image(path, np.ones(grid.shape_zyx, np.uint8), NativeGrid.of(grid))
    return path


def taken(mask: Path, study: Path, row: PredictionRow | None = None, series: str | None = None) -> str:
    (case,) = find_inputs(study)
    scan = scan_of_mask(mask, case, row, series)
    assert scan.choice is not None
    return scan.choice.series.about.uid


def refused(mask: Path, study: Path, row: PredictionRow | None = None, series: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        taken(mask, study, row, series)
    return str(caught.value)


def test_a_seg_is_of_the_series_that_it_names(tmp_path: Path, study: Path) -> None:
    """Also by the UIDs that --deidentify gives; no other series is taken in its place, nor another patient's."""
    hidden = [derived_uid("deidentified", "SeriesInstanceUID", EARLY)]
    hidden.append(derived_uid("deidentified", "FrameOfReferenceUID", f"{STEM}.3.1"))
    with unnoticed():
        assert taken(seg(tmp_path / "a.dcm", EARLY), study) == EARLY
        assert taken(seg(tmp_path / "b.dcm", hidden[0], hidden[1]), study) == EARLY
    assert "is of series 1.2.3; expected one of" in refused(seg(tmp_path / "c.dcm", "1.2.3"), study)
    assert "FrameOfReferenceUID 1.2.3; expected that of" in refused(seg(tmp_path / "d.dcm", EARLY, "1.2.3"), study)
    assert f"expected one of --series {LATE}" in refused(tmp_path / "a.dcm", study, series=LATE)
    with noticed(r"may be of 3 series .*; series 3 Abdomen VEN thin was taken"):
        assert taken(seg(tmp_path / "e.dcm", None), study) == THIN


def test_slices_may_have_frames_of_reference_of_their_own(tmp_path: Path) -> None:
    def change(data: Dataset, i: int) -> None:
        data.FrameOfReferenceUID = f"{STEM}.3.{i + 1}"

    write_ct(tmp_path / "in", Volume(np.zeros(GRID.shape_zyx, np.int16), GRID), change=change)
    assert taken(seg(tmp_path / "a.dcm", EARLY, f"{STEM}.3.4"), tmp_path / "in") == EARLY
    assert "expected that of" in refused(seg(tmp_path / "b.dcm", EARLY, f"{STEM}.3.9"), tmp_path / "in")


def test_a_label_map_is_of_the_series_in_its_row(tmp_path: Path, study: Path) -> None:
    """By its UID, or by number, words and size, however its phase was told."""
    mask = nifti(tmp_path / "PAT.nii.gz")
    with unnoticed():
        assert taken(mask, study, PredictionRow("PAT", "ok", choice=CHOICE)) == EARLY
        assert taken(mask, study, PredictionRow("PAT", "ok", choice=CHOICE, series_uid=LATE)) == LATE
    other = PredictionRow("PAT", "ok", choice="series 1 Abdomen ART: 60 slices of 4 mm, early phase by its words")
    assert "was predicted of series 1 Abdomen ART: 60 slices" in refused(mask, study, other)
    named = PredictionRow("PAT", "ok", series_uid="1.2.3")
    assert "was predicted of 1.2.3; expected it in" in refused(mask, study, named)
    assert "was predicted of 1.2.3; expected that one" in refused(mask, study, named, series=EARLY)


def test_a_label_map_without_a_row(tmp_path: Path, study: Path) -> None:
    """Its grid tells, or leaves two series open, which is said."""
    with noticed(r"may be of 2 series .*: series 2 Abdomen VEN; series 1 Abdomen ART; series 2 Abdomen VEN was taken"):
        assert taken(nifti(tmp_path / "a.nii.gz"), study) == LATE
    with unnoticed():
        assert taken(nifti(tmp_path / "b.nii.gz", GRID.resampled((2.0, 4.0, 4.5))), study) == THIN
    assert taken(nifti(tmp_path / "c.nii.gz"), study, series=EARLY) == EARLY


def test_measures_and_pages_look_into_the_table(tmp_path: Path, study: Path) -> None:
    """Of a folder of masks and of one mask in it; another program's predictions.csv says nothing."""
    mask = nifti(tmp_path / "out" / "PAT.nii.gz")
    merge_rows(tmp_path / "out" / "predictions.csv", [PredictionRow("PAT", "ok", choice=CHOICE)])
    for masks in (tmp_path / "out", mask):
        (job,) = find_jobs(masks, study, tmp_path / "m.csv", None)
        _, image = read_pair(job)
        assert image is not None and set(np.unique(image.volume.array)) == {HU["1"]}
        (page,) = begin_pages(study, masks, tmp_path / "page", ReportOptions()).jobs
        assert page.row is not None and page.row.choice == CHOICE
    (tmp_path / "out" / "predictions.csv").write_text("id,mask\n")
    (job,) = find_jobs(tmp_path / "out", study, tmp_path / "m.csv", None)
    assert job.row is None


def test_overlapping_segments_are_told_beside_a_study_too(tmp_path: Path, study: Path) -> None:
    """Not as several values a voxel, of which one is to be exported: half of the mask."""
    image = sitk.GetImageFromArray(np.zeros((2, 2, 2, 2), np.uint8), isVector=True)
    for i, name in enumerate(("kidney", "tumor")):
        image.SetMetaData(f"Segment{i}_Name", name)
        image.SetMetaData(f"Segment{i}_Layer", str(i))
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    assert "overlap in 2 layers" in refused(tmp_path / "a.seg.nrrd", study)
