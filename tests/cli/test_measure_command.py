"""bisc_measure as a user runs it: on predictions, on a mask that was edited, on DICOM SEG; and what it refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest

from bisc.cli import evaluate, measure, report
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid, Volume
from bisc.imageio import read_labels, write_image
from bisc.imageio.formats.dicom.segmentation import read_segmentation
from tests.report.test_dicom_objects import FORMS, grid, made, patient
from tests.support.ct_series import write_ct
from tests.support.grids import ball, fault, write_itk

Rows = dict[tuple[str, str], dict[str, str]]


def saved(path: Path, labels: npt.NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, labels, NativeGrid.of(grid()))
    return path


def run(*argv: object, status: int = 0) -> None:
    assert measure.main([*map(str, argv), "-np", "1"]) == status


def rows(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["case"], row["structure"]): row for row in csv.DictReader(file)}


def numbers(found: Rows, case: str) -> dict[str, dict[str, str]]:
    """A case's rows but for what names its files."""
    return {one: row | {"case": "", "stamp": ""} for (name, one), row in found.items() if name == case}


def test_a_folder_with_images_and_a_bad_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bad mask is told in one line, the others are measured, and with --continue only what changed is done anew."""
    volume, labels = patient(grid())
    for name in ("a", "b"):
        saved(tmp_path / "masks" / f"{name}.nii.gz", labels)
        saved(tmp_path / "ct" / f"{name}.nii.gz", volume.array)
    saved(tmp_path / "masks" / "c.nii.gz", labels + np.uint8(7))
    run("-p", tmp_path / "masks", "-i", tmp_path / "ct", status=2)
    told = capsys.readouterr()
    assert "c.nii.gz: label values" in told.err
    assert "2 of 3 cases measured" in told.out
    table = tmp_path / "masks" / "measures.csv"
    found = rows(table)
    assert len(found) == 2 * 4
    tumor = found["a", "Tumour 1 (left)"]
    ml = np.count_nonzero(labels[:, :, 36:] == 2) * grid().voxel_volume_ml
    assert float(tumor["volume_ml"]) == pytest.approx(ml, abs=0.005)
    ends = np.asarray(json.loads(tumor["axial_mm_ends"]))
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(float(tumor["axial_mm"]), abs=0.06)
    assert ends[0][2] == ends[1][2]
    assert json.loads(tumor["withheld"])["to_tumor_mm"]
    labels[labels == 2] = 1
    saved(tmp_path / "masks" / "b.nii.gz", labels)
    (tmp_path / "masks" / "c.nii.gz").unlink()
    run("-p", tmp_path / "masks", "-i", tmp_path / "ct", "--continue")
    told = capsys.readouterr()
    assert "1 kept" in told.out
    assert "also has rows" not in told.err
    (tmp_path / "masks" / "a.nii.gz").rename(tmp_path / "masks" / "d.nii.gz")
    (tmp_path / "ct" / "a.nii.gz").rename(tmp_path / "ct" / "d.nii.gz")
    run("-p", tmp_path / "masks", "-i", tmp_path / "ct", "--continue")
    assert "measures.csv also has rows of a, measured before: no mask" in capsys.readouterr().err
    assert {one for case, one in rows(table) if case == "b"} == {"Right kidney", "Left kidney"}
    assert numbers(rows(table), "a") == numbers(found, "a")


@pytest.mark.parametrize("form", ["axial", "oblique", "feet first", "enhanced, in any order"])
@pytest.mark.parametrize("labelmap", [False, True])
def test_a_seg_measures_as_its_mask(tmp_path: Path, form: str, labelmap: bool) -> None:
    """With its study a SEG gives the numbers that the label map gives."""
    write, on = FORMS[form]
    case = made(tmp_path, write, on, kinds=("seg",), labelmap=labelmap)
    native = NativeGrid.of(case.volume.geometry)
    mask = tmp_path / "mask.nii.gz"
    write_image(mask, case.labels, native)
    image = tmp_path / "image.nii.gz"
    write_image(image, case.volume.array, native)
    run("-p", case.out / "seg.dcm", "-i", tmp_path / "in", "-o", tmp_path / "seg.csv")
    run("-p", mask, "-i", image, "-o", tmp_path / "mask.csv")
    ours, theirs = (numbers(rows(tmp_path / f"{n}.csv"), n) for n in ("seg", "mask"))
    assert ours.keys() == theirs.keys() and len(ours) == 4
    for structure, row in ours.items():
        differing = {name for name in row if row[name] != theirs[structure][name]}
        assert not {name for name in differing if not name.endswith("_ends")}, structure
        for name in differing:  # single precision in the NIfTI header
            near = np.asarray(json.loads(theirs[structure][name]))
            assert np.asarray(json.loads(row[name])) == pytest.approx(near, abs=0.02)


def test_a_seg_alone_is_not_cut_off_by_its_own_frames(tmp_path: Path) -> None:
    """It holds the slices with a segment only; that is no border of the scan. And a reader's edit counts."""
    case = made(tmp_path, write_ct, grid(), kinds=("seg",))
    labels = read_segmentation(case.out / "seg.dcm").volume
    box = np.flatnonzero((case.labels > 0).any(axis=(1, 2)))
    assert labels.array.shape[0] == len(box) + 2
    assert np.array_equal(labels.array[1:-1], case.labels[box[0] : box[-1] + 1])
    run("-p", case.out / "seg.dcm", "-o", tmp_path, "--mesh", "stl")
    assert len(list(tmp_path.glob("*.stl"))) == 4
    found = rows(tmp_path / "measures.csv")["seg", "Tumour 1 (left)"]
    assert found["volume_ml"] and "cut off" not in found["notes"]
    assert case.found.sizes[3].volume_ml == pytest.approx(float(found["volume_ml"]), abs=0.006)


