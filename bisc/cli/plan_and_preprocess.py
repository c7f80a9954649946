"""bisc_plan_and_preprocess: fingerprint, plan, splits and caches of one data set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bisc.cli.common import (
    BAD_INPUT,
    OK,
    add_plan,
    add_workers,
    complain,
    make_parser,
    positive_float,
    positive_int,
    run_command,
)
from bisc.cli.places import add_places, part_of, told
from bisc.core.errors import BiscError, InputError
from bisc.pipeline.fault_table import faults_text
from bisc.pipeline.nnunet import DEFAULT_ID, export_nnunet
from bisc.pipeline.plan import VERIFY, plan
from bisc.planners.planner import DEFAULT_MEMORY_GB, explain
from bisc.system.console import say

PROG = "bisc_plan_and_preprocess"


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(
        PROG,
        "Measure a data set, plan both stages from what was measured, and cache its volumes, labels and edge maps.",
        f"  {PROG} -d KiTS19",
    )
    parser.add_argument("-d", dest="dataset", metavar="NAME", help="name under the raw folder, or a path")
    add_plan(parser)
    parser.add_argument(
        "--set",
        dest="overwritten",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        help="values of that plan, as in target_spacing_mm_zyx=3,1.5,1.5 base_features=16; the planner derives "
        "the rest of them (default: those of the run before)",
    )
    parser.add_argument(
        "--splits", type=Path, metavar="FILE", help="folds to train on: nnU-Net's splits_final.json, or a splits.json"
    )
    parser.add_argument(
        "--export-nnunet",
        type=Path,
        metavar="DIR",
        help="then write DIR/DatasetXXX_NAME for nnU-Net, in the same folds",
    )
    parser.add_argument(
        "--id", type=positive_int, metavar="XXX", help=f"its number (default: the name's own, else {DEFAULT_ID})"
    )
    parser.add_argument(
        "--labels",
        metavar="NAMES",
        help="what the label maps' values mean, as in kidney=1+2,tumor=3,cyst=4,background=5; kept for later runs "
        "(default: as dataset.json or a .seg.nrrd says, else KiTS's numbers)",
    )
    parser.add_argument("--verify", action="store_true", help="read every file again and show all faults as a table")
    parser.add_argument("--only-plan", action="store_true", help="no caches; label maps without images will do")
    parser.add_argument("--explain", action="store_true", help="print why the plan chose each value")
    parser.add_argument(
        "--memory-gb",
        type=positive_float,
        default=DEFAULT_MEMORY_GB,
        metavar="G",
        help="training memory (default: %(default)s)",
    )
    add_workers(parser)
    add_places(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Plan, then cache; every fault of the data set is told at once, and the sound cases go on."""
    if args.id is not None and args.export_nnunet is None:
        raise InputError("--id", "given without --export-nnunet", "both, or neither")
    part = part_of(args)
    if part is not None:
        for option, value in (
            ("--set", args.overwritten),
            ("--splits", args.splits),
            ("--labels", args.labels),
            ("--verify", args.verify),
            ("--only-plan", args.only_plan),
            ("--export-nnunet", args.export_nnunet),
        ):
            if value:
                raise InputError(option, "given with --parts", "the plan made first, by one run", "leave it out")
    planned = plan(
        args.dataset,
        plan_name=args.plan,
        overwritten=args.overwritten,
        splits=args.splits,
        labels=args.labels,
        memory_gb=args.memory_gb,
        only_plan=args.only_plan,
        verify=args.verify,
        n_workers=args.n_workers,
        scheduler=args.scheduler,
        part=part,
        tell=tell,
    )
    if part is not None and part.number is not None:
        mine = part.share(planned.fingerprint.cases, lambda case: case.name)
        print(f"{told(part)}{len(mine)} cases seen to; --parts {part.count} alone joins them")
        return BAD_INPUT if planned.faults else OK
    cases = planned.fingerprint.cases
    for case in cases:  # a patient without a kidney, or unfinished work: only the user knows
        if not case.kidneys:
            what = "has no kidney of 5 ml or more" if case.n_components else "is empty"
            print(f"{case.name}: its label map {what}: used as a scan without kidneys; remove it if it is unfinished")
    if planned.labels:
        print(f"labels: {planned.labels}")
    if "overwritten" in planned.plan.reasons:
        print(f"overwritten: {planned.plan.reasons['overwritten']}")
    if args.explain:
        print(explain(planned.plan))
    faults, notes = planned.faults, planned.notes
    if args.verify:
        print(faults_text(faults, planned.raw) if faults else "no faults")
        if notes:
            print(f"\nnotes:\n{faults_text(notes, planned.raw)}")
    print(
        f"{told(part)}{planned.plan.dataset}: {len(cases)} cases planned, {len(faults)} faults; "
        f"see {planned.folder / 'plan.txt'}"
    )
    if faults or notes:
        print(f"the {'faults' if faults else 'notes'} are listed in {planned.folder / VERIFY}")
    if args.export_nnunet is not None:
        exported = export_nnunet(planned.folder, args.export_nnunet, args.id, args.n_workers)
        print(f"for nnU-Net: {exported}; its folds: {exported / 'splits_final.json'}")
    return BAD_INPUT if faults else OK


def tell(said: BiscError | str) -> None:
    """A line on stderr."""
    if isinstance(said, str):
        say(f"{PROG}: note: {said}")
    else:
        complain(PROG, str(said))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
