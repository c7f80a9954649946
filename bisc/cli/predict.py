"""bisc_predict: masks and predictions.csv of files, folders and DICOM series."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from bisc.cli.common import (
    BAD_INPUT,
    FAILED,
    OK,
    add_deterministic,
    add_plan,
    complain,
    make_parser,
    need_extra,
    positive_float,
    positive_int,
    run_command,
)
from bisc.cli.places import add_places, local_workers, part_of, told
from bisc.core.choices import (
    DECISIONS,
    DEFAULT_DECISION,
    DICOM_EXTRAS,
    FORMS,
    MESH_FORMS,
    MESH_SPACES,
    PHASES,
    PRECISIONS,
)
from bisc.core.errors import BiscError, InputError
from bisc.imageio.archive import SUFFIX, unpacked
from bisc.imageio.case import InputCase
from bisc.imageio.inputs import KINDS, find_inputs
from bisc.pipeline.parts import Part
from bisc.system.console import say
from bisc.system.paths import TRAINED, Folders, find_dataset, name_of

PROG = "bisc_predict"
SHOWN = 8


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(PROG, "Segment kidneys and kidney tumours.", f"  {PROG} -i in/ -o out/")
    parser.add_argument("-i", dest="source", type=Path, required=True, metavar="IN", help=KINDS)
    parser.add_argument("-o", dest="out", type=Path, required=True, metavar="OUT", help="folder of the masks")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("-d", dest="dataset", metavar="NAME", help="trained data set (default: the only one)")
    model.add_argument("-m", dest="model", type=Path, metavar="MODEL.zip", help="a model file (bisc_model export)")
    add_plan(parser)
    parser.add_argument(
        "-f", dest="folds", type=int, nargs="+", metavar="FOLD", help="folds to average (default: all finished)"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda where there is one)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of the fine stage; the rough one is always fp32 (default: the best the device has)",
    )
    add_deterministic(parser)
    parser.add_argument("--save-probabilities", action="store_true", help="also write CASE_probabilities.npz")
    parser.add_argument("--save-rough", action="store_true", help="also write the rough stage's masks (OUT/rough/)")
    parser.add_argument("--decision", choices=DECISIONS, default=DEFAULT_DECISION, help="default: %(default)s")
    parser.add_argument(
        "--mirror", action="store_true", help="see every kidney left for right too, and average: twice the time"
    )
    parser.add_argument(
        "--check-edges",
        action="store_true",
        help="flags compare each outline with what the edge branches see: three times the time",
    )
    parser.add_argument(
        "--no-postprocessing", action="store_true", help="keep small tumours that cross-validation found to be none"
    )
    parser.add_argument(
        "--series", metavar="UID", help="the DICOM series to take, by its SeriesInstanceUID (bisc_info)"
    )
    parser.add_argument("--phase", choices=PHASES, help="the contrast phase to take of a DICOM study")
    parser.add_argument("--format", choices=FORMS, default="nifti", help="of the masks (default: %(default)s)")
    parser.add_argument("--labelmap", action="store_true", help="DICOM SEG as one plane of numbers, not of bits")
    parser.add_argument("--also", dest="extras", nargs="+", choices=DICOM_EXTRAS, help="written beside the DICOM SEG")
    parser.add_argument(
        "--measure", action="store_true", help="also write measures.csv: sizes, places, nephrometry (bisc_measure)"
    )
    parser.add_argument("--report", action="store_true", help="also write a page a case, and index.html (bisc_report)")
    parser.add_argument("--mesh", choices=MESH_FORMS, help="also write each kidney's and tumour's surface")
    parser.add_argument(
        "--mesh-space",
        choices=MESH_SPACES,
        help="of STL and OBJ, in mm (default: LPS); a GLB is in glTF's own, in metres",
    )
    parser.add_argument("--deidentify", action="store_true", help="write nothing that says whom a DICOM study is of")
    parser.add_argument(
        "--identifiers", action="store_true", help="patient ID, accession number and UIDs too, in predictions.csv"
    )
    parser.add_argument("--continue", dest="resume", action="store_true", help="keep the cases already done in OUT")
    parser.add_argument(
        "-np",
        dest="at_a_time",
        type=positive_int,
        metavar="N",
        help="cases in work at a time, their networks in turn (default: 2; with a GPU up to 8)",
    )
    parser.add_argument(
        "--memory-gb", type=positive_float, metavar="G", help="what this process may take (default: all that is free)"
    )
    add_places(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Predict every case; failed ones are listed and the others go on."""
    part = part_of(args)
    if args.format != "nifti":
        need_extra("--format", "dicom", ("highdicom",))
    elif args.extras or args.labelmap:
        asked = "--also" if args.extras else "--labelmap"
        raise InputError(asked, "given without a DICOM SEG", "--format both or dicomseg", "add it, or leave this out")
    if args.plan is not None and args.model is not None:
        raise InputError("--plan", "given with -m, whose model has its plan in it", "one of the two", "leave one out")
    if args.identifiers and args.deidentify:
        raise InputError("--identifiers", "given with --deidentify", "one of the two", "leave one out")
    if args.mesh_space and args.mesh not in ("stl", "obj"):
        found = "given without --mesh" if args.mesh is None else f"given with --mesh {args.mesh}"
        raise InputError("--mesh-space", found, "--mesh stl or obj", "leave it out")
    with (
        unpacked(args.source, args.out) if args.source.suffix.lower() == SUFFIX else nullcontext(args.source) as source
    ):
        cases = find_inputs(source, args.out)
        if source != args.source:
            cases = [replace(case, origin=args.source) for case in cases]
        return predict_all(args, cases, part)


