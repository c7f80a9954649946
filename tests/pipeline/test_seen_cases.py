"""The training's own cases, predicted by the model that they trained, are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bisc.cli.predict import tell_seen
from bisc.imageio.inputs import find_inputs
from bisc.pipeline.seen_cases import seen_cases
from bisc.planners.dataset import load_splits
from tests.support.training_fixtures import NAME, planned


def test_cases_of_the_data_set(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those of its folds, by whatever way they are reached; others in its folder, and copies, are none."""
    home = planned(tmp_path_factory)
    raw, preprocessed = home / "raw" / NAME, home / "preprocessed" / NAME
    known = sorted({name for fold in load_splits(preprocessed).folds for name in (*fold.train, *fold.val)})
    inputs = find_inputs(raw, tmp_path)
    assert sorted(seen_cases(inputs, preprocessed)) == known
    (tmp_path / "link").symlink_to(raw)
    assert sorted(seen_cases(find_inputs(tmp_path / "link", tmp_path / "out"), preprocessed)) == known
    assert seen_cases([replace(inputs[0], name="case_00299")], preprocessed) == []
    assert seen_cases([replace(one, path=tmp_path / one.path.name) for one in inputs], preprocessed) == []
    assert seen_cases(inputs, tmp_path) == []
    monkeypatch.setenv("BISC_HOME", str(home))
    tell_seen(inputs, NAME)
    said = capsys.readouterr().err
    assert f"{known[0]} and {len(known) - 1} more: the model was trained on" in said
    assert said.count("\n") == 1
    tell_seen(inputs, "Other")
    assert capsys.readouterr().err == ""
