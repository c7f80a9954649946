"""Predictions and pages on the workers of a Dask scheduler: what one process does case by case, by whoever is free."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import torch

from bisc.core.errors import BiscError, InputError
from bisc.imageio.case import InputCase
from bisc.inference.model import MOST_NETWORK_GB, Model, load_model
from bisc.network.device import choose_device
from bisc.pipeline.options import FAILED, TABLE, PredictionRow, PredictOptions
from bisc.pipeline.predict import Complain, predict_or_keep
from bisc.pipeline.predict_run import begin_run, end_run, remove_outputs
from bisc.pipeline.report import PageJob, ReportOptions, begin_pages, end_pages, page_fault, page_or_fault
from bisc.pipeline.rows import merge_rows
from bisc.pipeline.workers import case_workers
from bisc.report.patient.index import IndexRow
from bisc.system.cases import run_cases
from bisc.system.dask_worker import LOCAL
from bisc.system.memory import free_gb, usable_cores

Tell = Callable[[str], object]
OWN_THREADS: Final = torch.get_num_threads()
PREDICTING_GB: Final = MOST_NETWORK_GB + 1.5
"""What a process takes that predicts a scan of ordinary length, its libraries with it."""


@dataclass(frozen=True)
class ModelAt:
    """Where a model lies and how it is loaded: what travels in its stead.

    Attributes:
        path: A results folder or a .zip, on storage that all share.
        folds: Folds to average; None: all.
        device: 'cpu', 'cuda', 'cuda:N'; None: what each worker has.
        precision: As of `bisc.network.device.choose_device`, of each worker.
        deterministic: Likewise.
        postprocess: As of `bisc.inference.model.load_model`.
        mirror: See every kidney left for right too.
        check_edges: As of `load_model`.
        threads: Of a case on a CPU; None: what each worker has. The last digits depend on it.
        mark: `mark_of` the model that the client loaded from there.
    """

    path: Path
    folds: tuple[int, ...] | None = None
    device: str | None = None
    precision: str = "auto"
    deterministic: bool = False
    postprocess: bool = True
    mirror: bool = False
    check_edges: bool = False
    threads: int | None = None
    mark: str = ""


def mark_of(model: Model) -> str:
    """Changes with all that a model's answers come of: plan, weights, offsets, post-processing."""
    networks = [(one.fold, one.mark, one.offsets) for one in (*model.rough, *model.fine)]
    told = repr((model.plan, networks, model.postprocessing))
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=1)
def _load(at: ModelAt) -> Model:
    """In a worker process: the model, once; it is kept until another is asked for.

    Raises:
        InputError: If it cannot be loaded there, or is not the client's.
    """
    torch.use_deterministic_algorithms(False)  # a command before may have asked for it
    torch.set_num_threads(OWN_THREADS)
    device = choose_device(at.device, at.precision, at.deterministic)
    model = load_model(at.path, at.folds, device, at.postprocess, at.check_edges)
    if mark_of(model) != at.mark:
        raise InputError(at.path, "is not the model that the client loaded from there", "one model for all workers")
    return replace(model, mirror=at.mirror)


@dataclass(frozen=True)
class PredictJob:
    """One case to predict, and its row of an earlier run."""

    case: InputCase
    model: ModelAt
    out: Path
    options: PredictOptions
    before: PredictionRow | None


