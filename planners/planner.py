"""From a fingerprint to a plan: pure functions, each value with its reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from msgspec.structs import replace

from bisc.core.errors import InputError, one_line
from bisc.core.geometry import IntTriple, Triple, as_triple
from bisc.core.labels import MIN_KIDNEY_ML
from bisc.core.limits import MULTIPLE, Norm
from bisc.planners.fingerprint import Fingerprint
from bisc.planners.memory import Sizes, largest_that_fits, norm_for
from bisc.planners.plan import PLAN_SCHEMA_VERSION, Plan, StagePlan
from bisc.planners.values import (
    NONE_OVERWRITTEN,
    OPTION,
    IntensityValues,
    PlanValues,
    StageValues,
    checked,
    given,
    in_words,
)
from bisc.preprocessing.kidneys import RoiRule, next_multiple
from bisc.preprocessing.resample import Intensity
from bisc.system.jsonfile import Document

DEFAULT_MEMORY_GB: Final = 12.0
"""The paper's card."""
ROUGH_IN_PLANE_PX: Final = 128
ROUGH_MIN_DEPTH: Final = 32
ROUGH_MAX_DEPTH: Final = 64
FINE_MIN_PATCH: Final = (32, 96, 96)
SIDE_PERCENTILES: Final = (95.0, 97.5)
CLIP_PERCENTILES: Final = (0.5, 99.5)
ROI_MARGIN_MM: Final = 6.0
"""One and a half rough voxels of a 500 mm field of view: what a rough border may be off."""
LEAST_WINDOW_HU: Final = 1.0
"""Noise alone spreads any CT's kidneys wider."""
CT_DEFAULT: Final = Intensity(clip_low_hu=-80.0, clip_high_hu=300.0, mean_hu=100.0, std_hu=75.0)
"""Used only where a data set has no images (a plan from label maps alone)."""

LABEL_NOTE: Final = "0 background, 1 kidney, 2 tumour; 3 (cyst, KiTS21/23) counts as kidney, KiTS19's convention"
"""Where nothing says otherwise."""


def make_plan(
    fingerprint: Fingerprint,
    memory_gb: float = DEFAULT_MEMORY_GB,
    label_note: str = LABEL_NOTE,
    values: PlanValues = NONE_OVERWRITTEN,
) -> Plan:
    """The plan that a fingerprint and a memory target determine, and what a person overwrote.

    Args:
        fingerprint: The measured data set.
        memory_gb: Target for the peak of a training step, in GiB.
        label_note: What the labels mean, in words.
        values: Overwritten ones; what the planner derives of them follows.

    Raises:
        InputError: If no case has a kidney of plausible size, or an overwritten value leads to an impossible one.
    """
    plan = _decided(fingerprint, memory_gb, label_note, values)
    if values == NONE_OVERWRITTEN:
        return plan
    own = _decided(fingerprint, memory_gb, label_note, NONE_OVERWRITTEN)
    words = in_words(values, own)
    return checked(replace(plan, reasons={**_as_given(plan.reasons, values), "overwritten": words}), values)


def _decided(fingerprint: Fingerprint, memory_gb: float, label_note: str, values: PlanValues) -> Plan:
    cases, memory_gb = fingerprint.cases, values.memory_gb or memory_gb
    spacing = values.target_spacing_mm_zyx or target_spacing([c.spacing_mm_zyx for c in cases])
    kidneys = [k for c in cases for k in c.kidneys]
    if not kidneys:
        raise InputError(
            fingerprint.dataset,
            f"no kidney of {MIN_KIDNEY_ML:g} ml or more in any label map",
            "labels 1 (kidney) and 2 (tumour)",
        )
    sides = sorted({*(values.roi.sides_px or roi_sides([k.extent_mm_zyx[1:] for k in kidneys], spacing))})
    px = values.rough_in_plane_px or ROUGH_IN_PLANE_PX
    of_rough, of_fine = values.of_stage("rough"), values.of_stage("fine")
    rough, packed_rough = (
        _rough_sizes(fingerprint, spacing[0], px, memory_gb, packing, _fixed(of_rough)) for packing in (1, 2)
    )
    fine, packed = (
        _fine_sizes(fingerprint, spacing, sides[0], memory_gb, packing, _fixed(of_fine)) for packing in (1, 2)
    )
    intensity, intensity_reason = _intensity(fingerprint, values.intensity)
    reasons = {
        "target_spacing_mm_zyx": f"median per axis of {len(cases)} cases",
        "rough_in_plane_px": "the paper's 128 x 128 for the whole field of view",
        "intensity": intensity_reason,
        "roi.sides_px": _sides_reason(len(kidneys), sides, spacing[2]),
        "roi.margin_mm": "what a rough border may be off: about one and a half rough voxels",
        "roi.min_kidney_ml": "the smallest volume a kidney is told from a speck by",
        "rough": _sizes_reason(rough, memory_gb, "whole field of view in plane, patches cropped in z"),
        "fine": _sizes_reason(fine, memory_gb, f"begins at the median kidney's depth and the ROI side {sides[0]}"),
        "packed_rough": _sizes_reason(packed_rough, memory_gb, "sizes found as the rough stage's"),
        "packed": _sizes_reason(packed, memory_gb, "sizes found as the fine stage's"),
        "norm": "batch norm from batches of 4 on (it folds at inference), instance norm below (it learns at 1 or 2)",
    }
    return Plan(
        schema_version=PLAN_SCHEMA_VERSION,
        dataset=fingerprint.dataset,
        n_cases=len(cases),
        target_spacing_mm_zyx=spacing,
        rough_in_plane_px=px,
        intensity=_overwritten(intensity, values.intensity),
        roi=_overwritten(
            RoiRule(sides_px=sides, multiple_px=MULTIPLE, margin_mm=ROI_MARGIN_MM, min_kidney_ml=MIN_KIDNEY_ML),
            replace(values.roi, sides_px=None),
        ),
        rough=_stage(rough, of_rough.norm),
        fine=_stage(fine, of_fine.norm),
        memory_gb=memory_gb,
        label_note=label_note,
        reasons=reasons,
        packed=_stage(packed, of_fine.norm),
        packed_rough=_stage(packed_rough, of_rough.norm),
    )


