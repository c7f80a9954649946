"""bisc_evaluate reads labels as they are stated, finds them as they are published, and names what it passes over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bisc.cli import measure
from bisc.core.errors import InputError
from bisc.evaluation.pairs import find_label_maps, find_pairs
from tests.cli.test_evaluate_command import labels, read, run, save
from tests.imageio.test_label_names import dataset_json, seg_nrrd

SWAP = np.array([0, 2, 1], np.uint8)
SWAPPED = {"background": 0, "tumor": 1, "kidney": 2}


def scores(out: Path) -> list[tuple[float, float, float]]:
    report = read(out / "report.csv")
    names = ["dice_kidney_only", "dice_tumor", "volume_tumor_ref_ml"]
    return [(float(a), float(b), float(c)) for a, b, c in report[names].to_numpy()]


@pytest.mark.parametrize("form", ["root", "labelsTr", "folder", "file", "cases", "case folder", "case file"])
def test_a_dataset_json_beside_references_is_obeyed(tmp_path: Path, form: str) -> None:
    """Tumour 1 and kidney 2: told by the data set's root, its labelsTr, a folder's own, for files in any of these."""
    root, out = dataset_json(tmp_path / "ref", SWAPPED), tmp_path / "out"
    case = "a" if form == "folder" else "a/segmentation" if form.startswith("case") else "labelsTr/a"
    reference = save(root / f"{case}.nii.gz", SWAP[labels()])
    prediction = save(out / "a.nii.gz")
    given = {"labelsTr": root / "labelsTr", "file": reference, "case file": reference}.get(
        form, root / "a" if form == "case folder" else root
    )
    assert run("-r", given, "-p", prediction if given.is_file() else out, "-o", out / "report.csv") == 0
    assert scores(out) == [(1, 1, 0.036)]


def test_a_dataset_json_beside_predictions_is_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """nnU-Net copies it into its folder of predictions; how each side is read is said."""
    save(tmp_path / "ref" / "a.nii.gz")
    out = dataset_json(tmp_path / "out", {"0": "background", "1": "tumor", "2": "kidney"})
    save(out / "a.nii.gz", SWAP[labels()])
    assert run("-r", tmp_path / "ref", "-p", out) == 0
    assert scores(out) == [(1, 1, 0.036)]
    shown = capsys.readouterr()
    assert "labels of predictions: 0 background, 2 kidney, 1 tumour, by " in shown.out
    assert ("labels of references" in shown.out, shown.err) == (False, "")


@pytest.mark.parametrize(
    ("swapped", "flags"),
    [
        ("ref out", ["--labels", "kidney=2,tumor=1"]),
        ("out", ["--labels-of-predictions", "kidney=2,tumor=1"]),
        ("ref", ["--labels", "kidney=2,tumor=1", "--labels-of-predictions", "kidney=1,tumor=2"]),
    ],
)
def test_labels_as_given(tmp_path: Path, swapped: str, flags: list[str]) -> None:
    for side in ("ref", "out"):
        save(tmp_path / side / "a.nii.gz", SWAP[labels()] if side in swapped else labels())
    assert run("-r", tmp_path / "ref", "-p", tmp_path / "out", *flags) == 0
    assert scores(tmp_path / "out") == [(1, 1, 0.036)]


@pytest.mark.parametrize("labels_of", [{"kidney_left": 1, "kidney_right": 2}, {"background": 0, "spleen": 1}])
@pytest.mark.parametrize("side", ["ref", "out"])
def test_names_that_do_not_tell_are_an_error(
    tmp_path: Path, side: str, labels_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("ref", "out"):
        save(tmp_path / folder / "a.nii.gz")
    dataset_json(tmp_path / side, labels_of)
    assert run("-r", tmp_path / "ref", "-p", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bisc_evaluate: error: {tmp_path / side / 'dataset.json'}: ")
    assert not (tmp_path / "out" / "report.csv").exists()


def test_segments_of_slicer(tmp_path: Path) -> None:
    """CASE.seg.nrrd is CASE; its names count, among predictions and in a case's folder."""
    array = np.asarray(SWAP[labels()])
    for path in (tmp_path / "ref" / "a" / "segmentation.seg.nrrd", tmp_path / "out" / "a.seg.nrrd"):
        seg_nrrd(path, [("Renal Tumor", 1), ("Kidney", 2)], array)
    assert run("-r", tmp_path / "ref", "-p", tmp_path / "out") == 0
    report = read(tmp_path / "out" / "report.csv")
    assert [float(report[name]["a"]) for name in ("dice_tumor", "volume_tumor_ref_ml")] == [1, 0.012]


