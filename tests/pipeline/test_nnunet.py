"""nnU-Net's data sets are found, read and trained on in its folds; ours are written so that it can do the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bisc.cli import plan_and_preprocess
from bisc.core.errors import InputError
from bisc.imageio import read_image, read_labels, write_image
from bisc.imageio.dataset import find_raw_dataset
from bisc.imageio.label_map import meaning_of_dataset
from bisc.pipeline.nnunet import export_nnunet
from bisc.pipeline.plan import plan
from bisc.planners.dataset import load_plan, load_splits
from bisc.planners.splits import read_splits
from bisc.system.paths import CHECKPOINT_LAST
from tests.support.training_fixtures import NAME, STORED, patient, write_raw

OURS = ["-d", NAME, "--only-plan", "-np", "1"]
CYST = 3


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BISC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("nnUNet_raw", raising=False)
    return tmp_path / "home"


def write_theirs(folder: Path, ending: str = ".nii.gz", n: int = 3) -> Path:
    """A data set of KiTS23's regions in nnU-Net's layout, a cyst in each."""
    for i in range(n):
        hu, labels = patient(STORED.canonical, 12.0 + 2.0 * i, i)
        labels[np.nonzero(labels == 1)[0][0]] *= CYST  # of the uppermost slice with a kidney
        write_image(folder / "imagesTr" / f"kits_{i}_0000{ending}", hu, STORED)
        write_image(folder / "labelsTr" / f"kits_{i}{ending}", labels, STORED)
    regions = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}
    about = {"channel_names": {"0": "CT"}, "labels": regions, "numTraining": n, "file_ending": ending}
    (folder / "dataset.json").write_text(json.dumps({**about, "regions_class_order": [1, 3, 2]}))
    return folder


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("called", ["Dataset220_KiTS2023", "220"])
def test_theirs_are_found_and_read_as_they_are(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, called: str
) -> None:
    """By name or number where nnUNet_raw is, whatever the ending; regions say what is a cyst; their folds count."""
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "theirs"))
    write_theirs(tmp_path / "theirs" / "Dataset220_KiTS2023", ending)
    folds = [{"train": ["kits_0", "kits_2"], "val": ["kits_1"]}, {"train": ["kits_1"], "val": ["kits_2", "kits_0"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    argv = ["-d", called, "--only-plan", "-np", "1"]
    assert plan_and_preprocess.main([*argv, "--splits", str(tmp_path / "splits_final.json")]) == 0
    planned = home / "preprocessed" / "Dataset220_KiTS2023"
    assert "cysts count as kidney" in load_plan(planned).label_note
    assert plan_and_preprocess.main(argv) == 0  # the folds given before stay
    assert [(fold.train, fold.val) for fold in load_splits(planned).folds] == [
        (["kits_0", "kits_2"], ["kits_1"]),
        (["kits_1"], ["kits_0", "kits_2"]),
    ]


def test_two_of_one_number_and_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which is meant is not guessed."""
    for name in ("Dataset007_A", "Dataset007_B"):
        (home / "raw" / name / "imagesTr").mkdir(parents=True)
        (home / "raw" / name / "imagesTr" / "a_0000.nii.gz").touch()
    assert plan_and_preprocess.main(["-d", "7"]) == 2
    assert "2 data sets of this number" in capsys.readouterr().err
    assert plan_and_preprocess.main(["-d", "8"]) == 2
    assert "8: no data set of this name" in capsys.readouterr().err


