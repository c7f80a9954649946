"""Values of a plan that a person overwrites (`--set`): checked one by one, and kept beside the plan that they made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from bisc.core.choices import Stage
from bisc.core.errors import InputError
from bisc.core.limits import MULTIPLE, Amount, Batch, Deviation, Edge, Features, Hounsfield, Norm, SpacingMm
from bisc.planners.plan import Plan
from bisc.system.jsonfile import Document, load_json

OVERWRITTEN: Final = "overwritten.json"
OPTION: Final = "--set"


class StageValues(Document, frozen=True):
    """Of one stage, packed or not; None is left to the planner, as in all of these."""

    patch_size_zyx: tuple[Edge, Edge, Edge] | None = None
    batch_size: Batch | None = None
    base_features: Features | None = None
    norm: Norm | None = None


class IntensityValues(Document, frozen=True):
    """Of `Intensity`."""

    clip_low_hu: Hounsfield | None = None
    clip_high_hu: Hounsfield | None = None
    mean_hu: Hounsfield | None = None
    std_hu: Deviation | None = None


class RoiValues(Document, frozen=True):
    """Of `RoiRule`."""

    sides_px: list[Edge] | None = None
    margin_mm: Amount | None = None
    min_kidney_ml: Amount | None = None


class PlanValues(Document, frozen=True):
    """What may be overwritten, in `overwritten.json`; `base_features` and `batch_size` of no stage are of both."""

    target_spacing_mm_zyx: tuple[SpacingMm, SpacingMm, SpacingMm] | None = None
    rough_in_plane_px: Edge | None = None
    memory_gb: Annotated[float, Meta(gt=0.0, le=1e9)] | None = None
    base_features: Features | None = None
    batch_size: Batch | None = None
    intensity: IntensityValues = IntensityValues()
    roi: RoiValues = RoiValues()
    rough: StageValues = StageValues()
    fine: StageValues = StageValues()

    def of_stage(self, stage: Stage) -> StageValues:
        """A stage's own values, else those of both."""
        own = self.rough if stage == "rough" else self.fine
        return replace(
            own,
            base_features=own.base_features or self.base_features,
            batch_size=own.batch_size or self.batch_size,
        )


NONE_OVERWRITTEN: Final = PlanValues()


def values_of(items: Sequence[str]) -> PlanValues:
    """The values of `--set` words: `target_spacing_mm_zyx=3,1.5,1.5`, `fine.batch_size=4`, `rough.norm=instance`.

    Raises:
        InputError: If a word is no `KEY=VALUE`, its key is unknown or given twice, or its value is none for that key.
    """
    whole: dict[str, Any] = {}
    for item in items:
        key, sign, text = item.partition("=")
        if not sign:
            raise InputError(f"{OPTION} {item}", "no value", "KEY=VALUE, as in base_features=16")
        *rooms, last = key.strip().split(".")
        alone: dict[str, Any] = {last: _value(text)}
        for room in reversed(rooms):
            alone = {room: alone}
        try:
            msgspec.convert(alone, PlanValues)
        except msgspec.ValidationError as error:
            raise InputError(f"{OPTION} {item}", str(error), f"one of {', '.join(_keys())}") from error
        inside = whole
        for room in rooms:
            inside = inside.setdefault(room, {})
        if last in inside:
            raise InputError(f"{OPTION} {item}", f"{key} is given twice", "each key once")
        inside[last] = _value(text)
    return msgspec.convert(whole, PlanValues)


def given(values: PlanValues) -> dict[str, Any]:
    """What is overwritten, by dotted key, as plain values."""
    flat: dict[str, Any] = {}
    for key, value in msgspec.to_builtins(values).items():
        inner = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        flat |= {k: v for k, v in inner.items() if v is not None}
    return flat


def load_values(folder: Path) -> PlanValues:
    """Those a plan was made with; none where nobody overwrote any.

    Raises:
        InputError: If the file is damaged.
    """
    path = folder / OVERWRITTEN
    return load_json(path, PlanValues, f"correct it, or give {OPTION} again") if path.exists() else NONE_OVERWRITTEN


def checked(plan: Plan, values: PlanValues) -> Plan:
    """`plan`, whose values' consequences are within what a plan may hold too.

    Raises:
        InputError: If they are not.
    """
    said = f"{OPTION} {' '.join(f'{key}={_text(value)}' for key, value in given(values).items())}"
    try:
        msgspec.convert(msgspec.to_builtins(plan), Plan)
    except msgspec.ValidationError as error:
        raise InputError(
            said, f"the plan would have an impossible value: {error}", "values nearer to the data's"
        ) from error
    _, *patch_yx = plan.rough.patch_size_zyx
    if max(patch_yx) > plan.rough_in_plane_px:
        found = f"a rough patch of {max(patch_yx)} px on a grid of {plan.rough_in_plane_px} px"
        raise InputError(said, found, "a patch within the grid", "set rough_in_plane_px too")
    for stage in (plan.packed_rough, plan.packed):
        if stage is not None and stage.misfit:
            raise InputError(said, f"{stage.misfit} would follow", f"multiples of {MULTIPLE} px", "set such values")
    return plan


def in_words(values: PlanValues, own: Plan) -> str:
    """Each overwritten value, and what the planner's own would have been."""
    return "; ".join(
        f"{key} = {_text(value)} (the planner's own: {_own(key, own)})" for key, value in given(values).items()
    )


def _own(key: str, plan: Plan) -> str:
    plain: Mapping[str, Any] = msgspec.to_builtins(plan)
    if key in ("base_features", "batch_size"):
        return ", ".join(f"{stage} {plain[stage][key]}" for stage in ("rough", "fine"))
    value: Any = plain
    for room in key.split("."):
        value = value[room]
    return _text(value)


def _text(value: Any) -> str:
    return ",".join(f"{v:g}" for v in value) if isinstance(value, (list, tuple)) else str(value)


def _value(text: str) -> Any:
    """JSON, or numbers with commas between them, or a word as it stands."""
    for written in (text, f"[{text}]"):
        try:
            return json.loads(written)
        except ValueError:
            continue
    return text


def _keys() -> list[str]:
    keys = []
    for field in msgspec.structs.fields(PlanValues):
        inner = field.default
        own = [f.name for f in msgspec.structs.fields(inner)] if isinstance(inner, msgspec.Struct) else []
        keys += [f"{field.name}.{name}" for name in own] or [field.name]
    return keys