def test_kits21_references(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The majority vote; the other aggregates, annotations and images are known and need no word."""
    case = tmp_path / "kits" / "case_00001"
    for kind, tumor in (("AND", False), ("MAJ", True), ("OR", False)):
        save(case / f"aggregated_{kind}_seg.nii.gz", labels(tumor))
    save(case / "segmentations" / "tumor_instance-1_annotation-1.nii.gz")
    save(tmp_path / "out" / "case_00001.nii.gz")
    for reference in (tmp_path / "kits", case, case / "aggregated_MAJ_seg.nii.gz"):
        assert run("-r", reference, "-p", tmp_path / "out", "-o", tmp_path / "out" / "report.csv") == 0
        assert list(read(tmp_path / "out" / "report.csv").index) == ["case_00001"]
        assert scores(tmp_path / "out") == [(1, 1, 0.036)]
    assert capsys.readouterr().err == ""


def test_what_is_passed_over_is_named_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in ("ref", "out"):
        save(tmp_path / side / "a.nii.gz")
    for name in ("b.nii.zip", "c.hdr", "notes.txt", "README.md", "plans.json", "a.npz", "predictions_.csv", ".x"):
        (tmp_path / "out" / name).touch()
    save(tmp_path / "out" / "rough" / "a.nii.gz")
    save(tmp_path / "out" / "d" / "deeper" / "prediction.nii.gz")
    for case, name in (("case_00210", "imaging.nii.gz"), ("case_00211", "aggregated_OR_seg.nii.gz")):
        (tmp_path / "ref" / case).mkdir()
        (tmp_path / "ref" / case / name).touch()
    assert run("-r", tmp_path / "ref", "-p", tmp_path / "out") == 0
    (line,) = capsys.readouterr().err.splitlines()
    named = [str(tmp_path / "ref" / "case_00211")]
    named += [str(tmp_path / "out" / name) for name in ("b.nii.zip", "c.hdr", "d", "notes.txt")]
    assert line == f"bisc_evaluate: warning: no label map by name or layout, so not used: {', '.join(named)}"


@pytest.mark.parametrize(
    "pair",
    [
        ("a.nii.gz", "a.NII.GZ"),
        ("a.nii.gz", "a.nrrd"),
        ("a.nrrd", "a.seg.nrrd"),
        ("a.nii.gz", "a/prediction.nii.gz"),
        ("a/prediction.nii.gz", "a/prediction.nrrd"),
        ("a/prediction.nii.gz", "a/Prediction.nii.gz"),
        ("a/segmentation.nii.gz", "a/SEGMENTATION.nii"),
    ],
)
def test_two_predictions_of_one_case_are_an_error(tmp_path: Path, pair: tuple[str, str]) -> None:
    save(tmp_path / "ref" / "a.nii.gz")
    for name in pair:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).touch()
    with pytest.raises(InputError, match="a second label map of a"):
        find_pairs(tmp_path / "ref", tmp_path / "out")


def test_a_channel_number_is_part_of_a_label_map_s_name(tmp_path: Path) -> None:
    for name in ("p_0000", "p_0001"):
        save(tmp_path / "ref" / f"{name}.nii.gz")
        save(tmp_path / "out" / f"{name}.nii.gz")
    pairing = find_pairs(tmp_path / "ref", tmp_path / "out")
    assert [pair.case for pair in pairing.pairs] == ["p_0000", "p_0001"]


@pytest.mark.parametrize("stem", ["kidney", "tumor", "kidney_left", "Segmentation-tumor-label"])
def test_one_file_a_structure_is_no_case(tmp_path: Path, capsys: pytest.CaptureFixture[str], stem: str) -> None:
    """Refused on either side, in a folder or by itself, and by bisc_measure; but not where bisc_predict named it so."""
    whole, single = save(tmp_path / "r" / "a.nii.gz"), save(tmp_path / "p" / f"{stem}.nii.gz", labels() // 2)
    save(tmp_path / "p" / "a.nii.gz")
    for argv in (["-r", whole.parent, "-p", single.parent], ["-r", whole, "-p", single], ["-r", single, "-p", whole]):
        assert run(*argv) == 2
        assert f"{stem}.nii.gz: is named after one structure, not after a case; " in capsys.readouterr().err
    assert measure.main(["-p", str(single.parent), "-np", "1"]) == 2
    assert "join a case's files into one (1 kidney, 2 tumour)" in capsys.readouterr().err
    (tmp_path / "p" / "predictions.csv").write_text(f"case,status\n{stem},ok\na,ok\n")
    assert run("-r", whole.parent, "-p", single.parent) == 0


def test_files_of_structures_beside_the_whole_map_are_passed_over(tmp_path: Path) -> None:
    case = tmp_path / "case_00000"
    for stem in ("imaging", "segmentation", "tumor"):
        save(case / f"{stem}.nii.gz")
    found, passed = find_label_maps(case)
    assert (found, passed) == ({"case_00000": case / "segmentation.nii.gz"}, (case / "tumor.nii.gz",))
