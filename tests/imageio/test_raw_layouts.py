"""Raw data sets as published and as people keep them: what is used, what is named, and under which name."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from bisc.core.errors import InputError
from bisc.imageio.dataset import RawDataset, find_raw_dataset, scan_raw_dataset
from bisc.planners.known_issues import known_issues
from bisc.planners.source import check_same_source, save_source
from bisc.system.paths import name_of
from tests.imageio.test_imageio_folders import names, touch
from tests.support.grids import hand_case


def kits(folder: Path, *cases: str, labels: str = "segmentation.nii.gz") -> Path:
    for case in cases:
        touch(folder / case / "imaging.nii.gz", folder / case / labels)
    return folder


def nnunet(folder: Path, images: str, labels: str) -> Path:
    """Files of imagesTr and labelsTr, by stem."""
    touch(*(folder / "imagesTr" / f"{stem}.nii.gz" for stem in images.split()))
    touch(*(folder / "labelsTr" / f"{stem}.nii.gz" for stem in labels.split()))
    return folder


def noted(dataset: RawDataset) -> dict[str, str]:
    return {str(Path(note.what).relative_to(dataset.folder)): note.found for _, note in dataset.notes}


def told(dataset: RawDataset) -> list[tuple[str, str]]:
    return [(Path(fault.what).name, fault.found) for _, fault in dataset.faults]


def test_kits21_as_published(tmp_path: Path) -> None:
    """The majority vote is used, and said to be; the other aggregates and the single annotations are known."""
    data = kits(tmp_path, "case_00000", "case_00001", labels="aggregated_MAJ_seg.nii.gz")
    for case in ("case_00000", "case_00001"):
        touch(data / case / "aggregated_AND_seg.nii.gz", data / case / "aggregated_OR_seg.nii.gz")
        touch(data / case / "segmentations" / "kidney_instance-1_annotation-1.nii.gz", data / case / "raw.json")
    touch(data / "kits.json")
    dataset = find_raw_dataset(data)
    assert names(dataset) == ["case_00000", "case_00001"]
    assert {case.labels.name for case in dataset.cases} == {"aggregated_MAJ_seg.nii.gz"}
    assert (dataset.faults, dataset.notes) == ((), ())
    assert "majority" in dataset.label_files


def test_kits23_as_published(tmp_path: Path) -> None:
    data = kits(tmp_path, "case_00000", "case_00400")
    touch(data / "case_00000" / "instances" / "kidney_instance-1.nii.gz", data / "kits23.json", data / "README.md")
    dataset = find_raw_dataset(data)
    assert (len(dataset.cases), dataset.faults, dataset.notes, dataset.label_files) == (2, (), (), "")


def test_kits19_s_test_cases_are_a_note(tmp_path: Path) -> None:
    """Images without a label map among others that have one; a case of another name may have lost its own."""
    data = kits(tmp_path, "case_00000", "case_00001")
    touch(data / "case_00210" / "imaging.nii.gz", data / "case_00211" / "imaging.nii.gz")
    touch(data / "mine" / "imaging.nii.gz", data / "case_00005" / "imaging.nii.gz")
    touch(data / "case_00006" / "imaging.nii.gz", data / "case_00006" / "aggregated_OR_seg.nii.gz")
    dataset = find_raw_dataset(data)
    assert [name for name, _ in dataset.notes] == ["case_00005", "case_00210", "case_00211"]
    assert told(dataset) == [
        ("aggregated_OR_seg.nii.gz", "is no label map that is trained on, and there is no other"),
        ("imaging.nii.gz", "has no label map"),
    ]


def test_where_no_case_has_a_label_map_it_is_an_error(tmp_path: Path) -> None:
    for i in range(3):
        touch(tmp_path / f"case_{i:05d}" / "imaging.nii.gz")
    dataset = scan_raw_dataset(tmp_path)
    assert (len(dataset.faults), dataset.notes) == (3, ())
    with pytest.raises(InputError, match=r"no usable case .*has no label map"):
        find_raw_dataset(tmp_path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("p/deeper/imaging.nii.gz", "a level too deep"),
        ("p/CT/imaging.nii.gz", "a level too deep"),
        ("p/scan.zip", "scan.zip alone, which is an archive"),
        ("p/imaging.img", "alone, which is one of an Analyze"),
        ("p/ct.nii.gz", "no imaging.*"),
        ("p/1.dcm", "alone, which is a DICOM slice"),
        ("p.zip", "an archive"),
        ("p.tar.gz", "an archive"),
        ("p.hdr", "Analyze"),
        ("p.nii.gz", "outside of the cases' folders"),
        ("p.pdf", "no image by its name"),
        ("case_0/imaging.img", "Analyze"),
        ("case_0/other.nii.gz", "neither imaging.* nor segmentation.*"),
        ("case_0/imaging_0000.nii.gz", "neither imaging.* nor segmentation.*"),
        ("case_0/notes.txt", "no image by its name"),
        ("case_0/sub/a.nii.gz", "neither imaging.* nor segmentation.*"),
    ],
)
def test_what_is_not_used_of_a_kits_data_set_is_named(tmp_path: Path, path: str, reason: str) -> None:
    data = kits(tmp_path, "case_0", "case_1")
    touch(data / path)
    dataset = find_raw_dataset(data)
    assert names(dataset) == ["case_0", "case_1"]
    ((named, found),) = noted(dataset).items()
    assert path.startswith(named)
    assert reason in found


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "README",
        "LICENSE",
        "LICENSE.txt",
        "dataset.json",
        "kits.json",
        ".hidden",
        "Thumbs.db",
        "readme.txt",
        "case_0/README.txt",
        "case_0/.DS_Store",
        "case_0/instances/a.nii.gz",
        "case_0/x_seg.nii.gz",
        "__MACOSX/case_0/a",
    ],
)
def test_companions_need_no_word(tmp_path: Path, path: str) -> None:
    data = kits(tmp_path, "case_0")
    touch(data / path)
    dataset = find_raw_dataset(data)
    assert (names(dataset), dataset.faults, dataset.notes) == (["case_0"], (), ())


def test_capitals_and_data_files(tmp_path: Path) -> None:
    """Imaging.nii.gz is imaging.nii.gz; .raw beside a .mhd is its voxels; both spellings are two images."""
    touch(tmp_path / "a" / "Imaging.nii.gz", tmp_path / "a" / "SEGMENTATION.NII.GZ")
    touch(tmp_path / "b" / "imaging.raw", tmp_path / "b" / "segmentation.nii.gz", tmp_path / "b" / "stray.raw")
    (tmp_path / "b" / "imaging.mhd").write_text("NDims = 3\nDimSize = 1 1 1\nElementDataFile = imaging.raw\n")
    dataset = find_raw_dataset(tmp_path)
    assert (names(dataset), list(noted(dataset))) == (["a", "b"], ["b/stray.raw"])
    touch(tmp_path / "a" / "imaging.nii.gz")
    if len(list((tmp_path / "a").iterdir())) == 3:  # else the file system minds no capitals
        assert "a second image" in str(find_raw_dataset(tmp_path).faults[0][1])


def test_nnunet_folders_in_other_capitals_and_what_lies_beside(tmp_path: Path) -> None:
    touch(tmp_path / "imagesTR" / "a_0000.nii.gz", tmp_path / "LabelsTr" / "a.nii.gz", tmp_path / "dataset.json")
    touch(tmp_path / "imagesTs" / "t_0000.nii.gz", tmp_path / "case_00000" / "imaging.nii.gz", tmp_path / "b.zip")
    touch(tmp_path / "imagesTR" / "b.img", tmp_path / "imagesTR" / "sub" / "c_0000.nii.gz")
    dataset = find_raw_dataset(tmp_path)
    assert (names(dataset), dataset.faults) == (["a"], ())
    assert set(noted(dataset)) == {"imagesTs", "case_00000", "b.zip", "imagesTR/b.img", "imagesTR/sub"}


@pytest.mark.parametrize(
    ("images", "labels", "cases", "faults"),
    [
        ("a_0000 b_0000", "a b", "a b", []),
        ("a b", "a b", "a b", []),
        ("p_0000 p_0001 p_0002", "p_0000 p_0001 p_0002", "p_0000 p_0001 p_0002", []),
        ("p_0000_0000 p_0001_0000", "p_0000 p_0001", "p_0000 p_0001", []),
        ("a_0000 a_0000_0000", "a a_0000", "a a_0000", []),
        ("p_0001 p_0002", "p_0001 p_0002", "p_0001 p_0002", []),
        ("a_0000 b", "a b", "a b", []),
        ("a_0000 a_0001 b_0000", "a b", "b", ["is channel 0001 of a"]),
        ("a_0001 b_0000", "a b", "b", ["is channel 0001 of a"]),
        ("a_0000 a b_0000", "a b", "b", ["a second image"]),
        ("p_0000 p_0001 p_0002", "p_0000 p_0001", "p_0000 p_0001", ["has no label map"]),
        ("x_0000", "y", "", ["has no label map", "has no image"]),
    ],
)
def test_the_channel_is_cut_off_where_nnunet_s_naming_is_evident(
    tmp_path: Path, images: str, labels: str, cases: str, faults: list[str]
) -> None:
    """The label maps tell: imagesTr/a_0000 of labelsTr/a; where both bear the number it is the case's."""
    dataset = scan_raw_dataset(nnunet(tmp_path, images, labels))
    assert names(dataset) == cases.split()
    found = [found for _, found in told(dataset)]
    assert len(found) == len(faults)
    assert all(a.startswith(b) for a, b in zip(found, faults, strict=True))
    for case in dataset.cases:
        assert case.image is not None
        assert case.image.name.removesuffix(".nii.gz") in (case.name, f"{case.name}_0000")


