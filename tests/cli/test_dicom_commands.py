"""bisc_predict and bisc_info on DICOM studies, as a user gives them; the networks are the stub's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from bisc.cli import info, predict
from bisc.core.errors import InputError
from bisc.core.volume import NativeGrid
from bisc.imageio import read_labels, write_image
from bisc.pipeline.segment import Model
from tests.imageio.test_archive_names import packed
from tests.report.test_dicom_objects import placed
from tests.support.ct_series import STEM, write_ct, write_enhanced
from tests.support.dicom_runs import GRID, patient, run, study
from tests.support.stub_model import kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
UIDLESS = ("StudyInstanceUID", "SeriesInstanceUID")


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bisc.inference.model.load_model", lambda *_: stub_model())


def mask(path: Path) -> object:
    return read_labels(path).volume.array


def test_a_study_is_as_its_nifti(tmp_path: Path) -> None:
    """Voxel for voxel; the choice stands in the table with its reasons; so does each kidney's and tumour's size."""
    study(tmp_path / "in" / "jones")
    write_image(tmp_path / "nifti" / "jones.nii.gz", patient().array, NativeGrid.of(GRID))
    row = run(tmp_path)["jones"]
    assert row["choice"].startswith("series 3 venous: 48 slices of 3 mm, late phase by its words; left out: series 2")
    assert "series 3 Topo" in row["choice"] or "series 1 Topo" in row["choice"]
    found = mask(tmp_path / "out" / "jones.nii.gz")
    assert np.array_equal(found, mask_of_nifti(tmp_path))  # type: ignore[arg-type]
    sizes = json.loads(row["segments"])
    assert [one["name"] for one in sizes] == ["Right kidney", "Left kidney", "Tumour 1 (left)"]
    assert sum(one["volume_ml"] for one in sizes) == pytest.approx(float(row["kidney_ml"]), abs=0.01)
    assert sizes[2]["volume_ml"] == pytest.approx(float(row["tumor_ml"]), abs=0.002)


def mask_of_nifti(tmp_path: Path) -> object:
    argv = ["-i", str(tmp_path / "nifti"), "-o", str(tmp_path / "out2"), "-m", "stub", "--device", "cpu"]
    assert predict.main(argv) == 0
    return mask(tmp_path / "out2" / "jones.nii.gz")


def test_an_enhanced_file_is_as_single_frames(tmp_path: Path) -> None:
    write_image(tmp_path / "nifti" / "jones.nii.gz", patient().array, NativeGrid.of(GRID))
    write_enhanced(tmp_path / "in" / "jones" / "e.dcm", patient(), list(range(GRID.shape_zyx[0]))[::-1])
    run(tmp_path, "--format", "both")
    assert np.array_equal(mask(tmp_path / "out" / "jones.nii.gz"), mask_of_nifti(tmp_path))  # type: ignore[arg-type]
    seg = pydicom.dcmread(tmp_path / "out" / "jones_seg.dcm")
    assert np.array_equal(placed(seg, GRID) > 0, np.asarray(mask(tmp_path / "out" / "jones.nii.gz")) > 0)


def test_a_zip_and_going_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An archive is a study as its folder is; --continue keeps it; where it lay stands in the table."""
    shutil.make_archive(str(tmp_path / "jones"), "zip", study(tmp_path / "in"))
    row = run(tmp_path, source="jones.zip")["jones"]
    assert row["source"] == str(tmp_path / "jones.zip")
    before = (tmp_path / "out" / "jones.nii.gz").stat().st_mtime_ns
    run(tmp_path, "--continue", source="jones.zip")
    assert (tmp_path / "out" / "jones.nii.gz").stat().st_mtime_ns == before
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["jones.nii.gz", "predictions.csv"]
    capsys.readouterr()


def test_a_zip_of_another_patient_is_not_gone_on_with(tmp_path: Path) -> None:
    """The same name, members, sizes and dates (all 1980, as anonymisers write them) and other voxels."""
    masks = []
    for n, volume in enumerate((patient(), kidneys(GRID, centres_x_mm=(), tumor_at=None)[0])):
        write_ct(tmp_path / f"{n}", volume)
        packed(tmp_path / "jones.zip", tmp_path / f"{n}")
        run(tmp_path, "--continue", source="jones.zip")
        masks.append(np.asarray(mask(tmp_path / "out" / "jones.nii.gz")) > 0)
    assert masks[0].any()
    assert not masks[1].any()


