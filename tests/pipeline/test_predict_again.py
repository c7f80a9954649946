"""Predicted once more into the same folder: what is kept, and what is told of masks that are of several runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio.inputs import find_inputs
from bisc.pipeline.evaluate import evaluate_folders
from bisc.pipeline.options import PredictOptions
from bisc.pipeline.predict import predict_cases
from tests.pipeline.test_predict import predict, write_scan
from tests.support.stub_model import stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()


def test_continue_sees_what_changed(tmp_path: Path) -> None:
    """Another image under the same name, and another decision, are predicted anew."""
    write_scan(tmp_path / "in" / "p.nii.gz")
    resume = PredictOptions("argmax", resume=True)
    first = predict(tmp_path / "in", tmp_path / "out", resume)[0]["p"]
    assert predict(tmp_path / "in", tmp_path / "out", resume)[0]["p"] == first
    write_scan(tmp_path / "in" / "p.nii.gz", tumor_at=None)
    second = predict(tmp_path / "in", tmp_path / "out", resume)[0]["p"]
    assert (second.tumor_ml, first.tumor_ml != 0.0) == (0.0, True)
    third = predict(tmp_path / "in", tmp_path / "out", PredictOptions("calibrated", resume=True))[0]["p"]
    other = stub_model()
    other = replace(other, fine=tuple(replace(fold, mark=fold.mark + 1) for fold in other.fine))
    options = PredictOptions("calibrated", resume=True)
    (fourth,) = predict_cases(find_inputs(tmp_path / "in"), other, tmp_path / "out", options, lambda _: None)
    assert fourth.stamp != third.stamp  # other weights
    mirrored = replace(other, mirror=True)
    (fifth,) = predict_cases(find_inputs(tmp_path / "in"), mirrored, tmp_path / "out", options, lambda _: None)
    assert fifth.stamp != fourth.stamp
    assert third.stamp not in (first.stamp, second.stamp)


def test_a_mask_corrected_by_hand_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--continue keeps it, with all that differs, and says so; else the run is refused before it begins."""
    write_scan(tmp_path / "in" / "p.nii.gz")
    resume = PredictOptions("argmax", resume=True)
    first = predict(tmp_path / "in", tmp_path / "out", resume)[0]["p"]
    mask = tmp_path / "out" / "p.nii.gz"
    image = sitk.ReadImage(str(mask))
    corrected = image * sitk.Cast(image != 2, image.GetPixelID())
    sitk.WriteImage(corrected, str(mask))
    kept = mask.read_bytes()
    capsys.readouterr()
    for options in (resume, PredictOptions("argmax", resume=True, measure=True)):
        assert predict(tmp_path / "in", tmp_path / "out", options)[0]["p"] == first
        said = capsys.readouterr().err
        assert "p.nii.gz: changed since it was predicted; kept, " in said
        assert ("bisc_measure" in said) == options.measure
    assert predict(tmp_path / "in", tmp_path / "out", PredictOptions("calibrated", resume=True))[0]["p"] == first
    assert mask.read_bytes() == kept
    with pytest.raises(InputError, match=r"changed since it was predicted, and would be written over.* --continue"):
        predict(tmp_path / "in", tmp_path / "out")
    assert mask.read_bytes() == kept
    mask.unlink()
    again = predict(tmp_path / "in", tmp_path / "out", resume)[0]["p"]
    assert (again.stamp, again.tumor_ml) == (first.stamp, first.tumor_ml)


def test_masks_of_two_models_in_one_folder_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the run that mixes them, and by the one that scores them; all predicted anew, there is nothing to tell."""
    for name in ("p", "q"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", tumor_at=None if name == "p" else 76.0)
    predict(tmp_path / "in", tmp_path / "out")
    assert "several" not in capsys.readouterr().err
    predict(tmp_path / "in" / "p.nii.gz", tmp_path / "out", PredictOptions("calibrated"))
    said = "predictions.csv: its masks are of several models, decisions or versions (1, 1)"
    assert said in capsys.readouterr().err
    masks = tmp_path / "truth"
    shutil.copytree(tmp_path / "out", masks, ignore=shutil.ignore_patterns("*.csv"))
    lines: list[str] = []
    evaluate_folders(masks, tmp_path / "out", tell=lines.append)
    assert [said in line for line in lines] == [True]
    evaluate_folders(masks / "p.nii.gz", tmp_path / "out" / "p.nii.gz", tmp_path / "one.csv", tell=lines.append)
    predict(tmp_path / "in", tmp_path / "out", PredictOptions("calibrated"))
    evaluate_folders(masks, tmp_path / "out", tell=lines.append)
    assert len(lines) == 1
    assert "several" not in capsys.readouterr().err
