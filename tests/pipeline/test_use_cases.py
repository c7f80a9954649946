"""plan, train, simulate and evaluate from Python: what they return, what they refuse, and that they say nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from msgspec.structs import replace

from bisc.core.errors import InputError
from bisc.evaluation.cases import COLUMNS, score_arrays
from bisc.evaluation.surface import image_diagonal_mm
from bisc.imageio import read_labels, write_image
from bisc.pipeline.evaluate import evaluate
from bisc.pipeline.plan import plan
from bisc.pipeline.simulate import simulate
from bisc.pipeline.train import TrainedFold, train
from bisc.trainers.presets import PRESETS
from tests.support.training_fixtures import TINY, write_raw


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the three roots lie."""
    for variable in ("BISC_RAW", "BISC_PREPROCESSED", "BISC_RESULTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    return tmp_path


def test_from_raw_files_to_a_validated_cascade(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plan, rough, fine, by name and by path; folds come one after the other; nothing is printed."""
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    write_raw(home / "raw" / "Tiny")
    (home / "raw" / "Tiny" / "notes.txt").touch()
    told: list[str] = []
    planned = plan("Tiny", tell=lambda said: told.append(str(said)))
    assert planned.folder == home / "preprocessed" / "Tiny"
    assert planned.plan.target_spacing_mm_zyx == (5.0, 4.0, 4.0)
    assert [case.name for case in planned.fingerprint.cases] == ["case_00000", "case_00001", "case_00002"]
    assert (planned.faults, len(planned.notes), planned.labels) == ([], 1, "")
    assert len(told) == 1
    assert told[0].startswith("not used: notes.txt")

    done: list[TrainedFold] = []
    rough = train("rough", 0, preset="tiny", device="cpu", done=done.append)
    assert rough == tuple(done)
    assert rough[0].folder == home / "results" / "Tiny" / "rough" / "fold_0"
    assert rough[0].lines[0].startswith("rough fold 0: weighted Dice on its own grid ")
    assert (rough[0].settings.epochs, rough[0].settings.iterations) == (3, 4)
    (fine,) = train("fine", 0, planned.folder, preset="tiny", epochs=1, iterations=2, loss="ce", device="cpu")
    assert (fine.folder / "validation" / "report.csv").is_file()
    assert (fine.settings.total_steps, fine.settings.loss) == (2, "ce")
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("error")) == ("", 0)


@pytest.mark.parametrize(
    ("stage", "fold", "options", "what"),
    [
        ("rough", 7, {}, "fold 7"),
        ("rough", -1, {}, "fold -1"),
        ("rough", "last", {}, "fold last"),
        ("rough", 0, {"preset": "none"}, "--preset"),
        ("rough", True, {}, "fold True"),
        ("middle", 0, {}, "stage"),
        ("rough", 0, {"epochs": -1}, "--epochs"),
        ("rough", 0, {"epochs": 0}, "--epochs"),
        ("rough", 0, {"iterations": 0}, "--iterations"),
        ("rough", 0, {"seed": -5}, "--seed"),
        ("rough", 0, {"workers": -1}, "--workers"),
        ("rough", 0, {"precision": "fp8"}, "--precision"),
        ("rough", 0, {"loss_threshold": 1.0}, "--loss-threshold"),
        ("rough", 0, {"loss_threshold": 0.5}, "--loss-threshold"),
        ("rough", 0, {"loss": "ce", "loss_threshold": 0.0}, "--loss-threshold"),
        ("fine", 0, {"decoys": 0.5}, "--decoys"),
        ("rough", 0, {"decoys": 0.05}, "--decoys"),
        ("fine", 0, {}, "rough"),
    ],
)
def test_what_training_refuses(
    home: Path, monkeypatch: pytest.MonkeyPatch, stage: Any, fold: Any, options: Any, what: str
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", replace(TINY, name="tiny"))
    write_raw(home / "raw" / "Tiny")
    plan(only_plan=True)
    with pytest.raises(InputError) as caught:
        train(stage, fold, **{"preset": "tiny", "device": "cpu", **options})
    assert what in caught.value.what
    assert not (home / "results").exists() or stage == "fine"


@pytest.mark.parametrize("memory_gb", [-1.0, 0.0, float("nan"), float("inf")])
def test_what_planning_refuses(home: Path, memory_gb: float) -> None:
    """Before a plan is written that no later run could read."""
    write_raw(home / "raw" / "Tiny")
    with pytest.raises(InputError, match="--memory-gb"):
        plan(only_plan=True, memory_gb=memory_gb)
    assert not (home / "preprocessed").exists()
    assert plan(only_plan=True).plan.n_cases == 3


def test_a_faulty_case_is_listed_and_the_others_go_on(home: Path) -> None:
    write_raw(home / "raw" / "Tiny")
    (home / "raw" / "Tiny" / "case_00001" / "imaging.nii.gz").write_bytes(b"no image")
    told: list[object] = []
    planned = plan(only_plan=True, tell=told.append)
    assert [name for name, _ in planned.faults] == ["case_00001"]
    assert told == [error for _, error in planned.faults]
    assert planned.plan.n_cases == 2
    with pytest.raises(InputError, match="nowhere"):
        plan("nowhere")


def test_simulated_cases_are_written_once(tmp_path: Path) -> None:
    first = simulate(tmp_path / "data", 1, seed=3, size_xyz=(48, 48, 16))
    again = simulate(str(tmp_path / "data"), 2, seed=3, size_xyz=(48, 48, 16))
    assert (first.written, first.kept, first.errors) == (("case_00000",), (), ())
    assert (again.written, again.kept) == (("case_00001",), ("case_00000",))
    with pytest.raises(InputError, match="three numbers"):
        simulate(tmp_path / "none", 1, size_xyz=(96, 96))  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="another simulation"):
        simulate(tmp_path / "data", 1, seed=4, size_xyz=(48, 48, 16))
    painted = simulate(tmp_path / "painted", labels=tmp_path / "data", seed=3)
    assert painted.written == ("case_00000", "case_00001")


def cube(value: int = 2) -> npt.NDArray[np.uint8]:
    labels = np.zeros((4, 6, 8), np.uint8)
    labels[1:3, 1:5, 1:5] = 1
    labels[1:3, 2:5, 3:5] = value
    return labels


def test_evaluate_gives_the_row_of_the_csv(tmp_path: Path, tiny_dataset: Path) -> None:
    """Of two files, in any axis order and by their dataset.json; of two arrays, with their spacing."""
    row = evaluate(cube(), cube(1), spacing=(3.0, 1.0, 1.0), case="a")
    assert tuple(asdict(row)) == COLUMNS
    assert (row.case, row.status, row.dice_kidney, row.dice_tumor) == ("a", "ok", 1.0, 0.0)
    assert row.hd95_tumor_mm == pytest.approx(image_diagonal_mm((4, 6, 8), (3.0, 1.0, 1.0)))
    turned = evaluate(cube().T, cube(1).T.astype(np.int64), spacing=[1, 1, 3], case="a")
    assert asdict(turned) == pytest.approx(asdict(row))

    stored = tiny_dataset / "case_00000" / "segmentation.nii.gz"
    truth = read_labels(stored)
    moved = np.roll(truth.volume.array, 1, axis=2)
    write_image(tmp_path / "mine.nii.gz", moved, truth.native)
    array = np.asarray(truth.volume.array)
    expected = score_arrays("case_00000", array, moved, truth.volume.geometry.spacing_mm_zyx)
    assert evaluate(stored, str(tmp_path / "mine.nii.gz")) == expected
    assert evaluate(stored, tmp_path / "mine.nii.gz", case="b").case == "b"


@pytest.mark.parametrize(
    ("reference", "prediction", "options", "what", "found"),
    [
        (cube(), cube(), {}, "spacing", "None"),
        (cube(), cube(), {"spacing": (1, 1)}, "spacing", "(1, 1)"),
        (cube(), cube(), {"spacing": 3.0}, "spacing", "3.0"),
        (cube(), cube(), {"spacing": "abc"}, "spacing", "abc"),
        (cube(), cube(), {"spacing": (1, 2, None)}, "spacing", "None"),
        (cube(), cube(), {"spacing": (1, 1, float("nan"))}, "spacing", "nan"),
        (cube(), cube()[1:], {"spacing": (1, 1, 1)}, "prediction", "(3, 6, 8)"),
        (cube(7), cube(), {"spacing": (1, 1, 1)}, "reference", "0 to 7"),
        (cube(), cube().astype(float), {"spacing": (1, 1, 1)}, "prediction", "float64"),
        (cube()[0], cube()[0], {"spacing": (1, 1, 1)}, "reference", "(6, 8)"),
        (cube(), "there.nii.gz", {}, "there.nii.gz", "given with an array"),
        ("there.nii.gz", "there.nii.gz", {"spacing": (1, 1, 1)}, "there.nii.gz", "with a spacing"),
        ("nowhere.nii.gz", "there.nii.gz", {}, "nowhere.nii.gz", "does not exist"),
        (".", ".", {}, ".", "is a folder"),
    ],
)
def test_what_evaluate_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: Any,
    prediction: Any,
    options: Any,
    what: str,
    found: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.nii.gz").touch()
    with pytest.raises(InputError) as caught:
        evaluate(reference, prediction, **options)
    assert caught.value.what == what
    assert found in caught.value.found
