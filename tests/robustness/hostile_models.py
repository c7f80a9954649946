"""Models, plans and checkpoints that are not what they should be."""

from __future__ import annotations

import codecs
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.robustness.hostile_home import (
    CANARY,
    FINE,
    PREDICT,
    RESULTS,
    ROUGH,
    archive,
    bomb,
    changed,
    checkpoint,
    given,
    removed,
    with_keys,
    with_weights,
    written,
)
from tests.robustness.hostile_kinds import RunKind
from tests.robustness.hostile_spoiling import cut

PLAN = RESULTS / "plan.json"
ZIP = (*PREDICT, "-m", "old.zip")
Spoil = Callable[[Path], object]
MASK = "out/sound.nii.gz"
PART = f"{FINE.relative_to(RESULTS)}"


def model(name: str, spoil: Spoil, told: str, names: object) -> RunKind:
    """A trained data set with one thing wrong: nothing is predicted."""
    return RunKind(name, "predict", given(PREDICT, spoil), told, str(names), absent=("out", CANARY))


def packed(name: str, spoil: Spoil, told: str, names: object = "old.zip") -> RunKind:
    """An archive of the old form with one thing wrong."""
    return RunKind(name, "predict", given(ZIP, spoil), told, str(names), absent=("out", CANARY))


def replaced(form: str) -> Spoil:
    """The plan's target spacing written otherwise."""

    def change(raw: bytes) -> bytes:
        plan = json.loads(raw)
        plan["target_spacing_mm_zyx"] = "HERE"
        return json.dumps(plan).replace('"HERE"', form).encode()

    return changed(PLAN, change)


def second_model(home: Path) -> None:
    shutil.copytree(home / RESULTS, home / RESULTS.parent / "Other")


MODELS = (
    RunKind(
        "a fold that was not trained",
        "predict",
        given((*PREDICT, "-f", "3")),
        "no rough fold 3",
        str(RESULTS),
        absent=("out",),
    ),
    model("no rough stage", removed(ROUGH.parent.parent), "no trained rough stage", RESULTS),
    model("no plan beside the networks", removed(PLAN), "No such file", PLAN),
    model("an unknown key in plan.json", with_keys(PLAN, batch=3), "unknown field `batch`", PLAN),
    model(
        "a wrong type in plan.json", with_keys(PLAN, n_cases="two"), "Expected `int`, got `str` - at `$.n_cases`", PLAN
    ),
    model("plan.json cut short", changed(PLAN, cut), "truncated", PLAN),
    model("NaN in plan.json", replaced("[NaN, 1, 1]"), "invalid", PLAN),
    model("a spacing of 0 in plan.json", replaced("[0, 1, 1]"), "target_spacing_mm_zyx", PLAN),
    model("plan.json as UTF-16", changed(PLAN, lambda raw: raw.decode().encode("utf-16")), "UTF-16", PLAN),
    RunKind(
        "plan.json with a byte order mark",
        "predict",
        given(PREDICT, changed(PLAN, lambda raw: codecs.BOM_UTF8 + raw)),
        status=0,
        lines=0,
        done=(MASK,),
    ),
    model("a plan from another data set", replaced("[2, 1, 1]"), "was trained with another plan", ROUGH),
    model("a checkpoint cut short", changed(FINE, cut), "no usable checkpoint", FINE),
    model("a checkpoint of zero bytes", written(FINE, b""), "no usable checkpoint", FINE),
    model("text as checkpoint", written(FINE, "weights"), "no usable checkpoint", FINE),
    model(
        "a checkpoint of another plan",
        checkpoint(FINE, lambda c: c.plan.update(rough_in_plane_px=64)),
        "another plan: rough_in_plane_px 64",
        FINE,
    ),
    model(
        "a checkpoint of another width",
        checkpoint(FINE, lambda c: c.settings.update(base_features=4)),
        "do not fit their settings",
        FINE,
    ),
    model(
        "a checkpoint without its settings",
        checkpoint(FINE, lambda c: c.settings.clear()),
        "do not fit their settings",
        FINE,
    ),
    model("a checkpoint with NaN weights", checkpoint(FINE, with_weights(float("nan"))), "NaN or infinite", FINE),
    model(
        "a checkpoint with infinite offsets",
        checkpoint(FINE, lambda c: setattr(c, "offsets", [0.0, float("inf"), 0.0])),
        "values of another kind",
        FINE,
    ),
    model("a malicious pickle as checkpoint", bomb(FINE), "no usable checkpoint", FINE),
    packed("an archive that is no zip", written("old.zip", "PK"), "no usable archive"),
    packed("an archive cut short", changed("old.zip", cut), "no usable archive"),
    packed("an archive without plan", archive(lambda m: m.pop("plan.json")), "plan.json is missing"),
    packed("an archive without the fine network", archive(lambda m: m.pop(PART)), "no trained fine stage"),
    packed(
        "an archive with a flipped bit",
        changed("old.zip", lambda raw: raw[:90000] + bytes([raw[90000] ^ 1]) + raw[90001:]),
        "missing or damaged",
    ),
    packed(
        "a malicious pickle in an archive",
        lambda home: archive(lambda m: m.update({PART: (bomb("evil.pkl")(home), (home / "evil.pkl").read_bytes())[1]}))(
            home
        ),
        "no usable checkpoint",
    ),
    RunKind(
        "an archive with ../ members",
        "predict",
        given(ZIP, archive(lambda m: m.update({"../evil.txt": b"x", "/evil.txt": b"x"}))),
        "leads out of it",
        "old.zip",
        absent=("out", "../evil.txt", "evil.txt"),
    ),
    RunKind(
        "an archive that does not exist",
        "predict",
        given((*PREDICT, "-m", "gone.zip")),
        "No such file",
        "gone.zip",
        absent=("out",),
    ),
    RunKind(
        "a model that was never trained",
        "predict",
        given((*PREDICT, "-d", "Nobody")),
        "no trained model of this name",
        "Nobody",
        absent=("out",),
    ),
    RunKind(
        "two trained models and no -d",
        "predict",
        given(PREDICT, second_model),
        "2 trained models (Data, Other)",
        "results",
        absent=("out",),
    ),
)
"""What is wrong with the model."""
