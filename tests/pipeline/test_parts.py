"""Parts of a command's cases: together they are one run to the byte, and what is missing or of another run is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.cli import plan_and_preprocess
from bisc.core.errors import BiscError, InputError, WorkError
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.imageio import write_image
from bisc.imageio.inputs import find_inputs
from bisc.pipeline.case_parts import predict_part, report_part
from bisc.pipeline.evaluate import evaluate_folders
from bisc.pipeline.measure import measure_folders
from bisc.pipeline.options import MeshOptions, PredictionRow, PredictOptions
from bisc.pipeline.parts import Part
from bisc.pipeline.plan import plan
from bisc.pipeline.predict import predict_cases
from bisc.pipeline.report import ReportOptions, report_cases
from bisc.pipeline.rows import merge_rows
from bisc.system.console import collecting
from tests.support.patient import GRID, image, labels
from tests.support.stub_model import kidneys, stub_model
from tests.support.training_fixtures import STORED, patient, use_one_thread, write_raw

use_one_thread()
COARSE = Geometry((40, 60, 76), (3.5, 4.0, 4.0), (-150.0, -120.0, -700.0))
NAMES = ("a", "b", "c", "d", "e")


def files_of(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder but the parts' notes."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: data for name, data in found.items() if not name.startswith("parts/")}


def in_parts(run: Callable[[Part], object], count: int, leave_out: int = 0) -> object:
    """Every part but one, the last first; then joined."""
    for number in range(count, 0, -1):
        if number != leave_out:
            run(Part(number, count))
    return run(Part(None, count))


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five label maps, of which one has no kidney and one is damaged."""
    folder = tmp_path_factory.mktemp("masks")
    for i, name in enumerate(NAMES):
        array = patient(STORED.canonical, 10.0 + 2.0 * i, i)[1]
        write_image(folder / f"{name}.nii.gz", array if name != "b" else array * 0, STORED)
    (folder / "d.nii.gz").write_bytes((folder / "d.nii.gz").read_bytes()[:200])
    return folder


@given(st.lists(st.text("abcd", min_size=1), unique=True), st.integers(1, 7), st.randoms())
def test_every_case_is_of_one_part_whatever_the_order(names: list[str], count: int, chance: object) -> None:
    shares = [Part(number, count).share(names, str) for number in range(1, count + 1)]
    assert sorted(name for share in shares for name in share) == sorted(names)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert [sorted(share) for share in shares] == [
        sorted(Part(number, count).share(names[::-1], str)) for number in range(1, count + 1)
    ]
    assert Part(None, count).share(names, str) == names


def test_the_share_is_every_nth_by_name() -> None:
    assert Part(2, 2).share(["c", "a", "d", "b"], str) == ["d", "b"]


def test_measures_in_parts_are_those_of_one_run(masks: Path, tmp_path: Path) -> None:
    """Rows and errors; the damaged case is an error of its part and of the whole."""
    whole = measure_folders(masks, output=tmp_path / "whole")
    joined = in_parts(lambda part: measure_folders(masks, output=tmp_path / "parts", part=part), 3)
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    assert "parts/measures_2_of_3.json" in {str(p.relative_to(tmp_path / "parts")) for p in tmp_path.rglob("*.json")}
    assert [str(error) for error in joined.errors] == [str(error) for error in whole.errors]  # type: ignore[attr-defined]
    assert [type(error) for error in whole.errors] == [InputError]
    assert joined.kept == ("a", "b", "c", "e")  # type: ignore[attr-defined]


def test_a_missing_part_is_an_error_that_names_it_and_its_cases(masks: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"part 2 of 3 is missing: b, e; run it with --part, then join again"):
        in_parts(lambda part: measure_folders(masks, output=tmp_path, part=part), 3, leave_out=2)
    measure_folders(masks, output=tmp_path, part=Part(2, 3))
    measure_folders(masks, output=tmp_path, part=Part(None, 3))


def test_a_part_of_other_files_or_options_is_none_of_this_run(masks: Path, tmp_path: Path) -> None:
    """An older run's note must not stand for a part that was never begun."""
    inputs = tmp_path / "masks"
    shutil.copytree(masks, inputs)

    def run(part: Part, mesh: MeshOptions | None = None) -> object:
        return measure_folders(inputs, output=tmp_path / "out", mesh=mesh, part=part)

    in_parts(run, 2)
    with pytest.raises(WorkError, match=r"part 1 of 2 is not of these files and options: a, c, e; part 2 .*: b, d"):
        run(Part(None, 2), MeshOptions("stl"))
    write_image(inputs / "c.nii.gz", patient(STORED.canonical, 20.0, 9)[1], STORED)
    with pytest.raises(WorkError, match=r": part 1 of 2 is not of these files and options: c; run it"):
        run(Part(None, 2))
    with pytest.raises(WorkError, match=r"part 3 of 3 is missing: c"):
        run(Part(None, 3))


def test_rows_that_a_disk_without_locks_lost_come_back(masks: Path, tmp_path: Path) -> None:
    """The notes have them."""
    in_parts(lambda part: measure_folders(masks, output=tmp_path, part=part), 2)
    table = (tmp_path / "measures.csv").read_text()
    (tmp_path / "measures.csv").write_text("".join(table.splitlines(keepends=True)[:2]))
    measure_folders(masks, output=tmp_path, part=Part(None, 2))
    assert (tmp_path / "measures.csv").read_text() == table