def test_segments_of_other_things(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = made(tmp_path, write_ct, grid(), kinds=("seg",))
    seg = pydicom.dcmread(case.out / "seg.dcm")
    seg.SegmentSequence[3].SegmentLabel = "Aorta"
    kind = seg.SegmentSequence[3].SegmentedPropertyTypeCodeSequence[0]
    kind.CodeValue, kind.CodeMeaning = "15825003", "Aorta"
    region = seg.SegmentSequence[2].AnatomicRegionSequence[0]
    region.CodeValue, region.CodeMeaning = "10200004", "Liver"
    seg.save_as(tmp_path / "one.dcm")
    run("-p", tmp_path / "one.dcm", "-o", tmp_path)
    passed = "segments Tumour 1 (left) / Neoplasm in Liver; Aorta / Aorta in Kidney; passed over"
    assert passed in capsys.readouterr().err
    assert {one for _, one in rows(tmp_path / "measures.csv")} == {"Right kidney", "Left kidney"}
    for item in seg.SegmentSequence:
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        item.SegmentLabel, kind.CodeValue, kind.CodeMeaning = "Segment_1", "85756007", "Tissue"
    seg.save_as(tmp_path / "none.dcm")
    assert "segments Segment_1 / Tissue" in fault(read_segmentation, tmp_path / "none.dcm")


def test_a_seg_of_another_scan_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = made(tmp_path, write_ct, grid(), kinds=("seg",))
    volume, _ = patient(grid(degrees=(5.0, 0.0, 0.0)))
    write_ct(tmp_path / "other", volume)  # of the same UIDs
    run("-p", case.out / "seg.dcm", "-i", tmp_path / "other", "-o", tmp_path, status=2)
    assert "does not lie on the voxels of" in capsys.readouterr().err
    far = Volume(volume.array, grid().cropped((20, 0, 0), grid().shape_zyx))
    write_ct(tmp_path / "far", far)
    run("-p", case.out / "seg.dcm", "-i", tmp_path / "far", "-o", tmp_path, status=2)
    assert "reaches beyond" in capsys.readouterr().err


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("-p", tmp_path / "none", status=2)
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    run("-p", tmp_path / "empty", status=2)
    assert "holds no label map" in capsys.readouterr().err
    mask = saved(tmp_path / "one.nii.gz", patient(grid())[1])
    run("-p", mask, "-o", tmp_path / "x.txt", status=2)
    assert "ends in '.txt'" in capsys.readouterr().err
    (tmp_path / "old.csv").write_text("case,volume\n")
    run("-p", mask, "-o", tmp_path / "old.csv", status=2)
    assert "another form" in capsys.readouterr().err
    assert (tmp_path / "old.csv").read_text() == "case,volume\n"
    other = NativeGrid.of(grid(degrees=(3.0, 0.0, 0.0)))
    write_image(tmp_path / "ct.nii.gz", patient(grid())[0].array, other)
    run("-p", mask, "-i", tmp_path / "ct.nii.gz", "-o", tmp_path / "m.csv", status=2)
    assert "corners lie up to" in capsys.readouterr().err


def test_nothing_of_an_older_mask_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Edited: its older surfaces are told, and made anew where they are asked for. Damaged: all of it goes."""
    _, labels = patient(grid())
    mask = saved(tmp_path / "masks" / "a.nii.gz", labels)
    saved(tmp_path / "masks" / "b.nii.gz", labels)
    run("-p", tmp_path / "masks", "--mesh", "stl")
    surface = tmp_path / "masks" / "a_tumor_1_left_LPS.stl"
    before = surface.read_bytes()
    labels[:, :, 40:][labels[:, :, 40:] == 2] = 1
    saved(mask, labels)
    capsys.readouterr()
    run("-p", tmp_path / "masks", "--continue")
    assert "is older than a.nii.gz: it shows the mask as it was" in capsys.readouterr().err
    assert surface.read_bytes() == before
    run("-p", tmp_path / "masks", "--continue", "--mesh", "stl")
    assert "1 kept" in capsys.readouterr().out  # b's surfaces are there, a's were older than its mask
    assert not surface.exists() or surface.read_bytes() != before
    (tmp_path / "masks" / "b_left_kidney_LPS.stl").unlink()
    run("-p", tmp_path / "masks", "--continue", "--mesh", "stl")
    assert (tmp_path / "masks" / "b_left_kidney_LPS.stl").exists()
    mask.write_bytes(b"damaged")
    run("-p", tmp_path / "masks", status=2)
    assert {case for case, _ in rows(tmp_path / "masks" / "measures.csv")} == {"b"}
    assert not list((tmp_path / "masks").glob("a_*.stl"))


def test_no_kidney_is_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = saved(tmp_path / "one.nii.gz", np.zeros(grid().shape_zyx, np.uint8))
    run("-p", mask, "-o", tmp_path)
    assert "one: no kidney" in capsys.readouterr().out
    assert rows(tmp_path / "measures.csv") == {}
    assert read_labels(mask).volume.array.max() == 0


def test_an_image_that_cannot_be_used_is_its_cases_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One case in two formats: its mask is measured neither alone, nor on the only other image."""
    volume, labels = patient(grid())
    mask = saved(tmp_path / "masks" / "a.nii.gz", labels)
    for name in ("a.nii.gz", "a.nii", "b.nii.gz"):
        saved(tmp_path / "ct" / name, volume.array)
    run("-p", mask, "-i", tmp_path / "ct", "-o", tmp_path, status=2)
    assert "a.nii" in capsys.readouterr().err
    saved(tmp_path / "masks" / "b.nii.gz", labels)
    run("-p", tmp_path / "masks", "-i", tmp_path / "ct", status=2)
    assert "1 of 2 cases measured" in capsys.readouterr().out
    run("-p", tmp_path / "masks", "-i", tmp_path / "ct", "--continue", status=2)
    assert {case for case, _ in rows(tmp_path / "masks" / "measures.csv")} == {"b"}
    (tmp_path / "ct.zip").touch()
    run("-p", mask, "-i", tmp_path / "ct.zip", status=2)
    assert "unpack it" in capsys.readouterr().err
    (tmp_path / "ct" / "b.nii.gz").unlink()
    run("-p", mask, "-i", tmp_path / "ct", "-o", tmp_path, status=2)
    assert "no image" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda hu: hu + np.int16(1024), "no CT in HU"),
        (lambda hu: np.clip((hu + 160) * 0.6, 0, 255).astype(np.uint8), "a picture's grey values"),
        (lambda hu: np.roll(hu, hu.shape[1] // 2, axis=1), "HU in the middle of what is labelled kidney and tumour"),
        (lambda hu: np.where(np.arange(len(hu))[:, None, None] == 6, np.int16(0), hu), "blank, or of air alone"),
    ],
)
def test_an_image_that_is_no_ct_of_the_mask_is_told_and_not_measured_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Any], Any], words: str
) -> None:
    """In HU with 1024 more, as a picture, of another place (a mask on air), with a blank slice: as without an image."""
    hu, labels = phantom()
    mask = write_itk(tmp_path / "a.nii.gz", labels, PHANTOM)
    run("-p", mask, "-o", tmp_path / "alone.csv")
    run("-p", mask, "-i", write_itk(tmp_path / "sound.nii.gz", hu, PHANTOM), "-o", tmp_path / "sound.csv")
    assert capsys.readouterr().err == ""
    run("-p", mask, "-i", write_itk(tmp_path / "ct.nii.gz", spoil(hu), PHANTOM), "-o", tmp_path / "spoilt.csv")
    told = capsys.readouterr().err
    assert words in told
    assert "measured by the mask alone" in told
    assert numbers(rows(tmp_path / "spoilt.csv"), "a") == numbers(rows(tmp_path / "alone.csv"), "a")
    assert numbers(rows(tmp_path / "spoilt.csv"), "a") != numbers(rows(tmp_path / "sound.csv"), "a")


