"""The plan, splits and fingerprint on disk: strict, kept while they are right, and open to a person's changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bisc.core.errors import InputError
from bisc.imageio import read_image, read_labels
from bisc.imageio.dataset import find_raw_dataset
from bisc.planners.dataset import (
    load_plan,
    load_splits,
    measure_dataset,
    plan_dataset,
)
from bisc.planners.plan import Plan
from bisc.planners.planner import make_plan
from bisc.planners.source import load_source, save_source
from bisc.planners.splits import Splits
from bisc.system.jsonfile import load_json, save_json, to_json
from tests.support.grids import hand_case, hand_fingerprint


def test_plan_round_trip(tmp_path: Path) -> None:
    """What is written is read again, value by value."""
    plan = make_plan(hand_fingerprint())
    save_json(tmp_path / "plan.json", plan)
    assert load_plan(tmp_path) == plan
    assert load_json(tmp_path / "plan.json", Plan, "") == plan


@pytest.mark.parametrize(
    ("change", "needle"),
    [
        (lambda d: d | {"batch": 3}, "unknown field `batch`"),
        (lambda d: d | {"fine": d["fine"] | {"patch": 1}}, "unknown field `patch` - at `$.fine`"),
        (lambda d: {k: v for k, v in d.items() if k != "roi"}, "missing required field `roi`"),
        (lambda d: d | {"rough": d["rough"] | {"norm": "layer"}}, "$.rough.norm"),
        (lambda d: d | {"target_spacing_mm_zyx": [3, 1]}, "$.target_spacing_mm_zyx"),
    ],
    ids=["unknown", "unknown below", "missing", "value", "length"],
)
def test_a_faulty_plan_is_told_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], needle: str
) -> None:
    """The file, the key, and the command that mends it."""
    data = json.loads(to_json(make_plan(hand_fingerprint())))
    (tmp_path / "plan.json").write_text(json.dumps(change(data)))
    with pytest.raises(InputError) as caught:
        load_plan(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'plan.json'}: ")
    assert needle in message
    assert message.endswith("run bisc_plan_and_preprocess")
    assert "\n" not in message


def test_a_persons_change_survives_until_the_data_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rerun: kept. Another memory target or another fingerprint: planned anew; splits stay while the cases do, and are
    kept beside when they do not."""
    first = plan_dataset(hand_fingerprint(), tmp_path, 12.0)
    edited = msgspec.structs.replace(first, rough_in_plane_px=160)
    save_json(tmp_path / "plan.json", edited)
    splits = load_splits(tmp_path)
    mine = msgspec.structs.replace(splits, folds=splits.folds[::-1])
    save_json(tmp_path / "splits.json", mine)
    assert plan_dataset(hand_fingerprint(), tmp_path, 12.0) == edited
    assert load_plan(tmp_path) == edited
    assert "160 px in plane" in (tmp_path / "plan.txt").read_text()
    assert load_splits(tmp_path) == mine
    assert plan_dataset(hand_fingerprint(), tmp_path, 10.0).rough_in_plane_px == 128
    save_json(tmp_path / "plan.json", edited)
    assert capsys.readouterr().err == ""
    more = hand_fingerprint([*hand_fingerprint().cases, hand_case("case_999")])
    assert plan_dataset(more, tmp_path, 12.0).rough_in_plane_px == 128
    assert load_plan(tmp_path).n_cases == 42
    assert "case_999" in {name for fold in load_splits(tmp_path).folds for name in fold.val}
    assert (tmp_path / "fingerprint.json").read_text() == to_json(more)
    assert load_json(tmp_path / "splits_before.json", Splits, "") == mine
    assert (
        "names other cases than there are now; made anew, and what it was is splits_before" in capsys.readouterr().err
    )


def test_a_plan_of_an_older_version_is_completed(tmp_path: Path) -> None:
    """It gets the sizes of what was not planned then, with their reasons; a person's change to it stays."""
    first = plan_dataset(hand_fingerprint(), tmp_path, 12.0)
    reasons = {key: why for key, why in first.reasons.items() if key != "packed_rough"} | {"packed": "older words"}
    old = msgspec.structs.replace(first, rough_in_plane_px=160, packed=None, packed_rough=None, reasons=reasons)
    save_json(tmp_path / "plan.json", old)
    assert plan_dataset(hand_fingerprint(), tmp_path, 12.0) == msgspec.structs.replace(first, rough_in_plane_px=160)


def test_measuring_is_done_once(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run takes the records, `again` (--verify) reads every file; both give the same fingerprint."""
    cases = find_raw_dataset(tiny_dataset).cases
    first = measure_dataset("Tiny", cases, tmp_path, None)
    assert first.faults == ()
    monkeypatch.setattr("bisc.planners.examine.read_labels", lambda *_: pytest.fail("read again"))
    assert measure_dataset("Tiny", cases, tmp_path, None) == first
    monkeypatch.undo()
    assert measure_dataset("Tiny", cases, tmp_path, None, again=True) == first
    for measured, raw in zip(first.fingerprint.cases, cases, strict=True):
        assert raw.image is not None
        image, labels = read_image(raw.image).volume, read_labels(raw.labels).volume
        foreground = image.array[labels.array > 0]
        assert measured.shape_zyx == labels.array.shape
        quantiles = measured.hu_quantiles or []
        assert len(quantiles) == 1001
        assert (quantiles[0], quantiles[-1]) == (foreground.min(), foreground.max())
        assert quantiles[500] == pytest.approx(np.median(foreground), abs=1)


def test_faulty_cases_are_listed_and_the_others_go_on(tiny_dataset: Path, tmp_path: Path) -> None:
    """One broken label map among five; where it is the only one, nothing is measured."""
    cases = list(find_raw_dataset(tiny_dataset).cases)
    broken = tmp_path / "broken.nii.gz"
    broken.write_text("no image")
    cases[2] = type(cases[2])("case_00002", cases[2].image, broken)
    measured = measure_dataset("Tiny", cases, tmp_path / "out", None)
    assert [c.name for c in measured.fingerprint.cases] == [f"case_{i:05d}" for i in (0, 1, 3, 4)]
    ((name, error),) = measured.faults
    assert name == "case_00002"
    assert str(error).startswith(f"{broken}: cannot be read")
    assert measure_dataset("Tiny", cases[2:3], tmp_path / "out", None).fingerprint.cases == []


def test_the_raw_folder_is_remembered(tmp_path: Path) -> None:
    """And its loss is told."""
    raw = tmp_path / "raw"
    raw.mkdir()
    save_source(tmp_path, raw)
    assert load_source(tmp_path) == raw
    raw.rmdir()
    with pytest.raises(InputError, match="no longer there"):
        load_source(tmp_path)


@pytest.mark.parametrize("folder", ["a" * 5000, "raw\\u0000", ""])
def test_no_folder_s_name_is_an_error_of_its_own(tmp_path: Path, folder: str) -> None:
    (tmp_path / "source.json").write_text(f'{{"folder": "/nowhere/{folder}"}}')
    with pytest.raises(InputError, match="no longer there"):
        load_source(tmp_path)
