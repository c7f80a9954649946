"""'Has it changed?' looks at every file that holds voxels, at what labels mean, and with --verify at the voxels."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bisc.core.errors import InputError
from bisc.core.volume import Volume, digest_of
from bisc.imageio import files_of
from bisc.imageio.dataset import RawCase
from bisc.imageio.label_names import meaning_of_option
from bisc.planners.source import load_source
from bisc.preprocessing.cache import CacheJob, cache_key, is_fresh
from tests.imageio.test_label_names import dataset_json
from tests.robustness.hostile_datasets import SOUND, sound
from tests.robustness.hostile_kinds import run_command, voxels
from tests.support.cached import stored_meaning
from tests.support.grids import grid, write_itk
from tests.support.training_fixtures import STORED, patient

DATA = Path("bisc_data")
PLAN = ("-d", "Data", "-np", "1")


def a_nhdr(path: Path) -> Path:
    path.write_text("NRRD0004\ntype: short\ndimension: 1\nsizes: 1\nencoding: raw\ndata file: a.raw\n\n")
    path.with_suffix(".raw").write_bytes(b"\0\0")
    return path


def a_pair(path: Path) -> Path:
    path.write_bytes(b"\0")
    path.with_suffix(".img").write_bytes(b"\0")
    return path


def a_folder(path: Path) -> Path:
    path.mkdir()
    (path / ".hidden").touch()
    for name in "b", "a":
        (path / name).touch()
    return path


@pytest.mark.parametrize(
    ("name", "make", "files"),
    [
        ("a.nii.gz", lambda p: write_itk(p, np.zeros((2, 2, 2), np.int16)), ["a.nii.gz"]),
        ("a.mha", lambda p: write_itk(p, np.zeros((2, 2, 2), np.int16)), ["a.mha"]),
        ("a.mhd", lambda p: write_itk(p, np.zeros((2, 2, 2), np.int16)), ["a.mhd", "a.raw"]),
        ("a.nrrd", lambda p: write_itk(p, np.zeros((2, 2, 2), np.int16)), ["a.nrrd"]),
        ("a.nhdr", a_nhdr, ["a.nhdr", "a.raw"]),
        ("a.nrrd", a_nhdr, ["a.nrrd", "a.raw"]),
        ("a.hdr", a_pair, ["a.hdr", "a.img"]),
        ("a", a_folder, ["a", "b"]),
        ("a.mhd", lambda p: p.write_text("damaged") and p, ["a.mhd"]),
    ],
)
def test_files_of_a_case(tmp_path: Path, name: str, make: Callable[[Path], Path], files: list[str]) -> None:
    path = make(tmp_path / name)
    assert [file.name for file in files_of(path)] == files


def test_a_key_changes_with_every_file_and_with_what_labels_mean(tmp_path: Path) -> None:
    """The data file of a header counts, the header's own size and time being the same."""
    image = write_itk(tmp_path / "image.mhd", np.zeros((2, 2, 2), np.int16))
    labels = write_itk(tmp_path / "labels.mhd", np.zeros((2, 2, 2), np.uint8))
    seen: set[str] = set()
    for meaning in (None, meaning_of_option("kidney=1,tumor=2"), meaning_of_option("kidney=2,tumor=1")):
        for data in (None, "image.raw", "labels.raw"):
            if data:
                os.utime(tmp_path / data, ns=(0, len(seen)))
            seen.add(RawCase("a", image, labels, meaning).stamp())
    assert len(seen) == 9


def test_a_digest_knows_voxels_and_place() -> None:
    """A view that is turned has one digest however often it is taken; one voxel, or the grid, changes it."""
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    one = digest_of(Volume(array, grid((2, 3, 4))))
    assert digest_of(Volume(array, grid((2, 3, 4)))) == one
    changed = array.copy()
    changed[1, 2, 3] += 1
    others = [Volume(changed, grid((2, 3, 4))), Volume(array[::-1, ::-1], grid((2, 3, 4)))]
    others += [Volume(array, grid((2, 3, 4), (9.0, 1.0, 1.0))), Volume(array.astype(np.int32), grid((2, 3, 4)))]
    assert len({one, *map(digest_of, others)}) == 5
    cube = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    turned = [cube, cube.T, cube[:, :, ::-1], cube.swapaxes(0, 1), np.ascontiguousarray(cube.T)]
    assert len({digest_of(Volume(array, grid((2, 2, 2)))) for array in turned}) == 5


def planned(home: Path, *flags: str) -> tuple[int, str, list[str]]:
    run = run_command("plan_and_preprocess", [*PLAN, *flags], home)
    return run.status, run.out, run.err


def cached(home: Path, case: str) -> bytes:
    return b"".join(
        path.read_bytes() for path in sorted((home / DATA / "preprocessed" / "Data").glob(f"*/{case}/*.npy"))
    )


