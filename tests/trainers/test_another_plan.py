"""A data set that was planned anew: neither old caches nor old networks are mixed with the new plan's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from bisc.cli.train import main
from bisc.core.errors import InputError
from bisc.network.device import choose_device
from bisc.pipeline.validate import finish_rough
from bisc.planners.dataset import load_plan
from bisc.trainers.presets import PRESETS
from bisc.trainers.stages import check_plan
from tests.support.training_fixtures import NAME, TINY, planned, use_one_thread

use_one_thread()
BRIEF = ["-d", NAME, "--preset", "tiny", "--device", "cpu", "--precision", "fp32", "--epochs", "1", "--iterations", "1"]


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The clips are others than when the caches were made, and than when rough fold 1 was trained."""
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    folder, results = tmp_path / "preprocessed" / NAME, tmp_path / "results" / NAME
    shutil.copytree(planned(tmp_path_factory) / "preprocessed" / NAME, folder)
    (results / "rough" / "fold_1").mkdir(parents=True)
    (results / "rough" / "fold_1" / "checkpoint_last.pt").write_bytes(b"weights")
    shutil.copyfile(folder / "plan.json", results / "plan.json")
    text = (folder / "plan.json").read_text()
    low = str(load_plan(folder).intensity.clip_low_hu)
    (folder / "plan.json").write_text(text.replace(f'"clip_low_hu": {low}', '"clip_low_hu": -777.0'))
    assert load_plan(folder).intensity.clip_low_hu == -777.0
    return tmp_path


def files(results: Path) -> dict[str, bytes]:
    return {p.relative_to(results).as_posix(): p.read_bytes() for p in results.rglob("*.*") if p.suffix != ".lock"}


def test_caches_of_another_plan_are_not_trained_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fold 1 would be moved aside, so that no network of the old plan is in the way; it stays where it was."""
    before = files(home / "results")
    assert main(["rough", "1", *BRIEF]) == 2
    error = capsys.readouterr().err
    assert "case.json: was made by another plan" in error
    assert error.count("\n") == 1
    assert files(home / "results") == before


def test_nor_is_the_rough_stage_validated_on_them(home: Path) -> None:
    results = home / "results" / NAME
    with pytest.raises(InputError, match=r"case\.json: was made by another plan"):
        finish_rough(["case_00000"], 1, home / "preprocessed" / NAME, results, results, choose_device("cpu", "fp32"))


def test_networks_of_another_plan_stay_usable(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan beside them is not written over: by another fold or stage, by --continue, or by some folds of all."""
    before = files(home / "results")
    for argv in (["rough", "0"], ["fine", "1", "--no-validation"], ["rough", "1", "--continue"], ["all", "0"]):
        assert main([*argv, *BRIEF]) == 2
        error = capsys.readouterr().err
        assert "rough/fold_1 was trained with another plan: intensity" in error
        assert "--plan NAME" in error
        assert error.count("\n") == 1
    assert files(home / "results") == before


def test_a_plan_is_another_one_by_what_networks_see(home: Path) -> None:
    """ROIs too; but not by the memory that its sizes were chosen for, nor where nothing stays that it is of."""
    folder, results = home / "preprocessed" / NAME, home / "results" / NAME
    old = load_plan(results)
    check_plan(results, replace(old, memory_gb=3.0, label_note="other words"))
    with pytest.raises(InputError, match="another plan: roi"):
        check_plan(results, replace(old, roi=replace(old.roi, margin_mm=1.0)))
    check_plan(results, load_plan(folder), [results / "rough" / "fold_1"])
    (results / "plan.json").unlink()
    check_plan(results, load_plan(folder))
