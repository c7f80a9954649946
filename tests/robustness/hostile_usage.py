"""Data sets as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.robustness.hostile_datasets import SOUND
from tests.robustness.hostile_home import (
    DATA,
    PLANNED,
    changed,
    full_disk,
    given,
    ordinary_user,
    with_keys,
    without_rights,
    written,
)
from tests.robustness.hostile_kinds import RunKind, labels, voxels
from tests.robustness.hostile_spoiling import cut
from tests.support.training_fixtures import STORED, patient

RAW = DATA / "raw" / "Data"
PLAN = ("-d", "Data", "-np", "1")
TRAIN = ("rough", "0", "--preset", "quick", "--epochs", "1", "--iterations", "2", "--device", "cpu")
GO_ON = (*TRAIN, "--continue")
TABLE = str(PLANNED / "verify.csv")
CASE = SOUND[1]


def second_data_set(home: Path) -> None:
    (home / RAW.parent / "Other" / "imagesTr").mkdir(parents=True)
    written(RAW.parent / "Other" / "imagesTr" / "a_0000.nii.gz", "")(home)


def all_bad(home: Path) -> None:
    for case in SOUND:
        written(RAW / case / "imaging.nii.gz", "text")(home)


def no_kidneys(home: Path) -> None:
    for case in SOUND:
        voxels(home / RAW / case / "segmentation.nii.gz", np.zeros_like(labels()))


def elsewhere(home: Path) -> None:
    """The preprocessed data set was made from another folder, which is still there."""
    (home / "other").mkdir()
    source = {"folder": str(home / "other"), "beside": "../../../other"}
    written(PLANNED / "source.json", json.dumps(source))(home)


def changed_case(home: Path) -> None:
    """Its cache is stale."""
    voxels(home / RAW / CASE / "imaging.nii.gz", patient(STORED.canonical, seed=77)[0])


DATA_SETS = (
    RunKind(
        "a data set that does not exist",
        "plan_and_preprocess",
        given(("-d", "Nobody")),
        "no data set of this name",
        "Nobody",
    ),
    RunKind(
        "two data sets and no -d",
        "plan_and_preprocess",
        given(("-np", "1"), second_data_set),
        "2 data sets (Data, Other)",
        "raw",
    ),
    RunKind(
        "an empty data set",
        "plan_and_preprocess",
        given(("-d", "Empty"), lambda home: (home / RAW.parent / "Empty").mkdir()),
        "no data set of this name",
        "Empty",
    ),
    RunKind(
        "every case at fault",
        "plan_and_preprocess",
        given(PLAN, all_bad),
        "not gzip",
        "imaging.nii.gz",
        lines=3,
        done=(TABLE,),
    ),
    RunKind(
        "no kidney in any label map",
        "plan_and_preprocess",
        given(PLAN, no_kidneys),
        "no kidney of 5 ml or more",
        "Data",
        done=(TABLE,),
    ),
    *(
        RunKind(
            f"a dataset.json {what}",
            "plan_and_preprocess",
            given(PLAN, written(RAW / "dataset.json", text)),
            told,
            f"{RAW}/dataset.json",
        )
        for what, text, told in (
            ("with sides of kidneys", '{"labels": {"kidney_left": 1, "kidney_right": 2}}', "without sides"),
            ("with other organs", '{"labels": {"kidney": 1, "tumor": 2, "liver": 3}}', "names of kidney"),
            ("with an ignore label", '{"labels": {"kidney": 1, "tumor": 2, "ignore": 3}}', "nothing is left out"),
            ("without a kidney", '{"labels": {"tumor": 1}}', "a value for the kidney"),
            ("cut short", '{"labels": {', "is no JSON"),
        )
    ),
    RunKind(
        "a second data set of one name",
        "plan_and_preprocess",
        given(PLAN, elsewhere),
        "would be planned over",
        str(RAW),
    ),
    RunKind(
        "label maps that dataset.json gives other numbers",
        "plan_and_preprocess",
        given(PLAN, written(RAW / "dataset.json", '{"labels": {"kidney": 5, "tumor": 2}}')),
        "expected 0 background, 5 kidney, 2 tumour",
        "segmentation.nii.gz",
        lines=3,
        done=(TABLE,),
    ),
    RunKind(
        "BISC_RAW is a file",
        "plan_and_preprocess",
        given(PLAN, written("file", "")),
        "no data set of this name",
        "Data",
        env={"BISC_RAW": "{home}/file"},
    ),
    RunKind(
        "BISC_PREPROCESSED is a file",
        "plan_and_preprocess",
        given(PLAN, written("file", "")),
        "cannot be made",
        "file/Data",
        env={"BISC_PREPROCESSED": "{home}/file"},
    ),
    RunKind(
        "BISC_HOME is a file",
        "plan_and_preprocess",
        given(PLAN, written("file", "")),
        "no data set of this name",
        "Data",
        env={"BISC_HOME": "{home}/file"},
    ),
    RunKind(
        "an unknown key in an edited plan.json",
        "plan_and_preprocess",
        given(PLAN, with_keys(PLANNED / "plan.json", batch=3)),
        "delete it to plan anew",
        str(PLANNED / "plan.json"),
    ),
    RunKind(
        "damaged records of an earlier run",
        "plan_and_preprocess",
        given(
            PLAN,
            *(
                changed(PLANNED / p, cut)
                for p in (
                    "splits.json",
                    "fingerprint.json",
                    "source.json",
                    f"fingerprint/{CASE}.json",
                    f"fine/{CASE}/case.json",
                )
            ),
        ),
        status=0,
        lines=0,
        done=(TABLE,),
    ),
    RunKind(
        "a disk full while a case is cached",
        "plan_and_preprocess",
        given(PLAN, changed_case),
        "No space left",
        f"rough/{CASE}/case.json",
        around=full_disk(f"-{CASE}/"),
        done=(f"{PLANNED}/rough/{SOUND[0]}/case.json", TABLE),
    ),
    RunKind(
        "a read-only folder of preprocessed data",
        "plan_and_preprocess",
        given(PLAN, without_rights(PLANNED, 0o555), changed_case),
        "Permission denied",
        "preprocessed",
        around=ordinary_user,
    ),
    RunKind(
        "a training image one may not read",
        "plan_and_preprocess",
        given(PLAN, without_rights(RAW / CASE / "imaging.nii.gz")),
        "Permission denied",
        f"{CASE}/imaging.nii.gz",
        around=ordinary_user,
        done=(TABLE,),
        lines=4,  # and one case is left alone, the folds are others now, and so are those of what is trained
    ),
)
