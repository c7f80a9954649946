"""What is found in a folder: images to predict, and training cases in both layouts with their faults."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bisc.core.errors import InputError, PassedOver
from bisc.imageio import image_suffix
from bisc.imageio.dataset import RawDataset
from bisc.imageio.inputs import find_inputs


def touch(*paths: Path) -> None:
    """Empty files: names alone decide here."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(source: Path) -> list[tuple[str, str]]:
    """Case name and path below `source` of every image."""
    cases = [case for case in find_inputs(source) if not isinstance(case.fault, PassedOver)]
    return [(case.name, str(case.path.relative_to(source))) for case in cases]


def passed(source: Path) -> list[tuple[str, str]]:
    """Name and reason of everything that is no image."""
    return [(case.name, case.fault.found) for case in find_inputs(source) if isinstance(case.fault, PassedOver)]


def names(dataset: RawDataset) -> list[str]:
    return [case.name for case in dataset.cases]


def copy_series(dicom: Path, target: Path) -> Path:
    """Three slices of the real series."""
    target.mkdir(parents=True)
    for path in sorted(dicom.iterdir())[:3]:
        shutil.copy(path, target)
    return target


@pytest.fixture(scope="module")
def dicom(shared_folder: Path) -> Path:
    return shared_folder / "ct" / "ts_dicom_no_kidney"


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.nii.gz", ".nii.gz"), ("A.NII.GZ", ".nii.gz"), ("a.b.nrrd", ".nrrd"), ("a.mhd", ".mhd"), ("a.gz", None)],
)
def test_image_suffix(name: str, suffix: str | None) -> None:
    """By name, whatever the case; a lone .gz is no image."""
    assert image_suffix(Path(name)) == suffix


def test_files_and_nnunet_names(tmp_path: Path) -> None:
    """Every format; nnU-Net's channel number is no part of the case; notes and hidden files are passed over."""
    for name in ("b.nii.gz", "a.nrrd", "case_00003_0000.nii.gz", "case_00000.mha", "notes.txt", ".hidden.nii.gz"):
        touch(tmp_path / name)
    assert found(tmp_path) == [
        ("a", "a.nrrd"),
        ("b", "b.nii.gz"),
        ("case_00000", "case_00000.mha"),
        ("case_00003", "case_00003_0000.nii.gz"),
    ]
    assert passed(tmp_path) == [("notes.txt", "no image by its name")]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (("p_0000", "p_0001"), ["p_0000", "p_0001"]),
        (("p_0000", "q_0000"), ["p", "q"]),
        (("p_0000", "p_0007", "q_0000"), ["p_0000", "p_0007", "q"]),
        (("imagesTs/p_0000", "imagesTs/q_0000"), ["p", "q"]),
    ],
)
def test_a_channel_number_where_it_is_evident(tmp_path: Path, files: tuple[str, ...], names: list[str]) -> None:
    """`_0000` is a channel unless another number stands behind the same stem: then both are names, one by one too."""
    touch(*(tmp_path / f"{name}.nii.gz" for name in files))
    assert sorted(case.name for case in find_inputs(tmp_path)) == names
    for name in files:
        (one,) = find_inputs(tmp_path / f"{name}.nii.gz")
        assert one.name in names


def test_several_channels_are_refused(tmp_path: Path) -> None:
    """In a folder of nnU-Net's, _0001 is a second channel, and which of them is the CT is not guessed."""
    touch(*(tmp_path / "imagesTs" / f"p_{i:04d}.nii.gz" for i in range(2)), tmp_path / "imagesTs" / "q_0000.nii.gz")
    faults = {case.name: str(case.fault or "") for case in find_inputs(tmp_path)}
    assert "one of several channels" in faults["p"]
    assert faults["q"] == ""


