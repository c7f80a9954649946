"""bisc_evaluate -r REF -p PRED as a user runs it: layouts, files it writes, what it says, exit statuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from bisc.cli.evaluate import build_parser, main
from bisc.core.errors import InputError
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.evaluation import pairs
from bisc.evaluation.cases import COLUMNS, score_images
from bisc.evaluation.pairs import case_name, find_label_maps, find_pairs
from bisc.imageio import read_labels, write_image
from bisc.pipeline.options import SKIPPED, PredictionRow
from bisc.pipeline.rows import merge_rows

GRID = Geometry((4, 6, 8), (3.0, 1.0, 1.0))
IPL = Geometry((8, 6, 4), (1.0, 1.0, 3.0), direction=(0, 0, 1, 0, 1, 0, -1, 0, 0))
"""A grid whose first file axis runs along the patient, as in KiTS19."""


def labels(tumor: bool = True) -> npt.NDArray[np.uint8]:
    array = np.zeros(GRID.shape_zyx, np.uint8)
    array[1:3, 1:5, 1:5] = 1
    if tumor:
        array[1:3, 2:5, 3:5] = 2  # 12 voxels of 3 mm3: below the 0.05 ml of a tumour that counts
    return array


def save(path: Path, array: npt.NDArray[np.uint8] | None = None, grid: Geometry = GRID) -> Path:
    write_image(path, labels() if array is None else array, NativeGrid.of(grid))
    return path


@pytest.fixture
def kits(tmp_path: Path) -> Path:
    """References of three cases in KiTS's layout."""
    for i in range(3):
        save(tmp_path / "kits" / f"case_{i:05d}" / "segmentation.nii.gz")
        (tmp_path / "kits" / f"case_{i:05d}" / "imaging.nii.gz").write_bytes(b"not read")
    (tmp_path / "kits" / "case_00210").mkdir()  # a test case, without labels
    return tmp_path / "kits"


def run(*args: object) -> int:
    return main([str(arg) for arg in args])


def read(path: Path) -> pd.DataFrame:
    report: pd.DataFrame = pd.read_csv(path, dtype={"case": str}, keep_default_na=False).set_index("case")
    return report


