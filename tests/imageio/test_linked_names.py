"""A data set that is a link goes by the link's name through every command."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisc.cli import plan_and_preprocess, train
from tests.support.training_fixtures import NAME, planned, use_one_thread

use_one_thread()


@pytest.mark.long
def test_links_named_alike_are_told_apart(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """Raw and preprocessed folders that are links to folders called 'data': planned and trained as A and B."""
    store = planned(tmp_path_factory)
    (tmp_path / "raw").mkdir()
    for name in ("A", "B"):
        target = tmp_path / "store" / name / "data"
        target.parent.mkdir(parents=True)
        target.symlink_to(store / "raw" / NAME)
        (tmp_path / "raw" / name).symlink_to(target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BISC_HOME", str(tmp_path))
        for name in ("A", "B"):
            assert plan_and_preprocess.main(["-d", name, "-np", "1", "--only-plan"]) == 0
        assert sorted(p.name for p in (tmp_path / "preprocessed").iterdir()) == ["A", "B"]
        (tmp_path / "preprocessed" / "Linked").symlink_to(store / "preprocessed" / NAME)
        brief = ["--preset", "demo", "--epochs", "1", "--iterations", "1", "--device", "cpu", "--no-validation"]
        assert train.main(["rough", "0", "-d", "Linked", *brief]) == 0
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["Linked"]
