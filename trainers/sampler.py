"""Which patch comes next: drawn apart from being cut, so that any step can be replayed by its number."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from batchgenerators.augmentations.crop_and_pad_augmentations import crop
from batchgenerators.augmentations.spatial_transformations import augment_mirroring
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from bisc.core.errors import BiscError, InputError, WorkError
from bisc.core.geometry import IntTriple, Triple, as_int_triple
from bisc.core.labels import BACKGROUND, KIDNEY, TUMOR
from bisc.core.volume import Box
from bisc.preprocessing.cache import list_regions
from bisc.preprocessing.regions import Region, Voxels
from bisc.preprocessing.resample import Intensity
from bisc.system.workers import Context, own_worker, starting


@dataclass(frozen=True)
class SamplingPolicy:
    """How patches are chosen.

    Attributes:
        p_tumor: Part of the patches that must hold a tumour voxel.
        p_kidney: Part that must hold a kidney voxel; the rest may lie anywhere: in a fine stage's regions of kidneys,
            in a rough stage's whole scans.
        p_decoy: Part of the rest, counted of all patches, that lies in decoys, where there are any.
        jitter_mm_zyx: For patches that may lie anywhere, cut the region's ends by up to twice this first, as a rough
            mask's errors shift and resize an ROI; it is the room that was cached around the ROI. None: the whole
            region, as for patches that must hold a voxel.
    """

    p_tumor: float
    p_kidney: float
    jitter_mm_zyx: Triple | None = None
    p_decoy: float = 0.0

    @property
    def p_rest(self) -> float:
        """Part that need hold neither, which is the most that decoys can have."""
        return round(1.0 - self.p_tumor - self.p_kidney, 9)


@dataclass(frozen=True)
class Pick:
    """One patch: a region, the window it is cropped from, and the seed of its crop and mirroring."""

    region: Region
    window: Box
    seed: int


@dataclass(frozen=True, eq=False)
class Batch:
    """What a training step sees.

    Attributes:
        levels: (batch, 1, z, y, x) uint8 image, as cached: a quarter of a network input's bytes to hand over.
        targets: (batch, z, y, x) uint8, packed. Both are arrays, or tensors on the device already.
    """

    levels: Voxels | Tensor
    targets: Voxels | Tensor

    def parts(self, n: int) -> list[Batch]:
        """The batch cut into `n` equal ones, which share its memory; n divides its size."""
        size = len(self.levels) // n
        return [Batch(self.levels[i : i + size], self.targets[i : i + size]) for i in range(0, len(self.levels), size)]


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
        places: Which patches of a batch are cut, where other processes cut the others; None: all.
    """

    regions: tuple[Region, ...]
    patch_size_zyx: IntTriple
    batch_size: int
    policy: SamplingPolicy
    seed: int
    intensity: Intensity
    mirror_axes: tuple[int, ...] = (0, 1, 2)
    places: tuple[int, ...] | None = None

    def draw(self, step: int) -> list[Pick]:
        """The picks of one step to cut here, of those of the whole batch: a pure function of the seed and the step."""
        rng = np.random.default_rng((self.seed, step))
        picks = [self._pick(rng) for _ in range(self.batch_size)]
        return picks if self.places is None else [picks[place] for place in self.places]

    def batch(self, step: int) -> Batch:
        """Draw and cut one step's batch, or the share of it."""
        levels, targets = zip(*(self.cut(pick) for pick in self.draw(step)), strict=True)
        return Batch(np.stack(levels), np.stack(targets))

    def cut(self, pick: Pick) -> tuple[Voxels, Voxels]:
        """Random crop and random mirroring of one pick.

        Returns:
            (1, z, y, x) uint8 image levels and (z, y, x) uint8 packed targets of the patch's size; what lies outside
            the window is air and background.
        """
        levels = pick.region.levels[pick.window.to_slices()]
        targets = pick.region.targets_in(pick.window)
        with numpy_seeded(pick.seed):
            at = self._start(pick.window)
            there = tuple(slice(max(0, a), max(0, a) + n) for a, n in zip(at, self.patch_size_zyx, strict=True))
            image, marks = crop([levels[there][None]], [targets[there][None]], self.patch_size_zyx)  # pads
            augment_mirroring(image[0], marks[0], self.mirror_axes)
        return image[0], marks[0, 0]

    def place(self, pick: Pick) -> tuple[IntTriple, tuple[int, ...]]:
        """Where `cut` crops, and along which axes it mirrors, by the same draws.

        Returns:
            The patch's first voxel (z, y, x) in the window, which may lie outside of it; axes mirrored (0 z, 1 y, 2 x).
        """
        corner = np.arange(8).reshape(1, 2, 2, 2)
        with numpy_seeded(pick.seed):
            start = self._start(pick.window)
            first = int(augment_mirroring(corner, None, self.mirror_axes)[0].flat[0])
        return start, tuple(axis for axis, bit in enumerate((4, 2, 1)) if first & bit)

    def _start(self, window: Box) -> IntTriple:
        """The patch's first voxel in a window, by numpy's global generator; a smaller window lies in its middle.

        batchgenerators' own draw leaves out the last place along each axis.
        """
        room = np.subtract(window.shape_zyx, self.patch_size_zyx)
        return as_int_triple([np.random.randint(n + 1) if n > 0 else n // 2 for n in room])  # noqa: NPY002

    def _pick(self, rng: np.random.Generator) -> Pick:
        kind = rng.random()
        policy = self.policy
        label = TUMOR if kind < policy.p_tumor else KIDNEY if kind < policy.p_tumor + policy.p_kidney else BACKGROUND
        from_decoys = kind >= 1.0 - policy.p_decoy
        own = [r for r in self.regions if r.record.decoy == from_decoys] or self.regions
        pool = [r for r in own if r.holds(label)]
        region = (pool or own)[int(rng.integers(len(pool or own)))]
        window = Box.of_shape(region.shape_zyx)
        if policy.jitter_mm_zyx is not None:
            window = _jittered(region, policy.jitter_mm_zyx, rng)
        if pool and label != BACKGROUND:
            points = region.points(label)
            window = self._around(points[int(rng.integers(len(points)))], region.shape_zyx)
        return Pick(region, window, int(rng.integers(2**31)))

    def _around(self, point: npt.NDArray[np.int16], shape_zyx: IntTriple) -> Box:
        """The window in which every crop of the patch's size holds `point`."""
        patch = np.asarray(self.patch_size_zyx)
        start = np.maximum(point.astype(int) - patch + 1, 0)
        stop = np.minimum(point.astype(int) + patch, shape_zyx)
        return Box(as_int_triple(start), as_int_triple(stop))


def _jittered(region: Region, room_mm_zyx: Triple, rng: np.random.Generator) -> Box:
    """Both ends of each axis cut by up to twice the room that was cached around the ROI."""
    most = 2 * np.ceil(np.divide(room_mm_zyx, region.record.spacing_mm_zyx)).astype(int)
    start = rng.integers(0, most + 1)
    stop = np.asarray(region.shape_zyx) - rng.integers(0, most + 1)
    return Box(as_int_triple(start), as_int_triple(np.maximum(stop, start + 1)))


_turn: Final = threading.Lock()
"""Two trainings in two threads share that generator."""


@contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """Seed numpy's global generator, which batchgenerators draws from, for the block; its state comes back after."""
    with _turn:
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def index_regions(folders: list[Path], decoys: bool = False) -> tuple[Region, ...]:
    """The regions of cached cases, with or without decoys, from their records alone.

    Raises:
        InputError: If a cache is missing or damaged, or there is no region at all.
    """
    regions = tuple(region for folder in folders for region in list_regions(folder, decoys))
    if not regions:
        where = folders[0].parent if folders else Path()
        raise InputError(where, "no cached region to train on", "cases with kidneys", "check the label maps")
    return regions


WAIT_S: Final = 300.0
MEND: Final = "run again with --continue --workers 0"


@contextmanager
def batches(
    sampler: Sampler, start: int, stop: int, n_workers: int, wait_s: float = WAIT_S
) -> Iterator[Iterator[Batch]]:
    """Batches of the steps from `start` up to `stop`, in order, the same ones whatever the number of workers.

    Args:
        sampler: Makes a batch from a step number.
        start: First step.
        stop: One past the last step.
        n_workers: Worker processes, which make batches ahead of need; 0 makes them in this process.
        wait_s: A batch that takes longer is an error.

    Raises:
        WorkError: From the block, if a worker died (at once, whatever the block is at; outside of the main thread
            after `wait_s`) or a batch took longer than `wait_s`.
    """
    n_workers = n_workers if start < stop else 0
    with starting(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of more workers than cores
        loader = iter(
            DataLoader(
                _Steps(sampler),
                batch_size=None,  # a step is a batch already
                sampler=range(start, stop),
                num_workers=n_workers,
                timeout=wait_s if n_workers else 0.0,
                multiprocessing_context=Context() if n_workers else None,
                worker_init_fn=own_worker,
                generator=torch.Generator(),  # else it would draw from the caller's
            )
        )
    waiting_for = [start]
    try:
        yield _in_turn(loader, waiting_for)
    except RuntimeError as error:
        if not str(error).startswith("DataLoader"):
            raise
        raise WorkError(_what_happened(str(error), waiting_for[0], sampler, wait_s)) from error
    finally:
        if isinstance(loader, _MultiProcessingDataLoaderIter):
            loader._shutdown_workers()  # now: an error's traceback may keep the loader for long


class _Steps(Dataset["Batch | BiscError"]):
    """A sampler as torch wants it; errors travel as values, since torch would make other ones of them."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def __getitem__(self, step: int) -> Batch | BiscError:
        try:
            return self.sampler.batch(step)
        except BiscError as error:
            return error


def _in_turn(loader: Iterator[Batch | BiscError], waiting_for: list[int]) -> Iterator[Batch]:
    for batch in loader:
        if isinstance(batch, BiscError):
            raise batch
        yield batch
        waiting_for[0] += 1


def _what_happened(words: str, step: int, sampler: Sampler, wait_s: float) -> str:
    if "timed out" in words:
        return f"no batch within {wait_s:g} s at step {step}; is the disk there? {MEND}"
    cases = ", ".join(sorted({pick.region.folder.name for pick in sampler.draw(step)}))
    return f"a loader process died at step {step} ({cases}) or soon after, most often for want of memory; {MEND}"
