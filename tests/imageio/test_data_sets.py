"""Raw data sets as they lie on disk, and what of them is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisc.core.errors import InputError
from bisc.imageio.dataset import find_raw_dataset
from tests.imageio.test_imageio_folders import names, touch


def test_kits_layout(tiny_dataset: Path) -> None:
    """A simulated data set: five cases, image and label map each, none at fault."""
    dataset = find_raw_dataset(tiny_dataset)
    assert dataset.name == "Tiny"
    assert names(dataset) == [f"case_{i:05d}" for i in range(5)]
    assert dataset.faults == ()
    for case in dataset.cases:
        assert case.image == tiny_dataset / case.name / "imaging.nii.gz"
        assert case.labels == tiny_dataset / case.name / "segmentation.nii.gz"


def test_kits_layout_faults_are_listed(tmp_path: Path) -> None:
    """A case without image, one without labels: told by name, the others go on; folders of other things are none."""
    data = tmp_path / "Kits"
    touch(data / "case_0" / "imaging.nii.gz", data / "case_0" / "segmentation.nii.gz")
    touch(data / "case_1" / "imaging.nii.gz", data / "case_2" / "segmentation.nii.gz")
    touch(data / "docs" / "readme.txt", data / ".partial-1-case_3" / "imaging.nii.gz")
    dataset = find_raw_dataset(data)
    assert names(dataset) == ["case_0"]
    assert [str(f) for _, f in dataset.faults] == [
        f"{data}/case_1/imaging.nii.gz: has no label map; expected one label map per image; add or remove it",
        f"{data}/case_2/segmentation.nii.gz: has no image; expected one image per label map; add or remove it",
    ]
    with_labels = find_raw_dataset(data, labels_suffice=True)
    assert names(with_labels) == ["case_0", "case_2"]
    assert with_labels.cases[1].image is None
    assert len(with_labels.faults) == 1


def test_nnunet_layout(tmp_path: Path) -> None:
    """imagesTr/NAME_0000 belongs to labelsTr/NAME; one without the other is a fault."""
    data = tmp_path / "Dataset501"
    touch(data / "dataset.json")
    for name in ("kidney_1", "kidney_2", "kidney_10"):
        touch(data / "imagesTr" / f"{name}_0000.nii.gz", data / "labelsTr" / f"{name}.nii.gz")
    touch(data / "imagesTr" / "kidney_4_0000.nii.gz", data / "labelsTr" / "kidney_5.nii.gz")
    dataset = find_raw_dataset(data)
    assert names(dataset) == ["kidney_1", "kidney_10", "kidney_2"]
    assert dataset.cases[0].image == data / "imagesTr" / "kidney_1_0000.nii.gz"
    assert dataset.cases[0].labels == data / "labelsTr" / "kidney_1.nii.gz"
    assert [(Path(f.what).name, f.found) for _, f in dataset.faults] == [
        ("kidney_4_0000.nii.gz", "has no label map"),
        ("kidney_5.nii.gz", "has no image"),
    ]


def test_data_sets_without_a_case(tmp_path: Path) -> None:
    """A missing folder, an empty one, one with faults alone: the layouts are shown, and the first fault."""
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "faulty" / "case_0" / "imaging.nii.gz")
    for folder, needle in (
        (tmp_path / "none", "is not a folder"),
        (tmp_path / "empty", "no usable case"),
        (tmp_path / "faulty", "has no label map"),
    ):
        with pytest.raises(InputError, match=needle) as caught:
            find_raw_dataset(folder)
        assert str(caught.value).startswith(f"{folder}: ")
        assert "case_00000" in str(caught.value)
        assert "labelsTr" in str(caught.value)
        assert "\n" not in str(caught.value)
