"""Where else the cases of a command are worked on: a Dask scheduler's workers, or the parts of a job array."""

from __future__ import annotations

import argparse

from bisc.cli.common import need_extra, positive_int
from bisc.core.errors import InputError
from bisc.pipeline.parts import Part
from bisc.system.dask_worker import LOCAL
from bisc.system.memory import usable_cores

SCHEDULER = "--scheduler"


def add_places(parser: argparse.ArgumentParser, np: bool = True) -> None:
    """`--scheduler`, `--part` and `--parts`; and `-np` for the first where the command has none of its own."""
    if not np:
        parser.add_argument(
            "-np",
            dest="n_workers",
            type=positive_int,
            metavar="N",
            help=f"worker processes of {SCHEDULER} {LOCAL} (default: {min(8, usable_cores())})",
        )
        parser.set_defaults(np_is_local=True)
    parser.add_argument(
        SCHEDULER,
        metavar="ADDRESS",
        help="work on the cases with Dask: tcp://HOST:8786, or local for -np processes of this machine",
    )
    parser.add_argument("--part", type=positive_int, metavar="I", help="of --parts, do this one alone, from 1")
    parser.add_argument(
        "--parts",
        type=positive_int,
        metavar="N",
        help="the cases are divided among N runs (job arrays); without --part, join them once all are done",
    )


def part_of(args: argparse.Namespace) -> Part | None:
    """The part that is asked for; None for all cases here.

    Raises:
        InputError: If the options do not fit together, or Dask is asked for and not there.
    """
    if args.part is not None and (args.parts is None or args.part > args.parts):
        raise InputError("--part", f"{args.part} of {args.parts or 'no'} parts", "--part I --parts N, I from 1 to N")
    if getattr(args, "np_is_local", False) and args.n_workers is not None and args.scheduler != LOCAL:
        raise InputError("-np", f"given without {SCHEDULER} {LOCAL}", "both, or neither")
    if args.scheduler is None:
        return None if args.parts is None else Part(args.part, args.parts)
    if args.parts is not None:
        raise InputError(SCHEDULER, "given with --parts", "one of the two", "leave one out")
    need_extra(SCHEDULER, "dask", ("distributed",))
    return None


def local_workers(n_workers: int | None) -> int:
    """Worker processes of a local cluster: as `-np` says, or as many as other commands take."""
    return n_workers or min(8, usable_cores())


def told(part: Part | None) -> str:
    """What a command's last line begins with."""
    return "" if part is None else f"{part}: "
