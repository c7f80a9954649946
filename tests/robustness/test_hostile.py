"""The hostile-input table: every kind ends in one plain line and the right status, and the sound cases are done."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.robustness.hostile_datasets import (
    BAD_CASES,
    BAD_PREDICTIONS,
    ODD_CASES,
    ODD_PREDICTIONS,
    SOUND,
    scored,
    sound,
)
from tests.robustness.hostile_images import BAD_IMAGES, CASE_OF, ODD_IMAGES
from tests.robustness.hostile_kinds import CaseKind, Run, check_line, no_scratch, run_command, scan
from tests.support.stub_model import PLAN, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
COARSE = replace(PLAN, target_spacing_mm_zyx=(5.0, 4.0, 4.0), rough_in_plane_px=64)
"""The stub reads the answer off the intensities, so that a coarse grid will do."""
ids = [kind.name for kind in BAD_IMAGES]


def predict(home: Path, kinds: tuple[CaseKind, ...]) -> Run:
    """All kinds of images beside one sound scan, in one run."""
    (home / "in").mkdir()
    scan(home / "in" / "sound.nii.gz")
    named = {kind.name: kind.make(home / "in", kind.case) for kind in kinds}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("bisc.inference.model.load_model", lambda *_: stub_model(plan=COARSE))
        run = run_command("predict", ["-i", home / "in", "-o", home / "out", "-m", "stub"], home)
    return Run(run.status, run.err, run.out, home, named)


def rows(home: Path) -> dict[str, dict[str, str]]:
    with (home / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def bad_images(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return predict(tmp_path_factory.mktemp("bad"), BAD_IMAGES)


@pytest.fixture(scope="module")
def odd_images(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return predict(tmp_path_factory.mktemp("odd"), ODD_IMAGES)


@pytest.mark.parametrize("kind", BAD_IMAGES, ids=[k.name for k in BAD_IMAGES])
def test_a_bad_image_is_one_line_and_no_mask(bad_images: Run, kind: CaseKind) -> None:
    """It names the file; the case has no mask, and its row says 'failed' and why."""
    named = bad_images.extra[kind.name]
    lines = bad_images.lines_on(f"error: {named}: ")
    assert len(lines) == kind.lines, bad_images.err
    check_line(lines[0], "predict", str(named), kind.told)
    assert not (bad_images.home / "out" / f"{kind.case}.nii.gz").exists()
    row = rows(bad_images.home)[kind.case]
    assert (row["status"], row["error"]) == ("failed", lines[0].removeprefix("bisc_predict: error: "))


def test_among_bad_images_the_sound_one_is_done(bad_images: Run) -> None:
    """Exit status 2, not a line more than one per fault, no scratch, and the sound scan's mask with its volumes."""
    assert bad_images.status == 2
    assert len(bad_images.err) == sum(kind.lines for kind in BAD_IMAGES), bad_images.err
    assert {p.name for p in (bad_images.home / "out").iterdir()} == {"sound.nii.gz", "predictions.csv"}
    row = rows(bad_images.home)["sound"]
    assert (row["status"], float(row["kidney_ml"]) > 100, float(row["tumor_ml"]) > 5) == ("ok", True, True)
    no_scratch(bad_images.home)


@pytest.mark.parametrize("kind", ODD_IMAGES, ids=[k.name for k in ODD_IMAGES])
def test_an_odd_image_has_its_mask(odd_images: Run, kind: CaseKind) -> None:
    """Nothing is wrong with it."""
    case = CASE_OF.get(kind.name, kind.case)
    assert (odd_images.home / "out" / f"{case}.nii.gz").is_file()
    row = rows(odd_images.home)[case]
    assert row["status"] in ("ok", "one_kidney", "no_kidney")
    assert ("implausible" in row["error"]) == ("noted" in kind.name)


def test_odd_images_are_no_failure(odd_images: Run) -> None:
    """One line tells which of two series was taken, one what is no scan: notes and an empty folder beside slices."""
    assert odd_images.status == 0
    (choice,) = odd_images.lines_on("warning: ")
    assert "holds 2 series; " in choice
    (line,) = set(odd_images.err) - {choice}
    assert line.startswith("bisc_predict: note: 2 inputs are no scans and were passed over: ")
    assert "other_files_beside_DICOM/notes.txt: no image by its name; " in line
    assert line.endswith("other_files_beside_DICOM/thumbnails: an empty folder, or one of hidden files alone")
    no_scratch(odd_images.home)


def plan(home: Path, kinds: tuple[CaseKind, ...], *flags: str) -> Run:
    """A data set of two sound cases and one case of every kind."""
    raw = home / "bisc_data" / "raw" / "Data"
    for i, case in enumerate(SOUND):
        sound(raw, case, i)
    named = {kind.name: kind.make(raw, kind.case).relative_to(home) for kind in kinds}
    run = run_command("plan_and_preprocess", ["-d", "Data", "-np", "1", *flags], home)
    return Run(run.status, run.err, run.out, home / "bisc_data" / "preprocessed" / "Data", named)


