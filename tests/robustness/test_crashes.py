"""Killed anywhere and run again, every command ends in the bytes of a run that was never killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.robustness.crash_commands import NAME, chain
from tests.robustness.crash_harness import BLOWS, Blow, Command, Undisturbed, episode, table_of, undisturbed

SEED = 20190604
KILLS = {
    "plan_and_preprocess -np 1": 16,
    "plan_and_preprocess -np 2": 16,
    "train rough": 18,
    "train fine": 18,
    "predict": 16,
    "evaluate -r -p": 10,
    "evaluate (folds)": 8,
    "simulate": 12,
}
"""Kills that found the process at work, per command: 114 in all."""
PARTS = {"plan_and_preprocess -np 1": "preprocessed", "train fine": "results", "predict": "out"}
"""Whose undisturbed results the later commands need, and under which name."""


def kill_often(command: Command, expected: Undisturbed, folder: Path, n: int) -> list[Blow]:
    """At least `n` kills, one or two an episode, every signal and target as often as the others."""
    rng = random.Random(f"{SEED} {command.name}")
    blows: list[Blow] = []
    kinds: list[tuple[int, bool]] = []
    for number in range(4 * n):
        if len(blows) >= n:
            break
        kinds = kinds if len(kinds) >= 2 else [*kinds, *rng.sample(BLOWS, len(BLOWS))]
        length = rng.choice((1, 2))
        these, kinds = kinds[:length], kinds[length:]
        work = folder / f"episode_{number}"
        blows += episode(command, expected, work, rng, these)
        shutil.rmtree(work)
    return blows


def show(blows: list[Blow]) -> None:
    table = table_of(blows)
    total = f"{len(blows)} kills, {sum(bool(b.faults) for b in blows)} losses"
    slowest = max((b.end_s for b in blows if b.signum != signal.SIGKILL), default=0.0)
    sys.stdout.write(
        f"\n{table.to_string(index=False)}\n{total}; slowest end after SIGINT or SIGTERM {slowest:.2f} s\n"
    )
    if "BISC_CRASH_TABLE" in os.environ:
        table.to_csv(os.environ["BISC_CRASH_TABLE"], index=False)


def losses(blows: list[Blow]) -> list[str]:
    return [f"{b.command}, {b.what}: {'; '.join(b.faults)}" for b in blows if b.faults]


QUICK: Final[dict[str, list[tuple[int, bool]]]] = {
    "plan_and_preprocess -np 1": [(signal.SIGKILL, True), (signal.SIGTERM, False), (signal.SIGINT, True)],
    "simulate": [(signal.SIGINT, True), (signal.SIGKILL, False), (signal.SIGTERM, True)],
}


@pytest.mark.parametrize("name", ["plan_and_preprocess -np 1", pytest.param("simulate", marks=pytest.mark.long)])
def test_a_few_kills(tiny_dataset: Path, tmp_path: Path, name: str) -> None:
    """One run killed three times, each time in another way."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / NAME).symlink_to(tiny_dataset)
    (command,) = (c for c in chain(tmp_path) if c.name == name)
    expected = undisturbed(command, tmp_path / "undisturbed")
    rng = random.Random(SEED)
    for number in range(5):  # a run may end before the first blow falls
        blows = list(episode(command, expected, tmp_path / f"killed_{number}", rng, QUICK[name]))
        if blows:
            break
    assert blows
    assert not losses(blows)


@pytest.mark.long
@pytest.mark.timeout(5400)
def test_hundred_kills(tiny_dataset: Path, tmp_path: Path) -> None:
    """Every command, signal and target; the table goes to stdout (-s) and to the file BISC_CRASH_TABLE names."""
    home = tmp_path / "home"
    (home / "raw").mkdir(parents=True)
    (home / "raw" / NAME).symlink_to(tiny_dataset)
    only = os.environ.get("BISC_CRASH_ONLY", "")
    blows: list[Blow] = []
    for command in chain(home):
        work = tmp_path / command.name.replace(" ", "_")
        work.mkdir()
        expected = undisturbed(command, work / "undisturbed")
        part = PARTS.get(command.name)
        if part:
            shutil.copytree(expected.folder / part, home / part, dirs_exist_ok=True)
        if command.name == "train rough":
            shutil.copytree(expected.folder / "results", home / "results")
        if only in command.name:
            fallen = kill_often(command, expected, work, KILLS[command.name])
            blows += fallen
            sys.stdout.write(f"{command.name}: {len(fallen)} kills, losses: {losses(fallen)}\n")
            sys.stdout.flush()
    show(blows)
    assert not losses(blows)
    assert only or len(blows) >= 100
