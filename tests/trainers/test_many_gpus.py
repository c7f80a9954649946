"""`bisc_train --gpus 2` and torchrun as a user runs them: lost processes, Ctrl-C, and runs that change their number."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from bisc.network.checkpoint import load_checkpoint
from tests.support import rank_script
from tests.support.training_fixtures import NAME, TINY, planned

SCRIPT = Path(rank_script.__file__)
ARGUMENTS = ["rough", "0", "-d", NAME, "--preset", "tiny", "--device", "cpu", "--precision", "fp32"]
BRIEF = [*ARGUMENTS, "--no-validation"]
TWO = ["--gpus", "2"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
LAST = "checkpoint_last.pt"
PER_EPOCH = TINY.rough.iterations
KILL = int(signal.SIGKILL)
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planned(tmp_path_factory)


def run(
    home: Path, results: Path, argv: list[str], strike: str | None = None, launcher: list[str] | None = None
) -> tuple[int, str, str]:
    """Exit status, standard output and stderr of the command in a process group of its own."""
    variables = {"BISC_HOME": str(home), "BISC_RESULTS": str(results), "STRUCK": str(results) + "_struck"}
    done = subprocess.run(
        [sys.executable, *(launcher or []), str(SCRIPT), *argv],
        env={**os.environ, **variables, **({"STRIKE": strike} if strike else {})},
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=280,
    )
    return done.returncode, done.stdout, done.stderr


def fold_of(results: Path) -> Path:
    return results / NAME / "rough" / "fold_0"


@pytest.fixture(scope="module")
def undisturbed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fold's folder of a run in two processes that nobody touched."""
    results = tmp_path_factory.mktemp("undisturbed")
    status, out, err = run(home, results, [*BRIEF, *TWO])
    assert (status, out.count("\n"), err) == (0, 1, "")
    return fold_of(results)


def check_same(fold: Path, expected: Path) -> None:
    """The same checkpoint to the byte, and the same log but for its times."""
    assert (fold / LAST).read_bytes() == (expected / LAST).read_bytes()
    ours, theirs = (pd.read_csv(folder / "log.csv") for folder in (fold, expected))
    columns = [column for column in theirs.columns if not column.endswith("_s")]
    pd.testing.assert_frame_equal(ours[columns], theirs[columns])


def check_close(fold: Path, expected: Path) -> None:
    """But for rounding: Adam moves a weight whose gradient is rounding alone by a step, either way."""
    ours, theirs = load_checkpoint(fold / LAST), load_checkpoint(expected / LAST)
    assert (ours.step, ours.settings) == (theirs.step, theirs.settings)
    for name, weights in theirs.network.items():
        torch.testing.assert_close(ours.network[name], weights, rtol=0.0, atol=2 * theirs.step * rank_script.RATE)
    assert ours.rows[0]["train_loss"] == pytest.approx(theirs.rows[0]["train_loss"], rel=1e-5)


def test_two_processes_leave_what_one_leaves(home: Path, undisturbed: Path, tmp_path: Path) -> None:
    """The same files with the same settings, and weights but for rounding; loader processes change nothing."""
    assert run(home, tmp_path / "one", BRIEF)[0] == 0
    one = fold_of(tmp_path / "one")
    assert {p.name for p in undisturbed.iterdir()} == {p.name for p in one.iterdir()} | {".launch"}
    assert (undisturbed / "run.json").read_bytes() == (one / "run.json").read_bytes()
    check_close(undisturbed, one)
    status, _, err = run(home, tmp_path / "loaded", [*BRIEF, *TWO, "--workers", "1"])
    assert (status, err) == (0, "")
    check_same(fold_of(tmp_path / "loaded"), undisturbed)


@pytest.mark.parametrize("step", [2, PER_EPOCH + 2], ids=["before the first checkpoint", "after it"])
def test_a_process_is_killed_and_all_go_on(home: Path, undisturbed: Path, tmp_path: Path, step: int) -> None:
    """One line says so; the end is that of a run that nobody touched; an older run is set aside, not gone on with."""
    results = tmp_path / "results"
    assert run(home, results, [*BRIEF, "--epochs", "1"])[0] == 0
    status, out, err = run(home, results, [*BRIEF, *TWO], f"1 {step} {KILL} 1")
    assert (status, out.count("\n"), err.count("\n")) == (0, 1, 1), err
    assert "process 2 of 2 was killed (signal 9)" in err
    assert "(1 of at most 3 times)" in err
    check_same(fold_of(results), undisturbed)
    assert [p.name for p in (results / NAME / "rough" / "previous").iterdir()] == ["fold_0_1"]


