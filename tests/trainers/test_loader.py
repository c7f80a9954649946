"""The loader: the same batches from any number of workers, and an end to every wait."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

from bisc.core.errors import InputError, WorkError
from bisc.trainers.sampler import Sampler, batches
from tests.support.broken_samplers import DamagedSampler, DyingSampler, FailingSampler, make_sampler, write_region

PATCH = (4, 6, 12)
START_S = 60.0
"""A worker's start (it imports the package) takes seconds; on a busy machine many."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = np.zeros((5, 6, 8), np.uint8)
    labels[3:6, 4:7, 5] = 1
    return write_region(tmp_path_factory.mktemp("loader") / "case", labels)


_before: set[int | None] = set()


@pytest.fixture(autouse=True)
def others() -> None:
    """Remember who was there."""
    _before.clear()
    _before.update(child.pid for child in multiprocessing.active_children())


@pytest.fixture
def sampler(folder: Path) -> Sampler:
    return make_sampler([folder], PATCH)


def loader_processes() -> list[BaseProcess]:
    """Of this process; those that other tests left at work for later ones (a fuzz worker) are none."""
    return [child for child in multiprocessing.active_children() if child.pid not in _before]


def wait_for_no_children(seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while loader_processes():
        assert time.monotonic() < until, "worker processes live on"
        time.sleep(0.05)


def test_batches_do_not_depend_on_the_number_of_workers(sampler: Sampler) -> None:
    """Steps 3 to 8 in this process and in two others: equal and in order."""
    with batches(sampler, 3, 9, 0) as alone:
        expected = list(alone)
    with batches(sampler, 3, 9, 2, START_S) as ahead:
        got = list(ahead)
    assert len(got) == len(expected) == 6
    for step, (a, b) in enumerate(zip(got, expected, strict=True), start=3):
        assert np.array_equal(a.levels, b.levels)
        assert np.array_equal(a.targets, b.targets)
        assert np.array_equal(a.levels, sampler.batch(step).levels)
    wait_for_no_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_to_do_is_nothing_done(sampler: Sampler, workers: int) -> None:
    """A finished run that is continued starts no process."""
    with batches(sampler, 5, 5, workers) as none:
        assert list(none) == []
        assert not loader_processes()


def test_a_dead_worker_is_an_error_that_names_the_step(folder: Path) -> None:
    """The batches before it come; then one line, at once, and no process is left."""
    begin = time.monotonic()
    sampler = make_sampler([folder], PATCH, kind=DyingSampler)
    with (
        pytest.raises(WorkError, match=r"died at step [012] \(case\).*--continue --workers 0"),
        batches(sampler, 0, 6, 1, START_S) as ahead,
    ):
        for _ in range(6):
            next(ahead)
    assert time.monotonic() - begin < START_S
    wait_for_no_children()


def test_a_dead_worker_ends_a_step_in_hand(folder: Path) -> None:
    """Whatever the block is at: nothing waits for a batch that will never come."""
    begin = time.monotonic()
    sampler = make_sampler([folder], PATCH, kind=DyingSampler)
    with pytest.raises(WorkError, match="a loader process died"), batches(sampler, 0, 6, 1, START_S) as ahead:
        next(ahead)
        time.sleep(START_S)
    assert time.monotonic() - begin < START_S


def test_an_error_that_names_its_file_comes_through(folder: Path) -> None:
    """As it is: a damaged cache is bad input, in a worker too."""
    with batches(make_sampler([folder], PATCH, kind=DamagedSampler), 0, 3, 1, START_S) as ahead:
        next(ahead)
        with pytest.raises(InputError, match=r"^image\.npy: is damaged; mend it$"):
            next(ahead)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.long)])
def test_the_callers_chance_is_left_alone(sampler: Sampler, workers: int) -> None:
    """torch's loaders draw a seed; not from the generator that a network's weights come from."""
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with batches(sampler, 0, 1, workers, START_S) as ahead:
        next(ahead)
    assert torch.equal(torch.rand(1), expected)


@pytest.fixture
def ctrl_c_heard() -> Iterator[None]:
    """Shells start background jobs deaf to SIGINT, and deafness is inherited: hear it, whoever runs the tests."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.mark.long
@pytest.mark.usefixtures("ctrl_c_heard")
def test_a_worker_is_deaf_to_ctrl_c(sampler: Sampler) -> None:
    """A terminal sends it to the whole group; the loop that answers it must still get its batches."""
    with batches(sampler, 0, 12, 1, START_S) as ahead:
        first = next(ahead)
        (worker,) = loader_processes()
        assert worker.pid is not None
        time.sleep(0.5)  # until it waits for work
        os.kill(worker.pid, signal.SIGINT)
        time.sleep(1.0)
        rest = list(ahead)
    assert first.levels[0, 0].shape == PATCH
    assert len(rest) == 11


@pytest.mark.long
def test_a_workers_own_error_comes_through(folder: Path) -> None:
    """A defect is not dressed up as a dead process."""
    with batches(make_sampler([folder], PATCH, kind=FailingSampler), 0, 3, 1, START_S) as ahead:
        next(ahead)
        with pytest.raises(ValueError, match="not a patch"):
            next(ahead)


@pytest.mark.long
def test_leaving_early_leaves_no_process(sampler: Sampler) -> None:
    """As after an interrupt in the middle of an epoch."""
    with batches(sampler, 0, 1000, 1, START_S) as ahead:
        next(ahead)
        assert loader_processes()
    wait_for_no_children()


HANG = """
import sys
from pathlib import Path
from tests.support.broken_samplers import HangingSampler, make_sampler
from bisc.core.errors import WorkError
from bisc.trainers.sampler import batches

if __name__ == "__main__":
    sampler = make_sampler([Path(sys.argv[1])], (4, 6, 12), kind=HangingSampler)
    try:
        with batches(sampler, 0, 3, 1, wait_s=float(sys.argv[2])) as ahead:
            for batch in ahead:
                print("batch", flush=True)
    except WorkError as error:
        raise SystemExit(f"one line: {error}")
"""


@pytest.mark.long
def test_a_stuck_worker_ends_the_wait_and_the_process(folder: Path, tmp_path: Path) -> None:
    """Its batch would take an hour: a WorkError comes, and the interpreter ends instead of waiting for the worker."""
    script = tmp_path / "hang.py"
    script.write_text(HANG)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script), str(folder), "2"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "one line: no batch within 2 s at step" in done.stderr
    assert "Traceback" not in done.stderr
