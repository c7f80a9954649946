"""bisc_evaluate: score predictions against references, or gather a trained data set's cross-validation."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from bisc.cli.common import BAD_INPUT, FAILED, OK, add_workers, complain, make_parser, run_command
from bisc.cli.workers import workers_that_fit
from bisc.core.errors import BiscError, InputError
from bisc.evaluation.aggregate import to_frame, write_with_summary
from bisc.evaluation.batch import score_pairs
from bisc.evaluation.crossval import REPORT, TRAIN, evaluate_cross_validation, write_cross_validation
from bisc.evaluation.pairs import Pair, Pairing, find_pairs
from bisc.evaluation.tables import summary_text, to_markdown
from bisc.imageio.label_names import OPTION, LabelMeaning, meaning_of_option
from bisc.system.cases import process_pool
from bisc.system.console import say
from bisc.system.files import remove_partial
from bisc.system.paths import Folders, find_dataset, name_of

PROG = "bisc_evaluate"
OF_PREDICTIONS = "--labels-of-predictions"
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
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say; returns 0, 2 if a case's files are at fault, 1 if scoring a case failed."""
    if (args.reference is None) != (args.prediction is None):
        given, absent = ("-r", "-p") if args.prediction is None else ("-p", "-r")
        raise InputError(given, f"given without {absent}", "both, or neither for the cross-validation")
    if args.reference is None:
        return _cross_validation(args)
    if args.dataset is not None:
        raise InputError("-d", "given with -r and -p", "-d alone, for the cross-validation, or -r and -p")
    return _pairs(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `bisc_evaluate`."""
    return run_command(build_parser(), run, argv)


def _pairs(args: argparse.Namespace) -> int:
    labels = _labels(args)
    pairing = find_pairs(args.reference, args.prediction, args.all_references, labels)
    target = _target(args.output, args.prediction if args.prediction.is_dir() else Path())
    remove_partial(target.parent)
    _tell_unmatched(pairing, args.reference)
    _tell_labels(pairing.pairs[0])
    # A case takes half a second, and so does starting a worker: fewer than four cases each are not worth one.
    n_workers = min(args.n_workers, -(-len(pairing.pairs) // 4))
    with process_pool(workers_that_fit((pair.reference for pair in pairing.pairs), n_workers, PROG)) as pool:
        scored = score_pairs(pairing.pairs, pool)
    report = to_frame([one.scores for one in scored])
    written = write_with_summary(target, report)
    print(summary_text(report))
    _tell_written(written)
    return _tell_errors([one.error for one in scored if one.error is not None])


def _cross_validation(args: argparse.Namespace) -> int:
    for option, value in (
        ("--all-references", args.all_references),
        (OPTION, args.labels),
        (OF_PREDICTIONS, args.labels_of_predictions),
    ):
        if value:
            raise InputError(option, "given without -r and -p", "it with both of them")
    results = Folders.from_environment().results
    folder = find_dataset(results, args.dataset, f"fine/fold_*/{REPORT}", "trained data set with validation", TRAIN)
    target = _target(args.output, folder)
    remove_partial(target.parent)
    result = evaluate_cross_validation(folder)
    for note in result.notes:
        _warn(note)
    written = write_cross_validation(result, target)
    print(f"{name_of(folder)}, folds {', '.join(str(fold) for fold in sorted(set(result.report['fold'])))}")
    print(summary_text(result.report))
    if result.losses is not None:
        print(f"\n{result.losses_title}\n{to_markdown(result.losses)}", end="")
    if result.decisions is not None:
        print(f"\n{to_markdown(result.decisions)}", end="")
    _tell_written(written)
    return OK


def _target(output: Path | None, default_folder: Path) -> Path:
    """Where report.csv goes; known and refused before the work begins."""
    if output is None:
        return default_folder / "report.csv"
    if output.is_dir():
        return output / "report.csv"
    if output.suffix.lower() != ".csv":
        raise InputError(output, f"ends in '{output.suffix}'", "a file ending in .csv, or a folder that exists")
    return output


def _labels(args: argparse.Namespace) -> tuple[LabelMeaning | None, LabelMeaning | None]:
    """What the user says of the values of references and predictions."""
    both = None if args.labels is None else meaning_of_option(args.labels)
    if args.labels_of_predictions is None:
        return both, both
    return both, meaning_of_option(args.labels_of_predictions, OF_PREDICTIONS)


def _tell_labels(pair: Pair) -> None:
    """How values are read, where it is not as in KiTS; bisc_predict's masks have KiTS's, whatever it was trained on."""
    for what, meaning in (("references", pair.reference_labels), ("predictions", pair.prediction_labels)):
        if meaning is not None:
            print(f"labels of {what}: {meaning.words()}, by {meaning.source}")


def _tell_unmatched(pairing: Pairing, reference: Path) -> None:
    if pairing.without_reference:
        _warn(f"no reference in {reference}, so not scored: {_list(pairing.without_reference)}")
    if pairing.without_prediction:
        n = len(pairing.without_prediction)
        _warn(f"references without a prediction, not scored: {n} (--all-references counts them as missing)")
    if pairing.passed_over:
        _warn(f"no label map by name or layout, so not used: {_list([str(path) for path in pairing.passed_over])}")


def _tell_errors(errors: Sequence[BiscError]) -> int:
    for error in errors:
        complain(PROG, str(error))
    if any(isinstance(error, InputError) for error in errors):
        return BAD_INPUT
    return FAILED if errors else OK


def _tell_written(paths: Iterable[Path]) -> None:
    print("written: " + ", ".join(str(path) for path in paths))


def _warn(message: str) -> None:
    say(f"{PROG}: warning: {message}")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


if __name__ == "__main__":
    raise SystemExit(main())
