"""The plan: everything the data set decides, frozen, and each value's reason in words."""

from __future__ import annotations

from typing import Final, Literal

from bisc.core.limits import Amount, Batch, Count, Edge, Features, SpacingMm
from bisc.preprocessing.kidneys import RoiRule
from bisc.preprocessing.normalise import Intensity
from bisc.system.jsonfile import Document

PLAN_SCHEMA_VERSION: Final = 1


class StagePlan(Document, frozen=True):
    """Network and training sizes of one stage."""

    patch_size_zyx: tuple[Edge, Edge, Edge]
    batch_size: Batch
    base_features: Features
    norm: Literal["batch", "instance"]
    estimated_memory_gb: Amount


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

    def __post_init__(self) -> None:
        """Refuse what no single number shows; msgspec turns the ValueError into its own, with the place."""
        if self.intensity.clip_low_hu >= self.intensity.clip_high_hu:
            raise ValueError("intensity needs clip_low_hu below clip_high_hu")
        if not self.roi.sides_px:
            raise ValueError("roi needs a side")
