"""A .zip of a study: unpacked, read, gone again; hostile ones refused in one line."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bisc.core.errors import InputError, PassedOver
from bisc.imageio.archive import unpacked
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import open_scan
from tests.imageio.test_studies import volume
from tests.support.ct_series import write_ct
from tests.support.noticed import noticed


def zipped(folder: Path, target: Path) -> Path:
    shutil.make_archive(str(target.with_suffix("")), "zip", folder)
    return target


def test_a_study_in_a_zip(tmp_path: Path) -> None:
    """Named by its folder in the archive, or by the archive; nothing stays behind; files are known again."""
    write_ct(tmp_path / "in" / "DICOM" / "SE1", volume())
    source = zipped(tmp_path / "in", tmp_path / "jane.zip")
    out = tmp_path / "out"
    times = []
    for _ in range(2):
        with unpacked(source, out) as folder:
            (case,) = find_inputs(folder, out)
            assert case.name == "jane"
            assert np.array_equal(open_scan(case).read().volume.array, volume().array)
            times.append([path.stat().st_mtime for path in case.files])
        assert list(out.iterdir()) == []
    assert times[0] == times[1]


def test_errors_name_the_archive(tmp_path: Path) -> None:
    """Not the folder it was unpacked into, which is gone; those of its files keep their names."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.txt").write_text("none")
    source = zipped(tmp_path / "in", tmp_path / "jane.zip")
    with pytest.raises(InputError, match="no image found") as caught, unpacked(source, tmp_path / "out") as folder:
        find_inputs(folder, tmp_path / "out")
    assert caught.value.what == str(source)
    with pytest.raises(InputError) as caught, unpacked(source, tmp_path / "out") as folder:
        raise InputError(folder / "a.nii.gz", "is cut off")
    assert Path(caught.value.what).name == "a.nii.gz"
    with pytest.raises(PassedOver, match="no CT stack") as caught, unpacked(source, tmp_path / "out") as folder:
        raise PassedOver(folder, "no CT stack")  # no failure, of an archive either
    assert caught.value.what == str(source)


def test_what_is_no_zip_is_left_as_it_is(tmp_path: Path) -> None:
    with unpacked(tmp_path, tmp_path / "out") as folder:
        assert folder == tmp_path
    assert not (tmp_path / "out").exists()


def hostile(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("IM1", b"0" * 1000)
        if kind == "outside":
            archive.writestr("../../evil", b"x")
        elif kind == "absolute":
            archive.writestr("/etc/evil", b"x")
        elif kind == "drive":
            archive.writestr("C:\\evil", b"x")
        elif kind == "nameless":
            archive.writestr(".", b"x")
        elif kind == "lzma":
            archive.writestr("IM2", bytes(range(256)) * 40, zipfile.ZIP_LZMA)
        elif kind == "folder and file":
            archive.writestr("IM1/IM2", b"x")
    data = bytearray(path.read_bytes())
    if kind == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif kind == "one bit":
        data[35] ^= 1
        path.write_bytes(data)
    elif kind == "lzma":
        at = data.index(b"IM2") + 3 + 20
        data[at : at + 8] = bytes(8)
        path.write_bytes(data)
    elif kind == "encrypted":
        for at in (data.find(b"PK\3\4") + 6, data.find(b"PK\1\2") + 8):
            data[at] |= 1
        path.write_bytes(data)
    elif kind == "promises much":
        at = data.find(b"PK\1\2") + 24
        data[at : at + 4] = (0xFFFFFFFE).to_bytes(4, "little")
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("outside", "names a file outside of itself"),
        ("absolute", "names a file outside of itself"),
        ("drive", "names a file outside of itself"),
        ("folder and file", "cannot be unpacked"),
        ("cut", "cannot be unpacked"),
        ("one bit", "cannot be unpacked"),
        ("encrypted", "is encrypted"),
        ("nameless", "names a file outside of itself"),
        ("lzma", "cannot be unpacked"),
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, kind: str, told: str) -> None:
    path = hostile(tmp_path, kind)
    with pytest.raises(InputError, match=told), unpacked(path, tmp_path / "out"):
        pass
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_promise_beyond_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hostile(tmp_path, "promises much")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**31, 0, 2**31))
    with pytest.raises(InputError, match=r"holds 4.29 GB, and the disk"), unpacked(path, tmp_path / "out"):
        pass


def with_links(target: Path, links: dict[str, str]) -> Path:
    """An archive of DICOM/IM1 and of links."""
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("DICOM/IM1", b"0" * 1000)
        for name, leads_to in links.items():
            link = zipfile.ZipInfo(name)
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, leads_to)
    return target


@pytest.mark.parametrize("leads_to", ["IM1", "../DICOM/./IM1", ".", ".."])
def test_links_within_are_told_and_passed_over(tmp_path: Path, leads_to: str) -> None:
    """What they lead to is read where it lies; hidden ones are no input, wherever they lead."""
    path = with_links(tmp_path / "a.zip", {"DICOM/again": leads_to, "DICOM/.trash": "/tmp"})
    with (
        noticed(r"a.zip: holds links to files of its own \(DICOM/again\); passed over, the files are read"),
        unpacked(path, tmp_path / "out") as folder,
    ):
        assert [p.name for p in folder.rglob("*")] == ["DICOM", "IM1"]


@pytest.mark.parametrize("leads_to", ["IM2", "../../DICOM/IM1", "/etc/passwd", "x" * 10000])
def test_links_to_what_is_not_there_are_refused(tmp_path: Path, leads_to: str) -> None:
    """The last slice of a series would be lost, or a patient, without a word."""
    path = with_links(tmp_path / "a.zip", {"DICOM/IM2": leads_to, "p3.nii.gz": "IM1", "a": "DICOM"})
    told = r"a.zip: holds links to files that are not in it \(DICOM/IM2, p3.nii.gz\); expected the files themselves"
    with pytest.raises(InputError, match=told), unpacked(path, tmp_path / "out"):
        pass
    assert list((tmp_path / "out").iterdir()) == []
