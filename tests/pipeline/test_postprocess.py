"""bisc_evaluate -d chooses post-processing, bisc_predict applies it: from validation folders to a mask."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch

import bisc
from benchmarks.by_intensity import FAT_HU, KIDNEY_HU, TUMOR_HU
from bisc.cli import evaluate
from bisc.cli.predict import main as predict
from bisc.core.choices import Decision
from bisc.core.errors import InputError
from bisc.imageio.case import InputCase
from bisc.inference.model import load_model
from bisc.inference.postprocessing import FILE, Postprocessing
from bisc.network.checkpoint import load_checkpoint, save_checkpoint
from bisc.pipeline.model_files import export_model, model_in_words
from bisc.pipeline.options import PredictionRow, PredictOptions
from bisc.pipeline.predict import predict_cases
from bisc.pipeline.rows import read_rows
from bisc.system.console import collecting
from bisc.system.jsonfile import load_json
from tests.support.grids import grid, write_itk
from tests.support.postprocessed import NAME, a_rule, knowing, networks_of, validated
from tests.support.stub_model import CPU, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
TWO_FOLDS = {f"case_{i:05d}": i % 2 for i in range(9)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of nine cases in all, evaluated: the rule is there. Read only."""
    home = tmp_path_factory.mktemp("home")
    validated(home, TWO_FOLDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BISC_HOME", str(home))
        assert evaluate.main(["-d", NAME, "-np", "1"]) == 0
    return home


def rule_of(home: Path) -> Postprocessing:
    return load_json(home / "results" / NAME / FILE, Postprocessing, "")


def test_what_earns_is_chosen_and_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: of eight masks 4 of 30 voxels of tumour are false, 0.4 ml: Dice 52 / 56. A true one has 0.6."""
    rule = rule_of(home)
    before = (8 * 52 / 56 + 1) / 9
    assert (rule.smallest_tumor_ml, rule.best_ml, rule.n_cases, rule.folds) == (0.5, 0.5, 9, [0, 1])
    assert rule.dice_tumor_before == pytest.approx(before, abs=1e-6)
    assert rule.nested_gain == pytest.approx(1 - before, abs=1e-6)
    tried = {one.smallest_tumor_ml: (one.n_changed, one.n_emptied) for one in rule.candidates}
    assert tried == {0.0: (0, 0), 0.05: (0, 0), 0.1: (0, 0), 0.25: (0, 0), 0.5: (8, 0), 1.0: (9, 0)}
    first = (home / "results" / NAME / FILE).read_bytes()
    monkeypatch.setenv("BISC_HOME", str(home))
    assert evaluate.main(["-d", NAME, "-np", "1"]) == 0
    assert (home / "results" / NAME / FILE).read_bytes() == first
    said = capsys.readouterr()
    assert said.err == ""
    assert "\nPost-processing: tumours below 0.5 ml are dropped (nested gain +0.0635 (" in said.out
    assert "9 cases, chosen without the fold that it is scored on).\n| smallest tumour (ml) |" in said.out
    assert str(home / "results" / NAME / FILE) in said.out.splitlines()[-1]
    table = pd.read_csv(home / "results" / NAME / "postprocessing.csv").set_index("smallest tumour (ml)")
    assert list(table.loc[0.5]) == ["1.0000(0.0000)", 8, 0, 9]


@pytest.mark.parametrize(("cases", "chosen"), [(9, None), (10, 0.5)])
def test_a_single_fold_needs_ten_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cases: int, chosen: float | None
) -> None:
    results = validated(tmp_path, {f"case_{i:05d}": 0 for i in range(cases)})
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    assert evaluate.main(["-d", NAME, "-np", "1", "-o", str(tmp_path / "mine.csv")]) == 0
    assert (results / FILE).exists() == (tmp_path / "postprocessing.csv").exists() == (chosen is not None)
    if chosen is not None:
        assert (rule_of(tmp_path).smallest_tumor_ml, rule_of(tmp_path).chosen_without) == (chosen, "case")


def test_what_earns_nothing_is_not_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No false tumour, so each candidate loses or changes nothing; what was chosen once is written over."""
    results = validated(tmp_path, TWO_FOLDS, false_voxels=0)
    (results / FILE).write_text("{}")
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    assert evaluate.main(["-d", NAME, "-np", "1"]) == 0
    assert (
        "Post-processing: nothing was earned, so no tumour is dropped (nested gain +0.0000" in capsys.readouterr().out
    )
    assert rule_of(tmp_path).smallest_tumor_ml == 0.0
    assert load_model(results, None, CPU).smallest_tumor_ml("calibrated") == 0.0


@pytest.mark.parametrize("fault", ["no mask", "another mask", "no references", "twice", "other weights"])
def test_what_it_cannot_rest_on_leaves_it_unchosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """The reports are written all the same; exit status 0."""
    results = validated(tmp_path, TWO_FOLDS)
    fold = results / "fine" / "fold_0"
    mask = fold / "validation" / "case_00000.nii.gz"
    said = "source.json"
    if fault == "no mask":
        mask.unlink()
        said = f"{mask}: "
    if fault == "another mask":
        (fold / "validation" / "case_00008.nii.gz").rename(mask)
        said = f"{mask}: a tumour Dice of 1.0000; expected 0.9286, as its report says"
    if fault == "no references":
        (tmp_path / "preprocessed" / NAME / "source.json").unlink()
    if fault == "twice":
        (results / "fine" / "fold_1" / "validation" / "report.csv").write_bytes(
            (fold / "validation" / "report.csv").read_bytes()
        )
        said = "case_00000 is in several folds"
    if fault == "other weights":
        record = {"key": "", "files": [], "lines": [], "weights": {"fine": "0"}}
        (fold / "validated.json").write_text(json.dumps(record))
        said = f"{fold}: was validated with networks that were trained anew since"
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    assert evaluate.main(["-d", NAME, "-np", "1"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("post-processing not chosen")]
    assert said in line
    assert (results / "report.csv").is_file()
    assert not list(results.glob("postprocessing*"))


def test_a_prediction_applies_it_and_says_so(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tumour of 6.9 ml stays, one of 0.288 ml becomes kidney; --no-postprocessing keeps it."""
    scan = np.full((16, 96, 96), FAT_HU, np.int16)
    scan[4:12, 40:64, 8:32] = KIDNEY_HU
    scan[6:9, 42:50, 10:18] = TUMOR_HU
    scan[6:8, 58:60, 26:28] = TUMOR_HU
    scan[:, :4] = -1000
    (tmp_path / "in").mkdir()
    write_itk(tmp_path / "in" / "case.nii.gz", scan, grid((16, 96, 96), (4.0, 3.0, 3.0)))
    monkeypatch.setenv("BISC_HOME", str(home))
    how = ["-i", str(tmp_path / "in"), "-d", NAME, "-f", "0", "--precision", "fp32"]
    rows: list[PredictionRow] = []
    for more in ([], ["--no-postprocessing"]):
        assert predict([*how, "-o", str(tmp_path / "out"), "--continue", *more]) == 0
        rows += read_rows(tmp_path / "out" / "predictions.csv")
    dropped, kept = rows
    told = "1 tumour below 0.5 ml, 0.288 ml in all; dropped by the post-processing that cross-validation chose"
    assert told in dropped.notes
    assert kept.notes == ""
    assert dropped.tumor_ml == pytest.approx(6.912)
    assert kept.tumor_ml == pytest.approx(6.912 + 0.288)
    assert dropped.kidney_ml == kept.kidney_ml
    assert dropped.stamp != kept.stamp
    said = capsys.readouterr().out
    assert said.count("post-processing: tumours below 0.5 ml are dropped, as chosen by cross-validation (tumour") == 1
    result = bisc.load_model(home / "results" / NAME, [0], precision="fp32").segment(tmp_path / "in" / "case.nii.gz")
    assert (result.tumor_ml, told in result.notes[0]) == (dropped.tumor_ml, True)
    assert int((result.labels == 2).sum()) == 192  # the array too
    plain = bisc.load_model(home / "results" / NAME, [0], postprocess=False)
    assert plain.cascade.postprocessing is None


@pytest.mark.parametrize(("decision", "anew"), [("calibrated", True), ("argmax", False)])
def test_continue_predicts_anew_where_the_rule_changes_the_mask(tmp_path: Path, decision: Decision, anew: bool) -> None:
    write_itk(tmp_path / "ct.nii.gz", np.full((8, 16, 16), FAT_HU, np.int16), grid((8, 16, 16), (4.0, 3.0, 3.0)))
    stamps = []
    for ml in (0.0, 0.5, 1.0):
        model = knowing(stub_model(), a_rule(ml))
        (row,) = predict_cases(
            [InputCase("ct", tmp_path / "ct.nii.gz")], model, tmp_path / "out", PredictOptions(decision), lambda _: None
        )
        stamps.append(row.stamp)
    assert len(set(stamps)) == (3 if anew else 1)


def test_other_networks_go_without(home: Path, tmp_path: Path) -> None:
    """A fold that was trained on, or one that was not validated, is not what the rule was chosen on."""
    results = validated(tmp_path, TWO_FOLDS)
    rule = (home / "results" / NAME / FILE).read_bytes()
    (results / FILE).write_bytes(rule)
    assert load_model(results, [1], CPU).smallest_tumor_ml("calibrated") == 0.5
    path = results / "fine" / "fold_1" / "checkpoint_last.pt"
    checkpoint = load_checkpoint(path)
    name = next(iter(checkpoint.network))
    checkpoint.network[name] = checkpoint.network[name] + torch.ones(())
    save_checkpoint(path, checkpoint)
    with collecting(quiet=True) as notes:
        assert load_model(results, [0], CPU).smallest_tumor_ml("calibrated") == 0.5
        assert notes == []
        assert load_model(results, None, CPU).postprocessing is None
    assert notes == [
        f"{results / FILE}: was chosen with other networks; left out; bisc_evaluate -d NAME chooses it anew"
    ]


def test_a_model_file_carries_it(home: Path, tmp_path: Path) -> None:
    results = home / "results" / NAME
    record = export_model(results, None, tmp_path / "model.zip")
    assert record.postprocessing == rule_of(home)
    model = load_model(tmp_path / "model.zip", None, CPU)
    assert model.smallest_tumor_ml("calibrated") == 0.5
    assert record.postprocessing.networks == networks_of(model)
    assert any(
        line.startswith("post-processing: tumours below 0.5 ml") for line in model_in_words(tmp_path / "model.zip")
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [({"other": 1}, "unknown field `other`"), ({"smallest_tumor_ml": 20.0}, "<= 1.0"), ({"candidates": 0}, "array")],
)
def test_a_document_that_cannot_be_used_is_refused(
    home: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    plain = msgspec.to_builtins(rule_of(home)) | change
    (tmp_path / FILE).write_text(json.dumps(plain))
    with pytest.raises(InputError, match=said):
        load_json(tmp_path / FILE, Postprocessing, "")