def test_a_process_that_is_always_killed_ends_the_run(home: Path, tmp_path: Path) -> None:
    """Exit status 1, a line for each beginning."""
    status, _, err = run(home, tmp_path / "results", [*BRIEF, *TWO], f"0 2 {KILL} 9")
    assert (status, err.count("\n")) == (1, 4), err
    assert err.splitlines()[-1].startswith("bisc_train: error: rough fold 0: process 1 of 2 was killed")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_all_end_at_the_same_step(
    home: Path, undisturbed: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    """Whichever processes hear it; exit status and line are one process's; --continue ends where it would have."""
    results, step = tmp_path / "results", PER_EPOCH + 1
    status, _, err = run(home, results, [*BRIEF, *TWO], f"1 {step} {int(signum)} 1")
    assert (status, err.count("\n")) == (130, 1), err
    assert err.startswith("bisc_train: error: interrupted")
    last = load_checkpoint(fold_of(results) / LAST)
    assert last.step in range(step, 3 * PER_EPOCH)  # the first process asks the others, which takes a step or two
    assert len(last.epoch_losses) == last.step % PER_EPOCH
    assert run(home, results, [*BRIEF, *TWO, "--continue"])[0] == 0
    check_same(fold_of(results), undisturbed)


@pytest.mark.parametrize("first", [[], TWO], ids=["one, then two", "two, then one"])
def test_the_number_of_processes_may_change(home: Path, undisturbed: Path, tmp_path: Path, first: list[str]) -> None:
    results, then = tmp_path / "results", [] if first else TWO
    assert run(home, results, [*BRIEF, *first], f"0 {PER_EPOCH + 1} {int(signal.SIGTERM)} 1")[0] == 130
    assert run(home, results, [*BRIEF, *then, "--continue"])[0] == 0
    check_close(fold_of(results), undisturbed)


def test_torchrun_does_the_same(home: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Undisturbed, and with a process killed: torchrun starts all again, and they go on."""
    status, out, _ = run(home, tmp_path / "whole", BRIEF, launcher=TORCHRUN)
    assert (status, out.count(str(fold_of(tmp_path / "whole")))) == (0, 1)
    check_same(fold_of(tmp_path / "whole"), undisturbed)
    status, _, err = run(home, tmp_path / "killed", BRIEF, f"1 {PER_EPOCH + 2} {KILL} 1", TORCHRUN)
    assert status == 0, err
    check_same(fold_of(tmp_path / "killed"), undisturbed)


def test_a_process_that_waits_for_others_hears_ctrl_c(home: Path, tmp_path: Path) -> None:
    """They never come."""
    alone = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with subprocess.Popen(
        [sys.executable, "-m", "bisc.cli.train", "rough", "0", "-d", NAME, "--device", "cpu"],
        env={**os.environ, "BISC_HOME": str(home), "BISC_RESULTS": str(tmp_path), **alone},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "waits for 2 processes at 127.0.0.1" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read().startswith("bisc_train: error: interrupted")


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return int(some.getsockname()[1])


def test_the_first_process_alone_validates(home: Path, tmp_path: Path) -> None:
    """Its lines stand once; bad input is one line, and begins nothing again."""
    status, out, _ = run(home, tmp_path, [*ARGUMENTS, *TWO, "--epochs", "1"])
    assert status == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["rough fold 0", "rough fold 0"]
    assert (fold_of(tmp_path) / "validated.json").is_file()
    status, _, err = run(home, tmp_path, [*BRIEF, *TWO, "--passes", "2"])
    assert (status, err.count("\n")) == (2, 1)
    assert "2 processes: for a batch of 2 in 2 passes; expected at most 1" in err


def test_minutes_are_counted_by_the_first_process(home: Path, tmp_path: Path) -> None:
    """Both train as many steps, as many as fit."""
    status, _, err = run(home, tmp_path, [*BRIEF, *TWO, "--minutes", "0.5"])
    assert (status, err) == (0, "")
    last = load_checkpoint(fold_of(tmp_path) / LAST)
    assert last.step == last.settings["epochs"] * last.settings["iterations"] >= 10
