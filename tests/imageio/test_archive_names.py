"""What a .zip's cases are called, and what `--continue` knows its files by."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from bisc.imageio.archive import unpacked
from bisc.imageio.inputs import find_inputs
from tests.imageio.test_studies import volume
from tests.support.ct_series import write_ct
from tests.support.grids import write_itk

NO_DATE = (1980, 1, 1, 0, 0, 0)


def packed(target: Path, folder: Path, under: str = "") -> Path:
    """All files below a folder, without their dates."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo(f"{under}{path.relative_to(folder).as_posix()}", NO_DATE)
            archive.writestr(member, path.read_bytes())
    return target


def names(source: Path, out: Path) -> list[tuple[str, bool]]:
    """Of the cases of an archive, and whether each can be read."""
    with unpacked(source, out) as folder:
        return [(case.name, case.fault is None) for case in find_inputs(folder, out)]


@pytest.mark.parametrize(
    ("source", "under", "name"),
    [
        ("jones/study.zip", "", "jones"),
        ("jones/CT.zip", "DICOM/ST0/SE0/", "jones"),
        ("jones/study1/dicom.zip", "IMAGES/", "jones"),
        ("jones/series1.zip", "smith/ST0/", "smith"),
        ("patient7.zip", "DICOM/ST0/", "patient7"),
    ],
)
def test_archives_that_name_no_patient(tmp_path: Path, source: str, under: str, name: str) -> None:
    """By the folder above the archive, as the unpacked folder would be; never by where it is unpacked."""
    write_ct(tmp_path / "in", volume())
    assert names(packed(tmp_path / source, tmp_path / "in", under), tmp_path / "out") == [(name, True)]


@pytest.mark.parametrize("file", ["imaging.nii.gz", "ct.nii.gz", "scan_0000.nii.gz", "DICOM/ct_0000.nii.gz"])
def test_images_that_name_no_patient_in_an_archive_that_names_none(tmp_path: Path, file: str) -> None:
    (tmp_path / "in" / file).parent.mkdir(parents=True)
    write_itk(tmp_path / "in" / file, np.zeros((4, 5, 6), np.int16))
    assert names(packed(tmp_path / "jones" / "scan.zip", tmp_path / "in"), tmp_path / "out") == [("jones", True)]


def test_where_no_name_is_left_it_is_the_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a medium that is named DISK1 from its root on."""
    write_ct(tmp_path / "in", volume())
    source = packed(tmp_path / "study.zip", tmp_path / "in")
    monkeypatch.setattr("bisc.imageio.archive.own_name", lambda _: "study")
    assert names(source, tmp_path / "out") == [("study", True)]


def test_files_are_known_by_what_they_hold(tmp_path: Path) -> None:
    """Of one size and date each: other bytes, another time; the same bytes, the same time, whatever the date."""
    times = []
    for byte, date in ((b"a", NO_DATE), (b"b", NO_DATE), (b"b", (2024, 1, 2, 3, 4, 6)), (b"c", (1980, 0, 0, 0, 0, 0))):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("IM1", date), byte * 1000)
        with unpacked(tmp_path / "x.zip", tmp_path / "out") as folder:
            times.append((folder / "IM1").stat().st_mtime_ns)
    assert times[0] != times[1] == times[2] != times[3]
