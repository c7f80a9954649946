"""bisc_train: one stage on one fold or all of them, then the fold's validation through the cascade; or both stages on
all folds, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bisc.cli.common import (
    BAD_INPUT,
    FAILED,
    OK,
    add_deterministic,
    add_plan,
    complain,
    make_parser,
    need_extra,
    non_negative_int,
    positive_int,
    run_command,
)
from bisc.core.choices import EDGES, PRECISIONS, STAGES, TRACKERS
from bisc.core.errors import InputError
from bisc.losses import LOSSES
from bisc.system.console import stop_at_end_of_input
from bisc.system.paths import name_of
from bisc.trainers.presets import PRESETS, preset_by_name
from bisc.trainers.settings import DEFAULT_SEED
from bisc.trainers.trackers import MODULES

PROG = "bisc_train"
DEFAULT_PRESET = "paper"
ALL = "all"
EXAMPLE = f"""  {PROG} rough 0
  {PROG} fine 0
  {PROG} all --preset best --minutes 60          both stages on all folds: 60 minutes for each of the runs
  {PROG} all 0 1 --devices cuda:0,cuda:1         two folds, a run at a time on each device"""
PASSED_ON = (
    *("loss", "loss_threshold", "edges", "augment", "preset", "epochs", "iterations", "minutes", "precision"),
    *("workers", "decoys", "passes", "deterministic", "seed", "log"),
)
"""What stage all hands to each run as it is."""


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    presets = "; ".join(f"{p.name}: {p.purpose}" for p in PRESETS.values())
    parser = make_parser(PROG, "Train one stage on one fold, or all of them.", EXAMPLE)
    parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign] # flags between stage and fold
    parser.add_argument(
        "stage",
        choices=(*STAGES, ALL),
        help="rough finds the kidneys, fine segments their ROIs; all: both, a run at a time on each device",
    )
    parser.add_argument(
        "fold", nargs="*", help="fold number, or all; after stage all any number of them (default: all)"
    )
    parser.add_argument("-d", dest="dataset", metavar="NAME", help="a preprocessed data set (default: the only one)")
    add_plan(parser)
    parser.add_argument("--loss", choices=tuple(LOSSES), help="default: the preset's")
    parser.add_argument("--loss-threshold", type=float, metavar="T", help="T of --loss balanced_ce, 0 <= T < 1")
    parser.add_argument("--edges", choices=EDGES, help="where outlines are learnt (default: the preset's)")
    parser.add_argument(
        "--augment", action=argparse.BooleanOptionalAction, help="turn, scale and tone patches (default: the preset's)"
    )
    parser.add_argument("--preset", default=DEFAULT_PRESET, help=f"default: {DEFAULT_PRESET}. {presets}")
    parser.add_argument("--epochs", type=positive_int, metavar="N", help="default: the preset's")
    parser.add_argument("--iterations", type=positive_int, metavar="N", help="steps an epoch (default: the preset's)")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="of each run: as many steps as fit, instead of --iterations"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")
    parser.add_argument(
        "--devices",
        type=lambda text: text.split(","),
        metavar="D,D,...",
        help="of stage all: a run at a time on each of them (default: all CUDA devices, else the CPU)",
    )
    parser.add_argument("--jobs", type=positive_int, metavar="N", help="of stage all, on the CPU: runs at a time (1)")
    parser.add_argument(
        "--gpus", type=positive_int, metavar="N", help="train in N processes at once, each on a GPU (or --device cpu)"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="default: the best the device has")
    parser.add_argument(
        "--workers", type=non_negative_int, metavar="N", help="loader processes (default: 0 on a CPU, else up to 4)"
    )
    parser.add_argument(
        "--decoys",
        type=float,
        metavar="SHARE",
        help="part of the fine stage's patches that are of places without a kidney (default: the preset's)",
    )
    parser.add_argument(
        "--passes", type=positive_int, metavar="N", help="parts of a batch (default: as memory demands)"
    )
    add_deterministic(parser)
    parser.add_argument("--seed", type=non_negative_int, default=DEFAULT_SEED, help="default: %(default)s")
    parser.add_argument("--continue", dest="resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--log", choices=TRACKERS, help="show the curves there too (extra of the same name)")
    parser.add_argument(
        "--stop-at-eof",
        action="store_true",
        help="stop as on Ctrl-C when standard input ends; stage all begins runs so",
    )
    parser.add_argument("--no-validation", action="store_true", help="leave out the validation through the cascade")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, then validate."""
    if args.stop_at_eof:
        stop_at_end_of_input()
    preset_by_name(args.preset)  # known before torch is imported, which takes seconds
    if args.log is not None:
        need_extra(f"--log {args.log}", args.log, MODULES[args.log])
    if args.stage == ALL:
        return _all(args)
    for option in ("devices", "jobs"):
        if getattr(args, option) is not None:
            raise InputError(f"--{option}", f"given with stage {args.stage}", "it with stage all", "give --device")
    (fold,) = args.fold if len(args.fold) == 1 else (None,)
    if fold is None:
        raise InputError("fold", " ".join(args.fold) or "left out", "a fold's number, or all")
    from bisc.pipeline.train import TrainedFold, train

    def tell(trained: TrainedFold) -> None:
        for line in trained.lines:
            print(line)
        print(f"{args.stage} fold {trained.settings.fold}: {trained.folder}")

    train(
        args.stage,
        int(fold) if fold.isdecimal() else fold,
        args.dataset,
        plan_name=args.plan,
        preset=args.preset,
        loss=args.loss,
        loss_threshold=args.loss_threshold,
        edges=args.edges,
        augment=args.augment,
        decoys=args.decoys,
        epochs=args.epochs,
        iterations=args.iterations,
        minutes=args.minutes,
        seed=args.seed,
        device=args.device,
        precision=args.precision,
        deterministic=args.deterministic,
        workers=args.workers,
        passes=args.passes,
        resume=args.resume,
        validate=not args.no_validation,
        log=args.log,
        gpus=args.gpus,
        done=tell,
    )
    return OK


def _all(args: argparse.Namespace) -> int:
    """Both stages; status 2 where a run was refused, 1 where one failed."""
    wrong = [fold for fold in args.fold if not fold.isdecimal()]
    if wrong and args.fold != [ALL]:
        raise InputError(f"fold {wrong[0]}", "is no number", "numbers, or all")
    if args.device is not None and args.devices is not None:
        raise InputError("--device", "given with --devices", "one of the two")
    if args.gpus is not None:
        raise InputError("--gpus", "given with stage all, whose runs have a device each", "one of the two")
    from bisc.evaluation.tables import align
    from bisc.pipeline.train_all import train_all
    from bisc.pipeline.train_runs import lines_of

    done = train_all(
        args.dataset,
        None if wrong or not args.fold else [int(fold) for fold in args.fold],
        plan_name=args.plan,
        devices=args.devices if args.device is None else [args.device],
        jobs=args.jobs,
        resume=args.resume,
        validate=not args.no_validation,
        tell=print,
        **{name: getattr(args, name) for name in PASSED_ON},
    )
    print(align(lines_of(done.table)))
    print(f"written: {done.written}")
    refused, failed = done.having("refused"), done.having("failed")
    if refused or failed:
        missing = ", ".join(done.having("refused", "failed", "left out"))
        complain(PROG, f"not done: {missing}; mend what is wrong, and run the same command with --continue")
        return BAD_INPUT if refused else FAILED
    joins = "" if args.no_validation else f"bisc_evaluate -d {name_of(done.results)} joins the folds, and "
    print(f"next: {joins}bisc_model export -o model.zip packs them")
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
