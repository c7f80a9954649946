"""Predictions and pages on workers: one process's files, a case that no worker could finish, a model that is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bisc.core.errors import BiscError, InputError, WorkError
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.imageio import write_image
from bisc.imageio.inputs import find_inputs
from bisc.pipeline import cluster
from bisc.pipeline.cluster import ModelAt, mark_of, predict_on_workers, report_on_workers
from bisc.pipeline.options import PredictOptions
from bisc.pipeline.predict import predict_cases
from bisc.pipeline.report import ReportOptions, report_cases
from bisc.pipeline.rows import read_rows
from bisc.system.workers import CaseWorkers, Lost
from tests.support.stub_model import kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
COARSE = Geometry((40, 60, 76), (3.5, 4.0, 4.0), (-150.0, -120.0, -700.0))
SCHEDULER = "tcp://127.0.0.1:8786"
OPTIONS = PredictOptions("argmax")
MODEL = replace(stub_model(), device=replace(stub_model().device, deterministic=True))  # no seconds in the table


class Here(CaseWorkers):
    """Works in this process, in reverse order, and loses one case for good."""

    lost = ""

    def run(
        self, work: Callable[[Any], Any], jobs: Sequence[Any], name: Callable[[Any], str]
    ) -> Iterator[tuple[int, Future[Any]]]:
        for i in reversed(range(len(jobs))):
            future: Future[Any] = Future()
            if name(jobs[i]) == self.lost:
                future.set_exception(Lost("3 workers were lost with it"))
            else:
                future.set_result(work(jobs[i]))
            yield i, future


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Here:
    """In the place of a scheduler's; they have the stub model."""
    found = Here()

    @contextmanager
    def at_hand(*_: object) -> Iterator[Here]:
        yield found

    monkeypatch.setattr(cluster, "case_workers", at_hand)
    monkeypatch.setattr(cluster, "_load", lambda _: MODEL)
    return found


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for name in ("a", "b"):
        write_image(folder / f"{name}.nii.gz", kidneys(COARSE)[0].array, NativeGrid.of(COARSE))
    (folder / "c.nii.gz").write_bytes(b"no image")
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_predictions_are_those_of_one_process(scans: Path, tmp_path: Path, workers: Here) -> None:
    """Rows in the cases' order, errors told; and a case that no worker could finish leaves no older mask."""
    one: list[BiscError] = []
    rows = predict_cases(find_inputs(scans), MODEL, tmp_path / "one", OPTIONS, one.append)
    many: list[BiscError] = []
    given = find_inputs(scans), ModelAt(Path("model")), tmp_path / "many", OPTIONS, many.append, SCHEDULER
    assert predict_on_workers(*given) == rows
    assert files_of(tmp_path / "many") == files_of(tmp_path / "one")
    assert [str(error) for error in many] == [str(error) for error in one] != []
    many.clear()
    workers.lost = "b"
    statuses = [row.status for row in predict_on_workers(*given)]
    assert statuses == ["ok", "failed", "failed"]
    assert [type(error) for error in many] == [WorkError, InputError]
    assert not (tmp_path / "many" / "b.nii.gz").exists()
    table = {row.case: row for row in read_rows(tmp_path / "many" / "predictions.csv")}
    assert table["b"].error == "b: 3 workers were lost with it"


@pytest.mark.long
def test_pages_are_those_of_one_process(scans: Path, tmp_path: Path, workers: Here) -> None:
    """And the row of a lost one says so in the index."""
    masks = tmp_path / "masks"
    write_image(masks / "a.nii.gz", kidneys(COARSE)[1], NativeGrid.of(COARSE))
    given = scans, masks
    one: list[BiscError] = []
    many: list[BiscError] = []
    rows = report_cases(*given, tmp_path / "one", ReportOptions(), one.append)
    assert report_on_workers(*given, tmp_path / "many", ReportOptions(), many.append, SCHEDULER) == rows
    assert files_of(tmp_path / "many") == files_of(tmp_path / "one")
    assert [str(error) for error in many] == [str(error) for error in one] != []
    workers.lost = "a"
    report_on_workers(*given, tmp_path / "many", ReportOptions(), many.append, SCHEDULER)
    assert not (tmp_path / "many" / "a_report.html").exists()
    assert "3 workers were lost with it" in (tmp_path / "many" / "index.html").read_text()


def test_a_worker_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not predicted with: nobody would see it in a mask."""
    monkeypatch.setattr(cluster, "load_model", lambda *_: MODEL)
    at = ModelAt(Path("model"), device="cpu", precision="fp32", mark=mark_of(MODEL))
    assert cluster._load(at).mirror is False
    assert cluster._load(replace(at, mirror=True)).mirror is True
    trained_on = replace(MODEL, rough=(replace(MODEL.rough[0], mark=1),))
    with pytest.raises(InputError, match="model: is not the model that the client loaded from there"):
        cluster._load(replace(at, mark=mark_of(trained_on)))
