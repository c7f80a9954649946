"""`bisc_download`: KiTS19, KiTS21 and KiTS23 from where they are published."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bisc.cli.common import (
    FAILED,
    complain,
    make_parser,
    non_negative_int,
    positive_int,
    run_command,
    status_of,
)
from bisc.pipeline.download import Downloaded, check, check_mirror, download
from bisc.pipeline.kits_sources import NAMES, SOURCES, chosen_cases, licence_text

PROG = "bisc_download"
EXAMPLE = """  bisc_download KiTS19 -n 20
  bisc_download KiTS23 --cases 3 17 --accept-licence
  bisc_download KiTS19 --verify"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = make_parser(
        PROG,
        "Fetch label maps and images of a KiTS challenge into the raw folder, as bisc_plan_and_preprocess reads them.\n"
        "Run again, it goes on where it was: what is there stays, and a file that was cut is taken up where it ended.",
        EXAMPLE,
    )
    parser.add_argument("name", choices=NAMES, help="which data set")
    parser.add_argument("-o", dest="out", type=Path, metavar="DIR", help="its folder (default: NAME in the raw folder)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("-n", type=positive_int, metavar="N", help="the first N cases (default: all)")
    which.add_argument("--cases", type=non_negative_int, nargs="+", metavar="K", help="the cases of these numbers")
    parser.add_argument(
        "--labels-only", action="store_true", help="no images (all label maps: KiTS19 65 MB, KiTS23 143 MB)"
    )
    parser.add_argument(
        "--accept-licence",
        "--accept-license",
        dest="accept_licence",
        action="store_true",
        help="agree to the licence, which is shown; without it a terminal is asked",
    )
    parser.add_argument("--verify", action="store_true", help="fetch nothing, read again what is there")
    parser.add_argument(
        "--mirror", metavar="URL", help="fetch URL/NAME/case_00000/imaging.nii.gz and so on, not the published files"
    )
    parser.add_argument(
        "-np",
        dest="n_workers",
        type=positive_int,
        default=4,
        metavar="N",
        help="files at a time (default: %(default)s)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Fetch, or read again; 1 when a file could not be had, 2 when one that is there is wrong."""
    source = SOURCES[args.name]
    chosen_cases(source, args.n, args.cases)  # what is wrong with the arguments, before anybody reads a licence
    check_mirror(args.mirror)
    what = {"n": args.n, "cases": args.cases, "labels_only": args.labels_only, "n_workers": args.n_workers}
    if args.verify:
        done = check(args.name, args.out, **what)
        return _tell_result(done, f"{len(done.kept)} files are as they should be")
    print(licence_text(source), flush=True)
    accepted = args.accept_licence or _agrees()
    done = download(args.name, args.out, mirror=args.mirror, accept_licence=accepted, tell=print, **what)
    there = f", {len(done.kept)} were there already" if done.kept else ""
    status = _tell_result(done, f"{len(done.fetched)} files fetched{there}")
    if not status:
        only = " --only-plan" if args.labels_only else ""
        print(f"next: bisc_plan_and_preprocess -d {args.name if args.out is None else args.out}{only}")
    return status


def _tell_result(done: Downloaded, what: str) -> int:
    for error in done.errors:
        complain(PROG, str(error))
    failed = f", {len(done.errors)} failed" if done.errors else ""
    missing = f", {len(done.missing)} are missing" if done.missing else ""
    print(f"{done.folder}: {what}{failed}{missing}")
    return status_of(done.errors) or (FAILED if done.missing else 0)


def _agrees() -> bool:
    """Ask on a terminal; elsewhere nobody is there to agree."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    print("Do you agree to this licence? [yes/no] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `bisc_download`."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