def test_a_mask_that_lost_its_grid_is_told_by_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1 x 1 x 1 mm from 0, as np.eye(4) writes it; with a CT, of that."""
    hu, labels = phantom()
    lost = Geometry(PHANTOM.shape_zyx, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), PHANTOM.direction)
    mask, ct = write_itk(tmp_path / "a.nii.gz", labels, lost), write_itk(tmp_path / "ct.nii.gz", hu, lost)
    run("-p", mask, "-o", tmp_path / "m.csv")
    assert f"{mask}: its spacing is 1 x 1 x 1 mm and its origin 0" in capsys.readouterr().err
    run("-p", mask, "-i", ct, "-o", tmp_path / "m.csv")
    assert f"{ct}: its spacing is 1 x 1 x 1 mm and its origin 0" in capsys.readouterr().err
    assert evaluate.main(["-r", str(mask), "-p", str(mask), "-o", str(tmp_path / "r.csv")]) == 0
    assert f"{mask}: its spacing is 1 x 1 x 1 mm and its origin 0" in capsys.readouterr().err
    assert report.main(["-i", str(ct), "-p", str(mask), "-o", str(tmp_path / "pages")]) == 0
    assert f"{ct}: its spacing is 1 x 1 x 1 mm and its origin 0" in capsys.readouterr().err
    assert "its origin 0" in next((tmp_path / "pages").glob("*_report.html")).read_text(encoding="utf-8")


PHANTOM = Geometry((24, 64, 64), (5.0, 4.0, 4.0), (-128.0, -128.0, -100.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def phantom() -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """A trunk of fat and muscle in air with two kidneys of 160 HU, a tumour of 90 in the left one."""
    z, y, x = (np.arange(n) * s for n, s in zip(PHANTOM.shape_zyx, PHANTOM.spacing_mm_zyx, strict=True))
    across = ((x - 128) / 105)[None, :] ** 2 + ((y - 128) / 82)[:, None] ** 2
    hu = np.broadcast_to(np.where(across < 1, np.where(across < 0.8, 40, -100), -1000), PHANTOM.shape_zyx).copy()
    labels = np.zeros(PHANTOM.shape_zyx, np.uint8)
    for centre_mm in (78, 178):
        inside = ((z - 60) / 40)[:, None, None] ** 2 + ((y - 150) / 24)[None, :, None] ** 2
        labels[inside + ((x - centre_mm) / 24)[None, None, :] ** 2 < 1] = 1
    labels[ball(PHANTOM, (60, 150, 190), 12)] = 2
    hu[labels > 0] = np.array([0, 160, 90])[labels[labels > 0]]
    noise = np.random.default_rng(0).integers(-15, 16, hu.shape)
    return (hu + noise).astype(np.int16), labels
