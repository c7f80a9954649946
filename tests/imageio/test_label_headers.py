"""Names of values in a label map's own header are obeyed, whoever wrote them; what is broken is passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio import read_labels
from bisc.imageio.label_map import meaning_for
from bisc.imageio.label_names import KITS, meaning_of_option
from tests.support.noticed import noticed, unnoticed


def caret(names: dict[int, str]) -> bytes:
    """A label table as TotalSegmentator writes it."""
    entries = "\n".join(
        f'<Label Key="{key}" Red="0.1" Green="0.2" Blue="0.3" Alpha="1"><![CDATA[{name}]]></Label>'
        for key, name in names.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  <Date><![CDATA[2013-07-14T05:45:09]]></Date>   '
        f'<VolumeInformation Index="0">   <LabelTable>\n{entries}\n  </LabelTable>  <StudyMetaDataLinkSet>  '
        "</StudyMetaDataLinkSet>  <VolumeType><![CDATA[Label]]></VolumeType>   </VolumeInformation></CaretExtension>\n"
    ).encode()


def with_extension(path: Path, array: npt.NDArray[Any], text: bytes, code: int = 0, two: bool = False) -> Path:
    image = (nib.Nifti2Image if two else nib.Nifti1Image)(array, np.diag([-1.0, -1.0, 2.0, 1.0]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension(code, text))
    nib.save(image, path)
    return path


SWAPPED = np.array([0, 2, 1, 2], np.uint8).reshape(1, 2, 2)


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize(("code", "name"), [(0, "a.nii.gz"), (30, "a.nii")])
def test_a_label_table_in_a_nifti_header_is_obeyed(tmp_path: Path, code: int, name: str, two: bool) -> None:
    """Its entry of 0 is background however it is called; another organ's counts where its value occurs."""
    names = {0: "???", 1: "kidney_tumor", 2: "kidney", 5: "liver"}
    path = with_extension(tmp_path / name, SWAPPED, caret(names), code, two)
    assert meaning_for(path, None).key == "kidney=2,tumor=1"
    assert np.sort(read_labels(path).volume.array, axis=None).tolist() == [0, 1, 1, 2]
    with_extension(path, SWAPPED, caret({1: "spleen", 2: "kidney_right", 3: "kidney_left"}), code, two)
    with pytest.raises(InputError, match="kidney_right"):
        read_labels(path)
    given = meaning_of_option("kidney=1+2")
    assert read_labels(path, given).volume.array.max() == 1


@pytest.mark.parametrize(
    "text",
    [caret({1: "tumor", 2: "kidney"})[:-60], b"<LabelTable", b'<!DOCTYPE a [<!ENTITY b "c">]><LabelTable/>',
     caret({1: "tumor"}).replace(b'Key="1"', b'Key="-1"')],
)  # fmt: skip
def test_a_broken_label_table_is_passed_over_with_a_notice(tmp_path: Path, text: bytes) -> None:
    with noticed("passed over; if it names the labels, say what they mean with --labels"):
        assert meaning_for(with_extension(tmp_path / "a.nii.gz", SWAPPED, text), None) == KITS


def test_an_extension_that_does_not_end_is_passed_over(tmp_path: Path) -> None:
    path = with_extension(tmp_path / "a.nii", SWAPPED, caret({1: "tumor", 2: "kidney"}))
    raw = bytearray(path.read_bytes())
    raw[352:356] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(raw)
    with noticed("do not end where they say"):
        assert meaning_for(path, None) == KITS


def test_other_extensions_need_no_word(tmp_path: Path) -> None:
    with unnoticed():
        assert meaning_for(with_extension(tmp_path / "a.nii.gz", SWAPPED, b"a comment", 6), None) == KITS


def mitk(path: Path, **pairs: str) -> Path:
    image = sitk.GetImageFromArray(SWAPPED)
    for key, value in pairs.items():
        image.SetMetaData(key.replace("__", "."), value)
    sitk.WriteImage(image, str(path))
    return path


def group(*names: str) -> dict[str, Any]:
    return {"labels": [{"name": name, "value": i + 1, "locked": True} for i, name in enumerate(names)]}


GROUPS = "org__mitk__multilabel__segmentation__labelgroups"
OLD = (
    '<?xml version="1.0" encoding="UTF-8" ?>\n<Label version="1">\n<property key="name" type="StringProperty">'
    '<string value="{}" /></property>\n<property key="value" type="UIntProperty"><unsigned value="{}" /></property>'
    "\n</Label>\n"
)


def test_labels_of_mitk_are_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    mitk(path, **{GROUPS: json.dumps([group("tumor", "kidney"), {"labels": None}])})
    assert meaning_for(path, None).key == "kidney=2,tumor=1"
    names = ["Exterior", "tumor", "kidney"]
    mitk(path, **{f"org__mitk__label_000_{i:05d}": OLD.format(name, i) for i, name in enumerate(names)})
    assert meaning_for(path, None).key == "kidney=2,tumor=1"
    with pytest.raises(InputError, match=r"\(kidney, tumor\) overlap in 2 layers"):
        meaning_for(mitk(path, **{GROUPS: json.dumps([group("kidney"), group("tumor")])}), None)
    for broken in ("[{", "3", '[{"labels": 3}]', '["a"]', "[{}]"):
        with noticed("MITK's labels") if broken != "[{}]" else unnoticed():
            assert meaning_for(mitk(path, **{GROUPS: broken}), None) == KITS


def test_layers_are_told_as_such_wherever_labels_are_read(tmp_path: Path) -> None:
    """Not as several values a voxel, of which one is to be exported: half of the mask."""
    path = tmp_path / "a.seg.nrrd"
    image = sitk.GetImageFromArray(np.zeros((2, 2, 2, 2), np.uint8), isVector=True)
    for i, name in enumerate(("kidney", "tumor")):
        for what, value in (("Name", name), ("LabelValue", "1"), ("Layer", str(i))):
            image.SetMetaData(f"Segment{i}_{what}", value)
    sitk.WriteImage(image, str(path))
    with pytest.raises(InputError, match="overlap in 2 layers; expected one layer"):
        read_labels(path)
