"""Which patch comes next: drawn apart from being cut, so that any step can be replayed by its number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from batchgenerators.augmentations.crop_and_pad_augmentations import get_lbs_for_random_crop

from bisc.core.box import Box
from bisc.core.errors import InputError
from bisc.core.geometry import IntTriple, as_int_triple
from bisc.preprocessing.cache import CaseRecord, load_regions
from bisc.preprocessing.regions import Region, Voxels
from bisc.preprocessing.resample import Intensity
from bisc.system.jsonfile import load_json

WORD_BYTES: Final = 8


@dataclass(frozen=True)
class SamplingPolicy:
    """How patches are chosen.

    Attributes:
        p_tumor: Part of the patches that must hold a tumour voxel.
        p_kidney: Part that must hold a kidney voxel; the rest may lie anywhere.
        jitter: Cut the region's ends by random amounts first, as a rough mask's errors shift and resize an ROI.
    """

    p_tumor: float
    p_kidney: float
    jitter: bool


@dataclass(frozen=True)
class RegionIndex:
    """One cached region, before it is opened."""

    folder: Path
    number: int
    shape_zyx: IntTriple
    has_kidney: bool
    has_tumor: bool
    room_zyx: IntTriple


@dataclass(frozen=True)
class Pick:
    """One patch: a region, the window it is cropped from, and the seed of its crop and mirroring."""

    region: RegionIndex
    window: Box
    seed: int


@dataclass(frozen=True, eq=False)
class Batch:
    """What a training step sees.

    Attributes:
        levels: (batch, 1, z, y, x) uint8 image, as cached: a quarter of a network input's bytes to hand over.
        targets: (batch, z, y, x) uint8, packed.
    """

    levels: Voxels
    targets: Voxels

    def parts(self, n: int) -> list[Batch]:
        """The batch cut into `n` equal ones, which share its memory; n divides its size."""
        return [Batch(*both) for both in zip(np.split(self.levels, n), np.split(self.targets, n), strict=True)]


@dataclass(frozen=True)
class Sampler:
    """Batches by step number; picklable, so that worker processes can make them.

    Attributes:
        regions: What to sample from.
        patch_size_zyx: Patch.
        batch_size: Patches a batch.
        policy: How patches are chosen.
        seed: Of the run.
        intensity: Makes network input of the cached levels.
        mirror_axes: Axes (0 z, 1 y, 2 x) mirrored at random.
    """

    regions: tuple[RegionIndex, ...]
    patch_size_zyx: IntTriple
    batch_size: int
    policy: SamplingPolicy
    seed: int
    intensity: Intensity
    mirror_axes: tuple[int, ...] = (0, 1, 2)

    def draw(self, step: int) -> list[Pick]:
        """The picks of one step: a pure function of the seed and the step."""
        rng = np.random.default_rng((self.seed, step))
        return [self._pick(rng) for _ in range(self.batch_size)]

    def batch(self, step: int) -> Batch:
        """Draw and cut one step's batch."""
        levels = np.empty((self.batch_size, 1, *self.patch_size_zyx), np.uint8)
        targets = np.empty((self.batch_size, *self.patch_size_zyx), np.uint8)
        with numpy_state_kept():
            for i, pick in enumerate(self.draw(step)):
                _cut_into(levels[i, 0], targets[i], pick, self.mirror_axes)
        return Batch(levels, targets)

    def _pick(self, rng: np.random.Generator) -> Pick:
        kind = rng.random()
        policy = self.policy
        want_tumor = kind < policy.p_tumor
        want_kidney = not want_tumor and kind < policy.p_tumor + policy.p_kidney
        pool = [r for r in self.regions if (r.has_tumor or not want_tumor) and (r.has_kidney or not want_kidney)]
        region = (pool or self.regions)[int(rng.integers(len(pool or self.regions)))]
        window = self._jittered(region, rng) if policy.jitter else Box.of_shape(region.shape_zyx)
        if pool and (want_tumor or want_kidney):
            opened = open_regions(region.folder)[region.number]
            points = opened.tumor_points if want_tumor else opened.kidney_points
            window = self._around(points[int(rng.integers(len(points)))], region.shape_zyx)
        return Pick(region, window, int(rng.integers(2**31)))

    def _jittered(self, region: RegionIndex, rng: np.random.Generator) -> Box:
        """Both ends of each axis cut by up to twice the room that was cached around the ROI."""
        start = rng.integers(0, 2 * np.asarray(region.room_zyx) + 1)
        stop = np.asarray(region.shape_zyx) - rng.integers(0, 2 * np.asarray(region.room_zyx) + 1)
        return Box(as_int_triple(start), as_int_triple(np.maximum(stop, start + 1)))

    def _around(self, point: npt.NDArray[np.int16], shape_zyx: IntTriple) -> Box:
        """The window in which every crop of the patch's size holds `point`."""
        patch = np.asarray(self.patch_size_zyx)
        start = np.maximum(point.astype(int) - patch + 1, 0)
        stop = np.minimum(point.astype(int) + patch, shape_zyx)
        return Box(as_int_triple(start), as_int_triple(stop))


