"""Hand-made cached regions, and samplers that fail as a disk, a kernel or a library would.

A module of its own, since worker processes import it to unpickle them.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bisc.core.errors import InputError
from bisc.core.geometry import IntTriple
from bisc.preprocessing.cache import CaseRecord
from bisc.preprocessing.regions import save_region
from bisc.preprocessing.resample import Intensity
from bisc.system.jsonfile import save_json
from bisc.trainers.sampler import Batch, Sampler, SamplingPolicy, index_regions

NUMBERS_AS_THEY_ARE = Intensity(clip_low_hu=0.0, clip_high_hu=255.0, mean_hu=0.0, std_hu=1.0)
"""A level is its own network input, and air is 0."""
ANYWHERE = SamplingPolicy(p_tumor=0.0, p_kidney=0.0)
TUMOR_ALWAYS = SamplingPolicy(p_tumor=1.0, p_kidney=0.0)
KIDNEY_ALWAYS = SamplingPolicy(p_tumor=0.0, p_kidney=1.0)


def write_region(folder: Path, labels: npt.NDArray[np.uint8]) -> Path:
    """A case of one cached region; each voxel's level is its number, from 1 on, since 0 is air.

    The arrays run x first in memory, as those of a scan that is stored so do.
    """
    assert labels.size < 256
    folder.mkdir(parents=True)
    levels = np.arange(1, labels.size + 1, dtype=np.uint8).reshape(labels.shape)
    record = save_region(folder, 0, np.asfortranarray(levels), np.asfortranarray(labels), (3.0, 1.0, 1.0))
    save_json(folder / "case.json", CaseRecord(name=folder.name, key="", regions=[record]))
    return folder


def make_sampler(
    folders: list[Path],
    patch: IntTriple,
    policy: SamplingPolicy = ANYWHERE,
    kind: type[Sampler] = Sampler,
    mirror_axes: tuple[int, ...] = (0, 1, 2),
    batch_size: int = 2,
) -> Sampler:
    """A sampler of seed 5 over cached cases."""
    return kind(index_regions(folders), patch, batch_size, policy, 5, NUMBERS_AS_THEY_ARE, mirror_axes)


@dataclass(frozen=True)
class DyingSampler(Sampler):
    """Its process vanishes at step 2, as under the kernel's hand when memory ends."""

    def batch(self, step: int) -> Batch:
        """Or not."""
        if step == 2:
            os._exit(9)
        return super().batch(step)


@dataclass(frozen=True)
class HangingSampler(Sampler):
    """Its second batch never comes, as from a network disk that went away."""

    def batch(self, step: int) -> Batch:
        """Or never."""
        if step == 1:
            time.sleep(3600)
        return super().batch(step)


@dataclass(frozen=True)
class FailingSampler(Sampler):
    """Its second batch raises an error of its own."""

    def batch(self, step: int) -> Batch:
        """Or an error."""
        if step == 1:
            raise ValueError("not a patch")
        return super().batch(step)


@dataclass(frozen=True)
class DamagedSampler(Sampler):
    """Its second batch is cut from a file at fault."""

    def batch(self, step: int) -> Batch:
        """Or an error of the package's."""
        if step == 1:
            raise InputError("image.npy", "is damaged", mend="mend it")
        return super().batch(step)
