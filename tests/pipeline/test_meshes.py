"""`bisc_predict --mesh`, as a user gives it: which files there are, what they hold, and how to go on. Networks are the
stub's."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from bisc.cli import predict
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.imageio import read_image, write_image
from bisc.pipeline.meshes import mesh_files, write_meshes
from bisc.preprocessing.segments import divide
from tests.support.ct_series import write_ct
from tests.support.stub_model import kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
GRID = Geometry((48, 80, 96), (3.0, 4.0, 4.0), (-190.0, -160.0, -700.0))
STL = ["both_left_kidney_LPS.stl", "both_right_kidney_LPS.stl", "both_tumor_1_left_LPS.stl"]
OBJ = ["both_meshes_RAS.mtl", "both_meshes_RAS.obj"]


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bisc.inference.model.load_model", lambda *_: stub_model())


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patient with two kidneys and a tumour of the left one, and one with neither."""
    folder = tmp_path_factory.mktemp("scans")
    write_image(folder / "both.nii.gz", kidneys(GRID)[0].array, NativeGrid.of(GRID))
    write_image(folder / "none.nii.gz", kidneys(GRID, (), None)[0].array, NativeGrid.of(GRID))
    return folder


def run(source: Path, out: Path, *more: str, status: int = 0) -> dict[str, dict[str, str]]:
    assert predict.main(["-i", str(source), "-o", str(out), "-m", "stub", "--device", "cpu", *more]) == status
    with (out / "predictions.csv").open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def meshes(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if path.suffix in (".stl", ".obj", ".mtl", ".glb"))


def test_a_file_for_each_kidney_and_tumour(scans: Path, tmp_path: Path) -> None:
    """Where the mask has them, with its volume; the table names them; without a kidney there is none."""
    rows = run(scans, tmp_path, "--mesh", "stl")
    assert meshes(tmp_path) == STL
    volume = read_image(tmp_path / "both.nii.gz").volume
    numbered, segments = divide(volume.array.astype(np.uint8), volume.geometry, 5.0)
    assert [one.name for one in segments] == ["Right kidney", "Left kidney", "Tumour 1 (left)"]
    assert [one["name"] for one in json.loads(rows["both"]["segments"])] == [one.name for one in segments]
    for path, one in zip(mesh_files(tmp_path, "both", [s.name for s in segments], "stl", "LPS"), segments, strict=True):
        mesh = trimesh.load(path)
        assert mesh.is_watertight
        assert mesh.volume / 1000 == pytest.approx(one.volume_ml, rel=0.02)
        centre = volume.geometry.index_to_physical(np.argwhere(numbered == one.number).mean(axis=0))
        assert np.abs(mesh.center_mass - centre).max() < 1.0
    assert (rows["none"]["status"], rows["none"]["segments"]) == ("no_kidney", "[]")


@pytest.mark.long
def test_continue_makes_what_is_missing(scans: Path, tmp_path: Path) -> None:
    """A mesh that is gone, another form, meshes not asked for before; what is whole is left. Older forms go."""
    run(scans, tmp_path)
    assert meshes(tmp_path) == []
    run(scans, tmp_path, "--mesh", "stl", "--continue")
    assert meshes(tmp_path) == STL
    (tmp_path / STL[1]).unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("none*")}
    run(scans, tmp_path, "--mesh", "stl", "--continue")
    assert meshes(tmp_path) == STL
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("none*")}
    run(scans, tmp_path, "--mesh", "obj", "--mesh-space", "RAS", "--continue")
    assert meshes(tmp_path) == OBJ
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name in OBJ}
    run(scans, tmp_path, "--mesh", "obj", "--mesh-space", "RAS", "--continue")
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_other_cases_meshes_stay_and_own_old_ones_go(tmp_path: Path) -> None:
    """A tumour that the new mask has not, and a case whose name begins with this one's."""
    numbered, segments = divide(kidneys(GRID)[1], GRID, 5.0)
    for case in ("a", "a_left"):
        assert len(write_meshes(tmp_path, case, numbered, segments, GRID, "stl")) == 3
    (tmp_path / "a_notes.stl").touch()
    write_meshes(tmp_path, "a", np.zeros_like(numbered), [], GRID, "stl")
    left = ["a_left_left_kidney_LPS.stl", "a_left_right_kidney_LPS.stl", "a_left_tumor_1_left_LPS.stl", "a_notes.stl"]
    assert meshes(tmp_path) == left
    with pytest.raises(ValueError, match="ply"):
        write_meshes(tmp_path, "a", numbered, segments, GRID, "ply")  # type: ignore[arg-type]


def test_a_failed_case_keeps_no_older_mesh(scans: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "both.nii.gz").write_bytes((scans / "both.nii.gz").read_bytes())
    run(source, tmp_path / "out", "--mesh", "glb")
    assert meshes(tmp_path / "out") == ["both_meshes.glb"]
    (source / "both.nii.gz").write_bytes(b"damaged")
    assert run(source, tmp_path / "out", status=2)["both"]["status"] == "failed"
    assert meshes(tmp_path / "out") == []


@pytest.mark.long
def test_deidentified_meshes_say_nothing_of_the_patient(tmp_path: Path) -> None:
    write_ct(tmp_path / "in" / "Doe_Jane", kidneys(GRID)[0])
    for form in ("stl", "obj", "glb"):
        (case,) = run(tmp_path / "in", tmp_path / form, "--mesh", form, "--deidentify")
        assert case.startswith("study_")
        names = meshes(tmp_path / form)
        assert names and all(name.startswith(case) for name in names)
        for name in names:
            data = (tmp_path / form / name).read_bytes().lower()
            assert not [word for word in (b"doe", b"jane", b"1.2.") if word in data[:2000]]


@pytest.mark.parametrize("more", [[], ["--mesh", "glb"]])
def test_a_space_without_a_place_is_refused(
    scans: Path, tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["-i", str(scans), "-o", str(tmp_path / "out"), "-m", "stub", "--mesh-space", "RAS", *more]
    assert predict.main(argv) == 2
    assert "--mesh-space: given with" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
