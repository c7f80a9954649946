"""bisc_demo: the whole pipeline on simulated CT, on a CPU, in minutes, ending in a page a person can look at."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bisc.cli import evaluate, export, plan_and_preprocess, predict, simulate, train
from bisc.cli.common import OK, add_workers, make_parser, positive_int, run_command
from bisc.core.choices import DECISIONS, STAGES
from bisc.core.errors import WorkError
from bisc.system.console import INTERRUPTED
from bisc.system.files import remove_partial
from bisc.trainers.presets import preset_by_name

PROG = "bisc_demo"
NAME = "Demo"
SEED = 2019
SIZE_XYZ = ("128", "128", "32")
"""Voxels of about 2.8 x 2.8 x 5.3 mm: one training patch holds a whole ROI, which counts most when minutes do."""
HELD_OUT_START = 1000
"""The held-out cases' first index, unless there are more to train on."""

PRESET = "demo"
EPOCHS_IN_BF16 = {"rough": 4, "fine": 56}
"""Of that preset (otherwise 2 and 20) on a CPU with bf16 arithmetic, which trains three times as fast."""
TRAIN_CASES = 200
TRAIN_CASES_IN_BF16 = 600
"""So many steps on 200 would learn them by heart (docs/lab/demo.md)."""


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(
        PROG,
        "Simulate CT, plan, preprocess, train both stages, predict held-out cases, evaluate, report.",
        f"  {PROG}\n  {PROG} -o /tmp/demo --preset quick",
    )
    parser.add_argument("-o", dest="out", type=Path, default=Path("bisc_demo"), help="folder (default: %(default)s)")
    cases = f"default: {TRAIN_CASES}, {TRAIN_CASES_IN_BF16} on a CPU with bf16 arithmetic"
    parser.add_argument("--train-cases", type=positive_int, metavar="N", help=cases)
    parser.add_argument("--test-cases", type=positive_int, default=16, metavar="N", help="default: %(default)s")
    parser.add_argument("--preset", default=PRESET, help="training preset (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    add_workers(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Every step is the command a user would type; a rerun goes on where the last one stopped."""
    begin = time.perf_counter()
    preset_by_name(args.preset)  # known before minutes are spent
    from bisc.network.device import choose_device
    from bisc.pipeline.demo import FIGURES, mean_dice, reports_of, write_demo_page

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
    precision = choose_device("cpu").precision
    n = args.train_cases or patients_for(args.preset, precision)
    steps.do(simulate.main, ["-o", str(raw), "-n", str(n), *patients])
    start = ["--start-index", str(first_held_out(n))]
    steps.do(simulate.main, ["-o", str(held_out), "-n", str(args.test_cases), *start, *patients])
    steps.do(plan_and_preprocess.main, ["-d", NAME, *workers])
    for stage in STAGES:
        how = ["--preset", args.preset, *more_epochs(stage, args.preset, precision), "--device", "cpu", "--continue"]
        steps.do(train.main, [stage, "0", "-d", NAME, *how])
    for decision in DECISIONS:
        predictions = out / f"predictions_{decision}"
        rough = ["--save-rough", "--device", "cpu", "--decision", decision, "--continue"]
        steps.do(predict.main, ["-i", str(held_out), "-o", str(predictions), "-d", NAME, *rough])
        fine_report, rough_report = reports_of(out, decision)
        steps.do(evaluate.main, ["-r", str(held_out), "-p", str(predictions), "-o", str(fine_report), *workers])
        masks = ["-p", str(predictions / "rough"), "-o", str(rough_report)]
        steps.do(evaluate.main, ["-r", str(held_out), *masks, *workers])
    steps.do(export.main, ["-d", NAME, "-o", str(out / "model.zip")])
    page = write_demo_page(out, NAME, steps.seconds, time.perf_counter() - begin, args.n_workers)
    for stage, report in (("rough", "rough_report.csv"), ("fine ", "report.csv")):
        kidney, tumor = mean_dice(out / report)
        print(f"{stage}: mean Dice kidney {kidney:.3f}, tumour {tumor:.3f}")
    print(f"\nDone in {(time.perf_counter() - begin) / 60:.1f} minutes. Look at {page.resolve()}")
    return OK


def trains_longer(preset: str, precision: str) -> bool:
    """Whether it is the demo's own preset, where training is quick."""
    return (preset, precision) == (PRESET, "bf16")


def first_held_out(n_train: int) -> int:
    """The held-out cases' first index, which no training case has: a case is its seed and its index."""
    return max(HELD_OUT_START, n_train)


def patients_for(preset: str, precision: str) -> int:
    """How many are simulated to train on, where nobody says."""
    return TRAIN_CASES_IN_BF16 if trains_longer(preset, precision) else TRAIN_CASES


def more_epochs(stage: str, preset: str, precision: str) -> list[str]:
    """What bisc_train is told of epochs; nothing where they are the preset's."""
    return ["--epochs", str(EPOCHS_IN_BF16[stage])] if trains_longer(preset, precision) else []


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


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
