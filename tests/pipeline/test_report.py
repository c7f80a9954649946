"""bisc_report as a user runs it: a run's folder, one pair, masks edited, wrong, empty or on another grid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bisc.cli.report import main
from bisc.core.volume import NativeGrid, Volume
from bisc.imageio import write_image
from bisc.pipeline.options import PredictionRow
from bisc.pipeline.report_rows import EDITED, flags_of
from bisc.pipeline.rows import merge_rows
from tests.support.ct_series import write_ct
from tests.support.patient import GRID, SHAPE, image, labels

NATIVE = NativeGrid.of(GRID)


def run(*args: object) -> int:
    return main([str(arg) for arg in args])


def one_kidney() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    array = labels()
    array[:, :, 70:] = 0
    array[array == 2] = 1
    return array


def rows_of(index: Path) -> dict[str, str]:
    rows = re.findall(r"<tr>(.*?)</tr>", index.read_text(encoding="utf-8"), re.DOTALL)
    named = [(re.search(r'<th scope="row" data-sort="([^"]*)"', row), row) for row in rows]
    return {name[1]: row for name, row in named if name is not None}


def test_a_run_has_a_page_a_case_and_an_index_of_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans, out = tmp_path / "in", tmp_path / "out"
    for name in ("edited", "empty", "good", "lost", "other", "unmasked"):
        write_image(scans / f"{name}.nii.gz", image(labels()).array, NATIVE)
    write_image(out / "good.nii.gz", one_kidney(), NATIVE)
    write_image(out / "edited.nii.gz", one_kidney(), NATIVE)
    write_image(out / "empty.nii.gz", np.zeros(SHAPE, np.uint8), NATIVE)
    moved = NativeGrid.of(GRID.cropped((1, 0, 0), SHAPE))
    write_image(out / "other.nii.gz", labels(), moved)
    (out / "other_report.html").write_text("an older run's")
    ml = np.count_nonzero(one_kidney()) * GRID.voxel_volume_ml
    merge_rows(
        out / "predictions.csv",
        [
            PredictionRow("good", "ok", kidney_ml=ml, tumor_ml=0.0),
            PredictionRow("edited", "ok", kidney_ml=ml + 1.0, tumor_ml=0.0),
            PredictionRow("empty", "no_kidney"),
            PredictionRow("lost", "failed", error=f"{scans}/lost.nii.gz: is damaged", source=f"{scans}/lost.nii.gz"),
            PredictionRow("elsewhere", "ok", kidney_ml=10.0),
        ],
    )
    assert run("-i", scans, "-p", out) == 2
    shown = capsys.readouterr()
    assert "3 of 7 cases have a page" in shown.out
    errors = shown.err.splitlines()
    assert len(errors) == 2
    assert "other.nii.gz" in errors[0]
    assert "resample the label map onto its image" in errors[0]
    assert "has no mask unmasked.nii.gz" in errors[1]
    assert sorted(path.name for path in out.glob("*.html")) == [
        "edited_report.html", "empty_report.html", "good_report.html", "index.html",
    ]  # fmt: skip
    rows = rows_of(out / "index.html")
    assert list(rows)[:4] == ["elsewhere", "lost", "other", "unmasked"]
    assert f"{ml:.1f}" in rows["good"]
    assert "The mask was edited since" in rows["edited"]
    assert "edited" not in rows["good"]
    assert EDITED in (out / "edited_report.html").read_text(encoding="utf-8")
    assert "lost: is damaged" in rows["lost"]
    assert str(scans) not in (out / "index.html").read_text(encoding="utf-8")
    assert "no kidney found" in rows["empty"]
    assert f"Kidneys with tumours {ml:.1f} ml" in (out / "good_report.html").read_text(encoding="utf-8")


def test_a_dicom_study_s_page_names_nobody_unless_it_is_asked_to(tmp_path: Path) -> None:
    write_ct(tmp_path / "study", Volume(image(labels()).array, GRID))
    write_image(tmp_path / "edited.nii.gz", np.zeros(SHAPE, np.uint8), NATIVE)
    pair = ("-i", tmp_path / "study", "-p", tmp_path / "edited.nii.gz", "-o", tmp_path / "page")
    assert run(*pair) == 0
    (page,) = (tmp_path / "page").glob("*_report.html")
    visible = re.sub(r"[A-Za-z0-9+/=]{200,}", "", page.read_text(encoding="utf-8"))
    assert "Jane" not in visible
    assert "1950" not in visible
    assert run(*pair, "--identify") == 0
    assert "<dt>Name</dt><dd>Doe Jane</dd>" in page.read_text(encoding="utf-8")


def test_a_second_mask_of_a_case_is_not_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An editor saved it in another format: nobody knows which of the two is meant."""
    write_image(tmp_path / "in" / "a.nii.gz", image(labels()).array, NATIVE)
    for name in ("a.nii.gz", "a.nrrd"):
        write_image(tmp_path / "out" / name, labels(), NATIVE)
    assert run("-i", tmp_path / "in", "-p", tmp_path / "out") == 2
    assert "a second mask of a, beside a.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "out" / "a_report.html").exists()


def test_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "ct.nii.gz", image(labels()).array, NATIVE)
    assert run("-i", tmp_path / "ct.nii.gz", "-p", tmp_path / "nowhere") == 2
    assert "nowhere: does not exist" in capsys.readouterr().err
    write_image(tmp_path / "two" / "a.nii.gz", image(labels()).array, NATIVE)
    write_image(tmp_path / "two" / "b.nii.gz", image(labels()).array, NATIVE)
    assert run("-i", tmp_path / "two", "-p", tmp_path / "ct.nii.gz") == 2
    assert "holds 2 scans" in capsys.readouterr().err


def test_flags_of_a_row_that_has_none_are_none() -> None:
    assert flags_of(None) is None
    assert flags_of(PredictionRow("a", "ok")) is None


def test_flags_of_a_row_are_those_it_tells() -> None:
    flag = {"name": "cut", "value": 0.3, "limit": None, "level": "amber", "words": "It is cut."}
    row = SimpleNamespace(light="amber", risk=0.2, flags=json.dumps([flag]))
    found = flags_of(row)  # type: ignore[arg-type]
    assert found is not None
    assert (found.light, found.risk, found.raised) == ("amber", 0.2, found.flags)
    row.flags = "[{]"
    assert flags_of(row) is None  # type: ignore[arg-type]
