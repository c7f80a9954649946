"""TensorBoard and MLflow: the log's curves, each step once, and no training that ends for their sake."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bisc.cli.train import main
from bisc.system import console
from bisc.trainers import loop, trackers
from bisc.trainers.loop import TrainingRun
from bisc.trainers.presets import PRESETS
from bisc.trainers.sampler import Batch
from bisc.trainers.trackers import MLFLOW_CALM, Tracker, Write
from tests.support.training_fixtures import NAME, TINY, planned, use_one_thread

use_one_thread()
BRIEF = ["rough", "0", "-d", NAME, "--preset", "tiny", "--device", "cpu", "--precision", "fp32", "--no-validation"]
BRANCHES = ["kidney_edge", "region", "tumor_edge"]
LOGGED = ["dice_kidney", "dice_tumor", "epoch", "learning_rate", "score", "step_s", "train_loss", "val_loss"]


@pytest.fixture
def fold(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where fold 0 of the rough stage will be, results being empty, and nothing in the environment."""
    for variable in (*MLFLOW_CALM, "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(variable, "")  # so that what a run sets is gone afterwards
        monkeypatch.delenv(variable)
    monkeypatch.setenv("BISC_PREPROCESSED", str(planned(tmp_path_factory) / "preprocessed"))
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path / "results"))
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 2)
    console._shown.clear()
    yield tmp_path / "results" / NAME / "rough" / "fold_0"
    console._shown.clear()


def interrupted_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C amid a step: the checkpoint is one between epochs."""
    whole = TrainingRun.train_step

    def struck(run: TrainingRun, batch: Batch, number: int) -> None:
        if number == step:
            raise console.Stopped
        whole(run, batch, number)

    monkeypatch.setattr(TrainingRun, "train_step", struck)


def tensorboard_curves(folder: Path) -> dict[str, dict[int, float]]:
    """By name, the values by step, each step once; as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    known = accumulator.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    known.Reload()
    curves = {tag: [(e.step, e.value) for e in known.Scalars(tag)] for tag in known.Tags()["scalars"]}
    assert all(len(dict(points)) == len(points) for points in curves.values())
    return {tag: dict(points) for tag, points in curves.items()}


def mlflow_curves(database: Path) -> tuple[Any, dict[str, dict[int, float]]]:
    """The only run, and its curves."""
    pytest.importorskip("sqlalchemy")
    tracking = pytest.importorskip("mlflow.tracking")
    client = tracking.MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name(NAME)
    (run,) = client.search_runs([experiment.experiment_id])
    curves = {}
    for name in run.data.metrics:
        points = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        assert len(dict(points)) == len(points), name
        curves[name] = dict(points)
    return run, curves


