"""bisc_evaluate: score predictions against references, or gather a trained data set's cross-validation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bisc.cli.common import OK, add_plan, add_workers, complain, make_parser, run_command, status_of
from bisc.cli.places import SCHEDULER, add_places, part_of, told
from bisc.core.errors import BiscError, InputError
from bisc.evaluation.crossval import CrossValidation
from bisc.evaluation.tables import summary_text, to_markdown
from bisc.imageio.label_names import OF_PREDICTIONS, OPTION, meaning_of_option
from bisc.pipeline.evaluate import cross_validation, evaluate_folders
from bisc.system.console import say
from bisc.system.paths import name_of

PROG = "bisc_evaluate"
EXAMPLE = """  bisc_evaluate -r kits19/data -p predictions          predictions/CASE.nii.gz against references
  bisc_evaluate -r case_00000/segmentation.nii.gz -p out/case_00000.nii.gz -o one.csv
  bisc_evaluate -d KiTS19                              the cross-validation of what was trained"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = make_parser(
        PROG,
        "Scores label maps: Dice, HD95, surface Dice, volumes and tumours found; a row per case in report.csv, "
        "mean, std and median of each in report_summary.csv. Without -r and -p: the trained folds.",
        EXAMPLE,
    )
    parser.add_argument(
        "-r",
        dest="reference",
        type=Path,
        metavar="REF",
        help="references: a label map, a folder of them, a KiTS or nnU-Net data set",
    )
    parser.add_argument(
        "-p",
        dest="prediction",
        type=Path,
        metavar="PRED",
        help="predictions: a label map, or a folder with CASE.nii.gz or CASE/segmentation.nii.gz",
    )
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        metavar="report.csv",
        help="where to write (default: report.csv in PRED, here for a single file, or in the results of -d)",
    )
    parser.add_argument("-d", dest="dataset", metavar="NAME", help="the trained data set whose folds are gathered")
    add_plan(parser)
    parser.add_argument(
        "--all-references",
        action="store_true",
        help="score every reference; one without a prediction counts as missing, with the worst scores",
    )
    parser.add_argument(
        OPTION,
        dest="labels",
        metavar="NAMES",
        help="what the values of references and predictions mean, as in kidney=1+2,tumor=3 (default: as a dataset.json "
        "beside them or a .seg.nrrd says, else KiTS's numbers)",
    )
    parser.add_argument(
        OF_PREDICTIONS, dest="labels_of_predictions", metavar="NAMES", help="the same of the predictions alone"
    )
    add_workers(parser)
    add_places(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say; returns 0, 2 if a case's files are at fault, 1 if scoring a case failed."""
    if (args.reference is None) != (args.prediction is None):
        given, absent = ("-r", "-p") if args.prediction is None else ("-p", "-r")
        raise InputError(given, f"given without {absent}", "both, or neither for the cross-validation")
    if args.reference is None:
        return _cross_validation(args)
    if args.plan is not None:
        raise InputError("--plan", "given with -r and -p", "it with -d, for the cross-validation")
    if args.dataset is not None:
        raise InputError("-d", "given with -r and -p", "-d alone, for the cross-validation, or -r and -p")
    return _pairs(args)


def _pairs(args: argparse.Namespace) -> int:
    part = part_of(args)
    both = None if args.labels is None else meaning_of_option(args.labels)
    of_predictions = args.labels_of_predictions
    done = evaluate_folders(
        args.reference,
        args.prediction,
        args.output,
        all_references=args.all_references,
        labels=(both, both if of_predictions is None else meaning_of_option(of_predictions, OF_PREDICTIONS)),
        n_workers=args.n_workers,
        scheduler=args.scheduler,
        part=part,
        tell=warn,
    )
    for first in done.pairs[:1]:
        for what, meaning in (("references", first.reference_labels), ("predictions", first.prediction_labels)):
            if meaning is not None:  # else as in KiTS; so are bisc_predict's masks, whatever it was trained on
                print(f"labels of {what}: {meaning.words()}, by {meaning.source}")
    if done.written:
        print(summary_text(done.report))
        print(f"written: {', '.join(map(str, done.written))}")
    else:
        print(f"{told(part)}{len(done.pairs)} cases scored; --parts {args.parts} alone joins them")
    for error in done.errors:
        complain(PROG, str(error))
    return status_of(done.errors)


def _cross_validation(args: argparse.Namespace) -> int:
    for option, value in (
        ("--all-references", args.all_references),
        (OPTION, args.labels),
        (OF_PREDICTIONS, args.labels_of_predictions),
        (SCHEDULER, args.scheduler),
        ("--parts", args.parts),
        ("--part", args.part),
    ):
        if value:
            raise InputError(option, "given without -r and -p", "it with both of them")
    folder, result, written = cross_validation(args.dataset, args.output, args.plan)
    for note in result.notes:
        warn(note)
    print(f"{name_of(folder)}, folds {', '.join(str(fold) for fold in sorted(set(result.report['fold'])))}")
    print(summary_text(result.report))
    if result.losses is not None:
        print(f"\n{result.losses_title}\n{to_markdown(result.losses)}", end="")
    if result.decisions is not None:
        print(f"\n{to_markdown(result.decisions)}", end="")
    written += _postprocessing(args, folder, result, written[0].with_name("postprocessing"))
    print(f"written: {', '.join(map(str, written))}")
    return OK


def _postprocessing(args: argparse.Namespace, folder: Path, result: CrossValidation, stem: Path) -> Sequence[Path]:
    """Choose it where the folds allow, show its table; the files written. The reports stand without it."""
    from bisc.pipeline.postprocess import choose_postprocessing  # torch, which nothing else here needs

    try:
        chosen = choose_postprocessing(folder, result.report, stem, n_workers=args.n_workers, tell=warn)
    except BiscError as error:
        print(f"\npost-processing not chosen: {error}")
        return ()
    if chosen is None:
        return ()
    print(f"\n{chosen.title}\n{to_markdown(chosen.table)}", end="")
    return chosen.written


def warn(message: str) -> None:
    """A line on stderr that ends nothing."""
    say(f"{PROG}: warning: {message}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `bisc_evaluate`."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
