"""Plans of one data set side by side: nothing of one is the other's, and the default one stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisc.cli import evaluate, export, plan_and_preprocess, predict, train
from bisc.core.errors import InputError
from bisc.planners.dataset import load_plan, load_splits
from bisc.system.jsonfile import save_json
from bisc.system.paths import find_dataset
from bisc.trainers import loop
from tests.support.cached import stored_meaning
from tests.support.training_fixtures import NAME, trained, write_raw

PLANNED = ["-d", NAME, "--plan", "lowres", "-np", "1"]
VALUES = ["--set", "target_spacing_mm_zyx=6,5,5", "base_features=8", "--set", "fine.batch_size=2"]
BRIEF = ["--preset", "quick", "--epochs", "1", "--iterations", "1", "--device", "cpu"]


def everything_under(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.long
def test_from_plan_to_masks_beside_the_default_plan(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Planned, trained, evaluated, exported and predicted by name; every file of the default plan as before."""
    home = trained(tmp_path_factory)
    shown = home / "preprocessed" / NAME, home / "results" / NAME
    before = [everything_under(folder) for folder in shown]
    monkeypatch.setenv("BISC_HOME", str(home))
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 2)
    assert plan_and_preprocess.main([*PLANNED, *VALUES]) == 0
    assert "target_spacing_mm_zyx = 6,5,5 (the planner's own: 5,4,4)" in capsys.readouterr().out
    named = home / "preprocessed" / f"{NAME}__lowres"
    assert load_plan(named).target_spacing_mm_zyx == (6.0, 5.0, 5.0)
    assert load_splits(named) == load_splits(shown[0])
    for stage in ("rough", "fine"):
        assert train.main([stage, "0", "-d", NAME, "--plan", "lowres", *BRIEF]) == 0
    assert evaluate.main(["-d", NAME, "--plan", "lowres"]) == 0
    assert capsys.readouterr().out.count(f"{NAME}__lowres, folds 0") == 1
    archive, image = tmp_path / "model.zip", home / "raw" / NAME / "case_00000" / "imaging.nii.gz"
    assert export.main(["--plan", "lowres", "-o", str(archive)]) == 0
    by_name = ["-i", str(image), "-o", str(tmp_path / "a"), "-d", NAME, "--plan", "lowres", "--device", "cpu"]
    assert predict.main(by_name) == 0
    assert predict.main(["-i", str(image), "-o", str(tmp_path / "b"), "-m", str(archive), "--device", "cpu"]) == 0
    masks = [next((tmp_path / out).glob("*.nii.gz")).read_bytes() for out in "ab"]
    assert masks[0] == masks[1]
    assert [everything_under(folder) for folder in shown] == before
    assert predict.main([*by_name[:4], "-m", str(archive), "--plan", "lowres"]) == 2


def test_a_named_plan_shares_measurements_folds_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folds that a person changed too; and what `--labels` said of the data set is not forgotten."""
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    write_raw(tmp_path / "raw" / NAME)
    assert plan_and_preprocess.main(["-d", NAME, "--only-plan", "--labels", "kidney=2,tumor=1", "-np", "1"]) == 0
    home = tmp_path / "preprocessed" / NAME
    before, splits = everything_under(home), load_splits(home)
    save_json(home / "splits.json", type(splits)(schema_version=1, seed=7, folds=splits.folds[::-1]))
    assert plan_and_preprocess.main([*PLANNED, "--only-plan", *VALUES]) == 0
    named = tmp_path / "preprocessed" / f"{NAME}__lowres"
    assert load_splits(named).folds == splits.folds[::-1]
    assert stored_meaning(named) == stored_meaning(home) is not None
    assert not (named / "fingerprint").exists()
    assert {k: v for k, v in everything_under(home).items() if k != "splits.json"} == {
        k: v for k, v in before.items() if k != "splits.json"
    }
    assert "Overwritten: " in (named / "plan.txt").read_text()
    plan = (named / "plan.json").read_bytes()
    assert plan_and_preprocess.main([*PLANNED, "--only-plan"]) == 0  # the values of before
    assert (named / "plan.json").read_bytes() == plan
    capsys.readouterr()
    for argv, found in (
        (["-d", NAME, "--set", "base_features=8"], "--set: given without --plan"),
        ([*PLANNED, "--set", "base_feature=8"], "--set base_feature=8: Object contains unknown field"),
        ([*PLANNED[:2], "--plan", "a/b"], "--plan: the name 'a/b' holds a path separator"),
        ([*PLANNED[:2], "--plan", "a__b"], "--plan: the name 'a__b' holds the mark"),
    ):
        assert plan_and_preprocess.main(argv) == 2
        error = capsys.readouterr().err
        assert found in error
        assert error.count("\n") == 1
    assert (named / "plan.json").read_bytes() == plan


def test_which_plan_is_meant(tmp_path: Path) -> None:
    """Without a name the default plan of the only data set; a plan by its name, as a flag or in the folder's."""
    for name in ("A", "A__low", "B__low"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").touch()

    def found(name: str | None, plan: str | None) -> str:
        return find_dataset(tmp_path, name, "plan.json", "data set", "", plan).name

    assert found("A", None) == "A"
    assert found("A", "low") == found("A__low", None) == "A__low"
    assert found(f"{tmp_path}/A/", "low") == "A__low"
    with pytest.raises(InputError, match=r"3 data sets \(A, A__low, B__low\)"):
        found(None, None)  # B__low may be a data set of this name: nothing is guessed
    with pytest.raises(InputError, match="exactly one"):
        found(None, "low")
    (tmp_path / "B__low" / "plan.json").unlink()
    assert (found(None, None), found(None, "low")) == ("A", "A__low")
    with pytest.raises(InputError, match="A__high: no data set"):
        found("A", "high")
