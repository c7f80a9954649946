"""What the hostile-input table is made of: kinds of bad input, and how a run that met them is recorded."""

from __future__ import annotations

import fcntl
import gzip
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bisc.core.volume import NativeGrid
from bisc.imageio import write_image
from bisc.system.files import PARTIAL
from tests.support.stub_model import kidneys
from tests.support.training_fixtures import STORED

PIXDIM, DIM, XYZT_UNITS, SFORM_CODE, QOFFSET, SROW = 80, 40, 123, 254, 268, 280
"""Where these fields lie in a NIfTI-1 header."""
PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class CaseKind:
    """One bad case among good ones: many kinds share one run of their command.

    Attributes:
        name: In the table.
        make: Makes the bad case of this name under a folder; returns the file or folder that must be named.
        told: What its line says; empty where it is odd but fine.
        lines: How many lines it takes, one per fault.
    """

    name: str
    make: Callable[[Path, str], Path]
    told: str = ""
    lines: int = 1

    @property
    def case(self) -> str:
        """A case name made from the kind's."""
        return "".join(c if c.isalnum() else "_" for c in self.name)


@dataclass(frozen=True)
class RunKind:
    """A run of its own.

    Attributes:
        name: In the table.
        command: bisc_COMMAND.
        make: Prepares a home folder and returns the arguments.
        told: What the line says; empty where it is odd but fine.
        names: What the line names, relative to the home folder, or as it is.
        status: Exit status.
        lines: How many lines it takes.
        done: Paths below the home folder that must exist afterwards: what was sound, done.
        absent: Paths that must not.
        env: Environment variables; '{home}' stands for the home folder.
        around: What the run happens in: a full disk, another user.
    """

    name: str
    command: str
    make: Callable[[Path], Sequence[object]]
    told: str = ""
    names: str = ""
    status: int = 2
    lines: int = 1
    done: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    around: Callable[[Path], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True)
class Run:
    """How a command ended: everything written to stderr by it or by a library below it, and what it printed."""

    status: int
    err: list[str]
    out: str
    home: Path
    extra: dict[str, Path] = field(default_factory=dict)

    def lines_on(self, path: Path | str) -> list[str]:
        """The lines that name a path."""
        return [line for line in self.err if str(path) in line]


def run_command(command: str, argv: Sequence[object], home: Path) -> Run:
    """bisc_COMMAND in this process, in `home`, its stderr caught at the file descriptor: C++ libraries write there."""
    main = import_module(f"bisc.cli.{command}").main
    before, out, saved = Path.cwd(), StringIO(), os.dup(2)
    reads, writes = os.pipe()  # no file: a full disk, or a limit on files, must not swallow the message
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.dup2(writes, 2)
    os.chdir(home)
    try:
        with os.fdopen(writes, "w", buffering=1, encoding="utf-8") as file, redirect_stderr(file), redirect_stdout(out):
            try:
                status = main([str(arg) for arg in argv])
            except SystemExit as end:  # argparse
                status = int(end.code or 0)
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.chdir(before)
    with os.fdopen(reads, encoding="utf-8") as file:
        return Run(status, file.read().splitlines(), out.getvalue(), home)


def check_line(line: str, command: str, named: str, told: str, parts: int = 3) -> None:
    """'bisc_x: error: WHAT: found; expected ...; mend', in so many parts, where WHAT contains what is named."""
    start = f"bisc_{command}: error: "
    assert line.startswith(start), line
    what, _, rest = line.removeprefix(start).partition(": ")
    assert named in f"{what}: {rest.split(';')[0]}", (named, line)
    assert told in line, (told, line)
    assert len(rest.split("; ")) >= parts, f"expectation or mend is missing: {line}"
    assert "Traceback" not in line


def no_scratch(folder: Path) -> None:
    """Nothing half-written anywhere below."""
    assert [str(p) for p in folder.rglob(f"{PARTIAL}*")] == []


def scan(path: Path, **how: object) -> Path:
    """A sound patient: two kidneys, one with a tumour."""
    volume, _ = kidneys(STORED.canonical, **how)  # type: ignore[arg-type]
    write_image(path, volume.array, STORED)
    return path


def voxels(path: Path, array: npt.NDArray[np.generic], native: NativeGrid = STORED) -> Path:
    """An image of canonical voxels."""
    write_image(path, array, native)
    return path


def hu() -> npt.NDArray[np.int16]:
    """The sound patient's HU, canonical; air around the body, as in a real scan."""
    array = np.array(kidneys(STORED.canonical)[0].array)
    array[:, :6] = -1000
    return array


def labels() -> npt.NDArray[np.uint8]:
    """The sound patient's label map, canonical."""
    return kidneys(STORED.canonical)[1]


def patch(path: Path, at: int, form: str, *values: object) -> Path:
    """Overwrite header fields of a `.nii.gz`."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(form, raw, at, *values)
    path.write_bytes(gzip.compress(bytes(raw), 1))
    return path


def scaled(path: Path, factor: float) -> Path:
    """Multiply every length of a `.nii.gz` as its header states it, twice: spacing, sform, and the qform's offset."""
    raw = gzip.decompress(path.read_bytes())
    patch(path, QOFFSET, "<3f", *(factor * v for v in struct.unpack_from("<3f", raw, QOFFSET)))
    patch(path, PIXDIM, "<3f", *(factor * v for v in struct.unpack_from("<3f", raw, PIXDIM)))
    return patch(path, SROW, "<12f", *(factor * v for v in struct.unpack_from("<12f", raw, SROW)))
