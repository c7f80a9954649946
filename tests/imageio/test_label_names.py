"""What a label map's numbers mean is read where it is stated, and refused where it does not tell kidney from tumour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from bisc.core.errors import InputError
from bisc.imageio import read_labels
from bisc.imageio.label_map import LabelReader, meaning_for, meaning_of_dataset, meaning_of_file
from bisc.imageio.label_names import KITS, LabelMeaning, is_structure, meaning_of_option
from tests.support.grids import write_itk

KITS23 = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}


def dataset_json(folder: Path, labels: Any, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": labels, **more}))
    return folder


def seg_nrrd(path: Path, segments: list[tuple[str, int]], array: npt.NDArray[Any], **more: str) -> Path:
    """A label map as 3D Slicer saves it, named segments in its header."""
    image = sitk.GetImageFromArray(array)
    for i, (name, value) in enumerate(segments):
        image.SetMetaData(f"Segment{i}_Name", name)
        image.SetMetaData(f"Segment{i}_LabelValue", str(value))
        image.SetMetaData(f"Segment{i}_Layer", more.get("layer", "{i}").format(i=i) if more else "0")
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize(
    ("labels", "key"),
    [
        ({"background": 0, "kidney": 1, "tumor": 2}, "kidney=1,tumor=2"),
        ({"background": 0, "tumor": 1, "kidney": 2}, "kidney=2,tumor=1"),
        ({"0": "background", "1": "kidney", "2": "tumor"}, "kidney=1,tumor=2"),
        ({"0": "background", "1": "tumour", "2": "Kidney", "3": "Cyst"}, "kidney=2,tumor=1,cyst=3"),
        ({"0": "background", "1": "kidney", "2": "kidney", "3": "tumor"}, "kidney=1+2,tumor=3"),
        ({"background": "0", "kidney": "2", "tumor": "1"}, "kidney=2,tumor=1"),
        (KITS23, "kidney=1,tumor=2,cyst=3"),
        ({"kidney": [1, 2, 3], "masses": [2, 3], "cyst": 3}, "kidney=1,tumor=2,cyst=3"),
        ({"background": 0, "kidney": [3, 1, 2], "tumor": [2]}, "kidney=1+3,tumor=2"),
        ({"whole kidney": [1, 2], "tumor": 2}, "kidney=1,tumor=2"),
        ({"kidney + tumor": [1, 2], "tumor": 2}, "kidney=1,tumor=2"),
        ({"Renal_Parenchyma": 4, "RENAL-TUMOR": 7, "kidney cysts": 5}, "kidney=4,tumor=7,cyst=5"),
        ({"ren": 1, "renal lesion": 2}, "kidney=1,tumor=2"),
        ({"kidneys": 1, "renal mass": 2}, "kidney=1,tumor=2"),
        ({"kidney": 1, "masses": 2, "cyst": 3}, "kidney=1,tumor=2,cyst=3"),
        ({"kidney": 1, "cancer": 2, "bg": [0, 9]}, "kidney=1,tumor=2,background=9"),
        ({"kidney": 1}, "kidney=1"),
    ],
)
def test_dataset_json_is_obeyed(tmp_path: Path, labels: Any, key: str) -> None:
    """Both forms of nnU-Net, region lists, synonyms; case, blanks, '-' and '_' do not matter."""
    meaning = meaning_of_dataset(dataset_json(tmp_path, labels))
    assert meaning is not None
    assert meaning.key == key
    for folder in ("labelsTr", "labelsTs", "LABELSTR", "gt_segmentations", "fold_0/validation"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        assert meaning_of_dataset(tmp_path / folder) == meaning


@pytest.mark.parametrize(
    ("labels", "told", "suggested"),
    [
        ({"background": 0, "kidney_right": 1, "kidney_left": 2}, "without sides", "kidney=1+2"),
        ({"Left Kidney": 1, "Right Kidney": 2, "Tumor": 3}, "without sides", "kidney=1+2,tumor=3"),
        ({"0": "background", "1": "kidneyL", "2": "LKidney", "3": "tumor"}, "without sides", "kidney=1+2,tumor=3"),
        ({"1": "kidney l", "2": "kidney r"}, "without sides", "kidney=1+2"),
        ({"background": 0, "liver": 1, "kidney": 2, "tumor": 3}, "'liver'", "kidney=2,tumor=3,background=1"),
        ({"background": 0, "kidney": 1, "tumor": 2, "ignore": 3}, "nothing is left out", "kidney=1,tumor=2"),
        ({"background": 0, "tumor": 1}, "a value for the kidney", "kidney=2,tumor=1"),
        ({"kidney": 1, "tumor": 1}, "two meanings", "--labels"),
        ({"kidney": [1, 2], "tumor": [1, 2]}, "two meanings", "--labels"),
        ({"kidney": 1, "masses": 2}, "a name of its own", "kidney=1,tumor=2"),
        ({"kidney": [1, 2, 3], "masses": [2, 3]}, "a name of its own", "kidney=1,tumor=2+3"),
        ({"kidney": [1, 2, 3], "lesion": [2, 3]}, "a name of its own", "kidney=1,tumor=2+3"),
        ({"kidney": 0, "tumor": 1}, "0 for the background", ""),
        ({"kidney": 1, "tumor": 300}, "from 0 to 255", "--labels"),
        ({"whole kidney": 1, "tumor": 2}, "names of kidney", "kidney=1,tumor=2"),
        ({"kidney": 1.5, "tumor": 2}, "a whole number", "--labels"),
        ({"kidney": True, "tumor": 2}, "a whole number", "--labels"),
        ({"kidney": None}, "a whole number", "--labels"),
        ({"kidney": []}, "a whole number", "--labels"),
        ({"1": "2"}, "names of kidney", "--labels"),
        ({}, "a value for the kidney", "--labels"),
        ([1, 2], "no table", "--labels"),
    ],
)
def test_what_does_not_tell_kidney_from_tumour_is_refused(
    tmp_path: Path, labels: Any, told: str, suggested: str
) -> None:
    """One line that names the file, shows what was read, and how to say it."""
    with pytest.raises(InputError) as caught:
        meaning_of_dataset(dataset_json(tmp_path, labels))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'dataset.json'}: ")
    assert told in message
    assert suggested in message


@pytest.mark.parametrize(
    "text", ["", "{", "no JSON", '{"labels": {"kidney": 1, "kidney": 2}}', "[" * 100_000], ids=str.__len__
)
def test_a_damaged_dataset_json_is_refused(tmp_path: Path, text: str) -> None:
    """What it says is not known: the numbers are not taken for KiTS's."""
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match="is no JSON that can be read"):
        meaning_of_dataset(tmp_path)


