"""Presets are data: what a training run takes from a name."""

from __future__ import annotations

from typing import Final, Literal

from msgspec.structs import replace

from bisc.core.choices import Edges, OptimizerName
from bisc.core.errors import InputError
from bisc.system.jsonfile import Document

Schedule = Literal["constant", "cosine"]


class StageBudget(Document, frozen=True):
    """By which loss and optimiser, how fast and how long one stage trains, and caps on the plan's sizes (None: as
    planned)."""

    loss: str
    optimizer: OptimizerName
    learning_rate: float
    epochs: int
    iterations: int
    max_batch: int | None = None
    max_features: int | None = None
    max_patch_zyx: tuple[int, int, int] | None = None


class Preset(Document, frozen=True):
    """One named way to train."""

    name: str
    purpose: str
    loss_threshold: float
    schedule: Schedule
    mirror_axes: tuple[int, ...]
    """Axes (0 z, 1 y, 2 x) mirrored at random."""
    rough: StageBudget
    fine: StageBudget
    edges: Edges = "branches"
    augment: bool = False
    """Whether patches are turned, scaled and toned (`trainers.augment`)."""
    narrows: bool = False
    """Whether `--minutes` may choose smaller sizes, so that the steps are enough."""
    decoy_share: float = 0.0
    """Part of the fine stage's patches that are of places without a kidney."""
    packs: bool = False
    """Whether voxels enter two by two as channels (`Plan.packed`)."""


DEFAULT_THRESHOLD: Final = 0.0
"""T of equation 1: every voxel counts (docs/lab/losses.md)."""

PAPER: Final = StageBudget(loss="balanced_ce", optimizer="adam", learning_rate=1e-4, epochs=20, iterations=4000)
BEST: Final = StageBudget(loss="dice_ce", optimizer="muon", learning_rate=0.03, epochs=8, iterations=250)
BRIEF: Final = StageBudget(
    loss="dice_ce",
    optimizer="muon",
    learning_rate=0.06,
    epochs=2,
    iterations=20,
    max_batch=2,
    max_features=8,
    max_patch_zyx=(24, 128, 128),
)

PRESETS: Final[dict[str, Preset]] = {
    preset.name: preset
    for preset in (
        Preset(
            name="paper",
            purpose="the paper's: balanced cross-entropy, Adam 1e-4, batch as planned, at most 8, 20 x 4000 steps",
            loss_threshold=DEFAULT_THRESHOLD,
            schedule="constant",
            mirror_axes=(0, 1, 2),
            rough=PAPER,
            fine=PAPER,
        ),
        Preset(
            name="best",
            purpose="learns most in any time (--minutes): Dice + CE, Muon 0.03, no edges, voxels packed",
            loss_threshold=DEFAULT_THRESHOLD,
            schedule="cosine",
            mirror_axes=(2,),
            rough=BEST,
            fine=replace(BEST, epochs=16, iterations=500),
            edges="off",
            decoy_share=0.05,
            narrows=True,
            packs=True,
        ),
        Preset(
            name="demo",
            purpose="minutes on two CPU cores: a narrow network, Dice + CE, Muon at a high rate falling to zero",
            loss_threshold=DEFAULT_THRESHOLD,
            schedule="cosine",
            mirror_axes=(2,),
            rough=replace(BRIEF, iterations=72),
            fine=replace(BRIEF, epochs=20, iterations=75, max_features=16, max_patch_zyx=(32, 64, 64)),
            edges="off",
            packs=True,
        ),
        Preset(
            name="quick",
            purpose="a trial run in a minute or two: does everything work?",
            loss_threshold=DEFAULT_THRESHOLD,
            schedule="cosine",
            mirror_axes=(2,),
            rough=BRIEF,
            fine=replace(BRIEF, iterations=40, max_patch_zyx=(32, 64, 64)),
        ),
    )
}


def preset_by_name(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        InputError: If there is none.
    """
    if name not in PRESETS:
        raise InputError("--preset", f"no preset {name!r}", " or ".join(PRESETS))
    return PRESETS[name]
