"""The plan: everything the data set decides, frozen, and each value's reason in words."""

from __future__ import annotations

from typing import Final, Literal

from bisc.core.geometry import IntTriple, Triple
from bisc.core.jsonfile import Document
from bisc.preprocessing.crop import RoiRule
from bisc.preprocessing.normalise import Intensity

PLAN_SCHEMA_VERSION: Final = 1


class StagePlan(Document, frozen=True):
    """Network and training sizes of one stage."""

    patch_size_zyx: IntTriple
    batch_size: int
    base_features: int
    norm: Literal["batch", "instance"]
    estimated_memory_gb: float


class Plan(Document, frozen=True):
    """What `plan.json` holds."""

    schema_version: int
    dataset: str
    n_cases: int
    target_spacing_mm_zyx: Triple
    rough_in_plane_px: int
    intensity: Intensity
    roi: RoiRule
    rough: StagePlan
    fine: StagePlan
    memory_gb: float
    label_note: str
    reasons: dict[str, str]
