"""What bisc_evaluate and bisc_simulate meet, and arguments that make no sense."""

from __future__ import annotations

from pathlib import Path

from tests.robustness.hostile_datasets import SOUND
from tests.robustness.hostile_home import (
    FINE,
    PREDICT,
    RESULTS,
    changed,
    full_disk,
    given,
    written,
)
from tests.robustness.hostile_kinds import RunKind, labels, voxels
from tests.robustness.hostile_spoiling import cut
from tests.robustness.hostile_usage import CASE, PLAN, RAW, TRAIN

SCORE = ("-r", str(RAW), "-p", "masks", "-np", "1")
OLD_REPORT = RESULTS / "fine" / "fold_0" / "validation" / "report.csv"


def flag(command: str, *argv: str, told: str, names: str = "") -> RunKind:
    """An argument that argparse or the command itself refuses."""
    return RunKind(f"{' '.join(argv[-2:])} ({command})", command, given(argv), told, names or argv[-2])


def validated(home: Path) -> None:
    written(FINE.parent / "run.json", '{"fold": 0, "loss": "ce"}')(home)


SCORING = (
    RunKind(
        "predictions.csv without its column",
        "evaluate",
        given(SCORE, written("masks/predictions.csv", "name\na\n")),
        "no column 'case'",
        "masks/predictions.csv",
        absent=("masks/report.csv",),
    ),
    RunKind(
        "a binary predictions.csv",
        "evaluate",
        given(SCORE, written("masks/predictions.csv", b"case\n\xff\xfe\0")),
        "cannot be read",
        "masks/predictions.csv",
        absent=("masks/report.csv",),
    ),
    RunKind(
        "a damaged report.csv of a fold",
        "evaluate",
        given((), validated, written(OLD_REPORT, "case,status\na,ok\n")),
        "no column dice_kidney",
        str(OLD_REPORT),
    ),
    RunKind(
        "a binary report.csv of a fold",
        "evaluate",
        given((), validated, written(OLD_REPORT, b"\xff\xfe\0")),
        "cannot be read",
        str(OLD_REPORT),
    ),
    RunKind(
        "a damaged run.json of a fold",
        "evaluate",
        given((), written(FINE.parent / "run.json", "{"), written(OLD_REPORT, "case\n")),
        "truncated",
        "run.json",
    ),
    RunKind(
        "no case in common",
        "evaluate",
        given(("-r", "in", "-p", "masks")),
        "no case has a reference",
        "masks",
        absent=("masks/report.csv",),
    ),
    RunKind(
        "two predictions of one case",
        "evaluate",
        given(SCORE, lambda home: voxels(home / "masks" / f"{CASE}.nrrd", labels())),
        f"a second label map of {CASE}",
        "masks",
        absent=("masks/report.csv",),
    ),
    RunKind(
        "predictions whose dataset.json has sides",
        "evaluate",
        given(SCORE, written("masks/dataset.json", '{"labels": {"left kidney": 1, "right kidney": 2}}')),
        "without sides",
        "masks/dataset.json",
        absent=("masks/report.csv",),
    ),
    RunKind(
        "a report below a file",
        "evaluate",
        given((*SCORE, "-o", "in/sound.nii.gz/r.csv")),
        "cannot be made",
        "in/sound.nii.gz",
    ),
    RunKind(
        "a disk full while the report is written",
        "evaluate",
        given(SCORE),
        "No space left",
        "masks/report.csv",
        around=full_disk("report.csv"),
        absent=("masks/report.csv",),
    ),
    RunKind(
        "simulating into a folder of other files",
        "simulate",
        given(("-o", "in", "-n", "1", "-np", "1")),
        "not empty",
        "in",
        absent=("in/case_00000",),
    ),
    RunKind(
        "simulating around no label maps",
        "simulate",
        given(("-o", "sim", "-l", "in", "-np", "1")),
        "no label map in it",
        "in",
        absent=("sim",),
    ),
    RunKind(
        "simulating around a damaged label map",
        "simulate",
        given(("-o", "sim", "-l", str(RAW), "-np", "1"), changed(RAW / CASE / "segmentation.nii.gz", cut)),
        "ends after",
        f"{CASE}/segmentation.nii.gz",
        done=(f"sim/{SOUND[0]}/imaging.nii.gz",),
        absent=(f"sim/{CASE}",),
    ),
)
FLAGS = (
    flag("plan_and_preprocess", *PLAN[:2], "-np", "0", told="not a whole number of at least 1"),
    flag("plan_and_preprocess", *PLAN[:2], "-np", "many", told="invalid positive_int value"),
    flag("plan_and_preprocess", *PLAN, "--memory-gb", "-1", told="not a number above 0"),
    flag("plan_and_preprocess", *PLAN, "--memory-gb", "nan", told="not a number above 0"),
    flag("predict", *PREDICT, "-f", "one", told="invalid int value"),
    flag("predict", *PREDICT, "-f", "-1", told="no rough fold -1", names=str(RESULTS)),
    flag("predict", *PREDICT[:-4], "--device", "abacus", told="is no device"),
    flag("predict", *PREDICT, "--decision", "maybe", told="invalid choice"),
    flag("train", *TRAIN, "--loss-threshold", "2", told="0 <= T < 1"),
    flag("train", *TRAIN, "--epochs", "0", told="not a whole number of at least 1"),
    flag("train", "rough", "0", "--preset", "magic", told="no preset 'magic'"),
    flag("evaluate", *SCORE, "-o", "report.txt", told="ends in '.txt'", names="report.txt"),
    flag(
        "plan_and_preprocess", *PLAN, "--labels", "kidney=1,liver=2", told="expected kidney, tumor, cyst or background"
    ),
    flag("plan_and_preprocess", *PLAN, "--labels", "tumor=1", told="a value for the kidney"),
    flag("evaluate", *SCORE, "--labels", "kidney", told="expected kidney, tumor, cyst or background"),
    flag("evaluate", *SCORE, "--labels-of-predictions", "kidney=1,tumor=1", told="a value twice"),
    flag("evaluate", "--labels", "kidney=1", told="given without -r and -p"),
    flag("simulate", "-o", "sim", "--seed", "-1", told="at least 0"),
    flag("simulate", "-o", "sim", "-n", "-5", told="not a whole number of at least 1"),
    flag("demo", "-o", "demo", "--preset", "magic", told="no preset 'magic'"),
)
