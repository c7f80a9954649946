"""bisc_serve: a DICOM node that predicts what it is sent."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bisc.cli.common import OK, make_parser, need_extra, run_command
from bisc.core.errors import InputError

PROG = "bisc_serve"


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    parser = make_parser(PROG, "A DICOM node: studies in, segmentations out.", f"  {PROG} node.ini")
    parser.add_argument("config", type=Path, metavar="NODE.ini", help="see docs/how-to/node.md")
    parser.add_argument("--check", action="store_true", help="read the file and the model, and end")
    return parser


def run(args: argparse.Namespace) -> int:
    """Serve until it is stopped."""
    need_extra(PROG, "dicom", ("pynetdicom", "highdicom", "dicomweb_client"))
    from bisc.inference.model import load_model
    from bisc.network.device import choose_device
    from bisc.serve.config import read_config
    from bisc.serve.node import Node

    config = read_config(args.config)
    if not config.model.exists():
        raise InputError(config.model, "does not exist", "a model's .zip, or a results folder", "mend 'model'")
    model = load_model(config.model, None, choose_device(config.device, "auto"))
    if not args.check:
        Node(config, model).run()
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run, argv)


if __name__ == "__main__":
    raise SystemExit(main())
