"""Both stages on all folds: what begins when and where, what a failure costs, what is left to go on with.

The runs are processes, but for the last test's such as do in a blink what a training leaves (`fake_training`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bisc.cli import train as command
from bisc.pipeline import train_all as module
from bisc.pipeline.train_all import train_all
from bisc.trainers import loop
from bisc.trainers.presets import PRESETS
from bisc.trainers.stages import sole_training
from tests.support import fake_training, training_fixtures
from tests.support.training_fixtures import NAME, TINY, planned

FOLDS = 3
ALL = [f"{stage} {fold}" for stage in ("rough", "fine") for fold in range(FOLDS)]


class World:
    """A results folder, and runs whose fate is told beforehand."""

    def __init__(self, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results, self.patch = results, monkeypatch
        self.lines: list[str] = []

    def fates(self, **of_runs: list[str]) -> None:
        """fine_1=["crash"]: its first start fails, the second is well."""
        fates = {name.replace("_", " "): fate for name, fate in of_runs.items()}
        self.patch.setenv("FAKE", json.dumps(fates))

    def calls(self, what: str = "begin") -> list[str]:
        """The runs of these events, in their order."""
        text = (self.results / "calls.txt").read_text()
        return [" ".join(line.split()[1:3]) for line in text.splitlines() if line.startswith(f"{what} ")]

    def table(self) -> pd.DataFrame:
        table = pd.read_csv(self.results / NAME / "training.csv")
        return table.set_index(table["stage"] + " " + table["fold"].astype(str))

    def row(self, run: str) -> dict[str, Any]:
        return {str(name): value for name, value in self.table().to_dict("index")[run].items()}

    def states(self) -> dict[str, str]:
        return {str(run): str(state) for run, state in self.table()["state"].items()}


@pytest.fixture
def world(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("BISC_PREPROCESSED", str(planned(tmp_path_factory) / "preprocessed"))
    monkeypatch.setenv("BISC_RESULTS", str(tmp_path))
    monkeypatch.setattr(module, "COMMAND", (sys.executable, str(Path(fake_training.__file__))))
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setenv("FAKE", "{}")
    return World(tmp_path, monkeypatch)


def test_rough_before_fine_one_at_a_time(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """On the CPU; one table at the end, in the terminal and in training.csv, and each run's own words in its folder."""
    assert command.main(["all", "-d", NAME, "--device", "cpu", "--preset", "quick", "--minutes", "3"]) == 0
    events = (world.results / "calls.txt").read_text().splitlines()
    assert [event.split()[0] for event in events] == ["begin", "end"] * 6
    assert world.calls() == ALL
    rough, fine = world.row("rough 1"), world.row("fine 2")
    assert [rough[name] for name in ("state", "starts", "steps", "score")] == ["done", 1, 4, 0.5]
    assert fine["seconds"] == 4 * (2 + 0.5) + 3
    assert [fine["dice_kidney"], fine["dice_tumor"]] == pytest.approx([0.85, 0.5])
    assert np.isnan(rough["dice_kidney"])
    out = capsys.readouterr().out.splitlines()
    assert out[:1] == ["rough 0: done on cpu"]
    assert out[-9].split() == ["run", *world.table().columns[2:]]
    assert out[-3].split() == ["fine", "2", "done", "cpu", "1", "13", "4", "0.800", "0.850", "0.500"]
    assert out[-1].startswith(f"next: bisc_evaluate -d {NAME}")
    said = (world.results / NAME / "fine" / "fold_1" / "output.log").read_text()
    assert said.startswith("$ ")
    assert "fine 1" in said
    assert "--preset quick" in said
    assert "--minutes 3.0" in said


def test_a_run_on_each_device_at_a_time(world: World) -> None:
    """Two places of one name share the machine's cores, and no place has two runs at once."""
    world.patch.setattr(module, "usable_cores", lambda: 8)
    world.patch.delenv("OMP_NUM_THREADS", raising=False)
    assert module._shared_cores(2) == {"OMP_NUM_THREADS": "4"}
    world.fates(rough_0=["meet"])  # else one may be over before the other is begun
    done = train_all(NAME, jobs=2, preset="quick")
    assert done.having("done") == ALL
    running: set[str] = set()
    most = 0
    for event in (world.results / "calls.txt").read_text().splitlines():
        what, *run = event.split()[:3]
        name = " ".join(run)
        if what == "begin":
            if name.startswith("fine"):
                assert f"rough {run[1]}" not in running
                assert f"rough {run[1]}" in world.calls("end")
            running.add(name)
        else:
            running.remove(name)
        most = max(most, len(running))
    assert most == 2


