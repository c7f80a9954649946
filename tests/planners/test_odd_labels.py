"""Data sets whose 1 and 2 are two kidneys, or swapped, are told by their volumes; others are not."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bisc.cli import evaluate, plan_and_preprocess
from bisc.planners.odd_labels import odd_labels
from tests.support.grids import ball, grid, hand_fingerprint, write_itk

GRID = grid((30, 50, 60), (4.0, 2.0, 2.0))
SWAP = np.array([0, 2, 1], np.uint8)


def sides(case: int) -> npt.NDArray[np.uint8]:
    """Left and right kidney as 1 and 2, some 34 ml each, either the larger; other cases are other patients."""
    right, left = ball(GRID, (55, 50, 30), 19.5 + 2 * (case % 2) + case / 5), ball(GRID, (60, 50, 85), 20.5 + case / 10)
    return np.asarray(right + 2 * left, np.uint8)


def sound(case: int) -> npt.NDArray[np.uint8]:
    """The same kidneys as 1, and a tumour of 7 ml in the left one."""
    labels = (sides(case) > 0).astype(np.uint8)
    labels[ball(GRID, (60, 50, 90), 12)] = 2
    return labels


def swapped(case: int) -> npt.NDArray[np.uint8]:
    return SWAP[sound(case)]


def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maps: list[npt.NDArray[np.uint8]]) -> list[str]:
    """The notes of its verify.csv."""
    monkeypatch.setenv("BISC_HOME", str(tmp_path / "home"))
    for i, labels in enumerate(maps):
        (tmp_path / "Set" / f"c{i}").mkdir(parents=True)
        write_itk(tmp_path / "Set" / f"c{i}" / "segmentation.nii.gz", labels, GRID)
    assert plan_and_preprocess.main(["-d", str(tmp_path / "Set"), "--only-plan", "-np", "1"]) == 0
    (table,) = (tmp_path / "home" / "preprocessed").glob("*/verify.csv")
    with table.open(newline="", encoding="utf-8") as file:
        return [" ".join(row.values()) for row in csv.DictReader(file)]


def test_a_data_set_of_sides_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "in 3 of 3 cases the tumour is a region by itself that touches no kidney"
    (note,) = planned(tmp_path, monkeypatch, [sides(i) for i in range(3)])
    assert words in note
    assert words in capsys.readouterr().err


def test_a_swapped_data_set_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = planned(tmp_path, monkeypatch, [swapped(i) for i in range(3)])
    assert "in 3 of 3 cases tumours are larger than the rest of the kidneys" in note
    assert "--labels kidney=2,tumor=1" in note


def test_single_patients_may_look_like_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert planned(tmp_path, monkeypatch, [sides(0), swapped(1), sound(2), sound(3)]) == []
    assert odd_labels(hand_fingerprint()) == []


@pytest.mark.parametrize(
    ("reference", "prediction", "words"),
    [
        (sound, swapped, "in 3 of 3 predictions tumours are larger than the rest"),
        (swapped, sound, "in 3 of 3 references tumours are larger than the rest"),
        (sound, sides, "agree on the kidneys and not on large tumours"),
        (sound, lambda case: (sound(case) == 2).astype(np.uint8), "no prediction holds a tumour (label 2), though 3"),
        (sound, sound, ""),
    ],
)
def test_what_is_scored_is_told_likewise(  # type: ignore[no-untyped-def]
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reference, prediction, words: str
) -> None:
    """Of three cases, not of two."""
    for side, maps in (("r", reference), ("p", prediction)):
        (tmp_path / side).mkdir()
        for i in range(3):
            write_itk(tmp_path / side / f"c{i}.nii.gz", maps(i), GRID)
    assert evaluate.main(["-r", str(tmp_path / "r"), "-p", str(tmp_path / "p"), "-np", "1"]) == 0
    told = capsys.readouterr().err
    assert words in told
    assert bool(told) == bool(words)
    (tmp_path / "p" / "c0.nii.gz").unlink()
    assert evaluate.main(["-r", str(tmp_path / "r"), "-p", str(tmp_path / "p"), "-np", "1"]) == 0
    assert "in 2 of 2" not in capsys.readouterr().err