def test_a_folder_of_predictions(kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    save(out / "case_00000.nii.gz")
    save(out / "case_00001.nii.gz", labels(tumor=False))
    assert run("-r", kits, "-p", out, "-np", 1) == 0
    text = (out / "report.csv").read_text()
    assert text.splitlines()[0] == ",".join(COLUMNS)
    report = read(out / "report.csv")
    assert list(report.index) == ["case_00000", "case_00001"]
    assert list(report["dice_composite"]) == [1.0, 0.5]
    # The diagonal of 4 x 6 x 8 voxels of 3 x 1 x 1 mm: sqrt(144 + 36 + 64).
    assert report.loc["case_00001", "hd95_tumor_mm"] == pytest.approx(244**0.5, rel=1e-5)
    summary = pd.read_csv(out / "report_summary.csv").set_index("metric")
    assert list(summary.loc["dice_composite"]) == [0.75, 0.25, 0.75, 2, 0]
    shown = capsys.readouterr()
    assert "2 cases (2 ok)" in shown.out
    assert str(out / "report.csv") in shown.out
    assert shown.err == (
        "bisc_evaluate: warning: references without a prediction, not scored: 1 "
        "(--all-references counts them as missing)\n"
    )


def test_all_references(kits: Path, tmp_path: Path) -> None:
    save(tmp_path / "out" / "case_00000.nii.gz")
    assert run("-r", kits, "-p", tmp_path / "out", "-o", tmp_path / "all.csv", "--all-references") == 0
    report = read(tmp_path / "all.csv")
    assert list(report["status"]) == ["ok", "missing", "missing"]
    assert list(report["dice_kidney"]) == [1.0, 0.0, 0.0]
    assert (tmp_path / "all_summary.csv").is_file()


def test_a_missing_healthy_case_gains_nothing(tmp_path: Path) -> None:
    save(tmp_path / "ref" / "a.nii.gz", labels(tumor=False))
    save(tmp_path / "ref" / "b.nii.gz")
    save(tmp_path / "out" / "b.nii.gz")
    assert run("-r", tmp_path / "ref", "-p", tmp_path / "out", "--all-references") == 0
    row = read(tmp_path / "out" / "report.csv").loc["a"]
    assert (row["status"], row["dice_tumor"], row["surface_dice_tumor"]) == ("missing", 0, 0)
    assert row["hd95_tumor_mm"] == pytest.approx(244**0.5, rel=1e-5)


def test_cases_named_in_predictions_csv_count(kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    save(out / "case_00000.nii.gz")
    save(out / "other.nii.gz")
    (out / "predictions.csv").write_text("case,status,seconds\ncase_00000,ok,3\ncase_00002,failed,1\n")
    assert run("-r", kits, "-p", out) == 0
    assert read(out / "report.csv")["status"].to_dict() == {"case_00000": "ok", "case_00002": "missing"}
    assert "not scored: other\n" in capsys.readouterr().err


def test_skipped_inputs_are_no_cases(kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Named in predictions.csv for their reason alone; a failed case beside them counts with the worst scores."""
    out = tmp_path / "out"
    save(out / "case_00000.nii.gz")
    rows = [
        PredictionRow("case_00000", "ok", 3.0),
        PredictionRow("case_00001", SKIPPED, None, error="a scout"),
        PredictionRow("case_00002", "failed", 1.0, error="no image"),
        PredictionRow("notes", SKIPPED, None),
    ]
    for row in rows:  # by a run each
        merge_rows(out / "predictions.csv", [row])
    assert run("-r", kits, "-p", out) == 0
    assert read(out / "report.csv")["dice_kidney"].to_dict() == {"case_00000": 1.0, "case_00002": 0.0}
    shown = capsys.readouterr()
    assert "1 of 2 cases failed: 1 with the worst scores" in shown.out
    assert "notes" not in shown.err
    assert pairs.SKIPPED == SKIPPED


def test_files_at_fault_do_not_end_the_others_run(
    kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    save(out / "case_00000.nii.gz", grid=Geometry(GRID.shape_zyx, (3.0, 1.0, 1.5)))
    (out / "case_00001.nii.gz").write_bytes(b"no image")
    save(out / "case_00002.nii.gz")
    assert run("-r", kits, "-p", out) == 2
    report = read(out / "report.csv")
    assert list(report["status"]) == ["failed", "failed", "ok"]
    assert list(report["dice_kidney"]) == [0.0, 0.0, 1.0]
    grid, unreadable = capsys.readouterr().err.splitlines()
    assert grid.startswith("bisc_evaluate: error: ")
    assert str(out / "case_00000.nii.gz") in grid
    assert str(kits / "case_00000" / "segmentation.nii.gz") in grid
    assert f"{out / 'case_00001.nii.gz'}: cannot be read" in unreadable


def test_a_reference_at_fault_leaves_an_empty_row(
    kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(kits / "case_00000" / "segmentation.nii.gz", np.full(GRID.shape_zyx, 7, np.uint8))
    save(tmp_path / "out" / "case_00000.nii.gz")
    save(tmp_path / "out" / "case_00001.nii.gz")
    assert run("-r", kits, "-p", tmp_path / "out") == 2
    report = read(tmp_path / "out" / "report.csv")
    assert list(report.loc["case_00000"]) == ["failed"] + [""] * (len(COLUMNS) - 2)
    assert report.loc["case_00001", "dice_kidney"] == "1"
    assert "label values 7" in capsys.readouterr().err


def test_worker_processes_give_the_same(kits: Path, tmp_path: Path) -> None:
    for i in range(5):
        save(kits / f"case_{i:05d}" / "segmentation.nii.gz")
        save(tmp_path / "out" / f"case_{i:05d}.nii.gz", np.roll(labels(), i % 2, axis=2))
    assert run("-r", kits, "-p", tmp_path / "out", "-o", tmp_path / "one.csv", "-np", 1) == 0
    assert run("-r", kits, "-p", tmp_path / "out", "-o", tmp_path / "two.csv", "-np", 2) == 0
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_one_file_against_one(kits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prediction = save(tmp_path / "mine.mha")
    assert run("-r", kits / "case_00001" / "segmentation.nii.gz", "-p", prediction) == 0
    assert list(read(tmp_path / "report.csv").index) == ["case_00001"]


def test_the_axis_order_of_a_file_does_not_matter(tmp_path: Path) -> None:
    stored = NativeGrid.of(IPL)
    array = np.roll(labels(), 1, axis=0)
    a = tmp_path / "ipl.nii.gz"
    b = tmp_path / "lps.nii.gz"
    write_image(a, array, stored)
    write_image(b, array, NativeGrid.of(stored.canonical))
    assert stored.canonical.shape_zyx == GRID.shape_zyx
    scores = score_images("a", read_labels(a), read_labels(b))
    assert (scores.dice_tumor, scores.surface_dice_kidney) == (1.0, 1.0)
    assert scores.volume_tumor_ref_ml == pytest.approx(12 * 3 / 1000)


def test_layouts(kits: Path, tmp_path: Path) -> None:
    save(tmp_path / "Task" / "labelsTr" / "case_00001.nii.gz")
    save(tmp_path / "mine" / "case_00001" / "prediction.nrrd")
    save(tmp_path / "mine" / "case_00001" / "segmentation.nii.gz")
    save(tmp_path / "mine" / ".partial-1-case_00002.nii.gz")
    for reference in (kits, tmp_path / "Task", tmp_path / "Task" / "labelsTr"):
        pairing = find_pairs(reference, tmp_path / "mine")
        assert [(p.case, p.prediction) for p in pairing.pairs] == [
            ("case_00001", tmp_path / "mine" / "case_00001" / "prediction.nrrd")
        ]
    assert find_pairs(kits, kits / "case_00002" / "segmentation.nii.gz").pairs[0].case == "case_00002"
    assert case_name(Path("a.b.nii.gz")) == "a.b"


def test_the_truth_is_not_scored_against_itself(kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by one folder given twice, nor by a data set's folder as that of the predictions."""
    main(["-r", str(kits), "-p", str(kits), "-o", str(tmp_path / "same.csv")])
    said = capsys.readouterr()
    assert "are the references themselves, scored against themselves" in said.out + said.err
    (tmp_path / "data" / "labelsTr").mkdir(parents=True)
    shutil.copy(next(kits.rglob("segmentation.nii.gz")), tmp_path / "data" / "labelsTr" / "a.nii.gz")
    folder = str(tmp_path / "data")
    assert main(["-r", folder, "-p", folder, "-o", str(tmp_path / "a.csv")]) == 2
    assert "is a data set, with labelsTr" in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()


def test_masks_that_are_dicom_seg_are_not_missing(kits: Path, tmp_path: Path) -> None:
    """Of `--format dicomseg`: no zero without a word."""
    merge_rows(tmp_path / "out" / "predictions.csv", [PredictionRow("case_00001", "ok")])
    (tmp_path / "out" / "case_00001_seg.dcm").touch()
    with pytest.raises(InputError, match=r"case_00001_seg.dcm: is the mask of case_00001, as a DICOM SEG"):
        find_pairs(kits, tmp_path / "out")


def test_a_cases_own_folder_holds_one_label_map(kits: Path) -> None:
    """Its CT is none, nor are KiTS21's other aggregates."""
    folder = kits / "case_00000"
    for name in ("aggregated_AND_seg", "aggregated_OR_seg"):
        save(folder / f"{name}.nii.gz")
    assert find_label_maps(folder) == ({"case_00000": folder / "segmentation.nii.gz"}, ())


def test_a_reference_under_two_names_is_an_error(kits: Path, tmp_path: Path) -> None:
    """KiTS21's beside KiTS23's, as where one was unpacked over the other: which counts decides the scores."""
    second = save(kits / "case_00000" / "aggregated_MAJ_seg.nii.gz")
    save(tmp_path / "out" / "case_00000.nii.gz")
    with pytest.raises(InputError, match=f"{second.name}: a second label map of case_00000, beside .*segmentation"):
        find_pairs(kits, tmp_path / "out")


def test_one_case_in_two_files_is_an_error(kits: Path, tmp_path: Path) -> None:
    save(tmp_path / "out" / "case_00000.nii.gz")
    save(tmp_path / "out" / "case_00000.nrrd")
    with pytest.raises(InputError, match=r"second label map of case_00000.*\.nii\.gz"):
        find_pairs(kits, tmp_path / "out")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-r", "kits"], "-r: given without -p"),
        (["-p", "out"], "-p: given without -r"),
        (["-r", "kits", "-p", "nowhere"], "nowhere: does not exist"),
        (["-r", "nowhere", "-p", "out"], "nowhere: does not exist"),
        (["-r", "kits", "-p", "empty"], "empty: holds no label map"),
        (["-r", "empty", "-p", "out"], "empty: holds no label map"),
        (["-r", "kits", "-p", "out"], "out: no case has a reference (predicted: other)"),
        (["-r", "kits", "-p", "out/notes.txt"], "notes.txt: is no label map"),
        (["-r", "kits", "-p", "out", "-d", "KiTS19"], "-d: given with -r and -p"),
        (["-r", "kits", "-p", "kits", "-o", "report.txt"], "report.txt: ends in '.txt'"),
        (["-r", "kits", "-p", "listed"], "no column 'case'"),
        (["--all-references"], "--all-references: given without -r and -p"),
    ],
)
def test_wrong_usage(
    kits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "out" / "other.nii.gz")
    (tmp_path / "out" / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    save(tmp_path / "listed" / "case_00000.nii.gz")
    (tmp_path / "listed" / "predictions.csv").write_text("name\na\n")
    assert main(args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bisc_evaluate: error: ")
    assert said in line


def test_help_ends_in_an_example() -> None:
    assert "bisc_evaluate -r kits19/data -p predictions" in build_parser().format_help()
