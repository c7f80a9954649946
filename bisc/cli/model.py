"""bisc_model: model files; exported, put to use, looked into, checked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from bisc.cli.common import OK, add_plan, make_parser, need_extra, run_command
from bisc.core.errors import InputError
from bisc.system.files import remove_partial
from bisc.system.paths import TRAINED, Folders, absence, find_dataset, name_of

PROG = "bisc_model"
EXAMPLE = f"""  {PROG} export -d KiTS19 -o kits19.zip --licence CC-BY-4.0
  {PROG} verify kits19.zip
  {PROG} import kits19.zip"""
PARTS = ("onnx", "onnxruntime", "onnxscript")
Run = Callable[[argparse.Namespace], int]


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(PROG, "Model files: a trained cascade in one file, with checksums and a model card.", EXAMPLE)
    commands = parser.add_subparsers(dest="does", required=True, metavar="COMMAND")
    export = _part(commands, "export", "pack a trained cascade into one file", "-d KiTS19 -o kits19.zip", run_export)
    add_export(export)
    taken = _part(commands, "import", "put a model file where bisc_predict -d finds it", "kits19.zip", run_import)
    taken.add_argument("-d", dest="name", metavar="NAME", help="what to call it (default: its data set's name)")
    info = _part(commands, "info", "say what a model file holds", "kits19.zip", run_info)
    info.add_argument("--json", action="store_true", help="as JSON: all of model.json, and the file's SHA-256")
    verify = _part(commands, "verify", "check every byte, and print the file's SHA-256", "kits19.zip", run_verify)
    onnx = _part(commands, "onnx", "write the fine network as ONNX (extra [onnx])", "kits19.zip -o onnx/", run_onnx)
    onnx.add_argument("-o", dest="out", type=Path, required=True, metavar="DIR", help="folder of the .onnx files")
    onnx.add_argument("-f", dest="folds", type=int, nargs="+", metavar="FOLD", help="folds to write (default: all)")
    for one in (taken, info, verify, onnx):
        one.add_argument("model", type=Path, metavar="MODEL.zip", help="a model file")
    return parser


def _part(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, does: str, example: str, run: Run
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=f"example:\n  {PROG} {name} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_export(parser: argparse.ArgumentParser) -> None:
    """The arguments of `bisc_model export`, and of bisc_export, which is the same."""
    parser.add_argument("-d", dest="dataset", metavar="NAME", help="trained data set (default: the only one)")
    add_plan(parser)
    parser.add_argument("-o", dest="out", type=Path, required=True, metavar="MODEL.zip", help="file to write")
    parser.add_argument(
        "-f", dest="folds", type=int, nargs="+", metavar="FOLD", help="folds to pack (default: all finished)"
    )
    parser.add_argument("--licence", default="", metavar="NAME", help="under which the weights may be used (CC-BY-4.0)")
    parser.add_argument(
        "--note", dest="notes", action="append", default=[], metavar="TEXT", help="for the model card; may be repeated"
    )
    parser.add_argument(
        "--tried-on",
        nargs="+",
        default=[],
        metavar="[LABEL=]FILE",
        help="report_summary.csv of an evaluation of this model, for the model card",
    )


def run_export(args: argparse.Namespace) -> int:
    """Pack."""
    root = Folders.from_environment().results
    results = find_dataset(root, args.dataset, TRAINED, "trained model", "train one", args.plan)
    from bisc.pipeline.model_files import export_model

    remove_partial(args.out.parent)
    record = export_model(results, args.folds, args.out, licence=args.licence, notes=args.notes, tried_on=args.tried_on)
    print(f"{len(record.networks)} networks of {name_of(results)} in {args.out}")
    return OK


def run_import(args: argparse.Namespace) -> int:
    """Put a model file under the results."""
    from bisc.pipeline.model_files import import_model

    folder, is_new = import_model(args.model, args.name)
    print(f"{args.model} {'is now' if is_new else 'was already'} in {folder}: bisc_predict -d {folder.name}")
    return OK


def run_info(args: argparse.Namespace) -> int:
    """Say what is inside."""
    from bisc.pipeline.model_files import model_as_json, model_in_words

    print(model_as_json(args.model) if args.json else "\n".join(model_in_words(args.model)))
    return OK


def run_verify(args: argparse.Namespace) -> int:
    """Check, and print the file's own digest as sha256sum does."""
    from bisc.pipeline.model_files import verify_model

    model = verify_model(args.model)
    print(f"{args.model}: every byte is as exported, {len(model.record.networks)} networks fit to predict")
    print(f"{model.sha256}  {args.model.name}")
    return OK


def run_onnx(args: argparse.Namespace) -> int:
    """Write and compare."""
    need_extra(f"{PROG} onnx", "onnx", PARTS)
    from bisc.pipeline.onnx_export import export_onnx

    remove_partial(args.out)
    for done in export_onnx(args.model, args.out, args.folds):
        print(
            f"{done.path}: softmax differs from torch's by {done.max_difference:.2g} at most (allowed {done.allowed:g})"
        )
    return OK


def run(args: argparse.Namespace) -> int:
    """What was asked for; a file that is not there is known before torch is imported."""
    if args.does != "export":
        missing = absence(args.model)
        if missing or not args.model.is_file():
            raise InputError(args.model, missing or "is a folder", "a model file", "see bisc_model export")
    do: Run = args.run
    return do(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