def test_scores_in_parts_are_those_of_one_run(masks: Path, tmp_path: Path) -> None:
    """Report and summary to the last digit, with a case whose reference is damaged: empty cells, NaN in between."""
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for i, name in enumerate(NAMES):
        write_image(predictions / f"{name}.nii.gz", patient(STORED.canonical, 12.0, i)[1], STORED)
    whole = evaluate_folders(masks, predictions, tmp_path / "whole.csv")
    joined = in_parts(lambda part: evaluate_folders(masks, predictions, tmp_path / "parts.csv", part=part), 2)
    for end in (".csv", "_summary.csv"):
        assert (tmp_path / f"parts{end}").read_bytes() == (tmp_path / f"whole{end}").read_bytes()
    assert [str(error) for error in joined.errors] == [str(error) for error in whole.errors] != []  # type: ignore[attr-defined]


def test_predictions_in_parts_are_those_of_one_run(tmp_path: Path) -> None:
    """Masks, rows and measures; a faulty input is an error of its part and of the whole; no scan is no part's."""
    scans = tmp_path / "scans"
    write_image(scans / "a.nii.gz", kidneys(COARSE)[0].array, NativeGrid.of(COARSE))
    (scans / "d.nii.gz").write_bytes(b"no image")
    (scans / "d_gone.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    (scans / "a_notes.txt").write_text("no scan")
    model = stub_model()
    model = replace(model, device=replace(model.device, deterministic=True))  # no seconds in the table
    options = PredictOptions("argmax", measure=True)
    errors: dict[str, list[BiscError]] = {"whole": [], "parts": []}
    predict_cases(find_inputs(scans), model, tmp_path / "whole", options, errors["whole"].append)

    def run(part: Part) -> object:
        note = (errors["parts"] if part.number is None else []).append
        return predict_part(find_inputs(scans), model, tmp_path / "parts", options, note, part)

    with pytest.raises(WorkError, match="part 2 of 2 is missing: d;"):
        in_parts(run, 2, leave_out=2)
    model = replace(model, device=replace(model.device, precision="bf16"))
    run(Part(2, 2))
    with collecting() as notes:
        run(Part(None, 2))
    assert "its parts were computed in bf16 on cpu and fp32 on cpu" in "".join(notes)
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    assert {"a.nii.gz", "measures.csv", "predictions.csv"} <= files_of(tmp_path / "parts").keys()
    assert {str(e) for e in errors["parts"]} == {str(e) for e in errors["whole"]} != set()
    (tmp_path / "parts" / "a.nii.gz").unlink()
    with pytest.raises(WorkError, match=r"part 1 of 2 .*: a;"):
        run(Part(None, 2))


@pytest.mark.long
def test_pages_in_parts_are_those_of_one_run(tmp_path: Path) -> None:
    for name in NAMES[:2]:
        write_image(tmp_path / "in" / f"{name}.nii.gz", image(labels()).array, NativeGrid.of(GRID))
    write_image(tmp_path / "masks" / "a.nii.gz", labels(), NativeGrid.of(GRID))
    given = tmp_path / "in", tmp_path / "masks"
    errors: list[BiscError] = []
    joined: list[BiscError] = []
    merge_rows(tmp_path / "masks" / "predictions.csv", [PredictionRow("c", "failed", error="is damaged")])
    write_image(tmp_path / "in" / "c.nii.gz", image(labels()).array, NativeGrid.of(GRID))
    report_cases(*given, tmp_path / "whole", ReportOptions(), errors.append)
    in_parts(lambda part: report_part(*given, tmp_path / "parts", ReportOptions(), joined.append, part), 2)
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    assert [str(error) for error in joined] == [str(errors[0])] * 2  # of its part, and of the whole
    (tmp_path / "parts" / "a_report.html").unlink()
    with pytest.raises(WorkError, match=r"part 1 of 2 .*: a;"):
        report_part(*given, tmp_path / "parts", ReportOptions(), joined.append, Part(None, 2))


def test_caches_in_parts_are_those_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is made first; each part needs it, as the data set is now."""
    write_raw(tmp_path / "raw" / "Data", 3)
    monkeypatch.setenv("BISC_RAW", str(tmp_path / "raw"))
    monkeypatch.setenv("BISC_PREPROCESSED", str(tmp_path / "whole"))
    plan("Data")
    monkeypatch.setenv("BISC_PREPROCESSED", str(tmp_path / "parts"))
    with pytest.raises(InputError, match=r"plan\.json: No such file"):
        plan("Data", part=Part(1, 2))
    plan("Data", only_plan=True)
    with pytest.raises(WorkError, match="part 2 of 2 is missing: case_00001"):
        in_parts(lambda part: plan("Data", part=part), 2, leave_out=2)
    plan("Data", part=Part(2, 2))
    plan("Data", part=Part(None, 2))
    made, whole = (tmp_path / name / "Data" for name in ("parts", "whole"))
    assert files_of(made) == files_of(whole)
    shutil.rmtree(made / "fine" / "case_00002")
    with pytest.raises(WorkError, match=r"part 1 of 2 .*: case_00002;"):
        plan("Data", part=Part(None, 2))
    shutil.rmtree(tmp_path / "raw" / "Data" / "case_00002")
    with pytest.raises(InputError, match=r"is of the data set as it was before; .*plan it again"):
        plan("Data", part=Part(1, 2))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--part", "3", "--parts", "2"], "--part: 3 of 2 parts"),
        (["--part", "1"], "--part: 1 of no parts"),
        (["--parts", "2", "--scheduler", "local"], "--scheduler: given with --parts"),
        (["--parts", "2", "--only-plan"], "--only-plan: given with --parts"),
    ],
)
def test_options_that_do_not_fit_are_usage(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_and_preprocess.main(["-d", "Data", *argv]) == 2
    assert words in capsys.readouterr().err