def test_where_nothing_is_stated_the_numbers_are_kits(tmp_path: Path) -> None:
    assert meaning_of_dataset(tmp_path) is None
    (tmp_path / "dataset.json").write_text('{"name": "no labels"}')
    assert meaning_of_dataset(tmp_path) is None
    assert meaning_for(tmp_path / "a.nii.gz", None) == KITS


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("kidney=2,tumor=1", "kidney=2,tumor=1"),
        ("kidney=1+2, tumour=3", "kidney=1+2,tumor=3"),
        ("Tumor=9,KIDNEY=4,cyst=5,background=6+7", "kidney=4,tumor=9,cyst=5,background=6+7"),
        ("kidney=1,background=0", "kidney=1"),
    ],
)
def test_labels_as_given(text: str, key: str) -> None:
    meaning = meaning_of_option(text)
    assert (meaning.key, meaning.is_given) == (key, True)
    assert meaning_of_option(meaning.key) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kidney",
        "kidney=",
        "kidney=a",
        "kidney=1+",
        "kidney=-1",
        "kidney=1,liver=2",
        "tumor=1",
        "kidney=0",
        "kidney=1,tumor=1",
        "kidney=1,kidney=2",
        "kidney=256",
        "kidney=1,",
        "kidney=1.0",
        "kidney=1+1",
        "kidney=1;2",
    ],
)
def test_labels_that_make_no_sense(text: str) -> None:
    with pytest.raises(InputError, match=r"^--labels: .*; expected"):
        meaning_of_option(text)


def test_segment_names_are_obeyed(tmp_path: Path) -> None:
    """3D Slicer's names win over KiTS's numbers; a value that has no name is refused."""
    array = np.array([[[0, 1], [2, 2]]], np.uint8)
    path = seg_nrrd(tmp_path / "a.seg.nrrd", [("Tumor", 1), ("Kidney", 2)], array)
    assert read_labels(path).volume.array.tolist() == [[[0, 2], [1, 1]]]
    healthy = seg_nrrd(tmp_path / "b.seg.nrrd", [("kidneys", 1)], array)
    with pytest.raises(InputError, match="label values 0, 1, 2; expected 0 background, 1 kidney"):
        read_labels(healthy)
    assert read_labels(write_itk(tmp_path / "plain.nrrd", array)).volume.array.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("segments", "more", "told"),
    [
        ([("left kidney", 1), ("right kidney", 2)], {}, "without sides"),
        ([("Segment_1", 1)], {}, "'Segment_1' among its labels"),
        ([("kidney", 1), ("tumor", 1)], {"layer": "{i}"}, "overlap in 2 layers"),
        ([("tumor", 1)], {}, "a value for the kidney"),
    ],
)
def test_segments_that_do_not_tell(
    tmp_path: Path, segments: list[tuple[str, int]], more: dict[str, str], told: str
) -> None:
    path = seg_nrrd(tmp_path / "a.seg.nrrd", segments, np.ones((2, 2, 2), np.uint8), **more)
    with pytest.raises(InputError, match=told):
        read_labels(path)
    given = meaning_of_option("kidney=1+2")
    assert read_labels(path, given).volume.array.max() == 1


