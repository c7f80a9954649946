"""bisc_train: one stage on one fold or on all of them, then the fold's validation through the cascade."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bisc.cli.common import (
    OK,
    add_deterministic,
    add_plan,
    make_parser,
    need_extra,
    non_negative_int,
    positive_int,
    run_command,
)
from bisc.core.choices import EDGES, PRECISIONS, STAGES, TRACKERS
from bisc.losses import LOSSES
from bisc.trainers.presets import PRESETS, preset_by_name
from bisc.trainers.settings import DEFAULT_SEED
from bisc.trainers.trackers import MODULES

PROG = "bisc_train"
DEFAULT_PRESET = "paper"


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    presets = "; ".join(f"{p.name}: {p.purpose}" for p in PRESETS.values())
    parser = make_parser(PROG, "Train one stage on one fold.", f"  {PROG} rough 0\n  {PROG} fine 0")
    parser.add_argument("stage", choices=STAGES, help="rough finds the kidneys, fine segments their ROIs")
    parser.add_argument("fold", help="fold number, or all")
    parser.add_argument("-d", dest="dataset", metavar="NAME", help="a preprocessed data set (default: the only one)")
    add_plan(parser)
    parser.add_argument("--loss", choices=tuple(LOSSES), help="default: the preset's")
    parser.add_argument("--loss-threshold", type=float, metavar="T", help="T of the balanced loss, 0 <= T < 1")
    parser.add_argument("--edges", choices=EDGES, help="where outlines are learnt (default: the preset's)")
    parser.add_argument(
        "--augment", action=argparse.BooleanOptionalAction, help="turn, scale and tone patches (default: the preset's)"
    )
    parser.add_argument("--preset", default=DEFAULT_PRESET, help=f"default: {DEFAULT_PRESET}. {presets}")
    parser.add_argument("--epochs", type=positive_int, metavar="N", help="default: the preset's")
    parser.add_argument("--iterations", type=positive_int, metavar="N", help="steps an epoch (default: the preset's)")
    parser.add_argument("--minutes", type=float, metavar="M", help="as many steps as fit, instead of --iterations")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")
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
    parser.add_argument("--no-validation", action="store_true", help="leave out the validation through the cascade")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, then validate."""
    preset_by_name(args.preset)  # known before torch is imported, which takes seconds
    if args.log is not None:
        need_extra(f"--log {args.log}", args.log, MODULES[args.log])
    from bisc.pipeline.train import TrainedFold, train

    def tell(trained: TrainedFold) -> None:
        for line in trained.lines:
            print(line)
        print(f"{args.stage} fold {trained.settings.fold}: {trained.folder}")

    train(
        args.stage,
        int(args.fold) if args.fold.isdecimal() else args.fold,
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


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
