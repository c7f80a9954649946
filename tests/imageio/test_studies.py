"""DICOM studies: files put together wherever they lie, and the one series of each that is predicted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from bisc.core.errors import InputError
from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import Scan, open_scan
from bisc.system.console import collecting
from tests.support.ct_series import STEM, write_ct

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((60, 10, 14), (2.5, 18.0, 18.0), (-126.0, -90.0, -700.0), LPS)


def volume(grid: Geometry = GRID, seed: int = 0) -> Volume:
    """Every voxel of its own value."""
    hu = np.random.default_rng(seed).integers(-900, 900, grid.shape_zyx).astype(np.int16)
    return Volume(hu, grid)


def grid_of(n: int, step: float) -> Geometry:
    return Geometry((n, 10, 14), (step, 18.0, 18.0), (-126.0, -90.0, -700.0), LPS)


def coronal(data: Dataset, i: int) -> None:
    data.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    data.ImagePositionPatient = [-15, -12 + 2.5 * i, 0]


def scout(data: Dataset, i: int) -> None:
    data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    coronal(data, i)


def dose_report(data: Dataset, i: int) -> None:
    data.Modality, data.SOPClassUID = "SR", "1.2.840.10008.5.1.4.1.1.88.67"
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(data, keyword)


def opened(folder: Path, **how: object) -> Scan:
    (case,) = find_inputs(folder)
    with collecting(quiet=True):
        return open_scan(case, **how)  # type: ignore[arg-type]


def chosen(folder: Path, **how: object) -> str:
    return uid_of(opened(folder, **how))


def uid_of(scan: Scan) -> str:
    """The end of the series' UID: study and series."""
    assert scan.choice is not None
    return scan.choice.series.about.uid.removeprefix(f"{STEM}.2.")


def reason(folder: Path) -> str:
    return reason_of(opened(folder))


def reason_of(scan: Scan) -> str:
    assert scan.choice is not None
    return scan.choice.reason


def test_shuffled_with_everything_beside_it(tmp_path: Path) -> None:
    """One flat folder: a stack in any order, a copy of some files, a scout, a second phase, a report."""
    whole, folder = volume(), tmp_path / "patient"
    order = np.random.default_rng(5).permutation(60)
    write_ct(folder, whole, description="Nephro 2.5", number=4, name=lambda i: f"{order[i]:04d}a")
    write_ct(folder, volume(seed=1), series="2", description="nativ 2.5", number=2, name=lambda i: f"{order[i]:04d}b")
    write_ct(folder, whole, series="3", description="Topo", keep=[0], name=lambda i: "scout", change=scout)
    write_ct(folder, whole, series="5", description="Dose", number=99, keep=[0], name=lambda i: "d", change=dose_report)
    for i in (7, 30):
        shutil.copy(folder / f"{i:04d}a", folder / f"copy{i}")
    scan = opened(folder)
    assert np.array_equal(scan.read().volume.array, whole.array)
    assert scan.choice is not None
    assert scan.choice.reason == (
        "series 4 Nephro 2.5: 60 slices of 2.5 mm, late phase by its words; left out: series 2 nativ 2.5: plain phase "
        "by its words; series 1 Topo: a localizer, by its ImageType; series 99 Dose: modality SR (X-Ray Radiation Dose "
        "SR Storage)"
    )


def test_copies_are_read_once_and_told(tmp_path: Path) -> None:
    write_ct(tmp_path / "p", volume())
    shutil.copy(tmp_path / "p" / "IM0003.dcm", tmp_path / "p" / "again.dcm")
    (case,) = find_inputs(tmp_path)
    with collecting(quiet=True) as notes:
        assert open_scan(case).read().volume.array.shape[0] == 60
    assert ["twice, to the last pixel" in note for note in notes] == [True]


def test_another_slice_under_the_same_uid_is_no_copy(tmp_path: Path) -> None:
    """Same UID, other pixels: a fault, as two slices at one place are."""
    write_ct(tmp_path / "p", volume())
    write_ct(tmp_path / "p", volume(seed=1), keep=[3], name=lambda i: "again.dcm")
    with pytest.raises(InputError, match="a slice is there twice"):
        opened(tmp_path)


def test_a_series_spread_over_folders_is_one(tmp_path: Path) -> None:
    """As media hold it, so many files a folder."""
    whole = volume()
    for k, part in enumerate((range(25), range(25, 40), range(40, 60))):
        write_ct(tmp_path / "medium" / f"DIR{k}", whole, keep=list(part))
    (case,) = find_inputs(tmp_path / "medium")
    assert (case.name, case.path, len(case.files)) == ("medium", tmp_path / "medium", 60)
    assert np.array_equal(open_scan(case).read().volume.array, whole.array)


def test_studies_under_one_folder(tmp_path: Path) -> None:
    """Each study is a case, named by its folder, whatever its series' folders are called."""
    for patient, study in (("anna", "1"), ("bert", "2")):
        write_ct(tmp_path / patient / "S1", volume(), study=study, description="arterial", patient=patient)
        write_ct(tmp_path / patient / "S2", volume(), study=study, series="2", description="venous", patient=patient)
    cases = find_inputs(tmp_path)
    assert [(case.name, len(case.files), case.study.split()[0][-2:]) for case in cases] == [
        ("anna", 120, ".1"),
        ("bert", 120, ".2"),
    ]


