"""bisc_predict --deidentify: nothing that is written says whom a study is of; the networks are the stub's."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.support.ct_series import STEM, write_ct
from tests.support.dicom_runs import patient, run, study
from tests.support.stub_model import stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bisc.inference.model.load_model", lambda *_: stub_model())


def test_deidentified(tmp_path: Path) -> None:
    """Neither names of files nor tables nor objects say whom the study is of."""
    study(tmp_path / "in" / "jones")
    (row,) = run(tmp_path, "--format", "both", "--also", "sr", "--deidentify").values()
    for path in (tmp_path / "out").iterdir():
        text = path.name.encode() + path.read_bytes()
        assert not [s for s in (b"jones", b"Doe", b"P1", b"19500102", STEM.encode(), b"venous") if s in text], path
    assert row["case"].startswith("study_")
    assert (row["source"], row["choice"], row["notes"]) == ("", "", "")


def test_deidentified_without_a_study_uid(tmp_path: Path) -> None:
    """Sound and damaged studies that lack it, and what is no scan: their folders' names are in nothing that is
    written."""

    def nameless(data: Dataset, i: int) -> None:
        del data.StudyInstanceUID

    for name in ("jones", "Doe"):
        write_ct(tmp_path / "in" / name, patient(), change=nameless)
    slices = sorted((tmp_path / "in" / "Doe").iterdir())
    slices[3].write_bytes(slices[3].read_bytes()[:700])
    (tmp_path / "in" / "jones_P1.txt").write_text("a letter")
    rows = run(tmp_path, "--deidentify", status=2)
    assert len(rows) >= 3
    assert "ok" in {row["status"] for row in rows.values()}
    for path in (tmp_path / "out").iterdir():
        text = path.name.encode() + path.read_bytes()
        assert not [s for s in (b"jones", b"Doe", b"P1") if s in text], text[:3000]


def test_deidentified_faults(tmp_path: Path) -> None:
    """What Siemens' exports call their files, and what technicians write into a description, name patients."""
    for series in ("1", "2"):
        write_ct(
            tmp_path / "in" / "x", patient(), series=series, number=int(series), description="Doe, phase",
            name=f"DOE_JOHN.CT.ABDOMEN.{series}.{{:04d}}.IMA".format, keep=[0, 1, 2, 4, 5, 6, 7, 8],
        )  # fmt: skip
    (row,) = run(tmp_path, "--deidentify", status=2).values()
    assert "series 1: " in row["error"]
    assert "file 4 of 16" in row["error"]
    assert not [word for word in ("Doe", "DOE", "phase", str(tmp_path)) if word in row["error"]], row["error"]


def test_deidentified_parts_of_a_series(tmp_path: Path) -> None:
    """Halves under two patients' names: the table says that there is another half, and not where."""
    for name, who, keep in (("Doe_John", "P1", range(24)), ("Roe_Ann", "P2", range(24, 48))):
        write_ct(tmp_path / "in" / name, patient(), patient=who, keep=list(keep))
    rows = run(tmp_path, "--deidentify", status=2)
    assert {row["status"] for row in rows.values()} == {"failed"}
    table = (tmp_path / "out" / "predictions.csv").read_text()
    assert table.count("holds a part of the series in another folder") == 1  # the first: "a series of two PatientIDs"
    assert not [word for word in ("Doe", "Roe") if word in table], table


def test_deidentified_patients_of_one_study_uid(tmp_path: Path) -> None:
    """Phantoms and anonymisers: told apart by PatientID, and where that is one too, by folder."""
    for folder, who in (("a", "A"), ("b", "B"), ("c", "B")):
        write_ct(tmp_path / "in" / folder, patient(), patient=who)
    rows = run(tmp_path, "--deidentify")
    assert len(rows) == 3
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == sorted(
        f"{name}.nii.gz" for name in rows
    )
