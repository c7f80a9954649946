"""bisc_demo's end: its tables copied together, its pictures, its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bisc.core.choices import DECISIONS, DEFAULT_DECISION
from bisc.evaluation.aggregate import read_report, summarise
from bisc.pipeline.run_report import FIGURES, RunReport, write_run_report
from bisc.planners.dataset import load_plan
from bisc.report.page import Fact, FileLink
from bisc.report.tables import Table
from bisc.system.cases import process_pool
from bisc.system.files import write_bytes

__all__ = ["FIGURES", "tables_of", "tell", "write"]


def tables_of(out: Path, decision: str) -> tuple[Path, Path]:
    """The cascade's and the rough stage's report of one decision."""
    return out / f"report_{decision}.csv", out / f"rough_report_{decision}.csv"


def write(out: Path, name: str, steps: Sequence[tuple[str, float]], seconds: float, n_workers: int) -> Path:
    """Copy the default decision's tables to report.csv and report_summary.csv, draw, write the page."""
    fine, rough = tables_of(out, DEFAULT_DECISION)
    for suffix in ("", "_summary"):
        write_bytes(out / f"report{suffix}.csv", fine.with_name(f"{fine.stem}{suffix}.csv").read_bytes())
        write_bytes(out / f"rough_report{suffix}.csv", rough.with_name(f"{rough.stem}{suffix}.csv").read_bytes())
    plan = load_plan(out / "preprocessed" / name)
    z, y, x = plan.target_spacing_mm_zyx
    facts = (
        Fact("Data", f"{plan.n_cases} simulated CT for training and validation, {len(read_report(fine))} held out"),
        Fact("Target spacing", f"{x:g} x {y:g} x {z:g} mm"),
        Fact("ROI sides", ", ".join(f"{s} px" for s in plan.roi.sides_px)),
        Fact("Decision", DEFAULT_DECISION),
        Fact("Whole run", f"{seconds / 60:.1f} minutes"),
    )
    files = tuple(
        FileLink(path, what)
        for path, what in (
            ("report.csv", "every measure of every held-out case, fine stage"),
            ("report_summary.csv", "mean, deviation, median of each measure"),
            ("rough_report.csv", "the same of the rough stage's masks"),
            (f"predictions_{DEFAULT_DECISION}/predictions.csv", "status, time, ROIs and volumes"),
            (f"preprocessed/{name}/plan.txt", "the plan, and why it chose each value"),
            (f"results/{name}/rough/fold_0/progress.png", "training of the rough stage"),
            (f"results/{name}/fine/fold_0/progress.png", "training of the fine stage"),
            ("model.zip", "the trained cascade, for bisc_predict -m"),
        )
    )
    tables = (_decision_table(out), _time_table(steps))
    predictions = out / f"predictions_{DEFAULT_DECISION}"
    report = RunReport(out, out / "held_out", predictions, fine, rough, facts, files, tables)
    lead = (
        "Rough and fine SC-UNet, trained on simulated CT in minutes on a CPU, on simulated patients neither has seen. "
        "It shows that the pipeline works, not what a full training on real CT reaches."
    )
    with process_pool(n_workers) as pool:
        return write_run_report(report, "BiSC-UNet demo", lead, pool)


def _decision_table(out: Path) -> Table:
    rows = []
    for decision in DECISIONS:
        for stage, path in zip(("fine", "rough"), tables_of(out, decision), strict=True):
            mean = summarise(read_report(path)).set_index("metric")["mean"]
            rows.append((stage, decision, *(round(float(mean[m]), 3) for m in ("dice_kidney", "dice_tumor"))))
    return Table(
        "Both decision rules",
        ("stage", "decision", "Dice kidney", "Dice tumour"),
        tuple(rows),
        "argmax is the paper's; calibrated adds offsets to the logits, fitted on the fold's validation cases.",
    )


def _time_table(steps: Sequence[tuple[str, float]]) -> Table:
    rows = tuple((command, round(seconds, 1)) for command, seconds in steps)
    return Table("What was run", ("command", "seconds"), rows)


def tell(out: Path, page: Path, seconds: float) -> None:
    """The run's end in a few lines."""
    for name in ("rough_report_summary.csv", "report_summary.csv"):
        table = pd.read_csv(out / name).set_index("metric")
        kidney, tumor = table.loc["dice_kidney", "mean"], table.loc["dice_tumor", "mean"]
        stage = "rough" if name.startswith("rough") else "fine "
        print(f"{stage}: mean Dice kidney {kidney:.3f}, tumour {tumor:.3f}")
    print(f"\nDone in {seconds / 60:.1f} minutes. Look at {page.resolve()}")
