"""Both stages on all folds: each run a process of its own, one at a time on each device, what fails begun again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch

import bisc
from bisc.core.choices import STAGES
from bisc.core.errors import InputError
from bisc.network.device import choose_device
from bisc.pipeline.train import train
from bisc.pipeline.train_progress import Pace, beside_bars, shown
from bisc.pipeline.train_runs import TABLE, Run, needs_of, table_of, write_runs
from bisc.planners.dataset import load_plan, load_splits
from bisc.system.children import Child, ended
from bisc.system.console import check, stoppable
from bisc.system.console import tell as warn
from bisc.system.files import make_folder
from bisc.system.memory import usable_cores
from bisc.system.paths import Folders, find_dataset, name_of
from bisc.system.schedule import Outcome, Schedule
from bisc.trainers.place import Place
from bisc.trainers.stages import check_plan, set_aside, sole_training

COMMAND: Final = (
    sys.executable,
    "-c",
    f"import sys; sys.path[:] = [*filter(None, sys.path), {str(Path(bisc.__file__).parents[1])!r}]; "
    "from bisc.cli.entry import train; train()",
)
"""`bisc_train` of this very package; -m would import from the folder that one happens to be in."""
OUTPUT: Final = "output.log"
"""In a fold's folder: what its process said."""
RESTARTS: Final = 3
LOOK_EVERY_S: Final = 0.5
BAD_INPUT: Final = 2
THREADS: Final = "OMP_NUM_THREADS"
Tell = Callable[[str], object]
SWITCHES: Final[dict[str, dict[bool, tuple[str, ...]]]] = {
    "augment": {True: ("--augment",), False: ("--no-augment",)},
    "deterministic": {True: ("--deterministic",), False: ()},
    "validate": {True: (), False: ("--no-validation",)},
}
"""Arguments of `train` that are no flag with a value."""
FINE_ALONE: Final = ("decoys",)
"""Those that the rough stage has not."""


@dataclass(frozen=True, eq=False)
class TrainedAll:
    """What became of the runs.

    Attributes:
        results: RESULTS/NAME.
        table: A row a run (`bisc.pipeline.train_runs.table_of`).
        written: RESULTS/NAME/training.csv, the same table.
    """

    results: Path
    table: pd.DataFrame
    written: Path

    def having(self, *states: str) -> list[str]:
        """The runs in these states, by name: ["fine 3"]."""
        rows = self.table[self.table["state"].isin(states)]
        return [f"{stage} {fold}" for stage, fold in zip(rows["stage"], rows["fold"], strict=True)]


def train_all(
    dataset: str | Path | None = None,
    folds: Sequence[int] | None = None,
    *,
    plan_name: str | None = None,
    devices: Sequence[str] | None = None,
    jobs: int | None = None,
    resume: bool = False,
    tell: Tell = lambda _: None,
    **options: Any,
) -> TrainedAll:
    """Train both stages of a planned data set on several folds, each run by a `bisc_train` of its own.

    A run that fails is begun again from its last checkpoint, three times. One that is refused (bad input) is told once
    and left; so is what needs it. The others go on. Runs end with this process, and with Ctrl-C, their state saved.

    Args:
        dataset: A name under the preprocessed folder, or a path; None: the only one there is.
        folds: Which; None: all.
        plan_name: Of one of its plans; None: the default one.
        devices: 'cpu', 'cuda' or 'cuda:N' each, one run at a time on each; None: all CUDA devices, else the CPU.
        jobs: Runs at a time on the CPU, which share its cores; None: one.
        resume: Go on with earlier runs; a finished one ends as it begins. Without it they are moved aside, all at once.
        tell: Takes a line for each run that ends.
        options: As `train` takes them (preset="best", minutes=60), the same for every run that has them: decoys are the
            fine stage's. Presets and losses that only this process knows cannot be used: the runs are other processes.

    Raises:
        InputError: If the data set is not planned, there is no such fold or device, or an option is out of range;
            nothing is touched then.
        KeyboardInterrupt: After Ctrl-C; the runs' state is saved, and the table written.
    """
    if "device" in options:
        raise InputError("device", "given for all runs", "devices, one run at a time on each")
    if Place.from_environment().n > 1:
        raise InputError(
            "bisc_train all", "was started by torchrun", "one process, which starts the others", "run it alone"
        )
    for stage in STAGES:  # of no fold: whatever is wrong is known before an older run is moved aside
        train(stage, (), dataset, plan_name=plan_name, **{**of_stage(stage, options), "device": "cpu"})
    name = None if dataset is None else str(dataset)
    roots = Folders.from_environment()
    preprocessed = find_dataset(roots.preprocessed, name, "plan.json", "preprocessed data set", "", plan_name)
    results = roots.results / name_of(preprocessed)
    n_folds = len(load_splits(preprocessed).folds)
    chosen = sorted(set(range(n_folds) if folds is None else folds))
    if not chosen or not set(chosen) <= set(range(n_folds)):
        raise InputError(f"folds {chosen}", "are not all in splits.json", f"0 to {n_folds - 1}")
    places = places_of(devices, jobs, bool(options.get("deterministic")))
    validate = bool(options.get("validate", True))
    schedule = Schedule(needs_of(chosen, validate), places, RESTARTS)
    check_plan(results, load_plan(preprocessed), [] if resume else [run.folder(results) for run in schedule.needs])
    said = {"dataset": name, "plan": plan_name, **options}
    flags: dict[str, list[str]] = {
        stage: [*flags_of(of_stage(stage, said)), "--continue", "--stop-at-eof"] for stage in STAGES
    }
    with sole_training(results / "all"), stoppable(f"{results}: interrupted"):
        _make_ready([*schedule.needs], results, resume, tell)
        try:
            _work_off(schedule, results, flags, tell)
        finally:
            table = table_of(schedule, results, validate)
            write_runs(results / TABLE, table)
    return TrainedAll(results, table, results / TABLE)