def test_ours_come_back_with_the_same_voxels_and_folds(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """KiTS layout, cysts and all: images are links, label maps 0, 1, 2; the folds are read back as they were."""
    raw = write_raw(home / "raw" / NAME)
    first = raw / "case_00000" / "segmentation.nii.gz"
    labels = read_labels(first).volume.array.copy()
    labels[np.nonzero(labels == 1)[0][0]] *= CYST
    write_image(first, labels, STORED)
    out = tmp_path / "nnUNet_raw"
    assert plan_and_preprocess.main([*OURS, "--export-nnunet", str(out), "--id", "41"]) == 0
    exported = out / f"Dataset041_{NAME}"
    assert str(exported / "splits_final.json") in capsys.readouterr().out
    about = json.loads((exported / "dataset.json").read_text())
    assert (about["labels"], about["file_ending"]) == ({"background": 0, "kidney": 1, "tumor": 2}, ".nii.gz")
    assert (about["numTraining"], about["channel_names"]) == (3, {"0": "CT"})
    ours, theirs = find_raw_dataset(raw), find_raw_dataset(exported, meaning=meaning_of_dataset(exported))
    assert [case.name for case in ours.cases] == [case.name for case in theirs.cases]
    for one, other in zip(ours.cases, theirs.cases, strict=True):
        assert one.image is not None
        assert other.image is not None
        assert other.image.is_symlink()
        images = read_image(one.image), read_image(other.image)
        maps = read_labels(one.labels, one.meaning), read_labels(other.labels, other.meaning)
        for a, b in (images, maps):
            assert np.array_equal(a.volume.array, b.volume.array)
        assert images[1].native.geometry == maps[1].native.geometry
        assert set(np.unique(maps[1].volume.array)) == {0, 1, 2}
    splits = load_splits(home / "preprocessed" / NAME)
    assert read_splits(exported / "splits_final.json", [c.name for c in ours.cases]).folds == splits.folds
    again = plan(exported, only_plan=True, splits=exported / "splits_final.json")
    assert load_splits(again.folder).folds == splits.folds
    assert again.plan.target_spacing_mm_zyx == load_plan(home / "preprocessed" / NAME).target_spacing_mm_zyx


def test_an_export_is_whole_and_replaces_nothing_of_others(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own is made anew; a number that is taken, a folder of another's, and a number without a place are refused."""
    raw = write_raw(home / "raw" / NAME)
    out = tmp_path / "out"
    for _ in range(2):
        assert plan_and_preprocess.main([*OURS, "--export-nnunet", str(out)]) == 0
    exported = out / f"Dataset220_{NAME}"
    assert sorted(path.name for path in out.iterdir()) == [exported.name]
    (out / "Dataset221_Other").mkdir()
    (out / f"Dataset222_{NAME}" / "imagesTr").mkdir(parents=True)
    capsys.readouterr()
    for argv, found in (
        (["--export-nnunet", str(out), "--id", "221"], "Dataset221_Other: has the number 221 already"),
        (["--export-nnunet", str(out), "--id", "222"], "was not written by this"),
        (["--export-nnunet", str(out), "--id", "1000"], "--id: 1000; expected 1 to 999"),
        (["--id", "3"], "--id: given without --export-nnunet"),
    ):
        assert plan_and_preprocess.main([*OURS, *argv]) == 2
        error = capsys.readouterr().err
        assert found in error
        assert error.count("\n") == 1
    before = sorted(str(path) for path in exported.rglob("*"))
    with (raw / "case_00001" / "imaging.nii.gz").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match="ends after"):  # it was planned with the case
        export_nnunet(home / "preprocessed" / NAME, out)
    assert sorted(str(path) for path in exported.rglob("*")) == before
    assert (
        plan_and_preprocess.main([*OURS, "--export-nnunet", str(out)]) == 2
    )  # planned anew without it: the sound ones
    assert len([*(exported / "labelsTr").iterdir()]) == 2


def test_an_export_never_replaces_its_own_source(home: Path, tmp_path: Path) -> None:
    """As of an earlier export whose links have become copies: its images would be links to themselves."""
    write_raw(home / "raw" / NAME)
    out = tmp_path / "out"
    assert plan_and_preprocess.main([*OURS, "--export-nnunet", str(out)]) == 0
    copied = tmp_path / "copied" / f"Dataset220_{NAME}"
    shutil.copytree(out / f"Dataset220_{NAME}", copied)
    before = {path: path.read_bytes() for path in copied.rglob("*.gz")}
    argv = ["-d", str(copied), "--only-plan", "-np", "1", "--export-nnunet", str(copied.parent)]
    assert plan_and_preprocess.main(argv) == 2
    assert {path: path.read_bytes() for path in copied.rglob("*.gz")} == before


@pytest.mark.parametrize(
    ("folds", "found"),
    [
        ([], "no fold"),
        ([{"train": ["a", "b", "c"], "val": ["a"]}], "fold 0 has a twice"),
        ([{"train": ["a", "b", "c"], "val": []}], "fold 0 trains on 3 and validates on 0 cases"),
        (
            [{"train": ["a", "b"], "val": ["c"]}, {"train": ["a", "b"], "val": ["c"]}],
            "fold 1 validates c, as an earlier",
        ),
        ([{"train": ["a", "b"], "val": ["c", "d"]}], "names d, which the data set has not"),
        ([{"train": ["a"], "val": ["c"]}], "has no fold with b"),
        ([{"train": ["a"]}], "missing required field `val`"),
        ({"train": 3}, "missing required field `folds`"),
        ("splits", "Expected"),
    ],
)
def test_folds_that_cannot_be_are_refused(tmp_path: Path, folds: object, found: str) -> None:
    """A case that is trained on and validated on above all."""
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps(folds))
    with pytest.raises(InputError) as caught:
        read_splits(path, ["a", "b", "c"])
    assert str(caught.value).startswith(f"{path}: ")
    assert found in str(caught.value)


def test_given_folds_are_never_changed_without_a_word(home: Path, tmp_path: Path) -> None:
    """Where the data set has grown they are asked for again; where results were trained on others it is told."""
    raw, told = write_raw(home / "raw" / NAME), list[str]()
    path = tmp_path / "splits.json"
    names = [f"case_{i:05d}" for i in range(4)]
    path.write_text(json.dumps([{"train": names[:2], "val": names[2:3]}]))
    (home / "results" / NAME / "rough" / "fold_0").mkdir(parents=True)
    (home / "results" / NAME / "rough" / "fold_0" / CHECKPOINT_LAST).touch()
    plan(NAME, only_plan=True, splits=path, tell=lambda said: told.append(str(said)))
    assert len(told) == 1
    assert "train it anew" in told[0]
    hu, labels = patient(STORED.canonical, 20.0, 9)
    write_image(raw / names[3] / "imaging.nii.gz", hu, STORED)
    write_image(raw / names[3] / "segmentation.nii.gz", labels, STORED)
    with pytest.raises(InputError, match="was given for other cases than there are now"):
        plan(NAME, only_plan=True)
    assert load_plan(home / "preprocessed" / NAME).n_cases == 3
    path.write_text(json.dumps([{"train": names[:2], "val": names[2:]}]))
    assert plan(NAME, only_plan=True, splits=path).plan.n_cases == 4
