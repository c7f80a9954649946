"""`bisc_simulate`: a KiTS19-layout data set of simulated CT."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bisc.cli.common import BAD_INPUT, FAILED, OK, add_workers, complain, make_parser, positive_int, run_command
from bisc.core.errors import InputError
from bisc.simulate import SimulationSpec, simulate_dataset
from bisc.simulate.case import SIZE_XYZ
from bisc.system.cases import process_pool

PROG = "bisc_simulate"
EXAMPLE = """  bisc_simulate -o bisc_data/raw/Simulated -n 40 --seed 1
  bisc_simulate -o bisc_data/raw/Painted -l path/to/kits19 -n 5"""


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
        "--start-index", type=int, default=0, metavar="K", help="index of the first case (default: %(default)s)"
    )
    add_workers(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Simulate; 0 when every case stands, 2 when a label map is bad, 1 when a case failed otherwise."""
    x, y, z = args.size
    spec = SimulationSpec(args.n, args.seed, (x, y, z), args.labels, args.start_index)
    with process_pool(args.n_workers) as pool:
        outcomes = simulate_dataset(args.out, spec, pool)
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    for error in errors:
        complain(PROG, str(error))
    written = sum(outcome.result is True for outcome in outcomes)
    kept = sum(outcome.result is False for outcome in outcomes)
    already = f", {kept} were there already" if kept else ""
    failed = f", {len(errors)} failed" if errors else ""
    print(f"{written} cases written to {args.out}{already}{failed}")
    if not errors:
        return OK
    return BAD_INPUT if any(isinstance(error, InputError) for error in errors) else FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `bisc_simulate`."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
