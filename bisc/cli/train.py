"""bisc_train: one stage on one fold or on all of them, then the fold's validation through the cascade."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bisc.cli.common import OK, add_deterministic, make_parser, non_negative_int, positive_int, run_command
from bisc.core.choices import PRECISIONS, STAGES
from bisc.core.errors import InputError
from bisc.losses import LOSSES
from bisc.planners.dataset import load_plan, load_splits
from bisc.system.files import remove_partial
from bisc.system.memory import usable_cores
from bisc.system.paths import CHECKPOINT_LAST, VALIDATION, Folders, find_dataset, fold_folder, name_of
from bisc.trainers.presets import PRESETS, preset_by_name
from bisc.trainers.settings import DEFAULT_SEED, run_settings

PROG = "bisc_train"


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    presets = "; ".join(f"{p.name}: {p.purpose}" for p in PRESETS.values())
    parser = make_parser(PROG, "Train one stage on one fold.", f"  {PROG} rough 0\n  {PROG} fine 0")
    parser.add_argument("stage", choices=STAGES, help="rough finds the kidneys, fine segments their ROIs")
    parser.add_argument("fold", help="fold number, or all")
    parser.add_argument("-d", dest="dataset", metavar="NAME", help="a preprocessed data set (default: the only one)")
    parser.add_argument("--loss", choices=tuple(LOSSES), help="default: the preset's")
    parser.add_argument("--loss-threshold", type=float, metavar="T", help="T of the balanced loss, 0 <= T < 1")
    parser.add_argument("--preset", default="paper", help=f"default: paper. {presets}")
    parser.add_argument("--epochs", type=positive_int, metavar="N", help="default: the preset's")
    parser.add_argument("--iterations", type=positive_int, metavar="N", help="steps an epoch (default: the preset's)")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="default: the best the device has")
    parser.add_argument(
        "--workers", type=non_negative_int, metavar="N", help="loader processes (default: 0 on a CPU, else up to 4)"
    )
    parser.add_argument(
        "--passes", type=positive_int, metavar="N", help="parts of a batch (default: as memory demands)"
    )
    add_deterministic(parser)
    parser.add_argument("--seed", type=non_negative_int, default=DEFAULT_SEED, help="default: %(default)s")
    parser.add_argument("--continue", dest="resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--no-validation", action="store_true", help="leave out the validation through the cascade")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train, then validate."""
    folders = Folders.from_environment()
    preprocessed = find_dataset(
        folders.preprocessed, args.dataset, "plan.json", "preprocessed data set", "run bisc_plan_and_preprocess first"
    )
    if args.loss_threshold is not None and not 0.0 <= args.loss_threshold < 1.0:
        raise InputError("--loss-threshold", str(args.loss_threshold), "0 <= T < 1")
    plan, preset, folds = load_plan(preprocessed), preset_by_name(args.preset), _folds(args.fold, preprocessed)
    results = folders.results / name_of(preprocessed)
    for fold in folds:  # before anything that takes time, so that even a run cut off early leaves none of it
        trained = fold_folder(results, args.stage, fold)
        for folder in (results, trained, trained / VALIDATION):
            remove_partial(folder)
    from bisc.network.device import choose_device
    from bisc.pipeline.validate import check_rough, finish_fold
    from bisc.trainers.passes import choose_passes, free_on
    from bisc.trainers.stages import TRAINERS

    device = choose_device(args.device, args.precision, args.deterministic)
    if args.stage == "fine" and not args.no_validation:
        check_rough(folds, plan, results)
    free = None if args.deterministic else free_on(device)  # else other programs would have a say in the bytes
    for fold in folds:
        settings = run_settings(
            plan,
            args.stage,
            fold,
            preset,
            device.precision,
            loss=args.loss,
            loss_threshold=args.loss_threshold,
            epochs=args.epochs,
            iterations=args.iterations,
            seed=args.seed,
        )
        fitting = device.for_patch(settings.patch_size_zyx)
        settings = msgspec.structs.replace(settings, precision=fitting.precision)
        last = fold_folder(results, args.stage, fold) / CHECKPOINT_LAST if args.resume else None
        settings = choose_passes(settings, args.passes, last, free)
        workers = args.workers if args.workers is not None else 0 if device.kind == "cpu" else min(4, usable_cores())
        folder = TRAINERS[args.stage](settings, preprocessed, results, fitting, workers).run(resume=args.resume)
        if not args.no_validation:
            for line in finish_fold(args.stage, fold, preprocessed, results, device):
                print(line)
        print(f"{args.stage} fold {fold}: {folder}")
    return OK


def _folds(text: str, preprocessed: Path) -> list[int]:
    n = len(load_splits(preprocessed).folds)
    if text == "all":
        return list(range(n))
    if not text.isdecimal() or int(text) >= n:
        raise InputError(f"fold {text}", "is not in splits.json", f"0 to {n - 1}, or all")
    return [int(text)]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