def test_a_link_keeps_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So do '.', a trailing '/.' and a way back."""
    (tmp_path / "store" / "data").mkdir(parents=True)
    link = tmp_path / "KiTS19"
    link.symlink_to(tmp_path / "store" / "data")
    kits(link, "case_00000")
    assert find_raw_dataset(link).name == "KiTS19"
    assert [name_of(p) for p in (link / ".", Path(f"{link}/"), tmp_path / "x" / ".." / "KiTS19")] == ["KiTS19"] * 3
    monkeypatch.chdir(tmp_path / "store" / "data")
    assert name_of(Path()) == "data"


def test_two_data_sets_of_one_name_are_not_planned_over_each_other(tmp_path: Path) -> None:
    """Unless the first is gone, or the second was copied together with its preprocessed folder."""
    first, second, target = tmp_path / "a" / "data", tmp_path / "b" / "data", tmp_path / "preprocessed" / "data"
    for folder in (first, second, target):
        folder.mkdir(parents=True)
    check_same_source(target, first)
    save_source(target, first)
    check_same_source(target, first)
    with pytest.raises(InputError, match=r"would be planned over .* give a link of another name with -d"):
        check_same_source(target, second)
    (tmp_path / "link").symlink_to(first)
    check_same_source(target, tmp_path / "link")
    shutil.copytree(tmp_path, tmp_path.with_name("copy"), symlinks=True)
    check_same_source(tmp_path.with_name("copy") / "preprocessed" / "data", tmp_path.with_name("copy") / "a" / "data")
    first.rename(tmp_path / "gone")
    check_same_source(target, second)


def test_published_faults_of_kits19_are_told_with_their_source(tmp_path: Path) -> None:
    """Only of a data set that may be KiTS19, and never more than told."""
    cases = [f"case_{i:05d}" for i in (0, 15, 25, 37, 61, 117, 160)]
    data = kits(tmp_path / "Mine", *cases)
    measured = {case: hand_case(case) for case in cases}
    measured["case_00160"] = replace(measured["case_00160"], shape_zyx=(60, 512, 796))
    notes = known_issues(find_raw_dataset(data), measured)
    assert sorted({name for name, _ in notes}) == cases[1:]
    assert all("github.com/neheller/kits19" in note.expected for _, note in notes)
    assert "796 x 512" in str(dict(notes)["case_00160"])
    measured["case_00160"] = replace(measured["case_00160"], shape_zyx=(60, 512, 512))
    assert "case_00160" not in dict(known_issues(find_raw_dataset(data), measured))


@pytest.mark.parametrize(
    "mark",
    ["case_00400/segmentation.nii.gz", "case_00015/instances/a.nii.gz", "simulation.json", "kits23.json", "other/a"],
)
def test_what_only_bears_kits19_s_names_is_not_told_of_it(tmp_path: Path, mark: str) -> None:
    data = kits(tmp_path / ("KiTS23" if mark == "other/a" else "Mine"), "case_00015", "case_00025")
    touch(data / mark, *(data / "case_00400" / "imaging.nii.gz" for _ in [0] if "00400" in mark))
    assert known_issues(find_raw_dataset(data), {}) == []


def test_the_table_has_levels(tmp_path: Path) -> None:
    """fault_table: a row per fault and note, the level last; a note that is a mere line stands under `found`."""
    from bisc.pipeline.fault_table import faults_csv, unused_line

    fault, note = InputError("a.nii", "x", "y", "z"), InputError(tmp_path / "b.zip", "is an archive")
    rows = list(csv.reader(faults_csv([("a", fault)], [("", note), ("c", "straightened")]).splitlines()))
    assert rows == [
        ["case", "file", "found", "expected", "mend", "level"],
        ["a", "a.nii", "x", "y", "z", "fault"],
        ["", str(tmp_path / "b.zip"), "is an archive", "", "", "note"],
        ["c", "", "straightened", "", "", "note"],
    ]
    many = [("", InputError(tmp_path / f"{i}.zip", "is an archive")) for i in range(5)]
    assert unused_line([*many, ("", InputError(tmp_path / "p", "is empty"))], tmp_path) == (
        "0.zip, 1.zip, 2.zip and 2 more (is an archive); p (is empty)"
    )
