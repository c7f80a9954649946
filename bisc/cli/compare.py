"""bisc_compare: paired differences of two runs or more over the patients they share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bisc.cli.common import add_workers, complain, make_parser, non_negative_int, run_command, status_of
from bisc.evaluation.answers import in_words, p_words
from bisc.evaluation.comparison import BY_NAME, PRIMARY
from bisc.evaluation.tables import align
from bisc.pipeline.compare import Comparison, compare
from bisc.system.console import say

PROG = "bisc_compare"
OUTPUT = Path("compare")
EXAMPLE = """  bisc_compare ours/report.csv nnunet/report.csv -o compare
  bisc_compare ours/ nnunet/ -r kits19/data             folders of predictions, scored first
  bisc_compare nnunet.csv -d KiTS19 --names nnunet ours"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = make_parser(
        PROG,
        "Compares runs patient by patient, each with the first: differences with intervals, agreement of volumes, by "
        "size of the tumour; compare.html, compare.csv and the paired values.",
        EXAMPLE,
    )
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="a report.csv of bisc_evaluate, a folder that holds one, or the results of a trained data set; with -r a "
        "folder of predictions",
    )
    parser.add_argument(
        "-d",
        dest="datasets",
        nargs="+",
        default=[],
        metavar="NAME",
        help="trained data sets, the reports of whose folds are compared",
    )
    parser.add_argument(
        "-r", dest="reference", type=Path, metavar="REF", help="references to score the runs' predictions against first"
    )
    parser.add_argument(
        "-o", dest="output", type=Path, default=OUTPUT, metavar="OUT", help="folder to write (default: %(default)s)"
    )
    parser.add_argument("--names", nargs="+", default=[], metavar="NAME", help="what to call the runs, in their order")
    parser.add_argument(
        "--missing-as-worst",
        action="store_true",
        help="cases that one run lacks count with the worst scores there (default: they are named and left out)",
    )
    parser.add_argument(
        "--primary",
        default=PRIMARY,
        choices=list(BY_NAME),
        metavar="METRIC",
        help="the measure that the answer rests on, chosen before looking (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=non_negative_int, default=0, metavar="S", help="of the bootstrap (default: %(default)s)"
    )
    add_workers(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say; returns 0, 2 if a case's files are at fault, 1 if scoring a case failed."""
    done = compare(
        *args.runs,
        output=args.output,
        datasets=args.datasets,
        reference=args.reference,
        names=args.names,
        missing_as_worst=args.missing_as_worst,
        primary=args.primary,
        seed=args.seed,
        n_workers=args.n_workers,
        tell=warn,
    )
    for note in done.notes:
        warn(note)
    print("\n".join(done.answers))
    print(table(done))
    print(f"written: {', '.join(map(str, done.written))}")
    for error in done.errors:
        complain(PROG, str(error))
    return status_of(done.errors)


def table(done: Comparison) -> str:
    """What the terminal shows of every measure."""
    lines = []
    for pair in done.pairs:
        rows = [["metric", "n", pair.a, pair.b, "p", "p (Holm)"]]
        rows += [
            [row.measure.name, str(row.result.n), _number(row.result.mean_a), _number(row.result.mean_b)]
            + [p_words(p).removeprefix("p ").removeprefix("= ") for p in (row.result.p, row.p_holm)]
            for row in pair.measures
        ]
        said = ["in words", *(in_words(row) for row in pair.measures)]
        lines += [f"{left}  {right}" for left, right in zip(align(rows).split("\n"), said, strict=True)]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else "-"


def warn(message: str) -> None:
    """A line on stderr that ends nothing."""
    say(f"{PROG}: warning: {message}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `bisc_compare`."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
