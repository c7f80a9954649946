"""bisc_measure: sizes, places and nephrometry of label maps, of predictions and of masks edited by hand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bisc.cli.common import add_workers, complain, make_parser, need_extra, run_command, status_of
from bisc.cli.places import add_places, part_of, told
from bisc.core.choices import MESH_FORMS, MESH_SPACES
from bisc.core.errors import InputError
from bisc.imageio.label_names import OPTION, meaning_of_option
from bisc.measurement.measures import CaseMeasures
from bisc.system.console import say

PROG = "bisc_measure"
EXAMPLE = f"""  {PROG} -p predictions                       every CASE.nii.gz; measures.csv lies beside them
  {PROG} -p edited.seg.dcm -i study/ -o out/   a DICOM SEG from a viewer, and the study it is of"""
KINDS = "a label map, a folder of CASE.nii.gz or CASE/segmentation.nii.gz, or DICOM SEG"
SHOWN = ("volume_ml", "axial_mm", "exophytic_percent", "contact_cm2")


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = make_parser(
        PROG,
        "Measures kidneys and tumours: volumes, diameters, places, contact surfaces, R.E.N.A.L., C-index, DAP and the "
        "parts of PADUA; what a mask does not tell is withheld with its reason, or has an interval.",
        EXAMPLE,
    )
    parser.add_argument("-p", dest="masks", type=Path, required=True, metavar="MASKS", help=KINDS)
    parser.add_argument("-i", dest="images", type=Path, metavar="IN", help="their CT, as bisc_predict takes it")
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        metavar="OUT",
        help="a folder or a .csv file (default: measures.csv in MASKS, here for a single file)",
    )
    parser.add_argument(
        OPTION, dest="labels", metavar="NAMES", help="what the values mean, as in kidney=1+2,tumor=3 (default: KiTS's)"
    )
    parser.add_argument("--mesh", choices=MESH_FORMS, help="also write each kidney's and tumour's surface, beside it")
    parser.add_argument(
        "--mesh-space", choices=MESH_SPACES, default="LPS", help="of STL and OBJ (default: %(default)s)"
    )
    parser.add_argument(
        "--continue", dest="resume", action="store_true", help="keep the rows of cases that have not changed"
    )
    add_workers(parser)
    add_places(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure; returns 0, 2 if a case's files are at fault, 1 if the work failed."""
    part = part_of(args)
    if args.masks.suffix.lower() == ".dcm":
        need_extra("-p", "dicom", ("highdicom",))
    from bisc.pipeline.measure import measure_folders
    from bisc.pipeline.options import MeshOptions

    done = measure_folders(
        args.masks,
        args.images,
        args.output,
        labels=None if args.labels is None else meaning_of_option(args.labels),
        mesh=MeshOptions(args.mesh, args.mesh_space) if args.mesh else None,
        n_workers=args.n_workers,
        resume=args.resume,
        scheduler=args.scheduler,
        part=part,
        tell=lambda line: say(f"{PROG}: note: {line}"),
    )
    for case in done.cases:
        print("\n".join(lines_of(case)))
    n_done, joined = len(done.cases), part is not None and part.number is None
    if joined:
        n_done = len(done.kept)
    elif done.kept:
        print(f"{len(done.kept)} kept as they were")
    print(f"{told(part)}{n_done} of {n_done + len(done.errors)} cases measured; see {done.table}")
    for error in done.errors:
        complain(PROG, str(error))
    if not done.cases and not done.errors and not done.kept and part is None:
        raise InputError(args.masks, "holds no label map", KINDS)
    return status_of(done.errors)


def lines_of(case: CaseMeasures) -> list[str]:
    """What the terminal shows of a case: a line for each structure."""
    if not case.structures:
        return [f"{case.case}: no kidney"]
    lines = [f"{case.case}:"]
    for structure in case.structures:
        parts = []
        for name in SHOWN:
            one = structure.measures.get(name)
            if one is None:
                continue
            unit = name.rsplit("_", 1)[1].replace("percent", "%")
            what = {"exophytic_percent": "exophytic ", "contact_cm2": "contact "}.get(name, "")
            if one.value is not None:
                parts.append(f"{what}{one.value} {unit}")
            elif one.low is not None:
                parts.append(f"{what}at least {one.low} {unit}")
        renal = structure.measures.get("renal")
        if renal is not None:
            interval = f"{renal.low} to {renal.high}" if renal.low is not None else ""
            value = interval if renal.value is None else f"{renal.value}{interval and f' ({interval})'}"
            parts.append(f"R.E.N.A.L. {value}")
        lines.append(f"  {structure.segment.name}: {', '.join(parts)}")
    return [*lines, *(f"  {note}" for note in case.notes)]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `bisc_measure`."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
