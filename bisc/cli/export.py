"""bisc_export: `bisc_model export` under its older name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bisc.cli.common import make_parser, run_command
from bisc.cli.model import add_export, run_export

PROG = "bisc_export"


def build_parser() -> argparse.ArgumentParser:
    """The command's parser."""
    purpose = "Pack a trained cascade into one file; the same as bisc_model export."
    parser = make_parser(PROG, purpose, f"  {PROG} -d KiTS19 -o kits19.zip")
    add_export(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_command(build_parser(), run_export, argv)


if __name__ == "__main__":
    raise SystemExit(main())
