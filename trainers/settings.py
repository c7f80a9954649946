"""Everything that determines a training run, in one frozen document."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from bisc.core.choices import Edges, OptimizerName, Stage
from bisc.core.errors import InputError
from bisc.core.geometry import IntTriple
from bisc.core.limits import MULTIPLE, Packing
from bisc.planners.memory import norm_for
from bisc.planners.plan import Plan, StagePlan
from bisc.system.jsonfile import Document
from bisc.trainers.presets import Preset, Schedule, StageBudget

DEFAULT_SEED = 12345
LEGACY_SHARE = 0.15
"""Of decoys, about, when they came up as often as any other region."""


class RunSettings(Document, frozen=True):
    """What `run.json` and the checkpoint hold: the same settings and caches give the same weights on a CPU."""

    dataset: str
    stage: Stage
    fold: int
    preset: str
    loss: str
    loss_threshold: float
    optimizer: OptimizerName
    epochs: int
    iterations: int
    learning_rate: float
    schedule: Schedule
    mirror_axes: tuple[int, ...]
    seed: int
    precision: str
    patch_size_zyx: IntTriple
    batch_size: int
    base_features: int
    norm: str
    passes: int = 1
    """Parts of the batch whose gradients a step adds up (`trainers.passes`)."""
    edges: Edges = "branches"
    packing: Packing = 1
    augment: bool = False
    decoys: bool = False
    """Whether the fine stage sees places without a kidney too (`preprocessing.decoys`)."""
    decoy_share: float = LEGACY_SHARE
    """Part of its patches that these are; without decoys it says nothing, and stays as runs begun before have it."""

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.iterations


def run_settings(
    plan: Plan,
    stage: Stage,
    fold: int,
    preset: Preset,
    precision: str,
    loss: str | None = None,
    loss_threshold: float | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    seed: int = DEFAULT_SEED,
    edges: Edges | None = None,
    augment: bool | None = None,
    decoys: float | None = None,
) -> RunSettings:
    """A run's settings from plan, preset and what the user changed (None: the preset's value).

    Raises:
        InputError: If the preset packs, and the plan's patch cannot be.
    """
    budget: StageBudget = preset.rough if stage == "rough" else preset.fine
    share = preset.decoy_share if decoys is None else decoys
    sizes = _capped(plan.stage(stage, preset.packs), budget)
    if sizes.misfit:  # of a plan changed by hand, or made before its values were looked at
        mend = "correct the plan, or train with a preset that does not pack (paper)"
        raise InputError(f"{plan.dataset}, plan.json", sizes.misfit, f"multiples of {MULTIPLE} px", mend)
    return RunSettings(
        dataset=plan.dataset,
        stage=stage,
        fold=fold,
        preset=preset.name,
        loss=loss or budget.loss,
        loss_threshold=preset.loss_threshold if loss_threshold is None else loss_threshold,
        optimizer=budget.optimizer,
        epochs=epochs or budget.epochs,
        iterations=iterations or budget.iterations,
        learning_rate=budget.learning_rate,
        schedule=preset.schedule,
        mirror_axes=preset.mirror_axes,
        seed=seed,
        precision=precision,
        patch_size_zyx=sizes.patch_size_zyx,
        batch_size=sizes.batch_size,
        base_features=sizes.base_features,
        norm=sizes.norm,
        edges=edges or preset.edges,
        packing=sizes.packing,
        augment=preset.augment if augment is None else augment,
        decoys=share > 0.0,
        decoy_share=share or LEGACY_SHARE,
    )


def to_plain(settings: RunSettings) -> dict[str, Any]:
    """Settings as plain values (lists for tuples), as they come back from a checkpoint."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings))
    return plain


def _capped(stage: StagePlan, budget: StageBudget) -> StagePlan:
    cap = budget.max_patch_zyx or stage.patch_size_zyx
    z, y, x = (min(a, b) for a, b in zip(stage.patch_size_zyx, cap, strict=True))
    batch = min(stage.batch_size, budget.max_batch or stage.batch_size)
    return replace(
        stage,
        patch_size_zyx=(z, y, x),
        batch_size=batch,
        base_features=min(stage.base_features, budget.max_features or stage.base_features),
        norm=stage.norm if batch == stage.batch_size else norm_for(batch),
    )
