"""The report of predicted cases with references: figure 3 of each, and one page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from bisc.evaluation.aggregate import read_report
from bisc.imageio import read_image, read_labels
from bisc.pipeline.predict import read_rows
from bisc.report.figure3 import CaseFigure, draw_case
from bisc.report.page import CaseCard, Fact, FileLink, Page, write_page
from bisc.report.tables import Table
from bisc.system.cases import run_cases

SCORES: Final = ("dice_kidney", "dice_tumor")
FIGURES: Final = "figures"


@dataclass(frozen=True)
class ReportCase:
    """One case's files, and its scores of both stages."""

    name: str
    image: Path
    reference: Path
    rough: Path
    fine: Path
    figure: Path
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class RunReport:
    """Where a run's results lie, all under `folder`.

    Attributes:
        folder: Where index.html goes.
        raw: KiTS-layout data set of the predicted cases.
        predictions: Folder of masks, predictions.csv, and rough/ with the rough stage's masks.
        fine_report: report.csv of the cascade.
        rough_report: report.csv of the rough stage's masks.
        facts: What stands at the head of the page.
        files: Linked files, relative to `folder`.
        tables: Further tables.
    """

    folder: Path
    raw: Path
    predictions: Path
    fine_report: Path
    rough_report: Path
    facts: tuple[Fact, ...]
    files: tuple[FileLink, ...]
    tables: tuple[Table, ...] = ()


def write_run_report(report: RunReport, title: str, lead: str, executor: Executor | None) -> Path:
    """Draw every case and write the page; returns the page's path."""
    fine, rough = (read_report(p).set_index("case") for p in (report.fine_report, report.rough_report))
    rows = {row.case: row for row in read_rows(report.predictions / "predictions.csv")}
    cases = [_case(report, name, fine, rough) for name in sorted(rows) if name in fine.index]
    outcomes = run_cases(draw_report_case, cases, executor, "figures", lambda c: c.name)
    cards = []
    for outcome in outcomes:
        case = outcome.job
        cards.append(
            CaseCard(
                case=case.name,
                status=rows[case.name].status,
                figure=None if outcome.error else case.figure.relative_to(report.folder).as_posix(),
                scores=case.scores,
                volumes_ml=_volumes(case.name, fine, rough),
                note=str(outcome.error or rows[case.name].error),
            )
        )
    page = Page(title, lead, facts=report.facts, cases=tuple(cards), tables=report.tables, files=report.files)
    return write_page(report.folder, page)


def draw_report_case(case: ReportCase) -> None:
    """Read one case's four volumes and draw its figure."""
    figure = CaseFigure(
        case.name,
        read_image(case.image).volume,
        read_labels(case.rough).volume,
        read_labels(case.fine).volume,
        read_labels(case.reference).volume,
        case.scores,
    )
    draw_case(figure, case.figure)


def _case(report: RunReport, name: str, fine: pd.DataFrame, rough: pd.DataFrame) -> ReportCase:
    return ReportCase(
        name,
        report.raw / name / "imaging.nii.gz",
        report.raw / name / "segmentation.nii.gz",
        report.predictions / "rough" / f"{name}.nii.gz",
        report.predictions / f"{name}.nii.gz",
        report.folder / FIGURES / f"{name}.png",
        {"rough": _scores(rough, name), "fine": _scores(fine, name)},
    )


def _scores(table: pd.DataFrame, name: str) -> dict[str, float]:
    return {metric: _value(table, name, metric) for metric in SCORES}


def _volumes(name: str, fine: pd.DataFrame, rough: pd.DataFrame) -> dict[str, dict[str, float]]:
    sources: Sequence[tuple[str, pd.DataFrame, str]] = (
        ("rough", rough, "pred"),
        ("fine", fine, "pred"),
        ("reference", fine, "ref"),
    )
    return {
        stage: {organ: _value(table, name, f"volume_{organ}_{kind}_ml") for organ in ("kidney", "tumor")}
        for stage, table, kind in sources
    }


def _value(table: pd.DataFrame, name: str, column: str) -> float:
    value: Any = table.loc[name, column]
    return float(value)
