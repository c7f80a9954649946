"""bisc_serve with the stub's networks, as a program: `python -m tests.support.stub_node NODE.ini`."""

from __future__ import annotations

import sys

import bisc.inference.model
from bisc.cli.serve import main
from tests.support.stub_model import stub_model

if __name__ == "__main__":
    bisc.inference.model.load_model = lambda *_: stub_model()
    sys.exit(main())