def test_files_by_their_folders_name(tmp_path: Path) -> None:
    """A name that names no patient is given by the folder, one file after another too."""
    for name, file in (("a", "imaging.nii.gz"), ("b", "ct.nii.gz"), ("c", "IMAGE.nrrd"), ("d", "chest.nii")):
        touch(tmp_path / name / file)
        (one,) = find_inputs(tmp_path / name / file)
        assert one.name == {"d": "chest"}.get(name, name)
    assert [name for name, _ in found(tmp_path)] == ["a", "b", "c", "chest"]


def test_nothing_is_passed_over_unsaid(tmp_path: Path, dicom: Path) -> None:
    """Deeper folders are gone through; archives, other forms and label maps are named, outputs are no inputs."""
    copy_series(dicom, tmp_path / "patient" / "study" / "series")
    copy_series(dicom, tmp_path / "many" / "one")
    copy_series(dicom, tmp_path / "many" / "two")
    touch(tmp_path / "flat.nii.gz", tmp_path / "deep" / "er" / "scan_7.nrrd", tmp_path / "d" / "scan.mhd")
    touch(
        tmp_path / "d" / "scan.raw", tmp_path / "zipped.zip", tmp_path / "pair" / "p.img", tmp_path / "pair" / "p.hdr"
    )
    touch(tmp_path / "labelsTr" / "flat.nii.gz", tmp_path / "docs" / "readme.txt", tmp_path / "masks.csv")
    touch(
        tmp_path / "old" / "predictions.csv", tmp_path / "old" / "flat.nii.gz", tmp_path / "s" / "segmentation.nii.gz"
    )
    touch(tmp_path / "out" / "flat.nii.gz", tmp_path / "flat.seg.nrrd")
    touch(tmp_path / "k" / "imaging.nii.gz", tmp_path / "k" / "segmentations" / "kidney_1.nii.gz")
    cases = {case.name: case.fault for case in find_inputs(tmp_path, out=tmp_path / "out")}
    sound = {name for name, fault in cases.items() if fault is None}
    assert sound == {"patient", "many_one", "many_two", "flat", "scan_7", "d", "k"}
    assert {name: fault.found for name, fault in cases.items() if fault is not None} == {
        "zipped.zip": "a form that is not read inside of a folder",
        "pair_p.img": "a form that is not read inside of a folder",
        "labelsTr": "label maps",
        "docs/readme.txt": "no image by its name",
        "masks.csv": "no image by its name",
        "old": "an output of bisc_predict",
        "out": "an output of bisc_predict",
        "s/segmentation.nii.gz": "a label map by its name",
        "flat.seg.nrrd": "a label map by its name",
    }


@pytest.mark.parametrize(
    ("given", "file", "name"),
    [
        ("P1", "P1/DICOM/ST0/SE0/ct.nii.gz", "P1"),
        ("P1/DICOM", "P1/DICOM/ST0/ct.nii.gz", "P1"),
        ("P1/CT_0000.nii.gz", "P1/CT_0000.nii.gz", "P1"),
        ("in", "in/P1/SE1/imaging.nii.gz", "P1"),
    ],
)
def test_folders_of_a_medium_name_no_patient(tmp_path: Path, given: str, file: str, name: str) -> None:
    """DICOM/ST0/SE0 lies in every patient's folder: one after another into one folder must be several masks."""
    touch(tmp_path / file)
    assert [case.name for case in find_inputs(tmp_path / given)] == [name]


def test_three_of_one_name_are_all_named(tmp_path: Path) -> None:
    touch(*(tmp_path / f"x.{suffix}" for suffix in ("mha", "nii", "nii.gz")))
    (case,) = find_inputs(tmp_path)
    assert all(f"x.{suffix}" in str(case.fault) for suffix in ("mha", "nii:", "nii.gz"))


def test_folders_that_give_nothing_are_named(tmp_path: Path) -> None:
    """An empty patient's folder, one of hidden files, a DICOMDIR without its images; a foreign table hides no scan."""
    touch(tmp_path / "ok.nii.gz", tmp_path / "hidden" / ".imaging.nii.gz", tmp_path / "index" / "DICOMDIR")
    (tmp_path / "empty" / "study").mkdir(parents=True)
    touch(tmp_path / "site" / "c.nii.gz")
    (tmp_path / "site" / "predictions.csv").write_text("id,score\n")
    assert [name for name, _ in found(tmp_path)] == ["c", "ok"]
    names = {name for name, _ in passed(tmp_path)}
    assert names == {"hidden", "index", "empty/study", "site/predictions.csv"}