def test_some_folds(world: World) -> None:
    assert train_all(NAME, [2, 0], devices=["cpu"], preset="quick").table["fold"].tolist() == [0, 2, 0, 2]
    assert world.calls() == ["rough 0", "rough 2", "fine 0", "fine 2"]


def test_without_validation_no_run_needs_another(world: World) -> None:
    """The fine stage trains on the labels' ROIs."""
    world.fates(rough_1=["refuse"])
    done = train_all(NAME, devices=["cpu"], preset="quick", validate=False)
    assert done.having("refused") == ["rough 1"]
    assert "fine 1" in done.having("done")
    assert done.table["dice_kidney"].isna().all()


def test_a_failure_goes_on_from_its_checkpoint(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """However it died; three restarts are as many as it gets, and then only what needs it is left out."""
    world.fates(rough_0=["kill", "crash"], rough_1=["crash"] * 4, fine_2=["crash"] * 3)
    assert command.main(["all", "-d", NAME, "--device", "cpu", "--preset", "quick"]) == 1
    assert world.states() == dict.fromkeys(ALL, "done") | {"rough 1": "failed", "fine 1": "left out"}
    assert world.table()["starts"].tolist() == [3, 4, 1, 1, 0, 4]
    first, *again = [line for line in (world.results / "calls.txt").read_text().splitlines() if "begin rough 0" in line]
    assert first.endswith("anew")
    assert [line.endswith("goes on") for line in again] == [True, True]
    err = capsys.readouterr().err
    assert "rough 0 was ended by signal 9 (); it goes on from its last checkpoint, restart 1 of 3" in err
    assert "rough 1 ended with exit status 1 (bisc_train: error: out of memory); given up after 4 starts" in err
    assert "left out, for want of rough 1: fine 1" in err
    assert err.rstrip().endswith(
        "not done: rough 1, fine 1; mend what is wrong, and run the same command with --continue"
    )


def test_a_refusal_is_told_once_and_costs_what_needs_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input does not become better; the others go on."""
    world.fates(rough_0=["refuse"], rough_2=["refuse"])
    assert command.main(["all", "-d", NAME, "--device", "cpu", "--preset", "quick"]) == 2
    assert world.calls() == ["rough 0", "rough 1", "rough 2", "fine 1"]
    assert world.states()["fine 0"] == world.states()["fine 2"] == "left out"
    err = capsys.readouterr().err
    assert err.count("expected a whole cache") == 1
    assert "rough 2 was refused as rough 0 was" in err


def test_older_runs_are_moved_aside_all_at_once_and_continue_keeps_them(world: World) -> None:
    """What had not begun when a new training was interrupted must not pass for it later."""
    train_all(NAME, devices=["cpu"], preset="quick")
    lines: list[str] = []
    world.fates(rough_1=["well", "refuse"])
    train_all(NAME, devices=["cpu"], preset="quick", tell=lines.append)
    assert lines[0].startswith(f"older runs of {', '.join(ALL)} were moved to ")
    results = world.results / NAME
    assert len([*results.glob("*/previous/fold_*_1")]) == 6
    assert not (results / "fine" / "fold_1" / "checkpoint_last.pt").exists()
    assert world.states()["fine 1"] == "left out"
    train_all(NAME, devices=["cpu"], preset="quick", resume=True)
    assert set(world.states().values()) == {"done"}
    assert len([*results.glob("*/previous/*")]) == 6


@pytest.mark.parametrize("held", ["rough/fold_2", "all"])
def test_what_is_being_trained_is_not_begun_again(world: World, held: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By another process, as one run or as part of all: nothing is moved, and nothing begun."""
    train_all(NAME, devices=["cpu"], preset="quick")
    before = (world.results / "calls.txt").read_text()
    with sole_training(world.results / NAME / held):
        assert command.main(["all", "-d", NAME, "--device", "cpu", "--preset", "quick"]) == 2
        assert f"{held}: another process is training there" in capsys.readouterr().err
        if held != "all":
            assert command.main(["rough", "2", "-d", NAME, "--device", "cpu", "--preset", "quick"]) == 2
            assert f"{held}: another process is training there" in capsys.readouterr().err
    assert (world.results / "calls.txt").read_text() == before
    assert not [*(world.results / NAME).glob("*/previous")]


def test_other_folds_keep_their_rows(world: World) -> None:
    """One fold trained anew: the table is still one of all runs."""
    train_all(NAME, devices=["cpu"], preset="quick")
    before = world.table()
    world.fates(fine_1=["well", "refuse"])
    train_all(NAME, [1], devices=["cpu"], preset="quick")
    assert world.table().index.tolist() == before.index.tolist() == ALL
    assert world.states() == {**dict.fromkeys(ALL, "done"), "fine 1": "refused"}


def strike(world: World, what: str) -> None:
    """Ctrl-C for this process, as soon as a run of that name has begun."""
    while not (world.results / "calls.txt").exists() or what not in world.calls():
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_and_continued(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C reaches the runs, which save and end; the table says where all was, and --continue does the rest."""
    world.fates(rough_1=["wait"])
    striking = threading.Thread(target=strike, args=(world, "rough 1"))
    striking.start()
    argv = ["all", "-d", NAME, "--device", "cpu", "--preset", "quick"]
    assert command.main(argv) == 130
    striking.join()
    assert world.calls("stopped") == ["rough 1"]
    states = world.states()
    assert [states[run] for run in ALL] == ["done", "interrupted", *["waiting"] * 4]
    assert "run the same command again with --continue" in capsys.readouterr().err
    assert command.main([*argv, "--continue"]) == 0
    assert set(world.states().values()) == {"done"}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["all", "3"], "folds \\[3\\].* 0 to 2"),
        (["all", "some"], "fold some: is no number"),
        (["all", "--device", "cpu", "--devices", "cpu,cpu"], "--device: given with --devices"),
        (["all", "--devices", "cpu,cuda:99"], "'cuda:99' is not on this machine"),
        (["all", "--devices", "cpu,cpu", "--jobs", "2"], "--jobs: given with cpu,cpu"),
        (["all", "--loss-threshold", "2"], "--loss-threshold: 2.0"),
        (["all", "--minutes", "1", "--iterations", "4"], "--minutes: given with --iterations"),
        (["all", "--gpus", "2"], "--gpus: given with stage all"),
        (["rough", "--jobs", "2", "0"], "--jobs: given with stage rough"),
        (["rough"], "fold: left out"),
        (["fine", "0", "1"], "fold: 0 1"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_touched(
    world: World, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    older = world.results / NAME / "rough" / "fold_0" / "checkpoint_last.pt"
    older.parent.mkdir(parents=True)
    older.write_text("weights")
    assert command.main([*argv, "-d", NAME]) == 2
    assert pd.Series([capsys.readouterr().err]).str.contains(said).all()
    assert older.exists()


@pytest.mark.long
def test_killed_amid_training_all_ends_in_the_weights_of_runs_one_by_one(world: World, tmp_path: Path) -> None:
    """Real runs, tiny ones: each is killed once in its second epoch, and goes on from the first one's checkpoint."""
    per_epoch = TINY.rough.iterations
    argv = ["-d", NAME, "--preset", "tiny", "--device", "cpu", "--precision", "fp32"]
    once = tmp_path / "struck"
    once.mkdir()
    script = Path(training_fixtures.__file__)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"""
import sys
from bisc.pipeline import train_all
from bisc.cli.train import main
from bisc.trainers.presets import PRESETS
from tests.support.training_fixtures import TINY
PRESETS["tiny"] = TINY
train_all.COMMAND = (sys.executable, {str(script)!r})
raise SystemExit(main(["all", "0", "1", *{argv!r}]))
""",
        ],
        env={**os.environ, "STRIKE": f"{per_epoch + 2} {int(signal.SIGKILL)}", "STRIKE_ONCE": str(once)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("was ended by signal 9") == 4
    table = world.table()
    assert table["starts"].tolist() == [2] * 4
    assert table["steps"].tolist() == [TINY.rough.epochs * per_epoch] * 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        patch.setattr(loop, "VALIDATION_BATCHES", 2)
        patch.setenv("BISC_RESULTS", str(tmp_path / "one_by_one"))
        for stage in ("rough", "fine"):
            for fold in ("0", "1"):
                assert command.main([stage, fold, *argv]) == 0
                name = f"{NAME}/{stage}/fold_{fold}/checkpoint_last.pt"
                assert (tmp_path / name).read_bytes() == (tmp_path / "one_by_one" / name).read_bytes()
