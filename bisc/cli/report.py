"""bisc_report: a page for each scan and its mask, and an index."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from bisc.cli.common import complain, make_parser, run_command, status_of
from bisc.cli.places import add_places, local_workers, part_of, told
from bisc.core.choices import PHASES
from bisc.core.errors import BiscError, InputError
from bisc.imageio.archive import SUFFIX, unpacked
from bisc.imageio.inputs import KINDS
from bisc.system.console import say
from bisc.system.paths import absence

PROG = "bisc_report"
EXAMPLE = """  bisc_report -i in/ -p out/                            out/CASE_report.html and out/index.html
  bisc_report -i ct.nii.gz -p edited.nii.gz -o page/    of one scan and its mask, corrected by hand"""


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(
        PROG,
        "Writes a page for each scan and its mask, whole in one file that needs no network: numbers, key slices, a "
        "slice viewer, a 3-D view; and an index of them.",
        EXAMPLE,
    )
    parser.add_argument("-i", dest="source", type=Path, required=True, metavar="IN", help=KINDS)
    parser.add_argument(
        "-p",
        dest="prediction",
        type=Path,
        required=True,
        metavar="OUT",
        help="output folder of bisc_predict, masks edited since or not; or one mask for one scan",
    )
    parser.add_argument("-o", dest="out", type=Path, metavar="DIR", help="folder of the pages (default: the masks')")
    parser.add_argument(
        "--identify", action="store_true", help="name, patient ID and date of a DICOM study stand in its page"
    )
    parser.add_argument("--series", metavar="UID", help="the DICOM series that was predicted (bisc_info)")
    parser.add_argument("--phase", choices=PHASES, help="the contrast phase that was predicted of a DICOM study")
    add_places(parser, np=False)
    return parser


def run(args: argparse.Namespace) -> int:
    """Write every page; cases that have none are listed and the others go on."""
    part = part_of(args)
    for path, what in ((args.source, KINDS), (args.prediction, "the output folder of bisc_predict, or a mask")):
        missing = absence(path)
        if missing:
            raise InputError(path, missing, what)
    from bisc.pipeline.options import INDEX
    from bisc.pipeline.report import ReportOptions, report_cases

    if part is not None:
        from bisc.pipeline.case_parts import report_part
    elif args.scheduler is not None:
        from bisc.pipeline.cluster import report_on_workers

    errors: list[BiscError] = []

    def note(error: BiscError) -> None:
        complain(PROG, str(error))
        errors.append(error)

    folder = args.out or (args.prediction if args.prediction.is_dir() else args.prediction.parent)
    packed = args.source.suffix.lower() == SUFFIX
    with unpacked(args.source, folder) if packed else nullcontext(args.source) as source:
        options = ReportOptions(args.identify, args.series, args.phase)
        given = source, args.prediction, args.out, options, note
        if part is not None:
            rows = report_part(*given, part)
        elif args.scheduler is not None:
            n_workers = local_workers(args.n_workers)
            rows = report_on_workers(*given, args.scheduler, n_workers, lambda line: say(f"{PROG}: note: {line}"))
        else:
            rows = report_cases(*given)
    see = f"; see {folder / INDEX}" if part is None or part.number is None else f" in {folder}"
    print(f"{told(part)}{sum(bool(row.page) for row in rows)} of {len(rows)} cases have a page{see}")
    return status_of(errors)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
