"""bisc_export: one archive of a trained cascade, for bisc_predict -m."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bisc.cli.common import OK, add_plan, make_parser, run_command
from bisc.system.files import remove_partial
from bisc.system.paths import TRAINED, Folders, find_dataset, name_of

PROG = "bisc_export"


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(PROG, "Pack a trained cascade into one file.", f"  {PROG} -d KiTS19 -o kits19.zip")
    parser.add_argument("-d", dest="dataset", metavar="NAME", help="trained data set (default: the only one)")
    add_plan(parser)
    parser.add_argument("-o", dest="out", type=Path, required=True, metavar="MODEL.zip", help="archive to write")
    parser.add_argument("-f", dest="folds", type=int, nargs="+", metavar="FOLD", help="folds to pack (default: all)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Pack."""
    root = Folders.from_environment().results
    results = find_dataset(root, args.dataset, TRAINED, "trained model", "train one", args.plan)
    from bisc.inference.model import export_model

    remove_partial(args.out.parent)
    n = export_model(results, args.folds, args.out)
    print(f"{n} checkpoints of {name_of(results)} in {args.out}")
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
