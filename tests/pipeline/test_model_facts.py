"""What a model file says of training, validation and evaluations: what is known, and nothing that may be of others."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bisc.core.errors import InputError
from bisc.evaluation.aggregate import to_frame, write_with_summary
from bisc.evaluation.cases import score_arrays
from bisc.inference.record import ModelRecord
from bisc.network import SCUNet
from bisc.network.checkpoint import Checkpoint, save_checkpoint
from bisc.pipeline.model_facts import training_data, trial, validations
from bisc.pipeline.model_files import export_model
from bisc.pipeline.validated import remember_validation, weights_of
from bisc.planners.dataset import load_plan
from bisc.planners.fingerprint import Fingerprint
from bisc.planners.planner import make_plan
from bisc.planners.source import save_source
from bisc.simulation import SimulationSpec
from bisc.simulation.dataset import RECORD, VERSION, SimulationRecord
from bisc.system.console import collecting
from bisc.system.jsonfile import save_json
from tests.support.grids import hand_fingerprint
from tests.support.sealing import members_of


def report(path: Path, n: int) -> Path:
    """`n` cases; the first is right, of the others half of the tumour is found: Dice 1 and 2/3."""
    reference = np.zeros((4, 8, 8), np.uint8)
    reference[1:3, 1:5, 1:5] = 1
    reference[1:3, 1:3, 1:3] = 2
    half = reference.copy()
    half[2, 1:3, 1:3] = 1
    found = [reference, *[half] * (n - 1)]
    frame = to_frame([score_arrays(f"case_{i}", reference, one, (3.0, 1.0, 1.0)) for i, one in enumerate(found)])
    return write_with_summary(path, frame)[1]


@pytest.fixture
def preprocessed(tmp_path: Path) -> Path:
    """Plan and fingerprint of a data set whose cases bisc_simulate made."""
    folder, raw = tmp_path / "preprocessed" / "Hand", tmp_path / "raw"
    fingerprint: Fingerprint = hand_fingerprint()
    save_json(folder / "plan.json", make_plan(fingerprint, 12.0))
    save_json(folder / "fingerprint.json", fingerprint)
    spec = SimulationSpec()
    made = SimulationRecord(version=VERSION, seed=1, size_xyz=spec.size_xyz, labels_dir=None, variety="wide")
    save_json(raw / RECORD, made)
    save_source(folder, raw)
    return folder


@pytest.fixture
def results(tmp_path: Path, preprocessed: Path) -> Path:
    """Both stages of folds 0 and 1, and fold 0's validation of these very weights."""
    folder, plan = tmp_path / "results" / "Hand", load_plan(preprocessed)
    plain = msgspec.to_builtins(plan)
    save_json(folder / "plan.json", plan)
    weights = SCUNet(1, "instance", "off").state_dict()
    for stage in ("rough", "fine"):
        for fold in (0, 1):
            settings: dict[str, object] = {
                "stage": stage,
                "base_features": 1,
                "norm": "instance",
                "edges": "off",
                "preset": "best",
            }
            settings |= {"patch_size_zyx": [16, 32, 32], "loss": "dice_ce"}
            path = folder / stage / f"fold_{fold}" / "checkpoint_last.pt"
            save_checkpoint(path, Checkpoint(settings, plain, weights, step=40 + fold))
    report(folder / "fine" / "fold_0" / "validation" / "report_calibrated.csv", 3)
    remember_validation(folder / "fine" / "fold_0", "key", [], [], weights_of(folder, 0))
    return folder


def test_training_data_is_told_where_the_plan_is_the_data_sets(preprocessed: Path) -> None:
    plan, cases = load_plan(preprocessed), hand_fingerprint().cases
    data = training_data(plan, preprocessed)
    spacings, shapes = (np.asarray([getattr(c, k) for c in cases]) for k in ("spacing_mm_zyx", "shape_zyx"))
    assert data.spacing_mm_zyx is not None
    assert data.shape_zyx is not None
    assert data.spacing_mm_zyx.least == tuple(spacings.min(axis=0))
    assert data.spacing_mm_zyx.most == tuple(spacings.max(axis=0))
    assert data.shape_zyx.median == tuple(np.median(shapes, axis=0))
    assert (data.n_cases, data.n_simulated, data.n_real) == (len(cases), len(cases), 0)
    assert data.n_with_tumor == sum(case.tumor_ml > 0 for case in cases)
    assert "variety wide, drawn anatomy" in data.simulation
    other = msgspec.structs.replace(plan, target_spacing_mm_zyx=(9.0, 9.0, 9.0))
    assert training_data(other, preprocessed).spacing_mm_zyx is None
    assert training_data(plan, preprocessed / "gone").n_simulated is None