def target_spacing(spacings_mm_zyx: Sequence[Triple]) -> Triple:
    """Median per axis, in mm; on KiTS19 3 x 0.78125 x 0.78125 (the paper: 3 x 0.781625 x 0.781625).

    Raises:
        ValueError: Without any spacing.
    """
    if not spacings_mm_zyx:
        raise ValueError("no case to take a spacing from")
    return as_triple(np.median(np.asarray(spacings_mm_zyx, dtype=float), axis=0).round(6))


def roi_sides(extents_mm_yx: Sequence[tuple[float, float]], spacing_mm_zyx: Triple) -> list[int]:
    """In-plane ROI sides in pixels: the 95th and 97.5th percentile of the kidneys' larger in-plane extent, each
    rounded up to a multiple of 16. On KiTS19 160 and 192, the paper's constants.

    Raises:
        ValueError: Without any kidney.
    """
    if not extents_mm_yx:
        raise ValueError("no kidney of plausible size to take ROI sides from")
    larger_px = [max(y / spacing_mm_zyx[1], x / spacing_mm_zyx[2]) for y, x in extents_mm_yx]
    return sorted({next_multiple(float(np.percentile(larger_px, p))) for p in SIDE_PERCENTILES})


def explain(plan: Plan) -> str:
    """The plan in words, for `plan.txt` and `--explain`."""
    z, y, x = plan.target_spacing_mm_zyx
    i = plan.intensity
    why = defaultdict(lambda: "no reason given", plan.reasons)  # a plan changed by hand may lack one
    lines = [
        f"Plan for {plan.dataset}: {plan.n_cases} cases, memory target {plan.memory_gb:g} GB",
        "",
        f"Target spacing {x:g} x {y:g} x {z:g} mm (x, y, z): {why['target_spacing_mm_zyx']}.",
        f"Intensities clipped to {i.clip_low_hu:g}..{i.clip_high_hu:g} HU, minus {i.mean_hu:g}, over {i.std_hu:g}: "
        f"{why['intensity']}.",
        f"ROI sides {', '.join(map(str, plan.roi.sides_px))} px, edges multiples of {plan.roi.multiple_px}: "
        f"{why['roi.sides_px']}.",
        f"ROI margin {plan.roi.margin_mm:g} mm: {why['roi.margin_mm']}.",
        f"Smallest kidney {plan.roi.min_kidney_ml:g} ml: {why['roi.min_kidney_ml']}.",
        f"Rough stage on {plan.rough_in_plane_px} px in plane ({why['rough_in_plane_px']}): "
        f"{_stage_words(plan.rough)}; {why['rough']}.",
        f"Fine stage at target spacing: {_stage_words(plan.fine)}; {why['fine']}.",
        "Some presets pack: voxels enter two by two in plane as channels, a quarter of the arithmetic.",
        f"Packed rough stage: {_packed_words(plan.packed_rough)}; {why['packed_rough']}.",
        f"Packed fine stage: {_packed_words(plan.packed)}; {why['packed']}.",
        f"Norm: {why['norm']}.",
        f"Labels: {plan.label_note}.",
    ]
    if "overwritten" in plan.reasons:
        lines[1:1] = [f"Overwritten: {plan.reasons['overwritten']}."]
    return "\n".join(one_line(line) for line in lines) + "\n"


def _rough_sizes(
    fingerprint: Fingerprint, spacing_z: float, px: int, memory_gb: float, packing: int, fixed: Mapping[str, Any]
) -> Sizes:
    depths = [c.shape_zyx[0] * c.spacing_mm_zyx[0] / spacing_z for c in fingerprint.cases]
    depth = min(ROUGH_MAX_DEPTH, next_multiple(float(np.median(depths))))
    minimum = (min(depth, ROUGH_MIN_DEPTH), px, px)
    return largest_that_fits((depth, px, px), minimum, memory_gb, (spacing_z, 1.0, 1.0), packing, fixed)