def index_regions(folders: list[Path], room_mm_zyx: tuple[float, float, float]) -> tuple[RegionIndex, ...]:
    """The regions of cached cases, from their records alone.

    Raises:
        InputError: If a cache is missing or damaged, or there is no region at all.
    """
    indexed = []
    for folder in folders:
        record = load_json(folder / "case.json", CaseRecord, "run bisc_plan_and_preprocess again")
        for number, region in enumerate(record.regions):
            room = np.ceil(np.divide(room_mm_zyx, region.spacing_mm_zyx))
            indexed.append(
                RegionIndex(
                    folder,
                    number,
                    region.shape_zyx,
                    region.kidney_voxels > 0,
                    region.tumor_voxels > 0,
                    as_int_triple(room),
                )
            )
    if not indexed:
        where = folders[0].parent if folders else Path()
        raise InputError(where, "no cached region to train on", "cases with kidneys", "check the label maps")
    return tuple(indexed)


def cut_patch(pick: Pick, patch_size_zyx: IntTriple, mirror_axes: tuple[int, ...]) -> tuple[Voxels, Voxels]:
    """Random crop and random mirroring of one pick.

    Returns:
        (1, z, y, x) uint8 image levels and (z, y, x) uint8 packed targets of the patch's size; what lies outside the
        window's region is air and background.
    """
    levels, targets = np.empty((1, *patch_size_zyx), np.uint8), np.empty(patch_size_zyx, np.uint8)
    with numpy_state_kept():
        _cut_into(levels[0], targets, pick, mirror_axes)
    return levels, targets


def _cut_into(levels: Voxels, targets: Voxels, pick: Pick, mirror_axes: tuple[int, ...]) -> None:
    """`cut_patch` into (z, y, x) arrays that are there; leaves numpy's global generator seeded.

    Place and mirroring are drawn as batchgenerators' `crop` and `augment_mirroring` draw them, and the result equals
    theirs.
    """
    region = open_regions(pick.region.folder)[pick.region.number]
    np.random.seed(pick.seed)  # noqa: NPY002
    patch, window = np.asarray(levels.shape), np.asarray(pick.window.shape_zyx)
    first = np.asarray(get_lbs_for_random_crop(levels.shape, (1, 1, *pick.window.shape_zyx), (0, 0, 0)))
    axes = [axis for axis in range(3) if axis in mirror_axes and np.random.uniform() < 0.5]  # noqa: NPY002
    begin, end = np.maximum(first, 0), np.minimum(first + patch, window)
    crop = Box(as_int_triple(begin), as_int_triple(end)).shifted(pick.window.start_zyx)
    there = Box(as_int_triple(begin - first), as_int_triple(end - first))  # before mirroring
    size = as_int_triple(levels.shape)
    if (window < patch).any():
        levels[...] = 0  # air
    _put_mirrored(levels[there.mirrored(size, axes).to_slices()], region.levels[crop.to_slices()], axes)
    targets[...] = 0
    found = region.marked_in(crop)
    if found is not None:
        marked, voxels = found
        _put_mirrored(targets[marked.shifted(there.start_zyx).mirrored(size, axes).to_slices()], voxels, axes)


def _put_mirrored(out: Voxels, voxels: Voxels, axes: list[int]) -> None:
    """Write (z, y, x) voxels mirrored along `axes` (ascending) into `out`, of their shape and with x last in memory.

    Along x by words of eight bytes, the rows filled up in front: one by one numpy takes three times as long.
    """
    if 2 not in axes:
        out[...] = np.flip(voxels, axes)
        return
    width = voxels.shape[2]
    fill = -width % WORD_BYTES
    rows = np.empty((*voxels.shape[:2], fill + width), np.uint8)
    rows[..., fill:] = np.flip(voxels, axes[:-1])
    words = rows.view(np.uint64).byteswap(inplace=True)[..., ::-1]
    if fill:
        out[...] = np.ascontiguousarray(words).view(np.uint8)[..., :width]
    else:
        out.view(np.uint64)[...] = words


@contextmanager
def numpy_state_kept() -> Iterator[None]:
    """Restore numpy's global generator, which batchgenerators draws from, afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


@lru_cache(maxsize=4096)
def open_regions(folder: Path) -> tuple[Region, ...]:
    """A case's regions, opened once per process; no voxel is read yet."""
    return tuple(load_regions(folder))
