"""`bisc_predict --measure --report` as a user gives it: what lies beside a mask is of that mask, of no older one."""

from __future__ import annotations

import csv
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bisc.cli import measure, predict, report
from bisc.core.geometry import Geometry
from bisc.core.volume import Box, NativeGrid, Volume
from bisc.imageio import read_labels, write_image
from bisc.inference.cascade import NativeRoi
from bisc.pipeline.companions import _probability
from bisc.pipeline.report_rows import row_in
from bisc.pipeline.rows import merge_rows, read_rows
from tests.support.ct_series import write_ct
from tests.support.dicom_forms import put
from tests.support.stub_model import kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
GRID = Geometry((48, 60, 76), (3.0, 4.0, 4.0), (-150.0, -120.0, -700.0))
Rows = dict[tuple[str, str], dict[str, str]]


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bisc.inference.model.load_model", lambda *_: stub_model())


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    write_image(folder / "both.nii.gz", kidneys(GRID)[0].array, NativeGrid.of(GRID))
    write_image(folder / "none.nii.gz", kidneys(GRID, (), None)[0].array, NativeGrid.of(GRID))
    return folder


def run(source: Path, out: Path, *more: str, status: int = 0) -> None:
    assert predict.main(["-i", str(source), "-o", str(out), "-m", "stub", "--device", "cpu", *more]) == status


def rows(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["case"], row["structure"]): row for row in csv.DictReader(file)}


def test_measures_with_intervals_and_pages_that_show_them(scans: Path, tmp_path: Path) -> None:
    """The table's numbers are those of bisc_measure on the same mask and CT, and those of the page."""
    run(scans, tmp_path, "--measure", "--report")
    found = rows(tmp_path / "measures.csv")
    assert [one for _, one in found] == ["Right kidney", "Left kidney", "Tumour 1 (left)"]
    assert measure.main(["-p", str(tmp_path), "-i", str(scans), "-o", str(tmp_path / "m.csv"), "-np", "1"]) == 0
    again = rows(tmp_path / "m.csv")
    for key, row in found.items():
        own = {name for name in row if not name.endswith(("_low", "_high")) and name != "stamp"}
        assert {name: row[name] for name in own} == {name: again[key][name] for name in own}
    tumor = found["both", "Tumour 1 (left)"]
    for name in ("volume_ml", "axial_mm", "diameter_mm"):
        low, value, high = (float(tumor[f"{name}{end}"]) for end in ("_low", "", "_high"))
        assert 0 < low < value < high
        assert again["both", "Tumour 1 (left)"][f"{name}_low"] == ""  # a mask alone has none
    page = (tmp_path / "both_report.html").read_text(encoding="utf-8")
    shown = {tuple(map(float, found)) for found in re.findall(r"([\d.]+)\u00a0m[lm] \(([\d.]+) to ([\d.]+)\)", page)}
    for name in ("volume_ml", "axial_mm", "diameter_mm"):
        assert tuple(float(tumor[f"{name}{end}"]) for end in ("", "_low", "_high")) in shown
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="both_report.html"' in index and 'href="none_report.html"' in index
    listed = row_in(tmp_path / "both_report.html")
    assert listed is not None and (listed.case, listed.status) == ("both", "ok")


@pytest.mark.long
def test_continue_makes_what_is_missing_and_keeps_the_rest(scans: Path, tmp_path: Path) -> None:
    run(scans, tmp_path)
    assert not (tmp_path / "measures.csv").exists()
    run(scans, tmp_path, "--measure", "--report", "--continue")
    assert len(rows(tmp_path / "measures.csv")) == 3
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*_report.html")}
    assert len(before) == 2
    run(scans, tmp_path, "--measure", "--report", "--continue")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    (tmp_path / "both_report.html").unlink()
    run(scans, tmp_path, "--measure", "--report", "--continue")
    assert (tmp_path / "both_report.html").is_file()


