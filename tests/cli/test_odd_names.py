"""Names that are no UTF-8 (a Latin-1 'ü'): their own case fails, in one line that shows them, and the others go on.
Names that are composed in two ways, as one."""

from __future__ import annotations

import os
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

from bisc.cli import evaluate, plan_and_preprocess
from bisc.core.errors import BiscError, InputError
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.evaluation.pairs import find_pairs
from bisc.imageio import write_image
from bisc.imageio.dataset import find_raw_dataset
from bisc.imageio.inputs import find_inputs
from bisc.pipeline.measure_jobs import find_jobs
from bisc.pipeline.options import PredictionRow, PredictOptions
from bisc.pipeline.predict import predict_cases
from bisc.pipeline.rows import merge_rows, read_rows
from bisc.system.jsonfile import Document, load_json, save_json
from tests.support.stub_model import OBLIQUE, kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
ODD = os.fsdecode(b"M\xfcller")
SHOWN = r"M\udcfcller"
GRID = NativeGrid.of(Geometry((16, 24, 24), (3.0, 2.0, 2.0)))


def save(folder: Path, name: str, side: int = 12) -> None:
    """A label map with a kidney of 8 x `side` x 12 voxels of 12 mm3: 14 ml for 12."""
    array = np.zeros(GRID.canonical.shape_zyx, np.uint8)
    array[4:12, 4 : 4 + side, 4:16] = 1
    write_image(folder / "good.nii.gz", array, GRID)
    (folder / "good.nii.gz").rename(folder / name)


def test_prediction_goes_on(tmp_path: Path) -> None:
    """Case M is the first by name: a and z are predicted all the same, and so is what --continue finds."""
    volume, _ = kidneys(OBLIQUE.canonical)
    for name in ("a", "z", "Ünal"):
        write_image(tmp_path / "in" / f"{name}.nii.gz", volume.array, OBLIQUE)
    os.link(tmp_path / "in" / "a.nii.gz", tmp_path / "in" / f"{ODD}.nii.gz")
    (tmp_path / "in" / f"{ODD}.txt").write_text("no scan")
    for resume in (False, True):
        errors: list[BiscError] = []
        options = PredictOptions("argmax", resume=resume)
        predict_cases(find_inputs(tmp_path / "in"), stub_model(), tmp_path / "out", options, errors.append)
        assert [str(error).count(SHOWN) for error in errors] == [1]
        rows = {row.case: row for row in read_rows(tmp_path / "out" / "predictions.csv")}
        assert sorted(row.status for row in rows.values()) == ["failed", "ok", "ok", "ok", "skipped"]
        assert [row.source.count(SHOWN) for row in rows.values() if row.status == "failed"] == [1]
        assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == [
            "a.nii.gz", "z.nii.gz", "Ünal.nii.gz"
        ]  # fmt: skip


def test_an_output_folder_of_such_a_name_is_refused(tmp_path: Path) -> None:
    """ITK ended the process over it."""
    with pytest.raises(InputError, match="no UTF-8"):
        predict_cases([], stub_model(), tmp_path / ODD, PredictOptions("argmax"), print)
    with pytest.raises(InputError, match="no UTF-8"):
        write_image(tmp_path / ODD / "a.nii.gz", np.zeros(GRID.canonical.shape_zyx, np.uint8), GRID)


def test_evaluation_scores_the_others(tmp_path: Path) -> None:
    for folder in ("ref", "pred"):
        for name in ("a.nii.gz", f"{ODD}.nii.gz"):
            save(tmp_path / folder, name)
    asked = [tmp_path / "ref", "-p", tmp_path / "pred", "-o", tmp_path / "report.csv", "-np", 1]
    assert evaluate.main(["-r", *map(str, asked)]) == 2
    odd, good = (tmp_path / "report.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert odd.startswith(f"{SHOWN},failed,")
    assert good.startswith("a,ok,1,")


def test_planning_names_it_and_plans_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BISC_HOME", str(tmp_path))
    for side, name in enumerate(("a", "b", ODD), 12):
        save(tmp_path / "raw" / "D" / "labelsTr", f"{name}.nii.gz", side)
    assert plan_and_preprocess.main(["--only-plan", "-np", "1"]) == 2
    assert (tmp_path / "preprocessed" / "D" / "plan.json").exists()
    table = (tmp_path / "preprocessed" / "D" / "verify.csv").read_text(encoding="utf-8").splitlines()
    assert table[1].startswith(f"{SHOWN},{tmp_path}/raw/D/labelsTr/{SHOWN}.nii.gz,the case name is no UTF-8")


class Name(Document, frozen=True):
    """One text."""

    name: str


def test_json_of_such_a_name_can_be_read_again(tmp_path: Path) -> None:
    save_json(tmp_path / "a.json", Name(name=ODD))
    assert load_json(tmp_path / "a.json", Name, "").name == SHOWN


COMPOSED, APART = "Müller", normalize("NFD", "Müller")


@pytest.mark.parametrize(("first", "second"), [(COMPOSED, APART), (APART, COMPOSED)])
@pytest.mark.parametrize("listed", [False, True])
def test_one_name_composed_otherwise_is_one_case(tmp_path: Path, first: str, second: str, listed: bool) -> None:
    """As a folder that went through macOS has it: scored with its reference, whichever predictions.csv has."""
    save(tmp_path / "ref", f"{first}.nii.gz")
    save(tmp_path / "pred", f"{second}.nii.gz")
    if listed:
        merge_rows(tmp_path / "pred" / "predictions.csv", [PredictionRow(COMPOSED, "ok")])
    found = find_pairs(tmp_path / "ref", tmp_path / "pred", all_references=True)
    assert [(pair.case, pair.prediction) for pair in found.pairs] == [(first, tmp_path / "pred" / f"{second}.nii.gz")]
    assert (found.without_reference, found.without_prediction) == ((), ())
    (job,) = find_jobs(tmp_path / "ref", tmp_path / "pred", tmp_path / "measures.csv", None)
    assert job.image is not None


@pytest.mark.parametrize("channel", ["", "_0000"])
def test_one_name_composed_otherwise_is_one_training_case(tmp_path: Path, channel: str) -> None:
    """It bears its label map's name. Two files of both spellings stay two."""
    save(tmp_path / "imagesTr", f"{COMPOSED}{channel}.nii.gz")
    save(tmp_path / "labelsTr", f"{APART}.nii.gz")
    found = find_raw_dataset(tmp_path)
    assert [(case.name, bool(case.image)) for case in found.cases] == [(APART, True)]
    assert found.faults == ()
    save(tmp_path / "imagesTr", f"{APART}{channel}.nii.gz")
    save(tmp_path / "labelsTr", f"{COMPOSED}.nii.gz")
    both = {case.name: case.image for case in find_raw_dataset(tmp_path).cases}
    assert {name: image and image.name for name, image in both.items()} == {
        name: f"{name}{channel}.nii.gz" for name in (APART, COMPOSED)
    }