def _make_ready(runs: Sequence[Run], results: Path, resume: bool, tell: Tell) -> None:
    """Move older runs aside, all at once: none is touched where one of them is being trained."""
    for run in runs:
        with sole_training(run.folder(results)):
            pass
    older = [run for run in runs if not resume and set_aside(run.folder(results))]
    if older:
        tell(f"older runs of {', '.join(map(str, older))} were moved to {results}/*/previous")


def places_of(devices: Sequence[str] | None, jobs: int | None, deterministic: bool) -> list[str]:
    """Where runs run, one at a time each.

    Raises:
        InputError: If a device is not there or cannot be deterministic, or `jobs` is given with others than the CPU.
    """
    if devices is None:
        n_cuda = 0 if deterministic or jobs is not None else torch.cuda.device_count()
        devices = [f"cuda:{number}" for number in range(n_cuda)] or ["cpu"]
    for device in devices:
        choose_device(device, "fp32", deterministic)
    if jobs is None:
        return [*devices]
    if [*devices] != ["cpu"]:
        raise InputError("--jobs", f"given with {','.join(devices)}", "the CPU alone", "name a device twice instead")
    if jobs < 1:
        raise InputError("--jobs", str(jobs), "at least 1")
    return ["cpu"] * jobs


def of_stage(stage: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of all runs that a stage has."""
    return {name: value for name, value in options.items() if stage == "fine" or name not in FINE_ALONE}


def flags_of(options: dict[str, Any]) -> list[str]:
    """Arguments of `train` as the flags of `bisc_train` that mean the same; what is None is left out."""
    flags: list[str] = []
    for name, value in options.items():
        if value is None:
            continue
        if name in SWITCHES:
            flags += SWITCHES[name][value]
        else:
            flags += ["-d" if name == "dataset" else f"--{name.replace('_', '-')}", str(value)]
    return flags


def _work_off(schedule: Schedule[Run], results: Path, flags: Mapping[str, Sequence[str]], tell: Tell) -> None:
    """Begin what may begin and look at what has ended, until nothing is left."""
    pace, reasons = Pace(results), dict[str, Run]()
    environment = _shared_cores(len(schedule.places))
    with _children() as children, shown(schedule, pace) as show:
        while not schedule.over:
            check()
            while (run := schedule.begin()) is not None:
                pace.begin(run)
                argv = [*COMMAND, run.stage, str(run.fold), *flags[run.stage], "--device", schedule.place[run]]
                children[run] = Child(argv, make_folder(run.folder(results)) / OUTPUT, environment)
            for run, child in [*children.items()]:
                status = child.status()
                if status is not None:
                    del children[run]
                    with beside_bars():
                        _end(schedule, run, child, status, reasons, tell)
                    if status == 0:
                        pace.end(run)
            show()
            time.sleep(LOOK_EVERY_S)


def _end(schedule: Schedule[Run], run: Run, child: Child, status: int, reasons: dict[str, Run], tell: Tell) -> None:
    """Enter what became of a run's process, and say so: a refusal's reason once, whichever run gives it first."""
    waited = {one for one, state in schedule.state.items() if state == "waiting"}
    outcome: Outcome = "done" if status == 0 else "refused" if status == BAD_INPUT else "failed"
    state, n, said = schedule.end(run, outcome), schedule.starts[run], child.last_line()
    if state == "done":
        tell(f"{run}: done on {schedule.place[run]}")
    elif state == "waiting":
        warn(f"{run} {ended(status)} ({said}); it goes on from its last checkpoint, restart {n} of {RESTARTS}")
    elif state == "failed":
        warn(f"{run} {ended(status)} ({said}); given up after {n} starts, see {child.log}")
    else:
        first = reasons.setdefault(said, run)
        warn(f"{run} was refused: {said}" if first == run else f"{run} was refused as {first} was")
    lost = [str(one) for one in sorted(waited, key=str) if schedule.state[one] == "left out"]
    if lost:
        warn(f"left out, for want of {run}: {', '.join(lost)}")


def _shared_cores(n_places: int) -> dict[str, str]:
    """Variables by which runs side by side share the cores; none for one alone, or where the user has said how many."""
    if n_places == 1 or os.environ.get(THREADS):
        return {}
    return {THREADS: str(max(1, usable_cores() // n_places))}


@contextmanager
def _children() -> Iterator[dict[Run, Child]]:
    """Running processes; none is left behind, and each may end its step."""
    children: dict[Run, Child] = {}
    try:
        yield children
    finally:
        for child in children.values():
            child.stop()
        try:
            for child in children.values():
                child.wait()
        except KeyboardInterrupt:  # a second one, in a caller's process
            for child in children.values():
                child.kill()
            raise