@pytest.mark.long
def test_an_older_masks_measures_and_page_go(scans: Path, tmp_path: Path) -> None:
    """Predicted anew without them, or failed: nothing beside the new mask, or none, is of the old one."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for path in scans.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    run(source, out, "--measure", "--report")
    (out / "predictions.csv").unlink()  # what is there is older still
    run(source, out)
    assert rows(out / "measures.csv") == {}
    assert not list(out.glob("*_report.html"))
    assert 'href="both_report' not in (out / "index.html").read_text(encoding="utf-8")
    run(source, out, "--measure", "--report")
    (source / "both.nii.gz").write_bytes(b"damaged")
    run(source, out, "--measure", "--report", status=2)
    assert rows(out / "measures.csv") == {}
    assert not (out / "both_report.html").exists()
    index = (out / "index.html").read_text(encoding="utf-8")
    assert "failed" in index and 'href="both_report.html"' not in index


def test_a_probability_is_put_together_from_the_rois() -> None:
    """By hand: a ROI that begins two voxels into the box, and one that lies elsewhere."""
    softmax = np.zeros((3, 2, 2, 2), np.float32)
    softmax[2] = [[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]]
    rois = [NativeRoi(Box((3, 3, 3), (5, 5, 5)), softmax), NativeRoi(Box((8, 8, 8), (10, 10, 10)), softmax)]
    near = _probability(rois, Box((1, 1, 4), (4, 4, 6)), 2)
    assert near.shape == (3, 3, 2)
    assert near[2, 2, 0] == np.float32(0.2)
    assert np.count_nonzero(near) == 1


def test_a_page_of_a_dicom_seg(tmp_path: Path) -> None:
    """Where there is no other mask, bisc_report takes it: the same page as of the label map beside it."""
    write_ct(tmp_path / "study", Volume(kidneys(GRID)[0].array.astype(np.int16), GRID))
    run(tmp_path / "study", tmp_path / "out", "--format", "both")
    (seg,) = (tmp_path / "out").glob("*_seg.dcm")
    assert report.main(["-i", str(tmp_path / "study"), "-p", str(tmp_path / "out")]) == 0
    (page,) = (tmp_path / "out").glob("*_report.html")
    of_map = page.read_text(encoding="utf-8")
    (mask,) = (tmp_path / "out").glob("*.nii.gz")
    mask.unlink()
    assert report.main(["-i", str(tmp_path / "study"), "-p", str(tmp_path / "out")]) == 0
    assert page.read_text(encoding="utf-8").replace(seg.name, mask.name) == of_map


@pytest.mark.long
def test_what_is_said_of_a_scan_stands_on_its_page(tmp_path: Path) -> None:
    """Of the run and of bisc_report later; neither page tells the place, which may name a patient."""
    study, out = tmp_path / "Doe_Jane", tmp_path / "out"
    volume = Volume(kidneys(GRID)[0].array.astype(np.int16), GRID)
    write_ct(study, volume, change=put(ImagesInAcquisition=60))
    run(study, out, "--report")
    (page,) = out.glob("*_report.html")
    of_run = said(page)
    assert len(of_run) == 1
    assert "of an acquisition that gave 60" in of_run[0]
    page.unlink()
    assert report.main(["-i", str(study), "-p", str(out)]) == 0
    assert said(page) == of_run
    assert report.main(["-i", str(study), "-p", str(out), "--identify"]) == 0
    assert str(study) in said(page)[0] and str(tmp_path) not in of_run[0]
    run(study, tmp_path / "hidden", "--report", "--deidentify")
    (page,) = (tmp_path / "hidden").glob("*_report.html")
    for _ in range(2):
        assert "Jane" not in said(page)[0]
        assert report.main(["-i", str(study), "-p", str(tmp_path / "hidden")]) == 0


def said(page: Path) -> list[str]:
    """The remarks of a page."""
    (listed,) = re.findall(r'<ul class="note remarks">(.*?)</ul>', page.read_text(encoding="utf-8"))
    return re.findall("<li>(.*?)</li>", listed)


def test_pages_of_other_cases_stay(scans: Path, tmp_path: Path) -> None:
    """A page of one case alone is made: the others keep theirs, whose intervals no mask gives back, and are listed with
    what they say, but for one whose mask is newer."""
    run(scans, tmp_path, "--report")
    pages = {name: tmp_path / f"{name}_report.html" for name in ("both", "none")}
    before = pages["both"].read_bytes()
    one = ["-i", str(scans / "none.nii.gz"), "-p", str(tmp_path)]
    assert report.main(one) == 0
    assert pages["both"].read_bytes() == before
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{page.name}"' in index for page in pages.values())
    os.utime(tmp_path / "both.nii.gz", (time.time() + 60,) * 2)
    assert report.main(one) == 0
    assert pages["both"].read_bytes() == before
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "its page is older than its mask" in index and "no mask" not in index


def test_a_page_has_the_status_of_its_row(tmp_path: Path) -> None:
    """A side that is all tumour is a kidney in predictions.csv, and so in the index."""
    write_image(tmp_path / "in" / "both.nii.gz", kidneys(GRID)[0].array, NativeGrid.of(GRID))
    run(tmp_path / "in", tmp_path / "out", "--report")
    mask = tmp_path / "out" / "both.nii.gz"
    labels = read_labels(mask).volume.array.copy()
    labels[labels > 0] = 2
    row = read_rows(tmp_path / "out" / "predictions.csv")[0]
    write_image(mask, labels, NativeGrid.of(GRID))
    ml = np.count_nonzero(labels) * GRID.voxel_volume_ml
    merge_rows(tmp_path / "out" / "predictions.csv", [replace(row, kidney_ml=ml, tumor_ml=ml, stamp="")])
    assert report.main(["-i", str(tmp_path / "in"), "-p", str(tmp_path / "out")]) == 0
    listed = row_in(tmp_path / "out" / "both_report.html")
    assert listed is not None
    assert listed.status == "ok"