def test_folders_within_themselves_end(tmp_path: Path) -> None:
    """A link to a folder above is named once, and not followed for ever."""
    touch(tmp_path / "a" / "imaging.nii.gz")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [name for name, _ in found(tmp_path)] == ["a"]
    assert passed(tmp_path) == [("a/up", "a folder within itself")]


def test_one_file(tmp_path: Path) -> None:
    """A file by itself is one case."""
    touch(tmp_path / "case_7_0000.nii.gz")
    (case,) = find_inputs(tmp_path / "case_7_0000.nii.gz")
    assert (case.name, case.path) == ("case_7", tmp_path / "case_7_0000.nii.gz")


def test_kits19_case_folders(tmp_path: Path) -> None:
    """A data set of case folders, or one such folder; segmentations are not predicted, unfinished folders ignored."""
    for case in ("case_00001", "case_00000"):
        touch(tmp_path / case / "imaging.nii.gz", tmp_path / case / "segmentation.nii.gz")
    touch(tmp_path / "case_00002" / "segmentation.nii.gz", tmp_path / ".partial-1-case_00003" / "imaging.nii.gz")
    assert found(tmp_path) == [
        ("case_00000", "case_00000/imaging.nii.gz"),
        ("case_00001", "case_00001/imaging.nii.gz"),
    ]
    (one,) = find_inputs(tmp_path / "case_00001")
    assert (one.name, one.path.name) == ("case_00001", "imaging.nii.gz")


def test_dicom_series_folders(tmp_path: Path, dicom: Path) -> None:
    """A folder of series folders, and one series by itself."""
    copy_series(dicom, tmp_path / "patient_b")
    copy_series(dicom, tmp_path / "patient_a")
    (tmp_path / "empty").mkdir()
    assert found(tmp_path) == [("patient_a", "patient_a"), ("patient_b", "patient_b")]
    (one,) = find_inputs(tmp_path / "patient_a")
    assert (one.name, one.path) == ("patient_a", tmp_path / "patient_a")


def test_files_and_folders_mix(tmp_path: Path, dicom: Path) -> None:
    """A file, a case folder and a series beside each other."""
    touch(tmp_path / "c.nii", tmp_path / "b" / "imaging.nii.gz")
    copy_series(dicom, tmp_path / "a")
    assert found(tmp_path) == [("a", "a"), ("b", "b/imaging.nii.gz"), ("c", "c.nii")]


@pytest.mark.parametrize(
    "pair",
    [("a.nii.gz", "a.nrrd"), ("a.nii.gz", "a_0000.nii.gz"), ("a.nii.gz", "a/imaging.nii.gz")],
    ids=["formats", "channel", "folder"],
)
def test_two_cases_of_one_name_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    """One would be written over the other: the case bears a fault that names both, and the others go on."""
    touch(*(tmp_path / name for name in pair), tmp_path / "other.nii.gz")
    case, other = find_inputs(tmp_path)
    assert (case.name, other.name, other.fault) == ("a", "other", None)
    assert "would be written over" in str(case.fault)
    for name in pair:
        assert str(tmp_path / name) in str(case.fault)


def test_nothing_to_predict(tmp_path: Path) -> None:
    """An empty folder, a missing one, a file that is no image: one line that says what would be right."""
    touch(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    for source, needle in (
        (tmp_path / "empty", "no image found"),
        (tmp_path / "none", "does not exist"),
        (tmp_path / "notes.txt", "no image by its name"),
        (tmp_path, "no image found"),
    ):
        with pytest.raises(InputError, match=needle) as caught:
            find_inputs(source)
        assert str(caught.value).startswith(f"{source}: ")
        assert ".nii.gz" in str(caught.value)
        assert "\n" not in str(caught.value)
