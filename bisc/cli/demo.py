"""bisc_demo: the whole pipeline on simulated CT, on a CPU, in minutes, ending in a page a person can look at."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from bisc.cli import evaluate, export, plan_and_preprocess, predict, simulate, train
from bisc.cli.common import INTERRUPTED, OK, add_workers, make_parser, positive_int, run_command
from bisc.core.errors import WorkError
from bisc.core.files import remove_partial, write_bytes
from bisc.core.parallel import process_pool
from bisc.evaluation.aggregate import read_report, summarise
from bisc.inference.decision import DECISIONS, DEFAULT_DECISION
from bisc.planners.dataset import load_plan
from bisc.report.page import Fact, FileLink
from bisc.report.run_report import FIGURES, RunReport, write_run_report
from bisc.report.tables import Table
from bisc.trainers.presets import preset_by_name

PROG = "bisc_demo"
NAME = "Demo"
SEED = 2019
SIZE_XYZ = ("128", "128", "32")
"""Voxels of about 2.8 x 2.8 x 5.3 mm: one training patch holds a whole ROI, which counts most when minutes do."""
HELD_OUT_START = 1000
"""The held-out cases' first index: far from any training case's."""


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(
        PROG,
        "Simulate CT, plan, preprocess, train both stages, predict held-out cases, evaluate, report.",
        f"  {PROG}\n  {PROG} -o /tmp/demo --preset quick",
    )
    parser.add_argument("-o", dest="out", type=Path, default=Path("bisc_demo"), help="folder (default: %(default)s)")
    parser.add_argument("--train-cases", type=positive_int, default=200, metavar="N", help="default: %(default)s")
    parser.add_argument("--test-cases", type=positive_int, default=16, metavar="N", help="default: %(default)s")
    parser.add_argument("--preset", default="demo", help="training preset (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    add_workers(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Every step is the command a user would type; a rerun goes on where the last one stopped."""
    begin = time.perf_counter()
    preset_by_name(args.preset)  # known before minutes are spent
    out: Path = args.out
    workers = ["-np", str(args.n_workers)]
    os.environ.update(
        BISC_RAW=str(out / "raw"), BISC_PREPROCESSED=str(out / "preprocessed"), BISC_RESULTS=str(out / "results")
    )
    for folder in (out, out / FIGURES):
        remove_partial(folder)
    steps = Steps()
    raw, held_out = out / "raw" / NAME, out / "held_out"
    patients = ["--seed", str(args.seed), "--size", *SIZE_XYZ, *workers]
    steps.do(simulate.main, ["-o", str(raw), "-n", str(args.train_cases), *patients])
    start = ["--start-index", str(HELD_OUT_START)]
    steps.do(simulate.main, ["-o", str(held_out), "-n", str(args.test_cases), *start, *patients])
    steps.do(plan_and_preprocess.main, ["-d", NAME, *workers])
    for stage in ("rough", "fine"):
        steps.do(train.main, [stage, "0", "-d", NAME, "--preset", args.preset, "--device", "cpu", "--continue"])
    for decision in DECISIONS:
        predictions = out / f"predictions_{decision}"
        rough = ["--save-rough", "--device", "cpu", "--decision", decision, "--continue"]
        steps.do(predict.main, ["-i", str(held_out), "-o", str(predictions), "-d", NAME, *rough])
        fine_report, rough_report = _reports(out, decision)
        steps.do(evaluate.main, ["-r", str(held_out), "-p", str(predictions), "-o", str(fine_report), *workers])
        masks = ["-p", str(predictions / "rough"), "-o", str(rough_report)]
        steps.do(evaluate.main, ["-r", str(held_out), *masks, *workers])
    steps.do(export.main, ["-d", NAME, "-o", str(out / "model.zip")])
    page = _report(out, steps, time.perf_counter() - begin, args.n_workers)
    _tell(out, page, time.perf_counter() - begin)
    return OK


class Steps:
    """Runs commands in this process and remembers how long each took."""

    def __init__(self) -> None:
        self.seconds: list[tuple[str, float]] = []

    def do(self, main: Callable[[Sequence[str]], int], argv: list[str]) -> None:
        """Run one command.

        Raises:
            WorkError: If it did not end with exit status 0 (it has said why).
            KeyboardInterrupt: If it was interrupted.
        """
        name = f"bisc_{main.__module__.rsplit('.', 1)[-1]}"
        command = " ".join([name, *argv])
        print(f"\n$ {command}", flush=True)
        begin = time.perf_counter()
        status = main(argv)
        self.seconds.append((command, time.perf_counter() - begin))
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        if status != OK:
            raise WorkError(f"{name} ended with exit status {status}")


def _reports(out: Path, decision: str) -> tuple[Path, Path]:
    """The cascade's and the rough stage's report of one decision."""
    return out / f"report_{decision}.csv", out / f"rough_report_{decision}.csv"


def _report(out: Path, steps: Steps, seconds: float, n_workers: int) -> Path:
    """Copy the default decision's tables to report.csv and report_summary.csv, draw, write the page."""
    fine, rough = _reports(out, DEFAULT_DECISION)
    for suffix in ("", "_summary"):
        write_bytes(out / f"report{suffix}.csv", fine.with_name(f"{fine.stem}{suffix}.csv").read_bytes())
        write_bytes(out / f"rough_report{suffix}.csv", rough.with_name(f"{rough.stem}{suffix}.csv").read_bytes())
    plan = load_plan(out / "preprocessed" / NAME)
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
            (f"preprocessed/{NAME}/plan.txt", "the plan, and why it chose each value"),
            (f"results/{NAME}/rough/fold_0/progress.png", "training of the rough stage"),
            (f"results/{NAME}/fine/fold_0/progress.png", "training of the fine stage"),
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
        for stage, path in zip(("fine", "rough"), _reports(out, decision), strict=True):
            mean = summarise(read_report(path)).set_index("metric")["mean"]
            rows.append((stage, decision, *(round(float(mean[m]), 3) for m in ("dice_kidney", "dice_tumor"))))
    return Table(
        "Both decision rules",
        ("stage", "decision", "Dice kidney", "Dice tumour"),
        tuple(rows),
        "argmax is the paper's; calibrated adds offsets to the logits, fitted on the fold's validation cases.",
    )


def _time_table(steps: Steps) -> Table:
    rows = tuple((command, round(seconds, 1)) for command, seconds in steps.seconds)
    return Table("What was run", ("command", "seconds"), rows)


def _tell(out: Path, page: Path, seconds: float) -> None:
    for name in ("rough_report_summary.csv", "report_summary.csv"):
        table = pd.read_csv(out / name).set_index("metric")
        kidney, tumor = table.loc["dice_kidney", "mean"], table.loc["dice_tumor", "mean"]
        stage = "rough" if name.startswith("rough") else "fine "
        print(f"{stage}: mean Dice kidney {kidney:.3f}, tumour {tumor:.3f}")
    print(f"\nDone in {seconds / 60:.1f} minutes. Look at {page.resolve()}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