@pytest.mark.long
def test_interrupted_and_gone_on_with_tensorboard_has_each_step_once(
    fold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The curves are log.csv's; the branches' losses are missing for the epoch that was cut in two, not made up."""
    pytest.importorskip("tensorboard")
    with monkeypatch.context() as cut:
        interrupted_at(6, cut)
        assert main([*BRIEF, "--log", "tensorboard"]) == 130
    assert set(tensorboard_curves(fold)["score"]) == {4}
    assert main([*BRIEF, "--log", "tensorboard", "--continue"]) == 0
    curves, log = tensorboard_curves(fold), pd.read_csv(fold / "log.csv").set_index("step")
    for column in LOGGED:
        assert curves[column] == pytest.approx(log[column].to_dict(), rel=1e-4), column
    assert sorted(name for name in curves if name.startswith("train_loss/")) == [f"train_loss/{b}" for b in BRANCHES]
    for branch in BRANCHES:
        assert (set(curves[f"train_loss/{branch}"]), set(curves[f"val_loss/{branch}"])) == ({4, 12}, {4, 8, 12})
    for step in (4, 12):
        mean = sum(curves[f"train_loss/{branch}"][step] for branch in BRANCHES) / 3
        assert mean == pytest.approx(curves["train_loss"][step], rel=1e-4)
    assert main([*BRIEF, "--log", "tensorboard", "--continue"]) == 0  # nothing left to do
    assert tensorboard_curves(fold) == curves


def test_mlflow_has_one_run_with_settings_plan_and_curves(fold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a database of its own, without a server or a network; gone on with under the same number."""
    for module in trackers.MODULES["mlflow"]:
        pytest.importorskip(module)
    with monkeypatch.context() as cut:
        interrupted_at(6, cut)
        assert main([*BRIEF, "--log", "mlflow"]) == 130
    run, _ = mlflow_curves(fold.parents[2] / "mlflow.db")
    assert run.info.status == "RUNNING"
    assert main([*BRIEF, "--log", "mlflow", "--continue"]) == 0
    run, curves = mlflow_curves(fold.parents[2] / "mlflow.db")
    assert (run.info.status, run.info.run_name) == ("FINISHED", f"{NAME} rough fold 0")
    assert set(curves["score"]) == set(curves["val_loss/region"]) == {4, 8, 12}
    assert (run.data.params["settings.batch_size"], run.data.params["plan.rough_in_plane_px"]) == ("2", "128")
    assert not any("reasons" in name for name in run.data.params)


@pytest.mark.long
def test_a_server_that_is_away_is_one_line(
    fold: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training goes on; and when the run is gone on with, the curves are brought up to date."""
    for module in trackers.MODULES["mlflow"]:
        pytest.importorskip(module)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert main([*BRIEF, "--log", "mlflow"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "preset paper" not in line]
    assert len(said) == 1
    assert "--log mlflow: MlflowException: " in said[0]
    assert "training goes on" in said[0]
    assert len(pd.read_csv(fold / "log.csv")) == 3
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main([*BRIEF, "--log", "mlflow", "--continue"]) == 0
    assert set(mlflow_curves(fold.parents[2] / "mlflow.db")[1]["score"]) == {4, 8, 12}
    assert main([*BRIEF, "--log", "mlflow"]) == 0  # anew: the older run is set aside, and another one begun
    with pytest.raises(ValueError, match="too many values"):
        mlflow_curves(fold.parents[2] / "mlflow.db")


def test_a_full_disk_is_one_line_and_what_is_missing_comes_later(
    fold: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a record at the end of a file hides none of what is written when there is room again."""
    pytest.importorskip("tensorboard")
    writer = pytest.importorskip("tensorboard.summary.writer.record_writer").RecordWriter
    whole, calls = writer.write, 0

    def sometimes_full(self: Any, data: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:  # version, parameters, step 4, and then step 8
            self._writer.write(b"\x40")
            raise OSError(28, "No space left on device")
        whole(self, data)

    monkeypatch.setattr(writer, "write", sometimes_full)
    assert main([*BRIEF, "--log", "tensorboard"]) == 0
    assert capsys.readouterr().err.count("No space left on device") == 1
    curves = tensorboard_curves(fold)
    assert set(curves["score"]) == set(curves["train_loss/region"]) == {4, 8, 12}


def test_what_failed_is_tried_again_and_told_once_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: a tracker that is away for the second and third epoch."""
    there: dict[int, dict[str, float]] = {}
    away = False

    def opened() -> tuple[set[int], Write]:
        return set(there), write

    def write(step: int, values: Any) -> None:
        if away:
            raise ConnectionError(f"no route at step {step}")
        assert step not in there
        there[step] = dict(values)

    console._shown.clear()
    track = Tracker("mlflow", opened)
    track({1: {"a": 1.0, "step": 1, "unknown": float("nan")}})
    away = True
    track({2: {"a": 2.0}})
    track({3: {"a": 3.0}})
    assert there == {1: {"a": 1.0}}
    assert capsys.readouterr().err.count("\n") == 1
    away = False
    track({4: {"a": 4.0}})
    assert there == {n: {"a": float(n)} for n in (1, 2, 3, 4)}


def test_without_the_extra_it_is_told_before_anything_begins(
    fold: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the package to install, exit status 2, and no results."""
    monkeypatch.setitem(trackers.MODULES, "mlflow", ("no_such_module",))
    assert main([*BRIEF, "--log", "mlflow"]) == 2
    assert "pip install 'bisc-unet[mlflow]'" in capsys.readouterr().err
    assert not fold.exists()


def test_neither_is_imported_unless_asked() -> None:
    """What training imports knows them by name alone."""
    code = "import sys, bisc.cli.train, bisc.trainers.trackers; print({'mlflow', 'tensorboard'} & {*sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"
