"""What copies that broke off leave among DICOM slices, and what is no file at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bisc.core.errors import InputError
from bisc.imageio import CaseImage, read_image
from bisc.imageio.formats.dicom import is_dicom
from bisc.imageio.inputs import MAX_DEPTH, find_inputs
from bisc.imageio.layouts import find_layout
from bisc.imageio.scan import open_scan
from bisc.system.console import collecting
from tests.imageio.test_studies import volume
from tests.support.ct_series import write_ct
from tests.support.grids import fault, write_itk


def told(source: Path) -> dict[str, str]:
    """What comes of each input: a shape, or why there is none."""
    found = {}
    for case in find_inputs(source):
        try:
            if case.fault is not None:
                raise case.fault
            found[case.name] = str(open_scan(case).read().volume.array.shape)
        except InputError as error:
            found[case.name] = error.found
    return found


SHAPE = str(volume().array.shape)


def test_a_link_that_leads_nowhere_fails_its_own_study(tmp_path: Path) -> None:
    """The others are read."""
    for name in ("p1", "p2"):
        write_ct(tmp_path / "in" / name, volume(), study=name[1:], patient=name)
    (tmp_path / "in" / "p2" / "IM9999.dcm").symlink_to("/gone/IM9999.dcm")
    assert told(tmp_path / "in") == {"p1": SHAPE, "p2": "IM9999.dcm is a link that leads nowhere"}
    assert fault(read_image, tmp_path / "in" / "p2").startswith("IM9999.dcm is a link that leads nowhere")


@pytest.mark.parametrize("name", ["IM{:04d}", "1.2.840.{}", "{:08X}", "slice{}.ima"])
@pytest.mark.parametrize("n_bytes", [0, 100])
def test_empty_files_among_slices_are_slices(tmp_path: Path, name: str, n_bytes: int) -> None:
    """The last three of zero bytes, or of no more than zeros: a copy that broke off, and no whole scan."""
    folder = write_ct(tmp_path / "in" / "jones", volume(), name=name.format)
    n = volume().array.shape[0]
    for i in range(n - 3, n):
        (folder / name.format(i)).write_bytes(bytes(n_bytes))
    (found,) = told(tmp_path / "in").values()
    assert "is damaged" in found
    assert "is damaged" in fault(read_image, folder)


def test_other_empty_files_are_no_slices(tmp_path: Path) -> None:
    """Marks that programs leave, whatever they are called."""
    folder = write_ct(tmp_path / "in" / "jones", volume(), name="IM{:04d}".format)
    marks = ["LOCK", "VERSION", "IM0001.tmp", "IMAGES", "notes.txt"]
    for mark in marks:
        (folder / mark).touch()
    found = told(tmp_path / "in")
    assert found.pop("jones") == SHAPE
    assert sorted(found) == sorted(f"jones/{mark}" for mark in marks)
    assert np.array_equal(read_image(folder).volume.array, volume().array)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", ["pipe", "x.zip", "x.gz", "x.dcm"])
def test_pipes_are_not_waited_for(tmp_path: Path, name: str) -> None:
    write_ct(tmp_path / "in" / "jones", volume())
    os.mkfifo(tmp_path / "in" / name)
    found = told(tmp_path / "in")
    assert found.pop("jones") == SHAPE
    assert "is a pipe or a device" in str(found) or "is damaged" in str(found)
    with pytest.raises(InputError, match="is a pipe or a device"):
        is_dicom(tmp_path / "in" / name)


def test_folders_however_deep(tmp_path: Path) -> None:
    """Those of archives and media are read; what lies deeper than anybody's is a failure, and not passed over."""
    for depth, name in ((MAX_DEPTH, "a"), (MAX_DEPTH + 1, "b")):
        folder = tmp_path / "in" / name / "/".join(f"{i}" for i in range(depth - 1))
        folder.mkdir(parents=True)
        write_itk(folder / f"{name}9.nii.gz", np.zeros((4, 5, 6), np.int16))
    found = told(tmp_path / "in")
    assert found == {"a9": "(4, 5, 6)", "b": f"lies more than {MAX_DEPTH} folders deep"}


@pytest.mark.parametrize("name", [".IM0007.dcm.Xy12Ab", "IM0007.dcm.part", "IM0007.dcm.crdownload", "IM0007.dcm.tmp"])
def test_an_unfinished_copy_of_a_slice_is_told(tmp_path: Path, name: str) -> None:
    """An end slice leaves no gap; the study is read without it, with a notice, as a folder and as a study."""
    folder = write_ct(tmp_path / "in" / "jones", volume(), name="IM{:04d}.dcm".format)
    last = folder / f"IM{volume().array.shape[0] - 1:04d}.dcm"
    begun = folder / name.replace("IM0007.dcm", last.name)
    begun.write_bytes(b"")
    with collecting(quiet=True) as notes:
        read_image(folder)
    assert notes == []  # the copy was finished by another run
    last.unlink()
    told_of = f"{begun}: is a copy of {last.name} that was not finished"
    case = next(case for case in find_inputs(tmp_path / "in") if case.files)
    reads: tuple[Callable[[], CaseImage], ...] = (lambda: read_image(folder), lambda: open_scan(case).read())
    for read in reads:
        with collecting(quiet=True) as notes:
            assert read().volume.array.shape[0] == volume().array.shape[0] - 1
        assert [note.startswith(told_of) for note in notes] == [True]


def test_a_hidden_slice_is_told(tmp_path: Path) -> None:
    """At an end it leaves no gap. A backup of a slice that is there, macOS's companions and other files are silent."""
    folder = write_ct(tmp_path / "in" / "jones", volume(), name="IM{:04d}.dcm".format)
    for name in (".IM0003.dcm", "._IM0003.dcm", "._IM0060.dcm", ".DS_Store"):
        (folder / name).touch()
    with collecting(quiet=True) as notes:
        read_image(folder)
    assert notes == []
    last = folder / f"IM{volume().array.shape[0] - 1:04d}.dcm"
    last.rename(last.with_name(f".{last.name}"))
    with collecting(quiet=True) as notes:
        read_image(folder)
    assert [note.split(";")[0] for note in notes] == [
        f"{folder / f'.{last.name}'}: is hidden, and named as the slices are"
    ]


@pytest.mark.parametrize("name", [".d.nii.gz.Xy12Ab", "d.nii.gz.part", "d.nii.gz.filepart"])
def test_an_unfinished_copy_of_a_patient_fails(tmp_path: Path, name: str) -> None:
    write_itk(tmp_path / "c.nii.gz", volume().array)
    (tmp_path / name).write_bytes(b"begun")
    assert told(tmp_path) == {"c": SHAPE, "d": "is a copy of d.nii.gz that was not finished"}
    write_itk(tmp_path / "d.nii.gz", volume().array)
    assert told(tmp_path)["d"] == SHAPE


def test_an_unfinished_copy_beside_training_cases_is_told(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    for name in (".c3_0000.nii.gz.Xy12Ab", ".hidden", ".config.backup"):
        (tmp_path / "imagesTr" / name).touch()
    (unused,) = find_layout(tmp_path).unused
    assert unused.found == "is a copy of c3_0000.nii.gz that was not finished"