def test_without_the_extra_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bisc.cli.common.find_spec", lambda _: None)
    study(tmp_path / "in" / "jones")
    argv = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", "stub", "--format", "both"]
    assert predict.main(argv) == 2
    assert "pip install 'bisc-unet[dicom]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_identifiers_by_option_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose a study is stands in the table where it was asked for; by --continue too, if the first run did not ask."""
    study(tmp_path / "in" / "jones")
    whose = ("patient_id", "accession_number", "study_uid", "series_uid")
    assert [run(tmp_path)["jones"][column] for column in whose] == ["", "", "", ""]
    row = run(tmp_path, "--identifiers", "--continue")["jones"]
    source = pydicom.dcmread(next((tmp_path / "in").rglob("0000")))
    found = [source.PatientID, source.get("AccessionNumber", ""), source.StudyInstanceUID, source.SeriesInstanceUID]
    assert [row[column] for column in whose] == found
    argv = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "other"), "-m", "stub", "--identifiers", "--deidentify"]
    assert predict.main(argv) == 2
    assert "--identifiers: given with --deidentify" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_python_chooses_as_the_command_does(tmp_path: Path) -> None:
    """The series of a study, by default and as asked for; several patients are given one by one."""
    run(tmp_path, source=str(study(tmp_path / "in" / "jones").parent))
    model = Model(stub_model())
    result = model.segment(tmp_path / "in" / "jones")
    assert result.choice.startswith("series 3 venous: 48 slices")
    assert np.array_equal(result.labels, mask(tmp_path / "out" / "jones.nii.gz"))  # type: ignore[arg-type]
    assert model.segment(tmp_path / "in" / "jones", phase="plain").choice.startswith("series 2 nativ")
    asked = model.segment(str(tmp_path / "in"), series=f"{STEM}.2.1.2")
    assert asked.choice.startswith("series 2 nativ")
    assert asked.status == "no_kidney"
    write_ct(tmp_path / "in" / "smith", patient(), study="9", patient="Smith")
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, r"holds 2 scans \(jones, smith\); expected one"),
        ({"phase": "portal"}, "expected late or early or plain"),
        ({"spacing": (1.0, 1.0, 1.0)}, "has its own"),
    )
    for how, told in refused:
        with pytest.raises(InputError, match=told):
            model.segment(tmp_path / "in", **how)
    with pytest.raises(InputError, match="given of no path"):
        model.segment(patient().array, spacing=(1.0, 1.0, 1.0), phase="late")


@pytest.mark.long
def test_objects_alone(tmp_path: Path) -> None:
    """--format dicomseg leaves no NIfTI; the SEG is the mask; the report has the table's numbers; all go on."""
    study(tmp_path / "in" / "jones")
    row = run(tmp_path, "--format", "dicomseg", "--also", "sr", "capture", "rtstruct")["jones"]
    out = tmp_path / "out"
    names = [f"jones_{kind}.dcm" for kind in ("capture", "rtstruct", "seg", "sr")]
    assert sorted(p.name for p in out.iterdir()) == [*names, "predictions.csv"]
    numbered = placed(pydicom.dcmread(out / "jones_seg.dcm"), GRID)
    volumes = [one["volume_ml"] for one in json.loads(row["segments"])]
    counted = np.bincount(numbered.ravel())[1:] * GRID.voxel_volume_ml
    assert counted.tolist() == pytest.approx(volumes, abs=0.001)
    times = {name: (out / name).stat().st_mtime_ns for name in names}
    run(tmp_path, "--format", "dicomseg", "--also", "sr", "capture", "rtstruct", "--continue")
    assert {name: (out / name).stat().st_mtime_ns for name in names} == times
    (out / "jones_sr.dcm").unlink()
    run(tmp_path, "--format", "dicomseg", "--also", "sr", "capture", "rtstruct", "--continue")
    assert (out / "jones_sr.dcm").is_file()
    (out / "jones_sr.dcm").unlink()
    edited = pydicom.dcmread(out / "jones_seg.dcm")
    edited.SegmentSequence[0].SegmentLabel = "Right kidney, corrected"
    edited.save_as(out / "jones_seg.dcm")
    kept = (out / "jones_seg.dcm").read_bytes()
    run(tmp_path, "--format", "dicomseg", "--also", "sr", "--continue")
    run(tmp_path, "--format", "dicomseg", "--also", "sr", status=2)
    assert (out / "jones_seg.dcm").read_bytes() == kept


