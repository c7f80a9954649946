"""DICOM results by other people's readers: dciodvfy and dcmqi. Run by `make test-long`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bisc.core.flags import Flags
from tests.report.test_dicom_objects import FORMS, made

pytestmark = pytest.mark.long
NO_FAULT = (
    "Error - Unrecognized tag",  # of dciodvfy's dictionary, older than the tag
)


def faults(path: Path) -> list[str]:
    """What dciodvfy calls an error."""
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
    return [line for line in said.splitlines() if line.startswith("Error") and not line.startswith(NO_FAULT)]


@pytest.mark.parametrize("labelmap", [False, True], ids=["binary", "labelmap"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("tools")
def test_dciodvfy_finds_no_error(tmp_path: Path, form: str, labelmap: bool) -> None:
    write, on = FORMS[form]
    case = made(tmp_path, write, on, labelmap=labelmap, flags=Flags("red", 0.9, ()))
    kinds = ["capture", "rtstruct"] + ([] if labelmap else ["seg", "sr"])  # it knows no LABELMAP, nor a report of one
    assert {kind: faults(case.out / f"{kind}.dcm") for kind in kinds} == {kind: [] for kind in kinds}


def dcmqi(program: str, *args: object) -> None:
    """Run one of dcmqi's programs, or skip where there is none."""
    found = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"no {program}: pip install dcmqi")
    subprocess.run([found, *map(str, args)], check=True, capture_output=True)


@pytest.mark.parametrize("form", FORMS)
def test_dcmqi_reads_the_mask(tmp_path: Path, form: str) -> None:
    """Each segment, by ITK's account of where its voxels lie, on the mask's own voxels."""
    write, on = FORMS[form]
    case = made(tmp_path, write, on)
    (tmp_path / "itk").mkdir()
    dcmqi("segimage2itkimage", "--inputDICOM", case.out / "seg.dcm", "--outputDirectory", tmp_path / "itk",
          "--outputType", "nii")  # fmt: skip
    numbers = np.zeros(on.shape_zyx, np.uint8)
    for segment in case.found.segments:
        image = sitk.ReadImage(str(tmp_path / "itk" / f"{segment.number}.nii.gz"))
        at = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1]
        turn = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
        index = np.rint(on.physical_to_index(np.asarray(image.GetOrigin()) + at @ turn.T)).astype(int)
        numbers[tuple(index.T)] = segment.number
    assert np.array_equal(numbers, case.found.numbered)


def test_dcmqi_reads_the_numbers(tmp_path: Path) -> None:
    write, on = FORMS["axial"]
    case = made(tmp_path, write, on)
    dcmqi("tid1500reader", "--inputDICOM", case.out / "sr.dcm", "--outputMetadata", tmp_path / "sr.json")
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    for group, told in zip(groups, case.found.told(), strict=True):
        values = [float(one["value"]) for one in group["measurementItems"]]
        assert values == pytest.approx([told[key] for key in ("volume_ml", "axial_mm", "diameter_mm") if key in told])