def test_two_studies_in_one_flat_folder_are_told_apart(tmp_path: Path) -> None:
    """By date, so that a third one changes no name; neither gets a slice of the other."""
    for k, (study, day) in enumerate((("1", "20240601"), ("2", "20230101"))):

        def dated(data: Dataset, i: int, day: str = day) -> None:
            data.StudyDate = day

        write_ct(tmp_path / "clinic", volume(seed=k), study=study, name=lambda i, k=k: f"{k}_{i}", change=dated)  # type: ignore[misc]
    cases = find_inputs(tmp_path)
    found = [(case.name, case.study.split()[0][-2:]) for case in cases]
    assert found == [("clinic_20230101", ".2"), ("clinic_20240601", ".1")]
    for case, seed in zip(cases, (1, 0), strict=True):
        assert np.array_equal(open_scan(case).read().volume.array, volume(seed=seed).array)


def test_studies_without_a_date_or_of_one_day_are_told_apart_by_number(tmp_path: Path) -> None:
    for study, day in (("1", "20240601"), ("2", "20240601"), ("3", "")):

        def dated(data: Dataset, i: int, day: str = day) -> None:
            data.StudyDate = day

        write_ct(tmp_path / "x", volume(), study=study, keep=[0, 1], name=f"{study}_{{}}".format, change=dated)
    assert [case.name for case in find_inputs(tmp_path)] == [
        "x_20240601_study1",
        "x_20240601_study2",
        "x_study1",
    ]


def test_two_patients_under_one_series_uid_are_two(tmp_path: Path) -> None:
    """What an anonymiser leaves that gives everyone the same UIDs."""
    for k, patient in enumerate(("a", "b")):
        write_ct(tmp_path / "all", volume(seed=k), patient=patient, name=lambda i, p=patient: f"{p}{i}")  # type: ignore[misc]
    assert len(find_inputs(tmp_path)) == 2


def test_parts_that_fit_together_are_one_series(tmp_path: Path) -> None:
    """Whatever their folders are called, a few copies among them."""
    whole = volume()
    for k, name in enumerate(("anna", "x/y", "2")):
        write_ct(tmp_path / "in" / name, whole, keep=range(k, 60, 3))
    shutil.copy(tmp_path / "in" / "anna" / "IM0003.dcm", tmp_path / "in" / "2" / "again")
    (case,) = find_inputs(tmp_path / "in")
    assert (case.name, case.fault, len(case.files)) == ("in", None, 61)
    with collecting(quiet=True):
        assert np.array_equal(open_scan(case).read().volume.array, whole.array)


@pytest.mark.parametrize("lost", [30, 31])
def test_parts_that_do_not_are_faults(tmp_path: Path, lost: int) -> None:
    """Each would pass for a patient."""
    write_ct(tmp_path / "anna", volume(), keep=range(lost))
    write_ct(tmp_path / "bert", volume(), keep=range(lost + 1, 60))
    assert ["holds a part of the series in" in str(case.fault) for case in find_inputs(tmp_path)] == [True, True]


def test_two_bodies_under_one_uid_do_not_fit(tmp_path: Path) -> None:
    """At the same places, with slices' UIDs of their own."""
    for k, name in enumerate(("anna", "bert")):
        own = {i: f"{STEM}.9.{k}.{i}" for i in range(60)}

        def change(data: Dataset, i: int, own: dict[int, str] = own) -> None:
            data.SOPInstanceUID = own[i]

        write_ct(tmp_path / name, volume(seed=k), keep=range(40 + k), change=change)
    assert ["holds a part of the series in" in str(case.fault) for case in find_inputs(tmp_path)] == [True, True]


def test_patients_of_one_uid_are_as_many_as_their_names(tmp_path: Path) -> None:
    """What a careless anonymiser leaves: one study and one series UID, and the same UIDs of slices."""
    for k, name in enumerate(("anna", "bert", "carl")):
        write_ct(tmp_path / name, volume(seed=k))
        write_ct(tmp_path / name, volume(seed=k + 9), series=f"only {k}"[-1] + "7", number=9, name=lambda i: f"x{i}")
    assert [(case.name, case.fault, len(case.files)) for case in find_inputs(tmp_path)] == [
        ("anna", None, 120), ("bert", None, 120), ("carl", None, 120),
    ]  # fmt: skip


def test_whole_copies_under_two_names_are_two_cases(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_ct(tmp_path / name, volume())
    assert [case.name for case in find_inputs(tmp_path)] == ["first", "second"]


def test_a_study_whose_series_lie_at_the_source_bears_its_name(tmp_path: Path) -> None:
    """And that of its images' folder where the others hold none."""
    study = tmp_path / "miller"
    write_ct(study / "art", volume(), description="art")
    write_ct(study / "topo", volume(), series="2", number=2, keep=[0], change=scout)
    assert [case.name for case in find_inputs(study)] == ["art"]
    write_ct(study / "ven", volume(), series="3", number=3, description="ven")
    assert [case.name for case in find_inputs(study)] == ["miller"]


def test_a_damaged_file_fails_its_study_alone(tmp_path: Path) -> None:
    write_ct(tmp_path / "whole", volume(), study="1")
    write_ct(tmp_path / "cut", volume(), study="2")
    path = tmp_path / "cut" / "IM0009.dcm"
    path.write_bytes(path.read_bytes()[:700])
    cut, whole = find_inputs(tmp_path)
    assert open_scan(whole).read().volume.array.shape == GRID.shape_zyx
    with pytest.raises(InputError, match=r"IM0009.dcm is damaged"):
        open_scan(cut)
