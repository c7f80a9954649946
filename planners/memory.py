"""How much memory a training step of an SC-UNet takes, and the largest sizes that fit a target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from bisc.core.geometry import IntTriple, Triple
from bisc.core.limits import MULTIPLE, Norm
from bisc.system.memory import GIB

BYTES_PER_VOXEL_FEATURE: Final = 95.0
BYTES_PER_VOXEL: Final = 290.0
BYTES_PER_PARAMETER: Final = 43.0
FIXED_GB: Final = 0.41
"""Fitted to peak resident memory of float32 training steps at f = 8, 16, 32 (docs/lab/method.md,
tests/network/test_memory.py). Weight, gradient and Adam's two moments make 16 bytes a parameter; the kernels' scratch
makes the rest."""
MAX_BATCH: Final = 8
MAX_FEATURES: Final = 32
MIN_FEATURES: Final = 8
BATCH_NORM_MIN_BATCH: Final = 4


@dataclass(frozen=True)
class Sizes:
    """What fits: patch, batch, width."""

    patch_size_zyx: IntTriple
    batch_size: int
    base_features: int
    packing: int = 1

    @property
    def memory_gb(self) -> float:
        """Estimated peak of a training step."""
        return training_gb(self.patch_size_zyx, self.batch_size, self.base_features, self.packing)


def n_parameters(base_features: int) -> int:
    """Trainable values of an SC-UNet (a test compares it with the network's own count)."""
    f = base_features

    def pair(i: int, o: int) -> int:
        return 27 * (i * o + o * o) + 4 * o

    def up(i: int, o: int) -> int:
        return 8 * i * o + o + pair(2 * o, o)

    trunk = pair(1, f) + pair(f, 2 * f) + pair(2 * f, 4 * f) + pair(4 * f, 8 * f) + up(8 * f, 4 * f) + up(4 * f, 2 * f)
    return trunk + 3 * up(2 * f, f) + (f + 1) * (3 + 2 + 2)


def training_gb(patch_size_zyx: IntTriple, batch_size: int, base_features: int, packing: int = 1) -> float:
    """Estimated peak memory in GiB of one float32 training step with all three branches."""
    voxels = batch_size * float(np.prod(patch_size_zyx))
    per_voxel = BYTES_PER_VOXEL_FEATURE * base_features / packing**2 + BYTES_PER_VOXEL
    return FIXED_GB + (voxels * per_voxel + BYTES_PER_PARAMETER * n_parameters(base_features)) / GIB


def largest_that_fits(
    start_zyx: IntTriple,
    minimum_zyx: IntTriple,
    memory_gb: float,
    spacing_mm_zyx: Triple,
    packing: int = 1,
    fixed: Mapping[str, Any] = MappingProxyType({}),
) -> Sizes:
    """The first of a fixed descent that fits `memory_gb`.

    The patch shrinks first (always the axis that reaches farthest in mm, down to `minimum_zyx`), then the batch from
    8 to 4, then to 2, then the width halves. The last candidate is taken even where it does not fit. What is `fixed`,
    by its name in `Sizes`, is so in every candidate.
    """
    sizes = Sizes(start_zyx, MAX_BATCH, MAX_FEATURES, packing)
    for unpacked in _descent(start_zyx, minimum_zyx, spacing_mm_zyx):
        sizes = replace(unpacked, packing=packing, **fixed)
        if sizes.memory_gb <= memory_gb:
            break
    return sizes


def norm_for(batch_size: int) -> Norm:
    """Batch norm where the batch can carry it (it folds at inference), instance norm below (docs/lab/method.md)."""
    return "batch" if batch_size >= BATCH_NORM_MIN_BATCH else "instance"


def _descent(start: IntTriple, minimum: IntTriple, spacing: Triple) -> Iterator[Sizes]:
    patch = list(start)
    yield Sizes(start, MAX_BATCH, MAX_FEATURES)
    while True:
        movable = [a for a in range(3) if patch[a] > minimum[a]]
        if not movable:
            break
        axis = max(movable, key=lambda a: patch[a] * spacing[a])
        patch[axis] = max(minimum[axis], patch[axis] - MULTIPLE)
        yield Sizes((patch[0], patch[1], patch[2]), MAX_BATCH, MAX_FEATURES)
    smallest = (patch[0], patch[1], patch[2])
    for batch in (6, 4, 3, 2):
        yield Sizes(smallest, batch, MAX_FEATURES)
    features = MAX_FEATURES // 2
    while features >= MIN_FEATURES:
        yield Sizes(smallest, 2, features)
        features //= 2
