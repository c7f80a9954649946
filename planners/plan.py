"""The plan: everything the data set decides, frozen, and each value's reason in words."""

from __future__ import annotations

from typing import Final, Literal

from msgspec.structs import replace

from bisc.core.choices import Stage
from bisc.core.limits import MULTIPLE, Amount, Batch, Count, Edge, Features, Norm, Packing, SpacingMm
from bisc.preprocessing.kidneys import RoiRule
from bisc.preprocessing.resample import Intensity
from bisc.system.jsonfile import Document

PLAN_SCHEMA_VERSION: Final = 1


class StagePlan(Document, frozen=True):
    """Network and training sizes of one stage."""

    patch_size_zyx: tuple[Edge, Edge, Edge]
    batch_size: Batch
    base_features: Features
    norm: Norm
    estimated_memory_gb: Amount
    packing: Packing = 1

    @property
    def misfit(self) -> str:
        """Why a network that packs cannot take the patch, in words; empty where it can."""
        _, y, x = self.patch_size_zyx
        fits = self.packing == 1 or y % MULTIPLE == x % MULTIPLE == 0
        return "" if fits else f"a packed patch of {x} x {y} px in plane"


class Plan(Document, frozen=True):
    """What `plan.json` holds."""

    schema_version: Literal[1]
    dataset: str
    n_cases: Count
    target_spacing_mm_zyx: tuple[SpacingMm, SpacingMm, SpacingMm]
    rough_in_plane_px: Edge
    intensity: Intensity
    roi: RoiRule
    rough: StagePlan
    fine: StagePlan
    memory_gb: Amount
    label_note: str
    reasons: dict[str, str]
    packed: StagePlan | None = None
    """The fine stage of presets that pack squares of voxels into channels; None in plans of before there were any."""
    packed_rough: StagePlan | None = None
    """The rough stage of such presets."""

    def stage(self, stage: Stage, packs: bool) -> StagePlan:
        """A stage's sizes, packed where that is asked for and planned."""
        plain, packed = (self.rough, self.packed_rough) if stage == "rough" else (self.fine, self.packed)
        return packed if packs and packed is not None else plain


def completed(plan: Plan, anew: Plan) -> Plan:
    """`plan` with the packed sizes, and their reasons, that plans had not from the beginning."""
    missing = [name for name in ("packed", "packed_rough") if getattr(plan, name) is None]
    reasons = plan.reasons | {name: anew.reasons[name] for name in missing}
    return replace(plan, **{name: getattr(anew, name) for name in missing}, reasons=reasons)