def predict_all(args: argparse.Namespace, cases: Sequence[InputCase], part: Part | None = None) -> int:
    """Predict the cases that a source holds."""
    trained = args.model or find_dataset(
        Folders.from_environment().results, args.dataset, TRAINED, "trained model", "train one", args.plan
    )
    from bisc.inference.model import load_model
    from bisc.network.device import choose_device
    from bisc.pipeline.options import FAILED as FAILED_CASE
    from bisc.pipeline.options import SKIPPED, DicomOptions, MeshOptions, PredictOptions
    from bisc.pipeline.predict import predict_cases
    from bisc.pipeline.rows import light_line

    if args.model is None:
        tell_seen(cases, name_of(trained))
    if part is not None:
        from bisc.pipeline.case_parts import predict_part
    elif args.scheduler is not None:
        from bisc.pipeline.cluster import ModelAt, mark_of, predict_on_workers

    if args.scheduler is None:
        device = choose_device(args.device, args.precision, args.deterministic)
    else:
        device = choose_device("cpu", "fp32")  # the workers have their own
    model = load_model(trained, args.folds, device, not args.no_postprocessing, args.check_edges)
    if model.postprocessing is not None and model.smallest_tumor_ml(args.decision):
        print(f"post-processing: {model.postprocessing.words()}; --no-postprocessing keeps them")
    model = replace(model, mirror=args.mirror)
    dicom = DicomOptions(
        args.format,
        tuple(args.extras or ()),
        args.labelmap,
        args.deidentify,
        args.series,
        args.phase,
        args.identifiers,
    )
    mesh = MeshOptions(args.mesh, args.mesh_space or "LPS") if args.mesh else None
    options = PredictOptions(
        args.decision,
        args.save_probabilities,
        args.save_rough,
        args.resume,
        args.memory_gb,
        dicom,
        mesh,
        args.measure,
        args.report,
        args.at_a_time,
    )
    errors: list[BiscError] = []

    def note(error: BiscError) -> None:
        complain(PROG, str(error))
        errors.append(error)

    if part is not None:
        rows = predict_part(cases, model, args.out, options, note, part)
    elif args.scheduler is not None:
        folds = None if args.folds is None else tuple(args.folds)
        how = args.device, args.precision, args.deterministic, not args.no_postprocessing, args.mirror
        at = ModelAt(Path(trained), folds, *how, args.check_edges, mark=mark_of(model))
        rows = predict_on_workers(
            cases, at, args.out, options, note, args.scheduler, local_workers(args.at_a_time), tell_note
        )
    else:
        rows = predict_cases(cases, model, args.out, options, note)
    skipped = [row for row in rows if row.status == SKIPPED]
    for row in rows:
        if row.status not in (FAILED_CASE, SKIPPED) and row.error:
            print(f"{row.case}: {row.error}")
        if line := light_line(row):
            print(line)
    if skipped:
        tell_skipped([row.error for row in skipped])
    n_cases = len(rows) - len(skipped)
    print(f"{told(part)}{n_cases - len(errors)} of {n_cases} cases predicted; see {args.out / 'predictions.csv'}")
    if args.report and (part is None or part.number is None):
        print(f"pages: {args.out / 'index.html'}")
    nothing = not n_cases and (part is None or part.number is None)
    if nothing:
        complain(PROG, str(InputError(args.source, "no image found", KINDS)))
    if nothing or any(isinstance(error, InputError) for error in errors):
        return BAD_INPUT
    return FAILED if errors else OK


def tell_note(line: str) -> None:
    """One line on stderr."""
    say(f"{PROG}: note: {line}")


def tell_seen(cases: Sequence[InputCase], dataset: str) -> None:
    """One line on stderr for the training's own cases: who scores these masks finds them better than others will be."""
    preprocessed = Folders.from_environment().preprocessed / dataset
    if not preprocessed.is_dir():
        return
    from bisc.pipeline.seen_cases import seen_cases  # not on a plain mask's path

    seen = seen_cases(cases, preprocessed)
    if seen:
        names = seen[0] if len(seen) == 1 else f"{seen[0]} and {len(seen) - 1} more"
        honest = f"bisc_evaluate -d {dataset} has each by the fold that has not seen it"
        tell_note(f"{names}: the model was trained on; scores of these masks say nothing of other patients ({honest})")


def tell_skipped(reasons: list[str]) -> None:
    """One line on stderr: what was given and is no scan; predictions.csv has all of it."""
    shown = "; ".join(reason.split("; ")[0] for reason in reasons[:SHOWN])
    more = f"; and {len(reasons) - SHOWN} more in predictions.csv" if len(reasons) > SHOWN else ""
    n = "1 input is no scan and was" if len(reasons) == 1 else f"{len(reasons)} inputs are no scans and were"
    say(f"{PROG}: note: {n} passed over: {shown}{more}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
