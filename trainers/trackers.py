"""What a run tells TensorBoard or MLflow where it is asked to (`--log`). A tracker that fails harms no training."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from bisc.core.choices import TrackerName
from bisc.core.errors import one_line, shortened
from bisc.system.console import notice
from bisc.system.files import write_text
from bisc.trainers.settings import RunSettings

MODULES: Final[dict[TrackerName, tuple[str, ...]]] = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}
"""By tracker, what its extra of the same name installs; a database of its own is what MLflow wants the last two for."""

Values = Mapping[str, float]
Write = Callable[[int, Values], object]
"""Takes an optimiser step and what was measured there: all that a tracker has to do."""
Open = Callable[[], tuple[set[int], Write]]
"""Finds or begins the tracker's account of a run; gives the steps that it has already."""

MLFLOW_RUN: Final = "mlflow_run.txt"
"""In a fold's folder: which of the server's runs is this one's."""
MLFLOW_CALM: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Unless the user says otherwise: nothing is sent to MLflow's makers, and no step waits minutes for a server."""
LONGEST_REASON: Final = 200


@dataclass
class Tracker:
    """Brings a run's rows to a tracker, each step once, and tries again with the next row what could not be written.

    Attributes:
        name: As in `--log`.
        open: Looks up what is there already: that a row came through is asked of the tracker, not remembered.
        rows: By step, all that is known of the run.
    """

    name: str
    open: Open
    rows: dict[int, Values] = field(default_factory=dict)
    _known: set[int] = field(default_factory=set)
    _write: Write | None = None
    _told: bool = False

    def __call__(self, rows: Mapping[int, Values]) -> None:
        """Take rows by step, and write what is missing; whatever goes wrong is one line."""
        self.rows |= {
            step: {k: v for k, v in row.items() if k != "step" and math.isfinite(v)} for step, row in rows.items()
        }
        try:
            with warnings.catch_warnings():  # of their own parts, and nothing a user of ours can mend
                warnings.simplefilter("ignore")
                self._bring_up_to_date()
            self._told = False
        except Exception as error:  # noqa: BLE001 - disk, server, database, package: each has its own
            self._write = None
            if not self._told:
                reason = shortened(one_line(f"{type(error).__name__}: {error}"), LONGEST_REASON)
                notice(f"--log {self.name}", reason, "training goes on, and the next epoch tries again")
            self._told = True

    def _bring_up_to_date(self) -> None:
        if self._write is None:
            self._known, self._write = self.open()
        for step in sorted(self.rows.keys() - self._known):
            self._write(step, self.rows[step])
            self._known.add(step)


def tracker_of(name: TrackerName, folder: Path, settings: RunSettings, plan: Mapping[str, Any]) -> Tracker:
    """The tracker of a run.

    Args:
        name: Its name.
        folder: RESULTS/NAME/STAGE/fold_K.
        settings: The run's.
        plan: As plain values.
    """
    opener = {"tensorboard": open_tensorboard, "mlflow": open_mlflow}[name]
    return Tracker(name, lambda: opener(folder, settings, parameters(settings, plan)))


def parameters(settings: RunSettings, plan: Mapping[str, Any]) -> dict[str, str]:
    """Settings and plan, a word for each value: `plan.fine.batch_size`; the plan's reasons are left to `plan.txt`."""
    decided = {key: value for key, value in plan.items() if key != "reasons"}
    return _flat({"settings": msgspec.to_builtins(settings), "plan": decided})


def open_tensorboard(folder: Path, settings: RunSettings, told: Mapping[str, str]) -> tuple[set[int], Write]:
    """Events in `folder/tensorboard`, in a new file each time: behind half a record nothing would be read.

    The package's own writer has a thread, whose failure is a traceback on the terminal; its records are used without.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter
    from torch.utils.tensorboard.summary import text

    events = folder / "tensorboard"
    events.mkdir(exist_ok=True)
    known = EventAccumulator(str(events), size_guidance={"scalars": 0})
    known.Reload()
    steps = {event.step for tag in known.Tags()["scalars"] for event in known.Scalars(tag)}
    path = events / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"

    def append(**content: Any) -> None:
        with path.open("ab") as file:
            RecordWriter(file).write(Event(wall_time=time.time(), **content).SerializeToString())

    def write(step: int, values: Values) -> None:
        append(step=step, summary=Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()]))

    append(file_version="brain.Event:2")
    if not steps:
        table = "\n".join(["| parameter | value |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in told.items())])
        append(summary=text("parameters", table))  # type: ignore[no-untyped-call]
    return steps, write


def open_mlflow(folder: Path, settings: RunSettings, told: Mapping[str, str]) -> tuple[set[int], Write]:
    """A run of the experiment NAME, at MLFLOW_TRACKING_URI or in RESULTS/mlflow.db; finished with its last step."""
    for variable, value in MLFLOW_CALM.items():
        os.environ.setdefault(variable, value)
    import logging

    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    database = folder.resolve().parents[2] / "mlflow.db"
    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database}")
    kept = folder / MLFLOW_RUN
    if kept.exists():
        run = client.get_run(kept.read_text(encoding="utf-8").strip()).info.run_id
        steps = {metric.step for metric in client.get_metric_history(run, "epoch")}
    else:
        run, steps = _begun_run(client, settings), set()
        client.log_batch(run, params=[Param(key, value) for key, value in told.items()])
        write_text(kept, f"{run}\n")

    def write(step: int, values: Values) -> None:
        now = int(time.time() * 1000)
        client.log_batch(run, [Metric(key, value, now, step) for key, value in values.items()])
        if step == settings.total_steps:
            client.set_terminated(run)

    return steps, write


def _begun_run(client: Any, settings: RunSettings) -> str:
    experiment = client.get_experiment_by_name(settings.dataset)
    number = client.create_experiment(settings.dataset) if experiment is None else experiment.experiment_id
    name = f"{settings.dataset} {settings.stage} fold {settings.fold}"
    return str(client.create_run(number, run_name=name).info.run_id)


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {name: str(value)}
    flat: dict[str, str] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{name}.{key}" if name else key)
    return flat
