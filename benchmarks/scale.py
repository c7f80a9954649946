"""How far one machine carries, and many: measured coefficients, and a simulation of cases that share what there is.

    python -m benchmarks.scale [-o bench_out] [-n 6] [--repeats 3]

First, on this machine: the phases of predicting one CT of 512 x 512 x 108 (wall and CPU seconds, alone), and the wall
time of N such scans one at a time and two at a time, in turn. Then a simulation (simpy) of the same N scans from the
phases alone, beside what was measured: that is its check. Last, fleets of such machines on one disk, and of machines
with a GPU whose phases are given (`--gpu-seconds`, docs/explanation/scale.md has where they come from).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pandas as pd
import simpy
import torch

from benchmarks import scans
from benchmarks.by_intensity import write_results
from bisc.imageio import read_image
from bisc.imageio.inputs import find_inputs
from bisc.inference import windows
from bisc.inference.model import load_model
from bisc.network.device import choose_device
from bisc.pipeline.options import PredictOptions
from bisc.pipeline.predict import predict_cases
from bisc.pipeline.segment import Segmentation
from bisc.system.memory import usable_cores

QUANTUM_S: Final = 0.02
READ, NETWORKS, WRITE, REST = "reading", "networks", "writing", "the rest"


@dataclass
class Shared:
    """Something that processes share evenly: cores, a GPU's turn, a disk's bytes a second."""

    capacity: float
    asked: float = 0.0
    used: float = 0.0


@dataclass(frozen=True)
class Phase:
    """What a case does next.

    Attributes:
        name: For tables.
        seconds: That it takes alone.
        asks: Of each shared thing by name, what it takes meanwhile.
    """

    name: str
    seconds: float
    asks: dict[str, float] = field(default_factory=dict)


def simulated_wall_s(phases: Sequence[Phase], shares: Sequence[dict[str, Shared]], at_a_time: int, n: int) -> float:
    """The seconds that `n` cases take, `at_a_time` in work on each node.

    Args:
        phases: Of one case.
        shares: A node each, by the names that phases ask; things may be the same object on several nodes (a disk).
        at_a_time: Cases in work on a node.
        n: Cases in all; whoever is free takes the next.
    """
    env = simpy.Environment()
    waiting = list(range(n))

    def worker(things: dict[str, Shared]) -> Generator[simpy.Event, None, None]:
        while waiting:
            waiting.pop()
            for phase in phases:
                yield from _run(env, phase, things)

    for things in shares:
        for _ in range(at_a_time):
            env.process(worker(things))
    env.run()
    return float(env.now)


def _run(env: simpy.Environment, phase: Phase, things: dict[str, Shared]) -> Generator[simpy.Event, None, None]:
    """A phase to its end, slowed by whatever is asked for more than there is of it."""
    asked = [(things[name], amount) for name, amount in phase.asks.items() if name in things]
    for thing, amount in asked:
        thing.asked += amount
    left = phase.seconds
    while left > 1e-9:
        speed = min([1.0, *(thing.capacity / thing.asked for thing, _ in asked)])
        step = min(QUANTUM_S, left / speed)
        yield env.timeout(step)
        left -= step * speed
        for thing, amount in asked:
            thing.used += amount * speed * step
    for thing, amount in asked:
        thing.asked -= amount


class Clock:
    """Wall and CPU seconds by phase, of calls that do not nest."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, its seconds added to a phase."""

        def call(*args: Any, **more: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return work(*args, **more)
            finally:
                self.wall[name] = self.wall.get(name, 0.0) + time.perf_counter() - wall
                self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu

        return call

    @contextmanager
    def watching(self) -> Iterator[None]:
        """What `predict_cases` calls for each phase is timed meanwhile."""
        with (
            mock.patch("bisc.pipeline.predict.read_image", self.timed(READ, read_image)),
            mock.patch("bisc.inference.windows._one_pass", self.timed(NETWORKS, windows._one_pass)),
            mock.patch.object(Segmentation, "save", self.timed(WRITE, Segmentation.save)),
        ):
            yield


def phases_of(clock: Clock, wall_s: float, cpu_s: float, n: int) -> list[Phase]:
    """A case's phases as measured one at a time; the networks have turns."""
    wall = clock.wall | {REST: wall_s - sum(clock.wall.values())}
    cpu = clock.cpu | {REST: cpu_s - sum(clock.cpu.values())}
    turns = {NETWORKS: {"turn": 1.0}}
    return [
        Phase(name, wall[name] / n, {"cores": cpu[name] / wall[name]} | turns.get(name, {}))
        for name in (READ, NETWORKS, REST, WRITE)
    ]


def measured(folder: Path, n: int, repeats: int) -> tuple[list[Phase], pd.DataFrame]:
    """Phases of a case, and a row for each run: at a time, seconds, peak of nothing else."""
    source = folder / "in"
    first = scans.painted(source / "case_00000.nii.gz")
    for i in range(1, n):
        shutil.copyfile(first, source / f"case_{i:05d}.nii.gz")
    write_results(folder / "model", packing=2)
    model = load_model(folder / "model", None, choose_device("cpu", "auto"))
    cases = find_inputs(source, folder / "out")

    def run(at_a_time: int, of: Sequence[Any]) -> tuple[float, float]:
        shutil.rmtree(folder / "out", ignore_errors=True)
        wall, cpu = time.perf_counter(), time.process_time()
        options = PredictOptions("calibrated", at_a_time=at_a_time)
        errors: list[Exception] = []
        predict_cases(of, model, folder / "out", options, errors.append)
        assert not errors, errors
        return time.perf_counter() - wall, time.process_time() - cpu

    run(1, cases[:1])  # kernels are compiled and caches filled
    rows = [{"at_a_time": k, "seconds": run(k, cases)[0]} for _ in range(repeats) for k in (1, 2)]
    clock = Clock()
    with clock.watching():
        wall_s, cpu_s = run(1, cases)
    phases = phases_of(clock, wall_s, cpu_s, len(cases))
    return phases, pd.DataFrame(rows)


def node(cores: float, disk: Shared | None = None, gpu: bool = False) -> dict[str, Shared]:
    """What cases on one machine share."""
    things = {"cores": Shared(cores), "turn": Shared(1.0)}
    return things | ({"disk": disk} if disk is not None else {}) | ({"gpu": Shared(1.0)} if gpu else {})


@dataclass(frozen=True)
class Training:
    """What a cross-validation takes, by a step's seconds on one GPU.

    Attributes:
        rough_s, fine_s: Of a step.
        steps: Of each stage and fold.
        batch: Patches a step, which processes share.
        exchange_s: Of adding up the gradients of several processes, each step.
    """

    rough_s: float
    fine_s: float
    steps: int
    batch: int
    exchange_s: float

    def hours(self, gpus: int, folds: int = 5) -> tuple[float, int]:
        """Hours of all folds, and the GPUs that have anything to do: folds first, then processes that share batches."""
        shares = max(k for k in range(1, self.batch + 1) if self.batch % k == 0 and (k == 1 or k * folds <= gpus))
        exchange = self.exchange_s if shares > 1 else 0.0
        fold_h = self.steps * ((self.rough_s + self.fine_s) / shares + 2 * exchange) / 3600.0
        at_once = min(folds, max(1, gpus // shares))
        return fold_h * -(-folds // at_once), at_once * shares


def fleet(phases: Sequence[Phase], nodes: int, cores: float, at_a_time: int, disk_mb_s: float, n: int) -> float:
    """Cases a second of several nodes with a GPU each, on one disk."""
    disk = Shared(disk_mb_s)
    shares = [node(cores, disk, gpu=True) for _ in range(nodes)]
    return n / simulated_wall_s(phases, shares, at_a_time, n)


def with_gpu(phases: Sequence[Phase], gpu_s: float, mb: float) -> list[Phase]:
    """A case's phases where a GPU has the networks: half a core feeds it; reading takes `mb` from the disk."""
    read, _, rest, write = phases
    disk = {"disk": mb / read.seconds}
    return [replace(read, asks=read.asks | disk), Phase(NETWORKS, gpu_s, {"gpu": 1.0, "cores": 0.5}), rest, write]


def main() -> None:
    """Measure, simulate the same, tell both; then what was not measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", dest="out", type=Path, default=Path("bench_out"))
    parser.add_argument("-n", type=int, default=6, help="scans")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gpu-seconds", type=float, default=0.3, help="a case's networks on a GPU, assumed")
    args = parser.parse_args()
    phases, runs = measured(args.out / "work" / "scale", args.n, args.repeats)
    for phase in phases:
        print(f"{phase.name}: {phase.seconds:.2f} s on {phase.asks['cores']:.2f} cores")
    for k in (1, 2):
        found = simulated_wall_s(phases, [node(usable_cores())], k, args.n)
        seconds = sorted(runs.loc[runs["at_a_time"] == k, "seconds"].round(1))
        print(f"{k} at a time: {statistics.median(seconds):.1f} s measured ({seconds}), {found:.1f} s simulated")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    mb = (args.out / "work" / "scale" / "in" / "case_00000.nii.gz").stat().st_size / 1e6
    on_gpu = with_gpu(phases, args.gpu_seconds, mb)
    for cores, at_a_time in ((16, 1), (16, 8), (32, 16)):
        rate = fleet(on_gpu, 1, cores, at_a_time, 1e6, 60)
        print(f"a GPU, {cores} cores, {at_a_time} at a time: {rate:.2f} cases a second")
    for disk in (20, 100, 1000):
        rates = ", ".join(f"{n}: {fleet(on_gpu, n, 16, 8, disk, 40 * n):.2f}" for n in (1, 2, 4, 8, 16))
        print(f"cases a second by nodes (16 cores, 8 at a time), a disk of {disk} MB/s: {rates}")
    for gpus in (1, 5, 8, 64):
        told = {name: "{:.2f} h on {} GPUs".format(*one.hours(gpus)) for name, one in TRAININGS.items()}
        print(f"300 cases, 5 folds, {gpus} GPUs: {told}")


TRAININGS: Final = {
    "paper": Training(0.0548, 0.061, 80_000, 8, 0.002),
    "best, 8 minutes a stage": Training(0.021, 0.021, 23_000, 8, 0.002),
}
"""Seconds on an H200 (docs/lab/performance.md); the exchange is assumed."""


if __name__ == "__main__":
    main()
