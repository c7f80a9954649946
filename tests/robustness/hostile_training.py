"""Training on what a data set became, and packing what was trained."""

from __future__ import annotations

from tests.robustness.hostile_datasets import SOUND
from tests.robustness.hostile_home import (
    CANARY,
    FINE,
    PLANNED,
    ROUGH,
    bomb,
    changed,
    full_disk,
    given,
    removed,
    with_keys,
    written,
)
from tests.robustness.hostile_kinds import RunKind
from tests.robustness.hostile_spoiling import cut
from tests.robustness.hostile_usage import (
    GO_ON,
    TRAIN,
)

TRAINING = (
    RunKind("training a fold that does not exist", "train", given(("rough", "9")), "is not in splits.json", "fold 9"),
    RunKind(
        "training a fold that is no number", "train", given(("rough", "first")), "is not in splits.json", "fold first"
    ),
    RunKind(
        "training the fine stage without the rough one",
        "train",
        given(("fine", *TRAIN[1:]), removed(ROUGH)),
        "validated through it",
        str(ROUGH),
    ),
    RunKind(
        "training with an unknown key in plan.json",
        "train",
        given(TRAIN, with_keys(PLANNED / "plan.json", batch=3)),
        "unknown field `batch`",
        str(PLANNED / "plan.json"),
    ),
    RunKind(
        "an unknown key in splits.json",
        "train",
        given(TRAIN, with_keys(PLANNED / "splits.json", more=1)),
        "unknown field `more`",
        str(PLANNED / "splits.json"),
    ),
    RunKind(
        "an unknown key in a cached case.json",
        "train",
        given(TRAIN, *(with_keys(PLANNED / "rough" / c / "case.json", more=1) for c in SOUND)),
        "unknown field `more`",
        "case.json",
    ),
    RunKind(
        "a case of the splits without cache",
        "train",
        given(TRAIN, *(removed(PLANNED / "rough" / c) for c in SOUND)),
        "No such file",
        "case.json",
    ),
    RunKind(
        "a cached volume cut short",
        "train",
        given(TRAIN, *(changed(PLANNED / "rough" / c / "region_0_image.npy", cut) for c in SOUND)),
        "cannot be read",
        "region_0_image.npy",
    ),
    RunKind(
        "going on from a checkpoint cut short",
        "train",
        given(GO_ON, changed(ROUGH, cut)),
        "no usable checkpoint",
        str(ROUGH),
        done=(str(ROUGH),),
    ),
    RunKind(
        "going on with other settings",
        "train",
        given(GO_ON),
        "was begun with other settings",
        str(ROUGH),
        done=(str(ROUGH),),
    ),
    RunKind(
        "going on from a malicious pickle",
        "train",
        given(GO_ON, bomb(ROUGH)),
        "no usable checkpoint",
        str(ROUGH),
        absent=(CANARY,),
    ),
    RunKind(
        "BISC_RESULTS is a file, for training",
        "train",
        given(TRAIN, written("file", "")),
        "cannot be made",
        "file/Data",
        env={"BISC_RESULTS": "{home}/file"},
    ),
    RunKind(
        "exporting a damaged checkpoint",
        "export",
        given(("-o", "new.zip"), changed(FINE, cut)),
        "no usable checkpoint",
        str(FINE),
        absent=("new.zip",),
    ),
    RunKind("exporting to a folder", "export", given(("-o", "in")), "cannot be written", "in"),
    RunKind(
        "a disk full while exporting",
        "export",
        given(("-o", "new.zip")),
        "No space left",
        "new.zip",
        around=full_disk("new.zip"),
        absent=("new.zip",),
    ),
)
