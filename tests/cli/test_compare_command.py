"""bisc_compare as a user runs it: what it takes, what it writes and says, and what it refuses before it writes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bisc
from bisc.cli.compare import build_parser, main
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.evaluation.aggregate import to_frame, write_report
from bisc.imageio import write_image
from tests.support.reports import SOUND, saved, simulated_run

FILES = {"compare.html", "compare.csv", "compare_sizes.csv", "compare_volumes.csv", "compare_cases.csv"}


def run(*args: object) -> int:
    return main([str(arg) for arg in args])


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A run of 30 patients, and a better one."""
    first = saved(tmp_path / "old" / "report.csv", simulated_run(30, 1))
    return first, saved(tmp_path / "report_new.csv", simulated_run(30, 2, gain=0.06))


def test_two_reports(two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(*two, "-o", out) == 0
    assert {p.name for p in out.iterdir()} == FILES
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith("new's tumour Dice is higher by 0.0")
    assert "over 30 patients than old's: new is better.\n" in shown.out
    assert str(out / "compare.html") in shown.out
    table = pd.read_csv(out / "compare.csv").set_index("metric")
    assert table.loc["dice_tumor", "b"] == "new"
    values = [pd.read_csv(path)["dice_tumor"] for path in two]
    assert table.loc["dice_tumor", "difference"] == pytest.approx((values[1] - values[0]).mean(), rel=1e-4)
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert "new is better" in page
    first = {p.name: p.read_bytes() for p in out.iterdir()}
    assert run(*two, "-o", out) == 0
    assert {p.name: p.read_bytes() for p in out.iterdir()} == first


def test_three_runs_a_folder_and_names(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Each with the first; a folder stands for the report in it."""
    third = saved(tmp_path / "third.csv", simulated_run(30, 3))
    assert run(two[0].parent, two[1], third, "--names", "paper", "best", "<b>", "-o", tmp_path / "out") == 0
    table = pd.read_csv(tmp_path / "out" / "compare.csv")
    assert set(zip(table["a"], table["b"], strict=True)) == {("paper", "best"), ("paper", "<b>")}
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert "best against paper" in page
    assert "&lt;b&gt; against paper" in page
    assert "<b>" not in page


def test_a_report_older_than_the_masks_beside_it_is_told(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks that came with it are none of them newer than a copy takes."""
    report = two[0]
    case = pd.read_csv(report, dtype=str)["case"][0]
    since = report.stat().st_mtime
    for later, place, given in (
        (5.0, f"{case}.nii.gz", report),
        (3600.0, f"{case}.nii.gz", report.parent),
        (3600.0, f"{case}/prediction.nii.gz", report),
    ):
        path = mask(report.parent / place, 2)
        os.utime(path, (since + later, since + later))
        said = f"report.csv is older than {path}: it scores masks as they were" if later > 10.0 else ""
        assert run(given, two[1], "-o", tmp_path / "out") == 0
        path.unlink()
        err = capsys.readouterr().err
        assert said in err if said else not err


def test_names_are_as_short_as_tells_them_apart(tmp_path: Path) -> None:
    one = saved(tmp_path / "one" / "predictions" / "report.csv", simulated_run(8, 1))
    other = saved(tmp_path / "other" / "predictions" / "report.csv", simulated_run(8, 2))
    assert bisc.compare(one, other).pairs[0].b == "other predictions"
    assert bisc.compare(one, one).pairs[0].b == "predictions (2)"


def test_a_cross_validation(two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name with -d, or by its results' folder; its folds' own reports, whatever report.csv lies beside them."""
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path / "results"))
    rows = simulated_run(30, 1)
    for fold in (0, 1):
        folder = tmp_path / "results" / "Kits" / "fine" / f"fold_{fold}"
        (folder / "validation").mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"loss": "ce", "fold": fold}))
        write_report(folder / "validation" / "report.csv", to_frame(rows[fold * 15 : fold * 15 + 15]))
    (tmp_path / "results" / "Kits" / "report.csv").write_text("stale")
    by_name = bisc.compare(two[1], datasets=["Kits"])
    by_path = bisc.compare(two[1], tmp_path / "results" / "Kits")
    assert by_name.answers == by_path.answers
    assert by_name.answers[0].startswith("Kits' tumour Dice is lower by")
    assert run(two[1], "-d", "Kits", "-o", tmp_path / "out") == 0
    with pytest.raises(bisc.InputError, match="run bisc_train fine 0 first"):
        bisc.compare(two[1], datasets=["Kits23"])


GRID = Geometry((4, 6, 8), (3.0, 1.0, 1.0))


def mask(path: Path, columns: int) -> Path:
    array = np.zeros(GRID.shape_zyx, np.uint8)
    array[1:3, 1:5, 1:6] = 1
    array[1:3, 2:5, 3 : 3 + columns] = 2
    write_image(path, array, NativeGrid.of(GRID))
    return path


def test_predictions_are_scored_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What one folder lacks is left out, or counts with the image's diagonal; what nobody predicted is no case."""
    for i in range(9):
        mask(tmp_path / "ref" / f"case_{i}.nii.gz", 2)
        if i < 8:
            mask(tmp_path / "one" / f"case_{i}.nii.gz", 2)
        if i < 7:
            mask(tmp_path / "two" / f"case_{i}.nii.gz", 1)
    common = (tmp_path / "one", tmp_path / "two", "-r", tmp_path / "ref", "-np", 1)
    assert run(*common, "-o", tmp_path / "out") == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} > FILES | {"report_one.csv", "report_two.csv"}
    assert not (tmp_path / "one" / "report.csv").exists()
    assert "only one has 1 case, left out: case_7" in capsys.readouterr().err
    assert run(*common, "-o", tmp_path / "worst", "--missing-as-worst") == 0
    table = pd.read_csv(tmp_path / "worst" / "compare.csv").set_index("metric")
    assert (table.loc["hd95_tumor_mm", "n_pairs"], table.loc["hd95_tumor_mm", "n_infinite"]) == (8, 0)
    cases = pd.read_csv(tmp_path / "worst" / "compare_cases.csv").set_index(["metric", "case"])
    assert cases.loc[("hd95_tumor_mm", "case_7"), "value_b"] == pytest.approx(244**0.5, rel=1e-5)
    (tmp_path / "two" / "case_0.nii.gz").write_text("Dear Sir")
    assert run(*common, "-o", tmp_path / "bad") == 2
    assert (tmp_path / "bad" / "compare.html").is_file()


def test_what_is_refused_leaves_nothing(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit status 2, no folder."""
    other = saved(tmp_path / "other.csv", [replace(r, volume_tumor_ref_ml=1.0) for r in simulated_run(30, 1)])
    nobody = saved(tmp_path / "nobody.csv", [replace(SOUND, case="nobody")])
    twice = saved(tmp_path / "twice.csv", [SOUND, SOUND])
    (tmp_path / "shop.csv").write_text("name,price\na,1\n")
    (tmp_path / "empty").mkdir()
    kinds: list[tuple[tuple[object, ...], str]] = [
        ((two[0],), "1 given; expected two runs or more"),
        ((two[0], other), "another reference"),
        ((two[0], nobody), "no case is among those"),
        ((two[0], twice), "case_0 twice or more"),
        ((two[0], tmp_path / "shop.csv"), "no column case"),
        ((two[0], tmp_path / "gone.csv"), "does not exist"),
        ((two[0], tmp_path / "empty"), "holds no report.csv"),
        ((*two, "--names", "one"), "1 for 2 runs"),
        ((*two, "--names", "one", "one"), "names that differ"),
        ((*two, "--names", "one", "a/b"), "path separator"),
        ((*two, "--names", "one", "reference"), "stands for the reference"),
        ((*two, "-r", tmp_path / "gone"), "does not exist"),
        ((*two, "-d", "Kits", "-r", tmp_path), "given with -r"),
    ]
    for args, said in kinds:
        assert run(*args, "-o", tmp_path / "out") == 2, args
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert error.startswith("bisc_compare: error: ")
        assert said in error, (args, error)
        assert not (tmp_path / "out").exists()
    assert run(*two, "-o", two[0]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_the_primary_measure_is_one_of_them(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert bisc.compare(*two, primary="tumors_false").answers[0].startswith("No difference in number of false tumours")
    with pytest.raises(bisc.InputError, match="--primary"):
        bisc.compare(*two, primary="dice")
    with pytest.raises(SystemExit):
        build_parser().parse_args(["a", "b", "--primary", "dice"])
    assert "dice_tumor" in capsys.readouterr().err


def test_from_python_nothing_is_written_unless_asked(two: tuple[Path, Path], tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    result = bisc.compare(*two)
    assert result.written == ()
    assert list(result.measures["primary"]).count("yes") == 1
    assert set(tmp_path.rglob("*")) == before
