"""The demo's page: its held-out cases in pictures, what they scored, and what was run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from bisc.core.choices import DECISIONS, DEFAULT_DECISION
from bisc.evaluation.aggregate import read_report, summarise, summary_path
from bisc.imageio import read_image, read_labels
from bisc.pipeline.options import TABLE
from bisc.pipeline.rows import read_rows
from bisc.planners.dataset import load_plan
from bisc.report.figure3 import CaseFigure, draw_case, draw_overlay
from bisc.report.page import CaseCard, Fact, FileLink, Page, Picture, write_page
from bisc.report.tables import Table
from bisc.system.cases import process_pool, run_cases
from bisc.system.files import write_bytes
from bisc.system.paths import fold_folder

FIGURES: Final = "figures"
SCORES: Final = ("dice_kidney", "dice_tumor")
LEAD: Final = (
    "Rough and fine SC-UNet, trained on simulated CT in minutes on a CPU, on simulated patients neither has seen. "
    "It shows that the pipeline works, not what a full training on real CT reaches."
)


@dataclass(frozen=True)
class DemoCase:
    """One held-out case's files, what to draw of it, and its scores of both stages."""

    name: str
    image: Path
    reference: Path
    rough: Path
    fine: Path
    figure: Path
    overlay: Path | None
    scores: dict[str, dict[str, float]]


def reports_of(out: Path, decision: str) -> tuple[Path, Path]:
    """The cascade's and the rough stage's report of one decision."""
    return out / f"report_{decision}.csv", out / f"rough_report_{decision}.csv"


def write_demo_page(
    out: Path, name: str, steps: Sequence[tuple[str, float]], seconds: float, n_workers: int = 1
) -> Path:
    """Copy the default decision's reports to report.csv and rough_report.csv, draw every case, write index.html.

    Args:
        out: The demo's folder, all of whose steps are done.
        name: The data set's.
        steps: The commands run, and how many seconds each took.
        seconds: Of the whole run.
        n_workers: Cases drawn at a time.

    Returns:
        The page's path.
    """
    for stem, report in zip(("report", "rough_report"), reports_of(out, DEFAULT_DECISION), strict=True):
        write_bytes(out / f"{stem}.csv", report.read_bytes())
        write_bytes(out / f"{stem}_summary.csv", summary_path(report).read_bytes())
    fine, rough = (read_report(out / f"{stem}.csv").set_index("case") for stem in ("report", "rough_report"))
    predictions = out / f"predictions_{DEFAULT_DECISION}"
    rows = {row.case: row for row in read_rows(predictions / TABLE)}
    names = [case for case in sorted(rows) if case in fine.index]
    shown = best_median_worst(fine.loc[names, "dice_composite"])
    jobs = [_case(out, predictions, case, case in shown.values(), fine, rough) for case in names]
    with process_pool(n_workers) as pool:
        outcomes = run_cases(draw, jobs, pool, "figures", lambda job: job.name)
    cards = [
        CaseCard(
            case=outcome.job.name,
            status=rows[outcome.job.name].status,
            figure=None if outcome.error else outcome.job.figure.relative_to(out).as_posix(),
            scores=outcome.job.scores,
            volumes_ml=_volumes(outcome.job.name, fine, rough),
            note=str(outcome.error or rows[outcome.job.name].error),
        )
        for outcome in outcomes
    ]
    drawn = {outcome.job.name: outcome.job for outcome in outcomes if not outcome.error}
    pictures = [_picture(title, drawn[case], out) for title, case in shown.items() if case in drawn]
    page = Page(
        "BiSC-UNet demo",
        LEAD,
        facts=_facts(out, name, len(fine), seconds),
        cases=cards,
        pictures=pictures,
        tables=(_decision_table(out), _time_table(steps)),
        files=_files(name),
    )
    return write_page(out, page)