def test_verify_makes_anew_what_was_cached_of_other_voxels(tmp_path: Path) -> None:
    """A file replaced by one of the same size and time: unseen by a plain run, and not by --verify."""
    raw = tmp_path / DATA / "raw" / "Data"
    for i, case in enumerate(SOUND):
        folder = sound(raw, case, i)
        (folder / "imaging.nii.gz").unlink()
        voxels(folder / "imaging.nii", patient(STORED.canonical, 12.0 + i, i)[0])
    assert planned(tmp_path)[0] == 0
    image = raw / SOUND[0] / "imaging.nii"
    before, times, size = cached(tmp_path, SOUND[0]), image.stat(), image.stat().st_size
    voxels(image, patient(STORED.canonical, 12.0, 99)[0])
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert image.stat().st_size == size
    records = {p: p.stat().st_mtime_ns for p in (tmp_path / DATA).rglob("case.json")}
    assert planned(tmp_path)[0] == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / DATA).rglob("case.json")} == records
    assert planned(tmp_path, "--verify")[0] == 0
    assert cached(tmp_path, SOUND[0]) != before
    after = {p: p.stat().st_mtime_ns for p in records}
    assert planned(tmp_path, "--verify")[0] == 0
    assert {p: p.stat().st_mtime_ns for p in records} == after


def test_the_meaning_of_labels_stays_with_the_data_set(tmp_path: Path) -> None:
    """Swapped numbers: said by dataset.json, or by --labels, which later runs keep; the plan and tumours follow."""
    raw, target = tmp_path / DATA / "raw" / "Data", tmp_path / DATA / "preprocessed" / "Data"
    for i, case in enumerate(SOUND):
        folder = sound(raw, case, i)
        labels = patient(STORED.canonical, 12.0 + i, i)[1]
        voxels(folder / "segmentation.nii.gz", np.array([0, 2, 1], np.uint8)[labels])
    status, out, err = planned(tmp_path, "--labels", "kidney=2,tumor=1")
    assert (status, err) == (0, [])
    assert "labels: 0 background, 2 kidney, 1 tumour, by --labels\n" in out
    record = (target / "fingerprint.json").read_bytes()
    again = planned(tmp_path)
    assert (again[0], "(given at an earlier run)" in again[1]) == (0, True)
    meaning = stored_meaning(target)
    assert meaning is not None
    assert ((target / "fingerprint.json").read_bytes(), meaning.key) == (record, "kidney=2,tumor=1")
    assert planned(tmp_path, "--labels", "kidney=1,tumor=2")[0] == 0
    swapped = (target / "fingerprint.json").read_bytes()
    assert swapped != record
    (target / "source.json").unlink()
    dataset_json(raw, {"0": "background", "1": "tumor", "2": "kidney"})
    assert "by dataset.json" in planned(tmp_path)[1]
    assert (target / "fingerprint.json").read_bytes() == record
    assert "2 kidney, 1 tumour, by dataset.json" in (target / "plan.txt").read_text()
    dataset_json(raw, {"kidney_left": 1, "kidney_right": 2})
    status, out, err = planned(tmp_path)
    assert (status, len(err)) == (2, 1)
    assert "--labels kidney=1+2" in err[0]


def test_a_cache_key_holds_the_stamp(tmp_path: Path) -> None:
    from tests.support.cached import settings_for

    image = write_itk(tmp_path / "image.mhd", np.zeros((2, 2, 2), np.int16))
    case = RawCase("a", image, image)
    key = cache_key(CacheJob(case, settings_for(), tmp_path))
    os.utime(tmp_path / "image.raw", ns=(0, 7))
    assert cache_key(CacheJob(case, settings_for(), tmp_path)) != key


def test_records_of_older_versions_are_read(tmp_path: Path) -> None:
    """source.json without labels, case.json without a digest: KiTS's numbers, and stale only for --verify."""
    (tmp_path / "source.json").write_text(json.dumps({"folder": str(tmp_path)}))
    assert (load_source(tmp_path), stored_meaning(tmp_path)) == (tmp_path, None)
    (tmp_path / "case.json").write_text(json.dumps({"name": "a", "key": "k", "regions": []}))
    assert [is_fresh(tmp_path, "k"), is_fresh(tmp_path, "k", "digest"), is_fresh(tmp_path, "l")] == [True, False, False]


@pytest.mark.parametrize("labels", ['{"kidney": []}', '{"kidney": [1], "tumor": [1]}', '{"kidney": [300]}', '{"a": 1}'])
def test_a_damaged_meaning_is_refused(tmp_path: Path, labels: str) -> None:
    (tmp_path / "source.json").write_text(f'{{"folder": "/", "labels": {labels}}}')
    with pytest.raises(InputError, match=r"source\.json: .*run bisc_plan_and_preprocess"):
        load_source(tmp_path)