def predict_on_workers(
    cases: Sequence[InputCase],
    model: ModelAt,
    out: Path,
    options: PredictOptions,
    complain: Complain,
    scheduler: str,
    n_workers: int = 1,
    tell: Tell = lambda _: None,
) -> list[PredictionRow]:
    """`bisc.pipeline.predict.predict_cases` on workers: the same files, by whoever is free.

    Args:
        cases, out, options, complain: As there.
        model: Loaded once in each worker process.
        scheduler: As of `bisc.system.dask.dask_workers`.
        n_workers: Worker processes of a local one, fewer where memory is short.
        tell: Takes a line where they are fewer.

    Raises:
        InputError: As there; if no scheduler answers; if a worker cannot load the model or does not share `out`.
        WorkError: If the scheduler is lost; the cases that were done stay.
    """
    if scheduler == LOCAL and choose_device(model.device, model.precision, model.deterministic).kind != "cpu":
        found = "would put every worker on the same GPU"
        raise InputError("--scheduler local", found, "--device cpu", "leave it out: several cases share a GPU as it is")
    run = begin_run(cases, out, options)
    if model.deterministic:
        model = replace(model, threads=torch.get_num_threads())
    if scheduler == LOCAL:
        n_workers, options = _shared_out(n_workers, options, tell)
        model = replace(model, threads=model.threads or max(1, usable_cores() // n_workers))
    jobs = [PredictJob(case, model, out, options, run.before.get(case.name)) for case in run.cases]
    prepare = partial(_load, replace(model, path=model.path.absolute()))
    inputs = [case.path for case in run.cases if case.fault is None]
    with case_workers(inputs, n_workers, tell, scheduler, out, inputs[:1], prepare) as workers:
        outcomes = run_cases(_predict_job, jobs, workers, "predict", lambda job: job.case.name)
    rows = []
    for outcome in outcomes:
        job = outcome.job
        if outcome.result is None:
            assert outcome.error is not None  # one of the two
            row, errors = _lost_row(job, outcome.error), [outcome.error]
        else:
            row, errors = outcome.result
        for error in errors:
            complain(error)
        rows.append(row)
    end_run(out, options, run.before)
    return [*rows, *run.passed]


def _shared_out(n_workers: int, options: PredictOptions, tell: Tell) -> tuple[int, PredictOptions]:
    """As many workers as the memory carries, each with its share: all of them see the same memory free."""
    free = free_gb()
    fitting = max(1, min(n_workers, int(free / (options.memory_gb or PREDICTING_GB))))
    if fitting < n_workers:
        tell(f"{fitting} instead of {n_workers} cases at a time: {free:.1f} GB are free")
    return fitting, replace(options, memory_gb=options.memory_gb or free / fitting)


def _predict_job(job: PredictJob) -> tuple[PredictionRow, list[BiscError]]:
    model, errors = _load(job.model), list[BiscError]()
    torch.set_num_threads(job.model.threads or OWN_THREADS)  # of this thread, which need not be the one that loaded it
    return predict_or_keep(job.case, model, job.out, job.options, errors.append, job.before), errors


def _lost_row(job: PredictJob, error: BiscError) -> PredictionRow:
    """Of a case that no worker could finish."""
    remove_outputs(job.out, job.case, job.options)
    row = PredictionRow(job.case.name, FAILED, error=str(error))
    merge_rows(job.out / TABLE, [row])
    return row


def report_on_workers(
    source: Path,
    prediction: Path,
    out: Path | None,
    options: ReportOptions,
    complain: Complain,
    scheduler: str,
    n_workers: int = 1,
    tell: Tell = lambda _: None,
) -> list[IndexRow]:
    """`bisc.pipeline.report.report_cases` on workers; arguments as there and as of `predict_on_workers`."""
    run = begin_pages(source, prediction, out, options)
    images = [job.mask for job in run.jobs if job.mask is not None]
    with case_workers(images, n_workers, tell, scheduler, run.folder, [source, prediction]) as workers:
        outcomes = run_cases(_page_job, run.jobs, workers, "report", lambda job: job.name)
    rows = []
    for outcome in outcomes:
        if outcome.result is None:
            assert outcome.error is not None  # one of the two
            rows.append(page_fault(outcome.job, outcome.error, complain))
            continue
        row, errors = outcome.result
        for error in errors:
            complain(error)
        rows.append(row)
    return end_pages(run, rows)


def _page_job(job: PageJob) -> tuple[IndexRow, list[BiscError]]:
    errors: list[BiscError] = []
    return page_or_fault(job, errors.append), errors
