"""`bisc_simulate`: a KiTS19-layout data set of simulated CT."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bisc.cli.common import add_workers, complain, make_parser, positive_int, run_command, status_of
from bisc.pipeline.simulate import simulate
from bisc.simulation.case import SIZE_XYZ
from bisc.simulation.phases import VARIETIES

PROG = "bisc_simulate"
EXAMPLE = """  bisc_simulate -o bisc_data/raw/Simulated -n 40 --seed 1
  bisc_simulate -o bisc_data/raw/Painted -l path/to/kits19 -n 5
  bisc_simulate -o bisc_data/raw/Wide -n 100 --size 256 256 96 --variety wide"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = make_parser(
        PROG,
        "Write CASE/imaging.nii.gz (HU) and CASE/segmentation.nii.gz (0 background, 1 kidney, 2 tumour) of simulated\n"
        "CT: procedural anatomy, or anatomy painted around given label maps. The same seed gives the same files.",
        EXAMPLE,
    )
    parser.add_argument("-o", dest="out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "-l", dest="labels", type=Path, metavar="DIR", help="KiTS19-layout folder of label maps to paint around"
    )
    parser.add_argument(
        "-n", type=positive_int, metavar="N", help="number of cases (default: 10, or every label map of -l)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="(default: %(default)s)")
    parser.add_argument(
        "--size",
        type=positive_int,
        nargs=3,
        default=list(SIZE_XYZ),
        metavar=("X", "Y", "Z"),
        help="voxels of a procedural case (default: 256 256 64); not used with -l",
    )
    parser.add_argument(
        "--variety",
        choices=VARIETIES,
        default="kits",
        help="kits: preoperative abdominal CT as in KiTS19; wide: any region of the body, phase and scanner, some "
        "scans without a kidney (default: %(default)s)",
    )
    parser.add_argument(
        "--start-index", type=int, default=0, metavar="K", help="index of the first case (default: %(default)s)"
    )
    add_workers(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Simulate; 0 when every case stands, 2 when a label map is bad, 1 when a case failed otherwise."""
    done = simulate(
        args.out,
        args.n,
        args.seed,
        size_xyz=tuple(args.size),
        labels=args.labels,
        start_index=args.start_index,
        variety=args.variety,
        n_workers=args.n_workers,
    )
    for error in done.errors:
        complain(PROG, str(error))
    already = f", {len(done.kept)} were there already" if done.kept else ""
    failed = f", {len(done.errors)} failed" if done.errors else ""
    print(f"{len(done.written)} cases written to {args.out}{already}{failed}")
    return status_of(done.errors)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `bisc_simulate`."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