def best_median_worst(scores: pd.Series[float]) -> dict[str, str]:
    """The cases that stand for all, by name: title -> case, each case once."""
    ranked = [str(case) for case in scores.sort_values(ascending=False, kind="stable").index]
    places = {"Best": 0, "Median": (len(ranked) - 1) // 2, "Worst": len(ranked) - 1} if ranked else {}
    chosen: dict[str, str] = {}
    for title, place in places.items():
        if ranked[place] not in chosen.values():
            chosen[title] = ranked[place]
    return chosen


def draw(case: DemoCase) -> None:
    """Read one case's four volumes and draw its figures."""
    figure = CaseFigure(
        case.name,
        read_image(case.image).volume,
        read_labels(case.rough).volume,
        read_labels(case.fine).volume,
        read_labels(case.reference).volume,
        case.scores,
    )
    draw_case(figure, case.figure)
    if case.overlay is not None:
        draw_overlay(figure, case.overlay)


def _case(
    out: Path, predictions: Path, name: str, with_overlay: bool, fine: pd.DataFrame, rough: pd.DataFrame
) -> DemoCase:
    return DemoCase(
        name,
        out / "held_out" / name / "imaging.nii.gz",
        out / "held_out" / name / "segmentation.nii.gz",
        predictions / "rough" / f"{name}.nii.gz",
        predictions / f"{name}.nii.gz",
        out / FIGURES / f"{name}.png",
        out / FIGURES / f"{name}_overlay.png" if with_overlay else None,
        {stage: {m: _value(of, name, m) for m in SCORES} for stage, of in (("rough", rough), ("fine", fine))},
    )


def _picture(title: str, case: DemoCase, out: Path) -> Picture:
    assert case.overlay is not None  # it was chosen to have one
    kidney, tumor = (case.scores["fine"][metric] for metric in SCORES)
    caption = f"Dice kidney {kidney:.3f}, tumour {tumor:.3f}."
    return Picture(title, case.name, case.overlay.relative_to(out).as_posix(), caption)


def _volumes(name: str, fine: pd.DataFrame, rough: pd.DataFrame) -> dict[str, dict[str, float]]:
    sources = (("rough", rough, "pred"), ("fine", fine, "pred"), ("reference", fine, "ref"))
    return {
        stage: {organ: _value(of, name, f"volume_{organ}_{kind}_ml") for organ in ("kidney", "tumor")}
        for stage, of, kind in sources
    }


def _value(table: pd.DataFrame, name: str, column: str) -> float:
    value: Any = table.loc[name, column]
    return float(value)


def _facts(out: Path, name: str, n_held_out: int, seconds: float) -> tuple[Fact, ...]:
    plan = load_plan(out / "preprocessed" / name)
    z, y, x = plan.target_spacing_mm_zyx
    return (
        Fact("Data", f"{plan.n_cases} simulated CT for training and validation, {n_held_out} held out"),
        Fact("Target spacing", f"{x:g} x {y:g} x {z:g} mm"),
        Fact("ROI sides", ", ".join(f"{s} px" for s in plan.roi.sides_px)),
        Fact("Decision", DEFAULT_DECISION),
        Fact("Whole run", f"{seconds / 60:.1f} minutes"),
    )


def _files(name: str) -> tuple[FileLink, ...]:
    results = Path("results") / name
    progress = [(fold_folder(results, stage, 0) / "progress.png").as_posix() for stage in ("rough", "fine")]
    return (
        FileLink("report.csv", "every measure of every held-out case, fine stage"),
        FileLink("report_summary.csv", "mean, deviation, median of each measure"),
        FileLink("rough_report.csv", "the same of the rough stage's masks"),
        FileLink(f"predictions_{DEFAULT_DECISION}/{TABLE}", "status, time, ROIs and volumes"),
        FileLink(f"preprocessed/{name}/plan.txt", "the plan, and why it chose each value"),
        FileLink(progress[0], "training of the rough stage"),
        FileLink(progress[1], "training of the fine stage"),
        FileLink("model.zip", "the trained cascade, for bisc_predict -m"),
    )


def mean_dice(report: Path) -> tuple[float, float]:
    """Mean Dice of kidney and tumour in a report."""
    mean = summarise(read_report(report)).set_index("metric")["mean"]
    return float(mean["dice_kidney"]), float(mean["dice_tumor"])


def _decision_table(out: Path) -> Table:
    rows = [
        (stage, decision, *(round(dice, 3) for dice in mean_dice(path)))
        for decision in DECISIONS
        for stage, path in zip(("fine", "rough"), reports_of(out, decision), strict=True)
    ]
    return Table(
        "Both decision rules",
        ("stage", "decision", "Dice kidney", "Dice tumour"),
        rows,
        "argmax is the paper's; calibrated adds offsets to the logits, fitted on the fold's validation cases.",
    )


def _time_table(steps: Sequence[tuple[str, float]]) -> Table:
    rows = [(command, round(seconds, 1)) for command, seconds in steps]
    return Table("What was run", ("command", "seconds"), rows)
