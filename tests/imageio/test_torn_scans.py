"""One scan whose files bear several series' UIDs is not predicted in part without a word; persons under one UID are
told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from bisc.core.errors import InputError
from bisc.imageio.formats.dicom.planes import Plane, goes_on, is_torn
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import list_series, open_scan
from bisc.system.console import collecting
from tests.imageio.test_series_choice import stack
from tests.imageio.test_studies import opened, reason_of, scout, volume
from tests.support.ct_series import STEM, write_ct
from tests.support.dicom_forms import put
from tests.support.noticed import noticed

Change = Callable[[Dataset, int], None]
N_TORN = 12


def own(*keywords: str) -> Change:
    """A value of its own for each file."""

    def change(data: Dataset, i: int) -> None:
        for keyword in keywords:
            setattr(data, keyword, f"{STEM}.7.{i}" if keyword.endswith("UID") else f"P{i}")

    return change


TORN: dict[str, Change] = {
    "a series": own("SeriesInstanceUID"),
    "a series and a study": own("SeriesInstanceUID", "StudyInstanceUID"),
    "a series, a study and a frame": own("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"),
    "a series, a study and a patient": own("SeriesInstanceUID", "StudyInstanceUID", "PatientID"),
}


@pytest.mark.parametrize("name", ["IM{}.dcm", "{}/IM.dcm"], ids=["one folder", "a folder each"])
@pytest.mark.parametrize("what", TORN)
def test_a_uid_for_each_file_is_one_line(tmp_path: Path, what: str, name: str) -> None:
    """One case, and no slice of it is predicted as a patient."""
    write_ct(tmp_path / "anna", volume(), keep=range(N_TORN), change=TORN[what], name=name.format)
    (case,) = find_inputs(tmp_path)
    found = f"{N_TORN} series of one slice each, on one grid, at {N_TORN} heights.*; write one UID into all slices"
    with pytest.raises(InputError, match=found):
        open_scan(case)
    assert all("12 series of one slice" in one.reason for one in list_series(case))


def test_a_whole_series_beside_single_slices_is_taken(tmp_path: Path) -> None:
    """Shots of a biopsy, say."""
    write_ct(tmp_path / "p", volume(), series="9", keep=range(0, 60, 12), change=own("SeriesInstanceUID"))
    stack("1", number=7)(tmp_path / "p")
    assert "60 slices" in reason_of(opened(tmp_path)).split(";")[0]


def test_single_slices_of_other_patients_are_cases(tmp_path: Path) -> None:
    """On one grid, but at the places of no scan."""
    for k, i in enumerate((0, 7, 9, 31, 50)):
        write_ct(tmp_path / f"p{k}", volume(), study=str(k), patient=f"P{k}", keep=[i])
    assert len(find_inputs(tmp_path)) == 5


@pytest.mark.parametrize(
    ("first", "second", "number", "folders"),
    [
        (range(30), range(30, 60), 6, ("a", "a")),
        (range(30), range(30, 60), 6, ("a", "b")),
        (range(28), range(28, 60), 5, ("a", "b")),
        (range(59), range(59, 60), 6, ("a", "a")),
        (range(1, 60), range(1), 5, ("a", "b")),
        (range(30), range(31, 60), 6, ("a", "a")),  # a slice is lost at the seam
        (range(31), range(30, 60), 6, ("a", "a")),  # and one in both
    ],
)
def test_a_scan_in_two_series_is_told(
    tmp_path: Path, first: range, second: range, number: int, folders: tuple[str, str]
) -> None:
    """In one folder and in two, under one SeriesNumber or two."""
    parts = ((first, "1", 5), (second, "2", number))
    for (keep, series, n), folder in zip(parts, folders, strict=True):
        write_ct(tmp_path / folder, volume(), series=series, number=n, keep=keep, name=(series + "{}").format)
    (case,) = find_inputs(tmp_path)
    one, other = ("1 slice" if n == 1 else f"{n} slices" for n in sorted((len(first), len(second))))
    both = rf"series \d \(({one}|{other})\) goes on where series \d \(({one}|{other})\) ends; the latter alone was read"
    with noticed(both):
        assert "goes on where it ends: one scan in two series" in open_scan(case).told


@pytest.mark.parametrize(
    ("keep", "change"),
    [
        (range(30, 60), put(FrameOfReferenceUID=f"{STEM}.8")),
        (range(30, 60), put(PixelSpacing=[3.1, 3.1])),
        (range(34, 60), put()),
        (range(10, 60), put()),
        (range(30, 60, 2), put()),
    ],
    ids=["another frame", "other pixels", "far behind", "over each other", "another step"],
)
def test_series_that_do_not_go_on_are_not_told(tmp_path: Path, keep: range, change: Change) -> None:
    write_ct(tmp_path, volume(), series="1", number=1, keep=range(30))
    write_ct(tmp_path, volume(), series="2", number=2, keep=keep, change=change, name="2{}".format)
    (case,) = find_inputs(tmp_path)
    with collecting(quiet=True) as notes:
        open_scan(case)
    assert not [note for note in notes if "goes on" in note]


def test_planes_by_hand() -> None:
    def at(*heights: float) -> list[Plane]:
        return [Plane((1.0,), mm) for mm in heights]

    assert is_torn(at(5, 0, 10, 15))
    assert is_torn(at(0, 5, 10, 15, 20, 30))  # 4 of 5 steps
    assert not is_torn(at(0, 5, 10, 20))
    assert not is_torn(at(0, 5, 10))
    assert goes_on(at(0, 5, 10), at(15, 20))
    assert goes_on(at(15), at(0, 5, 10))
    assert not goes_on(at(15), at(20))  # of no step
    assert not goes_on(at(0, 5, 10), at(26, 31))
    assert not goes_on(at(0, 5, 10), at(7.5, 12.5))
    assert not goes_on(at(0, 5, 10), [Plane((2.0,), 15.0)])


PERSONS: dict[str, dict[str, str]] = {
    "days": {"StudyDate": "20250101"},
    "names": {"PatientName": "Roe^Rob"},
    "birth dates": {"PatientBirthDate": "19700101"},
}


@pytest.mark.parametrize("what", PERSONS)
@pytest.mark.parametrize("folders", [("a", "b"), ("a", "a")], ids=["two folders", "one"])
def test_two_persons_under_one_id_and_study_are_two_cases(tmp_path: Path, what: str, folders: tuple[str, str]) -> None:
    """Each with a frame of reference of its own, and other SeriesNumbers."""
    for k, folder in enumerate(folders):
        tags = PERSONS[what] | {"FrameOfReferenceUID": f"{STEM}.8"} if k else {}
        name = (str(k) + "{}").format
        write_ct(
            tmp_path / folder, volume(seed=k), series=str(k), number=k, name=name, keep=range(50), change=put(**tags)
        )
    cases = find_inputs(tmp_path)
    assert [len(case.files) for case in cases] == [50, 50]
    assert len({case.name for case in cases}) == 2


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientName": "DOE^Jane^"},
        {"PatientName": "", "PatientBirthDate": "", "StudyDate": ""},
        {"PatientName": "Roe^Rob", "FrameOfReferenceUID": f"{STEM}.3.1"},
    ],
    ids=["a name written otherwise", "nothing told", "one frame of reference"],
)
def test_one_person_remains_one(tmp_path: Path, tags: dict[str, str]) -> None:
    stack("1", number=1)(tmp_path)
    stack("2", number=2, change=put(**({"FrameOfReferenceUID": f"{STEM}.8"} | tags)))(tmp_path)
    write_ct(tmp_path / "topo", volume(), series="3", number=9, keep=[0], change=scout)
    assert len(find_inputs(tmp_path)) == 1
