"""What lies among a study's slices and is none, slices that do not say whose they are, and copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    MediaStorageDirectoryStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from bisc.core.errors import InputError
from bisc.imageio import read_image
from bisc.imageio.case import InputCase
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import list_series, open_scan
from bisc.system.console import collecting
from tests.imageio.test_studies import chosen, dose_report, grid_of, opened, reason, volume
from tests.support.ct_series import Change, write_ct

SHORT = volume(grid_of(8, 15.0))


def test_copies_packed_otherwise_are_copies(tmp_path: Path) -> None:
    """As two archives write them; where their pixels differ they are named as what they are, and no phases."""
    write_ct(tmp_path / "p", SHORT)
    for path in sorted((tmp_path / "p").iterdir()):
        data = dcmread(path)
        data.compress(RLELossless, generate_instance_uid=False)
        data.save_as(tmp_path / "p" / f"rle{path.name}")
    with collecting(quiet=True):
        assert np.array_equal(open_scan(find_inputs(tmp_path)[0]).read().volume.array, SHORT.array)
    write_ct(tmp_path / "p", volume(SHORT.geometry, seed=1), name="rleIM{:04d}.dcm".format)
    with pytest.raises(InputError, match=r"a slice is there twice: .* 7 others, under one SOPInstanceUID, and they d"):
        opened(tmp_path)


def nameless(data: Dataset, i: int) -> None:
    data.PatientID = "" if i >= 4 else "P1"


def test_slices_without_a_patient_are_the_others_of_their_series(tmp_path: Path) -> None:
    """Each half would pass for a patient; a report without one is its study's."""
    write_ct(tmp_path / "p", SHORT, change=nameless)
    write_ct(tmp_path / "p", SHORT, series="9", patient="", number=9, keep=[0], name=lambda i: "d", change=dose_report)
    (case,) = find_inputs(tmp_path)
    assert (case.name, case.fault, len(case.files)) == ("p", None, 9)
    with collecting(quiet=True):
        assert np.array_equal(open_scan(case).read().volume.array, SHORT.array)
    assert np.array_equal(read_image(write_ct(tmp_path / "q", SHORT, change=nameless)).volume.array, SHORT.array)


def test_halves_of_a_series_under_two_patients_are_faults(tmp_path: Path) -> None:
    """Whose they are is not guessed; nor whether slices without an ID are the one's or the other's."""

    def halved(data: Dataset, i: int) -> None:
        data.PatientID = "P1" if i < 4 else "P2"

    write_ct(tmp_path / "p", SHORT, change=halved)
    assert ["holds a series of two PatientIDs" in str(case.fault) for case in find_inputs(tmp_path)] == [True, True]
    with pytest.raises(InputError, match=r"2 different PatientID \(0010,0020\)"):
        read_image(tmp_path / "p")


def test_reports_and_screenshots_do_not_divide_a_study(tmp_path: Path) -> None:
    """They often bear no number and no patient."""

    def screenshot(data: Dataset, i: int) -> None:
        data.SOPClassUID = SecondaryCaptureImageStorage
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "SeriesNumber"):
            delattr(data, keyword)

    for number, name in ((1, "1_ven"), (2, "2_art")):
        write_ct(tmp_path / "miller" / name, SHORT, series=f"{number}", number=number, description=name[2:])
    for k, change in ((8, dose_report), (9, screenshot)):
        write_ct(tmp_path / "miller" / f"{k}", SHORT, series=f"{k}", patient="", number=1, keep=[0], change=change)
    assert [(case.name, len(case.files)) for case in find_inputs(tmp_path / "miller")] == [("miller", 18)]
    assert chosen(tmp_path / "miller") == "1.1"


def no_pixels(data: Dataset, i: int) -> None:
    for keyword in ("PixelData", "Rows", "Columns", "ImagePositionPatient"):
        delattr(data, keyword)


def encapsulated(data: Dataset, i: int) -> None:
    data.Modality, data.SOPClassUID = "OT", EncapsulatedPDFStorage
    no_pixels(data, i)


def raw_data(data: Dataset, i: int) -> None:
    """Siemens' CSA Non-Image, and its like."""
    data.SOPClassUID = "1.3.12.2.1107.5.9.1"
    no_pixels(data, i)


def index(data: Dataset, i: int) -> None:
    """A DICOMDIR under another name: of no study, no patient."""
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "PatientID", "Modality"):
        delattr(data, keyword)
    data.SOPClassUID = MediaStorageDirectoryStorage
    no_pixels(data, i)


ODD: dict[str, tuple[Change, str]] = {
    "a PDF": (encapsulated, "no image (Encapsulated PDF Storage)"),
    "raw data": (raw_data, "no image (1.3.12.2.1107.5.9.1)"),
    "an index": (index, "no image (Media Storage Directory Storage)"),
}


@pytest.mark.parametrize("kind", ODD)
def test_one_odd_object_is_left_out_of_its_study(tmp_path: Path, kind: str) -> None:
    change, told = ODD[kind]
    write_ct(tmp_path / "p", SHORT)
    write_ct(tmp_path / "p", SHORT, series="9", number=9, keep=[0], name=lambda i: "odd.dcm", change=change)
    (case,) = find_inputs(tmp_path)
    assert case.name == "p"
    assert told in reason(tmp_path)


def test_a_series_in_its_makers_own_syntax_is_left_out(tmp_path: Path) -> None:
    """Named as what it is; alone it is refused so."""
    write_ct(tmp_path / "p", SHORT)
    write_ct(tmp_path / "p", SHORT, series="2", number=2, name=lambda i: f"raw{i}.dcm")
    for path in (tmp_path / "p").glob("raw*"):
        syntax, own = b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x1a\x001.3.46.670589.33.1.4.1\0\0\0\0"
        whole = path.read_bytes()
        n = int.from_bytes(whole[140:144], "little") + len(own) - len(syntax)
        path.write_bytes(whole[:140] + n.to_bytes(4, "little") + whole[144:].replace(syntax, own, 1))
    assert chosen(tmp_path) == "1.1"
    assert "series 2: transfer syntax 1.3.46.670589.33.1.4.1" in reason(tmp_path)
    with pytest.raises(InputError, match=r"transfer syntax 1.3.46.670589.33.1.4.1; expected one of DICOM's own; con"):
        read_image(next((tmp_path / "p").glob("raw*")))


def test_a_slice_cut_anywhere_is_never_left_out_for_another_object(tmp_path: Path) -> None:
    """Its class or its series' UID may be cut too, and without it the others would be a shorter stack."""
    write_ct(tmp_path / "p", SHORT)
    path = tmp_path / "p" / "IM0007.dcm"
    whole = path.read_bytes()
    for n in range(whole.index(b"\x08\x00\x16\x00UI"), whole.index(b"\x28\x00\x10\x00US"), 23):
        path.write_bytes(whole[:n])
        with pytest.raises(InputError, match=r"IM0007\.dcm is damaged"):
            list_series(InputCase("p", tmp_path / "p", files=tuple(sorted((tmp_path / "p").iterdir()))))
