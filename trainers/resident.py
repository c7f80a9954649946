"""Cached regions kept in a GPU's memory and cut there: a step waits for no loader process and no transfer.

The patches are the sampler's own, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from bisc.core.volume import Box
from bisc.network.device import Device
from bisc.preprocessing.regions import Region
from bisc.trainers.sampler import Batch, Sampler, batches

SHARE: Final = 0.25
"""Of a GPU's free memory that regions may take; training wants the rest. KiTS19's take 2 GB, with decoys 4."""
BYTES_PER_VOXEL: Final = 2
"""Image and targets."""


@dataclass
class Resident:
    """A sampler's batches, cut from regions on a device; each is brought there when it is first wanted.

    Attributes:
        sampler: Draws the patches.
        device: Keeps the regions.
    """

    sampler: Sampler
    device: Device
    kept: dict[tuple[Path, int], tuple[Tensor, Tensor]] = field(default_factory=dict, init=False)

    def batch(self, step: int) -> Batch:
        """One step's, on the device.

        Raises:
            InputError: If a cache is missing or damaged.
        """
        picks = self.sampler.draw(step)
        size = self.sampler.patch_size_zyx
        batch = torch.zeros((2, len(picks), *size), dtype=torch.uint8, device=self.device.device)
        for i, pick in enumerate(picks):
            start, mirrored = self.sampler.place(pick)
            patch = Box(start, (start[0] + size[0], start[1] + size[1], start[2] + size[2]))
            seen = patch.clipped(pick.window.shape_zyx)
            if seen is None:
                continue
            there = seen.within(patch).to_slices()
            for out, whole in zip(batch[:, i], self._region(pick.region), strict=True):
                out[there] = whole[pick.window.to_slices()][seen.to_slices()]
                if mirrored:
                    out.copy_(out.flip(mirrored))
        return Batch(batch[0][:, None], batch[1])

    def batches(self, start: int, stop: int, period: int | None = None) -> Iterator[Batch]:
        """Those of the steps from `start` up to `stop`, in order; the first `period` again and again."""
        return map(self.batch, (step if period is None else step % period for step in range(start, stop)))

    def _region(self, region: Region) -> tuple[Tensor, Tensor]:
        key = region.folder, region.number
        if key not in self.kept:
            self.kept[key] = self.device.put(region.levels.copy()), self.device.put(region.targets)
        return self.kept[key]


def batches_for(
    sampler: Sampler, device: Device, start: int, stop: int, n_workers: int, period: int | None = None
) -> AbstractContextManager[Iterator[Batch]]:
    """A run's batches in order: from a GPU's own memory where all regions fit into a part of what is free there, else
    from loader processes (`bisc.trainers.sampler.batches`). With a `period` the former repeat: after the first of them
    nothing is read any more."""
    if device.kind == "cuda":
        free, _ = torch.cuda.mem_get_info(device.device)
        if BYTES_PER_VOXEL * sum(prod(region.shape_zyx) for region in sampler.regions) < SHARE * free:
            return nullcontext(Resident(sampler, device).batches(start, stop, period))
    return batches(sampler, start, stop, n_workers)