def table(target: Path) -> list[dict[str, str]]:
    with (target / "verify.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def bad_cases(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return plan(tmp_path_factory.mktemp("bad_cases"), BAD_CASES)


@pytest.fixture(scope="module")
def odd_cases(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return plan(tmp_path_factory.mktemp("odd_cases"), ODD_CASES, "--verify")


@pytest.mark.parametrize("kind", BAD_CASES, ids=[k.name for k in BAD_CASES])
def test_a_bad_case_is_told_and_left_out(bad_cases: Run, kind: CaseKind) -> None:
    """One line per fault, the same as in verify.csv; neither measured nor cached."""
    named = bad_cases.extra[kind.name]
    lines = bad_cases.lines_on(f"error: {named}")
    assert len(lines) == kind.lines, bad_cases.err
    for line in lines:
        check_line(line, "plan_and_preprocess", str(named), kind.told)
    faults = [row for row in table(bad_cases.home) if row["case"] == kind.case]
    told = {"; ".join([f"{row['file']}: {row['found']}", f"expected {row['expected']}", row["mend"]]) for row in faults}
    assert told == {line.removeprefix("bisc_plan_and_preprocess: error: ").removesuffix("; ") for line in lines}
    for part in ("rough", "fine"):
        assert not (bad_cases.home / part / kind.case).exists()


def test_among_bad_cases_the_sound_ones_are_planned_and_cached(bad_cases: Run) -> None:
    """Not a line more than one per fault; the plan is made of the sound cases."""
    assert bad_cases.status == 2
    n_faults = sum(kind.lines for kind in BAD_CASES)
    assert (len(bad_cases.err), len(table(bad_cases.home))) == (n_faults, n_faults), bad_cases.err
    assert {p.name for stage in ("rough", "fine") for p in (bad_cases.home / stage).iterdir()} == set(SOUND)
    assert f"2 cases planned, {n_faults} faults" in bad_cases.out
    no_scratch(bad_cases.home)


def test_an_image_and_its_label_map_are_told_of_in_one_go(bad_cases: Run) -> None:
    """Not the one now, and the other after it was mended."""
    rows_of_both = [r for r in table(bad_cases.home) if r["case"] == "image_and_label_map_both_at_fault"]
    assert [(Path(r["file"]).name, r["found"].split()[0]) for r in rows_of_both] == [
        ("segmentation.nii.gz", "label"),
        ("imaging.nii.gz", "ends"),
    ]


def test_odd_cases_are_planned(odd_cases: Run) -> None:
    """No fault: an empty table, on the terminal too, and every case cached; an empty label map is a note."""
    told = [line for line in odd_cases.err if "voxel for voxel; kept" not in line]  # all are of one maker's label maps
    assert (odd_cases.status, told) == (0, [])
    faults = [row for row in table(odd_cases.home) if row["level"] == "fault"]
    assert (faults, "no faults" in odd_cases.out) == ([], True)
    cases = {kind.case for kind in ODD_CASES[:-1]} | {"Fall 7 腎"} | set(SOUND)
    assert {p.name for p in (odd_cases.home / "fine").iterdir()} == cases
    assert odd_cases.out.count("its label map is empty") == 1
    no_scratch(odd_cases.home)


def test_a_mended_data_set_ends_with_an_empty_table(tmp_path: Path) -> None:
    """--verify shows both faults of a case as a table; mended, the plain run empties verify.csv."""
    kinds = tuple(kind for kind in BAD_CASES if kind.lines == 2)[:1]
    run = plan(tmp_path, kinds, "--verify", "--only-plan")
    lines = run.out.splitlines()
    assert lines[0].split() == ["case", "file", "found", "mend"]
    assert [line.split()[1] for line in lines[1:3]] == [
        f"{kinds[0].case}/{n}.nii.gz" for n in ("segmentation", "imaging")
    ]
    assert len(table(run.home)) == 2
    sound(tmp_path / "bisc_data" / "raw" / "Data", kinds[0].case, 5)
    again = run_command("plan_and_preprocess", ["-np", "1", "--only-plan"], tmp_path)
    assert (again.status, len(again.err), table(run.home)) == (0, 1, [])
    assert "splits.json: names other cases than there are now; made anew" in again.err[0]
    assert (run.home / "verify.csv").read_text() == "case,file,found,expected,mend,level\n"


def evaluate(home: Path, kinds: tuple[CaseKind, ...]) -> tuple[Run, dict[str, dict[str, str]]]:
    """All kinds of pairs beside a sound one, in one run."""
    scored()(home, "sound")
    named = {kind.name: kind.make(home, kind.case) for kind in kinds}
    run = run_command("evaluate", ["-r", home / "ref", "-p", home / "pred", "-np", "1"], home)
    with (home / "pred" / "report.csv").open(newline="") as file:
        report = {row["case"]: row for row in csv.DictReader(file)}
    return Run(run.status, run.err, run.out, home, named), report


@pytest.fixture(scope="module")
def bad_predictions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, dict[str, str]]]:
    return evaluate(tmp_path_factory.mktemp("bad_predictions"), BAD_PREDICTIONS)


@pytest.mark.parametrize("kind", BAD_PREDICTIONS, ids=[k.name for k in BAD_PREDICTIONS])
def test_a_bad_pair_is_one_line_and_a_failed_row(
    bad_predictions: tuple[Run, dict[str, dict[str, str]]], kind: CaseKind
) -> None:
    run, report = bad_predictions
    named = run.extra[kind.name]
    lines = run.lines_on(f"error: {named}: ")
    assert len(lines) == 1, run.err
    check_line(lines[0], "evaluate", str(named), kind.told)
    assert report[kind.case]["status"] == "failed"


def test_among_bad_pairs_the_sound_one_is_scored(bad_predictions: tuple[Run, dict[str, dict[str, str]]]) -> None:
    run, report = bad_predictions
    assert (run.status, len(run.err)) == (2, len(BAD_PREDICTIONS)), run.err
    assert (report["sound"]["status"], report["sound"]["dice_composite"]) == ("ok", "1")
    no_scratch(run.home)


def test_odd_pairs_are_scored(tmp_path: Path) -> None:
    run, report = evaluate(tmp_path, ODD_PREDICTIONS)
    assert (run.status, run.err) == (0, [])
    assert {row["status"] for row in report.values()} == {"ok"}
    assert [report[kind.case]["dice_kidney"] for kind in ODD_PREDICTIONS] == ["1", "1", "0"]
