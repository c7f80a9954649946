"""What an exception over a case's DICOM objects costs: highdicom's the objects, one of our own code the case."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from bisc.core.errors import InputError
from bisc.core.flags import Flags
from bisc.core.volume import NativeGrid
from bisc.imageio.case import CaseImage
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import open_scan
from bisc.pipeline.dicom_cases import divided, write_dicom
from bisc.pipeline.options import DicomOptions
from tests.report.test_dicom_objects import grid, patient
from tests.support.ct_series import write_ct
from tests.support.stub_model import stub_model

NONE = Flags("green", None, ())


def write(tmp_path: Path, kind: str = "1.2.3.4") -> None:
    """The SEG of a series of a class that highdicom does not know, or of `kind`."""
    volume, labels = patient(grid(6))
    write_ct(tmp_path / "in", volume, change=lambda data, i: setattr(data, "SOPClassUID", kind))
    (case,) = find_inputs(tmp_path / "in")
    image = CaseImage(case.path, volume, NativeGrid.of(volume.geometry))
    found = divided(labels, volume.geometry, 1.0, None)
    write_dicom(tmp_path, "a", open_scan(case), image, found, stub_model(), DicomOptions("both"), NONE)


def test_highdicoms_exception_costs_the_objects(tmp_path: Path) -> None:
    """It is a fault in the input, which leaves the mask."""
    with pytest.raises(InputError, match=r"highdicom: KeyError: '1.2.3.4'.*; its mask is written as NIfTI alone"):
        write(tmp_path)


@pytest.mark.parametrize("error", [OSError("no space left"), MemoryError()])
def test_a_full_disk_is_no_fault_of_the_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object, **__: object) -> Dataset:
        raise error

    monkeypatch.setattr("highdicom.seg.Segmentation.__init__", full)
    with pytest.raises(type(error)):
        write(tmp_path, "1.2.840.10008.5.1.4.1.1.2")


def test_a_fault_of_our_own_is_no_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> Dataset:
        raise KeyError("our own")

    monkeypatch.setattr("bisc.report.dicom.objects.segmentation", fault)
    with pytest.raises(KeyError, match="our own"):
        write(tmp_path)