def test_two_sources_that_differ_are_refused(tmp_path: Path) -> None:
    """A data set and a file of it: a patient without a tumour is no contradiction, other numbers are one."""
    stated = LabelMeaning(kidney=(2,), tumor=(1,), source="dataset.json")
    array = np.array([[[0, 2]]], np.uint8)
    healthy = seg_nrrd(tmp_path / "healthy.seg.nrrd", [("kidney", 2)], array)
    assert meaning_for(healthy, stated) == meaning_of_file(healthy)
    other = seg_nrrd(tmp_path / "other.seg.nrrd", [("kidney", 1), ("tumor", 2)], array)
    with pytest.raises(InputError, match="one meaning of its values; say which counts"):
        read_labels(other, stated)
    assert read_labels(other, meaning_of_option("kidney=2,tumor=1")).volume.array.tolist() == [[[0, 1]]]


@given(
    st.permutations(range(1, 256)).map(lambda values: values[:6]),
    st.sampled_from([np.uint8, np.int16, np.uint16, np.float32, np.float64]),
)
def test_any_numbers_mean_what_they_are_said_to(values: list[int], kind: type[np.generic]) -> None:
    """Two kidneys, a tumour, a cyst and another organ under any numbers: canonical labels, voxel by voxel."""
    left, right, tumor, cyst, liver, unknown = values
    read = LabelReader(Path("a.nii"), meaning_of_option(f"kidney={left}+{right},tumor={tumor},cyst={cyst},bg={liver}"))
    stored = np.array([[[0, left, right], [tumor, cyst, liver]]]).astype(kind)
    assert read(stored).tolist() == [[[0, 1, 1], [2, 1, 0]]]
    stored[0, 0, 0] = unknown
    with pytest.raises(InputError, match="label values"):
        read(stored)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32"])
@pytest.mark.parametrize("top", [1, 2, 3, 5])
def test_labels_after_a_round_trip_through_floats(tmp_path: Path, kind: str, top: int) -> None:
    """nibabel stores floats in an integer type by scl_slope: 0.996 or 1.000015 for 1."""
    array = np.arange(top + 1, dtype=float).reshape(1, 1, -1)
    image = nib.Nifti1Image(array, np.eye(4))
    image.header.set_data_dtype(kind)
    nib.save(image, tmp_path / "a.nii.gz")
    meaning = meaning_of_option("kidney=1,tumor=2,cyst=3,background=4+5")
    assert read_labels(tmp_path / "a.nii.gz", meaning).volume.array.ravel().max() == min(top, 2)
    assert sorted(read_labels(tmp_path / "a.nii.gz", meaning).volume.array.ravel()) == sorted(
        [0, 1, 2, 1, 0, 0][: top + 1]
    )


@pytest.mark.parametrize("value", [0.4, 0.5, 0.9, 1.03, 1.5, 2.95, -0.1, 255.4, 256, 1e30, np.inf, np.nan])
def test_what_lies_between_labels_is_none(value: float) -> None:
    """The tolerance is 0.02: what interpolation and probabilities leave is far beyond."""
    read = LabelReader(Path("a.nii"), KITS)
    assert read(np.array([0.019, 1.019, 1.981, -0.019])).tolist() == [0, 1, 2, 0]
    with pytest.raises(InputError, match=r"label values .*expected 0 background, 1 kidney, 2 tumour \(3 cyst\)"):
        read(np.array([0.0, value]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
LABELS = st.dictionaries(
    st.sampled_from(["kidney", "tumor", "masses", "cyst", "background", "1", "2", "ignore", "left kidney", ""]),
    JSON | st.integers(0, 5) | st.lists(st.integers(0, 5), max_size=4) | st.sampled_from(["kidney", "tumor"]),
    max_size=5,
)


@given(LABELS | JSON)
def test_whatever_dataset_json_holds_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, labels: Any) -> None:
    """Read: a kidney, every value in one class, 0 in none. Refused: by an InputError of one line."""
    folder = tmp_path_factory.getbasetemp()
    try:
        meaning = meaning_of_dataset(dataset_json(folder, labels))
    except InputError as error:
        assert "\n" not in str(error)
        return
    if labels is None:
        assert meaning is None
        return
    assert meaning is not None
    values = [*meaning.kidney, *meaning.tumor, *meaning.cyst, *meaning.background]
    assert meaning.kidney
    assert len(set(values)) == len(values)
    assert 0 not in values


def test_names_of_structures_are_told_from_those_of_cases() -> None:
    alone = "kidney tumor Tumour kidney_left left-kidney renal_cyst Segmentation-tumor-label rKidney kidneyLeft"
    assert all(map(is_structure, alone.split()))
    cases = (
        "case_00000 tumor_001 kidney1 warren_right left Segmentation segmentation label prediction bg liver a a.kidney"
    )
    assert not any(map(is_structure, cases.split()))