def test_real_data_is_not_called_simulated(preprocessed: Path) -> None:
    (preprocessed.parents[1] / "raw" / RECORD).unlink()
    data = training_data(load_plan(preprocessed), preprocessed)
    assert (data.n_simulated, data.n_real, data.simulation) == (None, None, "")
    assert data.spacing_mm_zyx is not None


def test_scores_of_a_validation_by_hand(results: Path) -> None:
    """Dice of the tumour 1, 2/3, 2/3: the mean 7/9."""
    (one,) = validations(results, [0, 1])
    dice = next(score for score in one.scores if score.metric == "dice_tumor")
    assert (one.fold, one.decision, one.checked, one.n_failed) == (0, "calibrated", True, 0)
    assert dice.n == 3
    assert dice.mean == pytest.approx(7 / 9, abs=1e-6)
    assert dice.median == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize("stage", ["rough", "fine"])
def test_figures_of_other_weights_are_left_out_with_a_word(results: Path, stage: str) -> None:
    """A rough stage trained anew finds other ROIs."""
    path = results / stage / "fold_0" / "checkpoint_last.pt"
    path.write_bytes((results / stage / "fold_1" / "checkpoint_last.pt").read_bytes())
    with collecting() as notes:
        assert validations(results, [0]) == []
    assert len(notes) == 1
    assert "is of networks that were trained anew since; left out; bisc_train fine 0 --continue renews it" in notes[0]


def test_figures_of_an_older_results_folder_bear_a_doubt(results: Path) -> None:
    """Its record does not say of which weights they are."""
    remember_validation(results / "fine" / "fold_0", "key", [], [])
    (one,) = validations(results, [0])
    assert not one.checked


def test_all_of_it_stands_in_the_file_and_its_card(results: Path, preprocessed: Path, tmp_path: Path) -> None:
    summary = report(tmp_path / "kits" / "report.csv", 2)
    target = tmp_path / "model.zip"
    tried = [f"two <b>cases|={summary}", str(summary)]
    export_model(results, None, target, tried_on=tried, preprocessed=preprocessed)
    members = members_of(target)
    record = msgspec.json.decode(members["model.json"], type=ModelRecord)
    assert [t.name for t in record.tried_on] == ["two <b>cases|", "report_summary"]
    assert [(n.stage, n.fold, n.preset, n.steps) for n in record.networks][1] == ("rough", 1, "best", 41)
    card = members["MODEL_CARD.md"].decode()
    row = "| Dice, tumour | 0.7778 | 0.1571 | 0.6667 | 3 |"
    assert "Fold 0, decision calibrated:\n\n| measure | mean | deviation | median | cases |" in card
    assert row in card
    assert "two &lt;b>cases\\|" in card
    assert "| Dice, tumour | 0.8333 | 0.1667 | 0.8333 | 2 |" in card
    assert "a little too good" in card
    assert "simulator version" in card
    export_model(results, [1], target, preprocessed=preprocessed)
    assert b"fold_0" not in target.read_bytes()


def test_what_is_no_summary_is_refused(tmp_path: Path) -> None:
    whole = report(tmp_path / "report.csv", 2)
    for text, told in (
        ("", "cannot be read"),
        ("metric,mean\n", "no column std"),
        ("metric,mean,std,median,n,n_failed\n", "rows that are not one per metric"),
        ("metric,mean,std,median,n,n_failed\ndice,1,1,1,1,0\n", "rows that are not one per metric"),
        ("metric,mean,std,median,n,n_failed\ndice_tumor,x,1,1,1,0\n", "cannot be read"),
        ("metric,mean,std,median,n,n_failed\ndice_tumor,inf,1,1,1,0\n", "cannot be read"),
        ("metric,mean,std,median,n,n_failed\ndice_tumor,1,1,1,,0\n", "cannot be read"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(InputError, match=told):
            trial(str(tmp_path / "bad.csv"))
    with pytest.raises(InputError, match="a label that is empty"):
        trial(f"={whole}")
    assert trial(f"a={whole}").scores == trial(str(whole)).scores
