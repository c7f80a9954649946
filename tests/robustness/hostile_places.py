"""Where bisc_predict is to read or write: what is not there, not readable, not writable, or full."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.robustness.hostile_home import (
    PREDICT,
    given,
    ordinary_user,
    removed,
    small_files,
    without_rights,
    written,
)
from tests.robustness.hostile_kinds import RunKind, scan

Spoil = Callable[[Path], object]
MASK = "out/sound.nii.gz"


def beside(spoil: Spoil) -> Spoil:
    """A second scan under in/, spoilt."""
    return lambda home: spoil(scan(home / "in" / "spoilt.nii.gz"))


def locked_case(home: Path) -> None:
    scan(home / "in" / "case_1" / "imaging.nii.gz").parent.chmod(0)


def locked_folder(home: Path) -> None:
    (home / "out").mkdir()
    (home / "out").chmod(0o555)


def zipped(home: Path) -> None:
    with zipfile.ZipFile(home / "in" / "patient.zip", "w") as archive:
        archive.writestr("a.dcm", b"slices")


def pair(home: Path) -> None:
    for name in ("p.img", "p.hdr"):
        (home / "in" / name).write_bytes(bytes(348))


def deeper(home: Path) -> None:
    scan(home / "in" / "patient_2" / "study" / "imaging.nii.gz")


PLACES = (
    RunKind(
        "input that does not exist",
        "predict",
        given(("-i", "gone", *PREDICT[2:])),
        "does not exist",
        "gone",
        absent=("out",),
    ),
    RunKind(
        "an empty input folder",
        "predict",
        given(PREDICT, removed("in/sound.nii.gz")),
        "no image found",
        "in",
        absent=("out",),
    ),
    RunKind(
        "a picture (.png) as input",
        "predict",
        given(("-i", "a.png", *PREDICT[2:]), written("a.png", b"\x89PNG")),
        "no image by its name",
        "a.png",
        absent=("out",),
    ),
    RunKind(
        "output that is a file",
        "predict",
        given(PREDICT, written("out", "mine")),
        "cannot be made",
        "out",
        done=("out",),
    ),
    RunKind(
        "output below a file",
        "predict",
        given(("-i", "in", "-o", "in/sound.nii.gz/x", *PREDICT[4:])),
        "cannot be made",
        "in/sound.nii.gz/x",
    ),
    RunKind(
        "output is input",
        "predict",
        given(("-i", "in", "-o", "in", *PREDICT[4:])),
        "would be overwritten",
        "in/sound.nii.gz",
        absent=("in/predictions.csv",),
    ),
    RunKind(
        "output is a link to the input",
        "predict",
        given(PREDICT, lambda home: (home / "out").symlink_to("in")),
        "would be overwritten",
        "in/sound.nii.gz",
        absent=("in/predictions.csv",),
    ),
    RunKind(
        "a damaged predictions.csv to go on from",
        "predict",
        given((*PREDICT, "--continue"), written("out/predictions.csv", "case,status\nsound,ok\n")),
        "another form",
        "out/predictions.csv",
        absent=(MASK,),
    ),
    RunKind(
        "a damaged predictions.csv of other cases",
        "predict",
        given(PREDICT, written("out/predictions.csv", "case,status\nsound,ok\n")),
        "another form",
        "out/predictions.csv",
        absent=(MASK,),
    ),
    RunKind(
        "a binary predictions.csv to go on from",
        "predict",
        given((*PREDICT, "--continue"), written("out/predictions.csv", b"case\0\xff\xfe")),
        "another form",
        "out/predictions.csv",
        absent=(MASK,),
    ),
    RunKind(
        "BISC_RESULTS is a file",
        "predict",
        given(PREDICT, written("file", "")),
        "0 trained models",
        "file",
        absent=("out",),
        env={"BISC_RESULTS": "{home}/file"},
    ),
    RunKind(
        "an image one may not read",
        "predict",
        given(PREDICT, beside(without_rights(""))),
        "Permission denied",
        "in/spoilt.nii.gz",
        done=(MASK,),
        absent=("out/spoilt.nii.gz",),
        around=ordinary_user,
    ),
    RunKind(
        "a case folder one may not list",
        "predict",
        given(PREDICT, locked_case),
        "cannot be listed",
        "in/case_1",
        done=(MASK,),
        around=ordinary_user,
    ),
    RunKind(
        "an input folder one may not list",
        "predict",
        given(PREDICT, without_rights("in")),
        "cannot be listed",
        "in",
        absent=("out",),
        around=ordinary_user,
    ),
    RunKind(
        "a read-only output folder",
        "predict",
        given(PREDICT, locked_folder),
        "Permission denied",
        "out",
        absent=(MASK,),
        around=ordinary_user,
    ),
    RunKind(
        "a disk that fills up while a mask is written",
        "predict",
        given(PREDICT),
        "cannot be written whole",
        MASK,
        lines=2,  # the mask, and the table that cannot say so
        absent=(MASK, "out/predictions.csv"),
        around=small_files,
    ),
    RunKind(
        "a zip among inputs",
        "predict",
        given(PREDICT, zipped),
        "a form that is not read",
        "in/patient.zip",
        done=(MASK,),
    ),
    RunKind(
        "an Analyze pair among inputs",
        "predict",
        given(PREDICT, pair),
        "a form that is not read",
        "in/p.img",
        done=(MASK,),
    ),
    RunKind(
        "a patient two folders deep",
        "predict",
        given(PREDICT, deeper),
        status=0,
        lines=0,
        done=(MASK, "out/patient_2.nii.gz"),
    ),
)
"""Where to read and write."""