def _fine_sizes(
    fingerprint: Fingerprint, spacing: Triple, side: int, memory_gb: float, packing: int, fixed: Mapping[str, Any]
) -> Sizes:
    depths = [k.extent_mm_zyx[0] / spacing[0] for c in fingerprint.cases for k in c.kidneys]
    start = (next_multiple(float(np.median(depths))), side, side)
    minimum: IntTriple = tuple(min(a, b) for a, b in zip(start, FINE_MIN_PATCH, strict=True))  # type: ignore[assignment]
    return largest_that_fits(start, minimum, memory_gb, spacing, packing, fixed)


def _fixed(values: StageValues) -> dict[str, Any]:
    """What is overwritten of the sizes that memory decides."""
    return {key: value for key, value in msgspec.structs.asdict(values).items() if value is not None and key != "norm"}


D = TypeVar("D", bound=Document)


def _overwritten(document: D, values: Document) -> D:
    """`document` with those of the values that are given.

    Raises:
        InputError: If they do not go together.
    """
    new = {key: value for key, value in msgspec.structs.asdict(values).items() if value is not None}
    try:
        return replace(document, **new)
    except ValueError as error:
        raise InputError(OPTION, str(error), "values that go together") from error


def _as_given(reasons: Mapping[str, str], values: PlanValues) -> dict[str, str]:
    """Reasons that do not say of a value given by hand that the data decided it."""
    keys = given(values).keys()
    of_both = ("rough", "fine") if {"base_features", "batch_size"} & keys else ()

    def reason_of(name: str) -> str:
        if name in keys:
            return "overwritten by hand"
        some = name in of_both or any(key.startswith(f"{name}.") for key in keys)
        return f"{reasons[name]}; some of it overwritten by hand" if some else reasons[name]

    return {name: reason_of(name) for name in reasons}


def _stage(sizes: Sizes, norm: Norm | None) -> StagePlan:
    return StagePlan(
        patch_size_zyx=sizes.patch_size_zyx,
        batch_size=sizes.batch_size,
        base_features=sizes.base_features,
        norm=norm or norm_for(sizes.batch_size),
        estimated_memory_gb=round(sizes.memory_gb, 2),
        packing=sizes.packing,  # type: ignore[arg-type]
    )


def _intensity(fingerprint: Fingerprint, overwritten: IntensityValues) -> tuple[Intensity, str]:
    pooled = [q for c in fingerprint.cases if c.hu_quantiles is not None for q in c.hu_quantiles]
    if not pooled:
        return CT_DEFAULT, "no image in the data set: a default for contrast-enhanced CT"
    values = np.asarray(pooled, dtype=float)
    low, high = np.percentile(values, CLIP_PERCENTILES)
    if high - low < LEAST_WINDOW_HU:
        return CT_DEFAULT, f"all kidneys have {low:.0f} HU, as no CT has: a default for contrast-enhanced CT"
    low = low if overwritten.clip_low_hu is None else overwritten.clip_low_hu
    high = high if overwritten.clip_high_hu is None else overwritten.clip_high_hu
    inside = np.clip(values, low, max(low, high))
    intensity = Intensity(
        clip_low_hu=round(float(low), 2),
        clip_high_hu=round(float(max(low, high)), 2),  # if they are crossed, `_overwritten` refuses them
        mean_hu=round(float(inside.mean()), 3),
        std_hu=round(max(float(inside.std()), 1.0), 3),
    )
    return (
        intensity,
        "0.5 and 99.5 % percentile, mean and deviation of kidney and tumour voxels, each case weighing the same",
    )


def _sides_reason(n_kidneys: int, sides: list[int], spacing_x: float) -> str:
    return (
        f"95 % and 97.5 % percentile of the larger in-plane extent of {n_kidneys} kidneys at {spacing_x:g} mm, the "
        f"margin not counted, rounded up to multiples of {MULTIPLE}; a kidney that needs more than {sides[-1]} px with "
        "it gets the next multiple"
    )


def _sizes_reason(sizes: Sizes, memory_gb: float, start: str) -> str:
    fits = "fits" if sizes.memory_gb <= memory_gb else "the smallest there is; it does NOT fit"
    return f"{start}; {sizes.memory_gb:.1f} GB estimated, {fits} the target of {memory_gb:g} GB"


def _packed_words(stage: StagePlan | None) -> str:
    return "as it is" if stage is None else _stage_words(stage)


def _stage_words(stage: StagePlan) -> str:
    z, y, x = stage.patch_size_zyx
    return (
        f"patch {x} x {y} x {z} (x, y, z), batch {stage.batch_size}, {stage.base_features} base features, "
        f"{stage.norm} norm"
    )
