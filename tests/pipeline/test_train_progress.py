"""When all runs will be done, by those that are, and by how far the others are."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisc.pipeline.train_progress import Pace
from bisc.pipeline.train_runs import Run, needs_of, part_done
from bisc.system.schedule import Schedule

ROUGH, FINE = Run("rough", 0), Run("fine", 0)


def at_step(results: Path, run: Run, step: int, total: int = 40) -> None:
    folder = run.folder(results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(f'{{"epochs": 4, "iterations": {total // 4}, "loss": "ce"}}')
    (folder / "log.csv").write_text(f"epoch,step\n1,{step}\n")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    now = {"s": 100.0}
    monkeypatch.setattr("bisc.pipeline.train_progress.time.monotonic", lambda: now["s"])
    return now


def test_the_part_that_is_done(tmp_path: Path) -> None:
    """None before the first epoch's end, and none that can be read of a damaged log."""
    assert part_done(ROUGH.folder(tmp_path)) == 0.0
    at_step(tmp_path, ROUGH, 10)
    assert part_done(ROUGH.folder(tmp_path)) == 0.25
    (ROUGH.folder(tmp_path) / "log.csv").write_text("epoch,step\n")
    assert part_done(ROUGH.folder(tmp_path)) == 0.0


def test_seconds_left(tmp_path: Path, clock: dict[str, float]) -> None:
    """A quarter took 10 s: 30 s are left of 40; a stage of which nothing is known yet takes as long."""
    schedule, pace = Schedule(needs_of([0], True), ["cpu"]), Pace(tmp_path)
    assert schedule.begin() == ROUGH
    pace.begin(ROUGH)
    assert pace.seconds_left(schedule) is None
    clock["s"] += 10.0
    at_step(tmp_path, ROUGH, 10)
    assert pace.seconds_left(schedule) == pytest.approx(30.0 + 40.0)
    clock["s"] += 40.0  # slower than it seemed: 50 s in all
    schedule.end(ROUGH, "done")
    pace.end(ROUGH)
    assert schedule.begin() == FINE
    pace.begin(FINE)
    assert pace.seconds_left(schedule) == pytest.approx(50.0)
    clock["s"] += 5.0
    at_step(tmp_path, FINE, 20)
    assert pace.seconds_left(schedule) == pytest.approx(5.0)


def test_a_run_that_goes_on_is_not_taken_for_a_quick_one(tmp_path: Path, clock: dict[str, float]) -> None:
    """Three quarters were there: the last took 10 s, and a whole run takes 40; a finished one says nothing."""
    schedule, pace = Schedule(needs_of([0, 1], True), ["cpu"]), Pace(tmp_path)
    at_step(tmp_path, ROUGH, 30)
    schedule.begin()
    pace.begin(ROUGH)
    clock["s"] += 10.0
    schedule.end(ROUGH, "done")
    pace.end(ROUGH)
    assert pace.seconds_left(schedule) == pytest.approx(3 * 40.0)
    at_step(tmp_path, Run("rough", 1), 40)
    schedule.begin()
    pace.begin(Run("rough", 1))
    schedule.end(Run("rough", 1), "done")
    pace.end(Run("rough", 1))
    assert pace.spans == {"rough": [40.0]}
