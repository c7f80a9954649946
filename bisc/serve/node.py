"""The node: studies come in by DICOM or by a watched folder, one after the other is predicted, results go out."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from bisc.core.choices import DEFAULT_DECISION, Form
from bisc.core.errors import BiscError, InputError, PassedOver
from bisc.imageio.archive import unpacked
from bisc.imageio.case import InputCase
from bisc.imageio.inputs import find_inputs
from bisc.inference.cascade import RoughExcess
from bisc.inference.model import Model
from bisc.pipeline.dicom_cases import dicom_files
from bisc.pipeline.options import BETWEEN_NOTES, FAILED, SKIPPED, TABLE, DicomOptions, PredictionRow, PredictOptions
from bisc.pipeline.predict import predict_cases
from bisc.pipeline.rows import merge_rows
from bisc.serve.config import NodeConfig
from bisc.serve.queue import COMING, GIVE_UP_S, TAKEN, Queue, remove
from bisc.serve.send import SendError, Waits, send_job
from bisc.serve.status import StatusServer
from bisc.serve.store import Counts, Receiver
from bisc.system.console import check, collecting, say
from bisc.system.files import make_folder

TICK_S: Final = 0.5
TRIES: Final = 3
"""Of a job whose input was right and whose work failed (memory, disk)."""


@dataclass
class Work:
    """What was done since the start."""

    predicted: int = 0
    failed: int = 0
    sent: int = 0
    send_failures: int = 0
    seconds: float = 0.0
    tries: dict[str, int] = field(default_factory=dict)


class Node:
    """All of it; `run` returns when it is told to stop."""

    def __init__(self, config: NodeConfig, model: Model) -> None:
        if not config.accept and config.watch is None:
            raise InputError("[accept]", "nobody may send, and no folder is watched", "an AE title, or 'watch'")
        self.config, self.model = config, model
        self.queue = Queue(config.folder, config.quota_gb * 1e9)
        self.queue.recover()
        self.counts, self.work = Counts(), Work()
        self.receiver = Receiver(config, self.queue, self.counts, log)
        self.status = StatusServer(config.host, config.status_port, self.numbers, self.healthy)
        self.stopping = threading.Event()
        self.sender = threading.Thread(target=self._send_all, name="sender", daemon=True)
        self._seen: dict[Path, tuple[float, float]] = {}

    def stop(self) -> None:
        """Let `run` return after the job that it is at."""
        self.stopping.set()

    def run(self) -> None:
        """Serve until SIGINT, SIGTERM or `stop`; what is under way then goes on at the next start."""
        self.receiver.start()
        self.status.start()
        self.sender.start()
        config = self.config
        log(f"{config.ae_title} listens on {config.host}:{self.receiver.port}, status on port {self.status.port}")
        try:
            while not self.stopping.is_set():
                check()
                with self.receiver.moving:
                    for lost in self.queue.give_up(max(config.quiet_s, GIVE_UP_S)):
                        self.work.failed += 1
                        log(f"{lost.name}: incomplete, there was no room for all of it; to be sent again")
                    self.queue.clear_spool()
                    is_free = not self.queue.folders("ready")
                    if is_free:
                        self.queue.complete(config.quiet_s)
                if is_free:  # neither way in waits for the other for ever
                    self._take_watched()
                jobs = self.queue.folders("ready")
                if jobs:
                    self._do(jobs[0])
                else:
                    time.sleep(TICK_S)
        finally:
            self.stopping.set()
            self.receiver.stop()
            self.status.stop()
            self.sender.join(timeout=TICK_S)

    def healthy(self) -> bool:
        """Whether it can go on: it sends, and has room."""
        return (self.sender.is_alive() or self.stopping.is_set()) and self.queue.has_room(0)

    def numbers(self) -> dict[str, float]:
        """For the status page."""
        waiting = {f"studies_{stage}": len(self.queue.folders(stage)) for stage in ("incoming", "ready", "outgoing")}
        return {
            **waiting,
            "studies_predicted_total": self.work.predicted,
            "studies_failed_total": self.work.failed,
            "studies_sent_total": self.work.sent,
            "send_failures_total": self.work.send_failures,
            "objects_received_total": self.counts.received,
            "objects_refused_total": self.counts.refused,
            "associations_rejected_total": self.counts.rejected,
            "prediction_seconds_total": round(self.work.seconds, 3),
            "queue_bytes": self.queue.used_bytes(),
        }

    def _do(self, job: Path) -> None:
        """Predict a job's study; the folder moves on when all of its results are there."""
        begin = time.perf_counter()
        out = make_folder(job / "out")
        config = self.config
        form: Form = "dicomseg" if config.keep is None else "both"
        dicom = DicomOptions(form, config.extras, config.labelmap, config.deidentify, phase=config.phase)
        options = PredictOptions(DEFAULT_DECISION, resume=True, dicom=dicom)
        errors: list[BiscError] = []
        rows: list[PredictionRow] = []
        try:
            with collecting(quiet=True), _source(job, out) as source:
                cases = [_bare(case, job.name, i) for i, case in enumerate(find_inputs(source, out))]
                rows = predict_cases(cases, self.model, out, options, errors.append)
        except BiscError as error:
            errors.append(error)
        self.work.seconds += time.perf_counter() - begin
        done = [row for row in rows if row.status != SKIPPED]
        whole = [row for row in done if _is_whole(row, out, dicom)]
        transient = [error for error in errors if not isinstance(error, InputError | RoughExcess)]
        tries = self.work.tries[job.name] = self.work.tries.get(job.name, 0) + 1
        if transient and tries < TRIES:  # what was predicted is not predicted again
            log(f"{job.name}: {type(transient[0]).__name__}, tried again")
            time.sleep(TICK_S)
            return
        doubts = self._doubts(job) if whole else []
        if doubts:
            merge_rows(
                out / TABLE,
                [replace(row, notes=BETWEEN_NOTES.join(filter(None, [row.notes, *doubts]))) for row in done],
            )
        if config.keep is not None:
            try:
                _keep(out, config.keep / job.name)
            except (InputError, OSError) as error:
                log(f"{job.name}: cannot be kept in 'keep' ({type(error).__name__}); its masks stay in the queue")
        self.work.predicted += len(whole)
        self.work.failed += len(done) - len(whole) or not whole
        log(f"{job.name}: {_told(done, whole, errors)}, {time.perf_counter() - begin:.1f} s")
        for said in doubts:
            log(f"{job.name}: {said}; send the whole study again, or raise quiet_seconds")
        self.queue.move(job, "outgoing" if whole else "failed")

    def _doubts(self, job: Path) -> list[str]:
        """Why a job may be a part of its study."""
        n_before = self.queue.came_before(job)
        doubts = {
            f"predicted without what came earlier of its study, as a job of its own ({n_before} objects)": n_before,
            "predicted although the association that brought it was cut off: it may be a part": (
                job / "in" / COMING
            ).exists(),
        }
        return [said for said, holds in doubts.items() if holds]

    def _send_all(self) -> None:
        """Send what is to be sent, for ever; what was not taken is tried again, more and more seldom."""
        waits = Waits()
        while not self.stopping.wait(TICK_S):
            for job in waits.in_turn(self.queue.folders("outgoing")):
                try:
                    if waits.due(job.name) and send_job(job, self.config, waits):
                        self.queue.move(job, "done")
                        waits.over(job.name)
                        self.work.sent += 1
                except Exception as error:  # noqa: BLE001 - a full disk, a damaged file: the others are sent
                    self.work.send_failures += 1
                    told = error if isinstance(error, SendError) else type(error).__name__
                    log(f"{job.name}: not sent, {told}; again in {waits.longer(job.name):.0f} s")

    def _take_watched(self) -> None:
        """Move what has not changed for the quiet time from the watched folder into the queue."""
        watch = self.config.watch
        if watch is None:
            return
        with suppress(OSError):
            for path in watch.glob(f"{TAKEN}*"):
                remove(path)
            entries = [p for p in watch.iterdir() if not p.name.startswith(".")]
            now = time.monotonic()
            self._seen = {p: self._seen.get(p, (-1.0, now)) for p in entries}
            for path in entries:
                state = _state(path)
                if state != self._seen[path][0]:
                    self._seen[path] = state, now
                elif now - self._seen[path][1] >= self.config.quiet_s:
                    self._take(path)

    def _take(self, path: Path) -> None:
        self._seen.pop(path, None)  # where it cannot be moved it is left alone for the quiet time
        try:
            self.queue.take(path)
        except (OSError, InputError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            log(f"an entry of the watched folder cannot be moved: {why or type(error).__name__}")


def log(line: str) -> None:
    """One line on stderr, with the time; nothing of a patient."""
    say(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z} bisc_serve: {line}")


def _source(job: Path, out: Path) -> AbstractContextManager[Path]:
    """A job's files; those of a .zip unpacked."""
    entries = list((job / "in").iterdir())
    alone = entries[0] if len(entries) == 1 else job / "in"
    return unpacked(alone, out)


def _bare(case: InputCase, job: str, i: int) -> InputCase:
    """The case under its job's name, which is no patient's."""
    return replace(case, name=f"{job}_{i + 1}")


def _is_whole(row: PredictionRow, out: Path, dicom: DicomOptions) -> bool:
    """Whether a study was predicted, and every object that is asked for was made; of no kidney there is the picture
    alone."""
    kinds = ("_capture.dcm",) if row.status == "no_kidney" else (".dcm",)
    paths = [path for path, asked in dicom_files(out, row.case, dicom).items() if asked and path.name.endswith(kinds)]
    return row.status != FAILED and all(path.exists() for path in paths)


def _told(done: list[PredictionRow], whole: list[PredictionRow], errors: list[BiscError]) -> str:
    if not done:
        passed = all(isinstance(error, PassedOver) for error in errors)
        return "nothing to predict in it" if passed else f"failed ({type(errors[0]).__name__})"
    words = [
        row.status
        + (f" ({row.light})" if row.light else "")
        + ("" if row in whole or row.status == FAILED else " but not as DICOM, its mask is kept as NIfTI")
        for row in done
    ]
    return ", ".join(words) + ("" if len(done) == len(whole) else "; its predictions.csv says why")


def _keep(out: Path, target: Path) -> None:
    """Copy objects and tables to where they are kept; masks are moved: the queue has those that are nowhere else."""
    make_folder(target)
    for path in out.iterdir():
        if path.is_file() and (path.name == TABLE or path.suffix in (".gz", ".dcm")) and not path.name.startswith("."):
            (shutil.move if path.suffix == ".gz" else shutil.copyfile)(path, target / path.name)


def _state(path: Path) -> float:
    """Changes while anything in an entry does."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    return float(sum(hash((p.name, p.stat().st_size, p.stat().st_mtime_ns)) & 0xFFFFFFFF for p in paths))