def test_what_no_seg_can_refer_to_is_nifti(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A NIfTI, a series without UIDs: status 2, the reason in one line and in the table, its mask; others go on."""

    def nameless(data: Dataset, i: int) -> None:
        for keyword in UIDLESS:
            delattr(data, keyword)

    write_ct(tmp_path / "in" / "nameless", patient(), change=nameless)
    write_image(tmp_path / "in" / "mueller.nii.gz", patient().array, NativeGrid.of(GRID))
    write_ct(tmp_path / "in" / "jones", patient())
    rows = run(tmp_path, "--format", "dicomseg", status=2)
    assert {name: row["status"] for name, row in rows.items()} == {"jones": "ok", "nameless": "ok", "mueller": "ok"}
    assert "has no StudyInstanceUID (0020,000D)" in rows["nameless"]["error"]
    assert "is no DICOM series" in rows["mueller"]["error"]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.*")) == [
        "jones_seg.dcm", "mueller.nii.gz", "nameless.nii.gz", "predictions.csv",
    ]  # fmt: skip
    said = capsys.readouterr().err
    assert said.count("its mask is written as NIfTI alone") == 2


def test_no_kidney_has_no_seg(tmp_path: Path) -> None:
    volume, _ = kidneys(GRID, centres_x_mm=(), tumor_at=None)
    write_ct(tmp_path / "in" / "jones", volume)
    assert run(tmp_path, "--format", "dicomseg")["jones"]["status"] == "no_kidney"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["predictions.csv"]
    before = (tmp_path / "out" / "predictions.csv").read_text()
    run(tmp_path, "--format", "dicomseg", "--continue")
    assert (tmp_path / "out" / "predictions.csv").read_text() == before


def test_no_object_of_an_older_mask_stays(tmp_path: Path) -> None:
    """A run that makes fewer kinds takes the others away; what never was an output of this case stays."""
    write_ct(tmp_path / "in" / "jones", patient())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "smith_seg.dcm").touch()
    run(tmp_path, "--format", "both", "--also", "capture")
    run(tmp_path, "--format", "nifti")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["jones.nii.gz", "predictions.csv", "smith_seg.dcm"]


def test_a_series_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The study that holds it is predicted, the others are passed over; a UID that none holds is a usage error."""
    study(tmp_path / "in" / "jones")
    write_ct(tmp_path / "in" / "smith", patient(), study="2")
    rows = run(tmp_path, "--series", f"{STEM}.2.1.2")
    assert (rows["jones"]["status"], rows["smith"]["status"]) == ("no_kidney", "skipped")
    assert "asked for" in rows["jones"]["choice"] or "series 2 nativ" in rows["jones"]["choice"]
    shutil.rmtree(tmp_path / "out")
    run(tmp_path, "--series", "1.2.3", status=2)
    capsys.readouterr()


def test_a_phase_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(tmp_path / "in" / "jones")
    rows = run(tmp_path, "--phase", "early", status=2)
    assert "no series of the early phase" in rows["jones"]["error"]
    assert capsys.readouterr().err.count("\n") <= 3


def test_info_lists_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(tmp_path / "in" / "jones")
    write_image(tmp_path / "in" / "mueller.nii.gz", patient().array, NativeGrid.of(GRID))
    (tmp_path / "in" / "notes.txt").touch()
    assert info.main([str(tmp_path / "in")]) == 0
    said = capsys.readouterr().out
    for needle in (
        "jones: DICOM, 4 series",
        "* series 3 venous: 48 slices of 3 mm, late phase by its words",
        "- series 2 nativ: 48 slices of 3 mm, plain phase by its words\n      left out: plain phase by its words",
        f"      {STEM}.2.1.2\n",
        "a localizer, by its ImageType",
        "mueller: size 96 x 80 x 48, spacing 4 x 4 x 3 mm",
        "notes.txt: no scan: no image by its name",
    ):
        assert needle in said, needle


def test_info_names_the_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the folder that it is unpacked into, which is gone."""
    write_ct(tmp_path / "in" / "ct", patient(), keep=range(20))
    source = Path(shutil.make_archive(str(tmp_path / "jones"), "zip", tmp_path / "in"))
    assert info.main([str(source)]) == 0
    assert f"jones: DICOM, 1 series in {source}\n" in capsys.readouterr().out


def test_info_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ct(tmp_path / "in" / "gap", patient(), keep=[i for i in range(48) if i != 9])
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"no")
    assert info.main([str(tmp_path / "in")]) == 2
    said = capsys.readouterr()
    assert "apart, the others 3 mm" in said.out
    assert said.err.count("bisc_info: error:") == 1
