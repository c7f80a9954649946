"""bisc_info: what a path holds, and which series of a DICOM study would be predicted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bisc.cli.common import BAD_INPUT, OK, complain, make_parser, run_command
from bisc.core.choices import PHASES, Phase
from bisc.core.errors import InputError, PassedOver
from bisc.imageio import read_header
from bisc.imageio.archive import unpacked
from bisc.imageio.case import InputCase
from bisc.imageio.inputs import KINDS, find_inputs
from bisc.imageio.scan import list_series

PROG = "bisc_info"


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(PROG, "List what a path holds, without reading voxels.", f"  {PROG} path/to/study")
    parser.add_argument("source", type=Path, metavar="PATH", help=KINDS)
    parser.add_argument("--series", metavar="UID", help="as of bisc_predict")
    parser.add_argument("--phase", choices=PHASES, help="as of bisc_predict; by the series' words alone")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print every case; those that cannot be predicted are errors, and the others go on."""
    status = OK
    with TemporaryDirectory(prefix="bisc-") as scratch, unpacked(args.source, Path(scratch)) as source:
        for case in find_inputs(source):
            try:
                own = case if source == args.source else replace(case, origin=args.source)
                print("\n".join(described(own, args.series, args.phase)))
            except PassedOver as fault:
                print(f"{case.name}: no scan: {fault.found}")
            except InputError as fault:
                complain(PROG, str(fault))
                status = BAD_INPUT
    return status


def described(case: InputCase, series: str | None, phase: Phase | None) -> list[str]:
    """A case in lines.

    Raises:
        InputError: If it cannot be predicted, as far as headers tell.
    """
    if case.fault is not None:
        raise case.fault
    if not case.files:
        return [f"{case.name}: {read_header(case.path).native.geometry.describe()}"]
    listed = list_series(case, series, phase)
    lines = [f"{case.name}: DICOM, {len(listed)} series in {case.origin or case.path}"]
    for one in listed:
        lines.append(f"  {'-' if one.reason else '*'} {one.label}: {one.told}")
        lines += [f"      left out: {one.reason}"] if one.reason and one.reason != one.told else []
        lines.append(f"      {one.uid}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
