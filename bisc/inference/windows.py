"""Softmax of the region branch over a volume, in windows that slide where it is larger than they are."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from bisc.core.errors import InputError, WorkError
from bisc.core.geometry import IntTriple, as_int_triple
from bisc.core.labels import N_CLASSES
from bisc.core.limits import MULTIPLE
from bisc.imageio import StoredImage, read_size
from bisc.inference.model import MOST_NETWORK_GB, FoldNetwork, Model
from bisc.network.device import Device
from bisc.network.sc_unet import DIVISOR, RegionNetwork
from bisc.system.console import check
from bisc.system.memory import GIB, free_gb, resident_gb

FORWARD_FIXED_GB: Final = 0.15
"""Of a pass, whatever its size; what grows with its voxels stands in bisc.network.folded."""
LEAST_NETWORK_GB: Final = 0.9
"""A rough window of 64 x 128 x 128 voxels at f = 32 of a network that cannot be folded."""
BYTES_PER_IMAGE_VOXEL: Final = 6.0
"""Of a scan's voxels, int16 all along: its mask three times while it is written, and one mask more to count voxels."""
BATCH_VOXELS = 600_000
"""Windows go through the network together up to this many voxels, so that memory stays bounded."""
TURNS: Final[defaultdict[str, threading.Lock]] = defaultdict(threading.Lock)
"""By device. Passes of several threads at once would take the memory of all of them, and no less time."""
Place = tuple[slice, ...]


def softmax_volume(
    networks: Sequence[FoldNetwork],
    image: npt.NDArray[np.float32],
    air: float,
    network_gb: float = MOST_NETWORK_GB,
    mirror: bool = False,
    votes: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.float32]:
    """Mean softmax of several folds' networks, each in its own windows.

    Args:
        networks: Folds to average, each on its device.
        image: (z, y, x) normalised.
        air: What the image is padded with.
        network_gb: What a pass may take; a region too large for that is seen in slabs along z.
        mirror: See the image left for right too: twice the time.
        votes: (z, y, x), to which 1 is added for each fold whose most probable class of a voxel is kidney or tumour.

    Returns:
        (classes, z, y, x) float32, sums to 1 over classes.
    """
    total: npt.NDArray[np.float32] | None = None
    for fold in networks:
        window = fold.window_zyx or window_that_fits(as_int_triple(image.shape), fold.bytes_per_voxel, network_gb)
        found = _softmax(fold, image, air, window)
        if mirror:
            found += _softmax(fold, np.ascontiguousarray(image[..., ::-1]), air, window)[..., ::-1]
        if votes is not None:
            votes += found[1:].max(axis=0) > found[0]
        if total is None:
            total = found
        else:
            total += found
    assert total is not None  # a model has a fold at least
    total /= len(networks) * (2 if mirror else 1)
    return total


def window_starts(length: int, window: int) -> list[int]:
    """First indices of half-overlapping windows that cover `length`; the last one ends at the end."""
    if length <= window:
        return [0]
    last = length - window
    n = int(np.ceil(last / (window / 2))) + 1
    return sorted({round(i * last / (n - 1)) for i in range(n)})


def _softmax(
    fold: FoldNetwork, image: npt.NDArray[np.float32], air: float, window: IntTriple
) -> npt.NDArray[np.float32]:
    """One network's, in its device's precision; in float32 where that overflows: not a number is no class."""
    found = _windows(fold.network, image, air, fold.device, window)
    if fold.exact is None or np.isfinite(found).all():
        return found
    return _windows(fold.exact, image, air, fold.device.in_float32(), window)


def _windows(
    network: RegionNetwork, image: npt.NDArray[np.float32], air: float, device: Device, size: IntTriple
) -> npt.NDArray[np.float32]:
    """(classes, z, y, x) softmax from half-overlapping windows of `size`."""
    out: npt.NDArray[np.float32] = np.zeros((N_CLASSES, *image.shape), dtype=np.float32)
    total: npt.NDArray[np.float32] = np.zeros(image.shape, dtype=np.float32)
    places = [
        tuple(slice(s, min(s + n, length)) for s, n, length in zip(start, size, image.shape, strict=True))
        for start in product(*map(window_starts, image.shape, size))
    ]
    for batch in batched(places, max(1, BATCH_VOXELS // math.prod(size))):
        check()  # seconds each on a CPU
        windows = np.stack([image[at] for at in batch])
        with TURNS[str(device.device)]:
            softmax = _one_pass(network, windows, air, device)
        weight = _weights(softmax.shape[2:])
        for at, part in zip(batch, softmax, strict=True):
            inside = (slice(None), *at)
            out[inside] += part * weight
            total[at] += weight
    out /= total
    return out


def batched(places: list[Place], n: int) -> Iterator[list[Place]]:
    """Batches of at most `n`, as even as can be: torch computes a batch of one without its fast CPU kernels."""
    n_batches = math.ceil(len(places) / n)
    for i in range(n_batches):
        yield places[i * len(places) // n_batches : (i + 1) * len(places) // n_batches]


def _weights(shape_zyx: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """A triangle along each axis of a window: its middle, which sees most context, counts most."""
    z, y, x = (1.0 - np.abs((np.arange(n) + 0.5) / n - 0.5) for n in shape_zyx)
    return (z[:, None, None] * y[:, None] * x).astype(np.float32)


@torch.inference_mode()
def _one_pass(
    network: RegionNetwork, windows: npt.NDArray[np.float32], air: float, device: Device
) -> npt.NDArray[np.float32]:
    """(window, classes, z, y, x) softmax of (window, z, y, x) images, padded with air as little as the network needs.

    Norms of the image itself would see more air than in training: patches of 24 slices, padded to 32, cost the demo's
    rough stage a fifth of its tumours.
    """
    pad: list[int] = []
    for n, multiple in zip(reversed(windows.shape[1:]), (MULTIPLE, MULTIPLE, DIVISOR), strict=True):
        pad += [0, _padded(n, multiple) - n]
    x = F.pad(device.put(np.ascontiguousarray(windows)[:, None]), pad, value=air)
    with device.autocast():
        logits = network.forward_region(x)
    _, z, y, w = windows.shape
    softmax: npt.NDArray[np.float32] = logits[..., :z, :y, :w].float().softmax(dim=1).cpu().numpy()
    return softmax


def image_gb(stored: StoredImage) -> float:
    """Peak memory in GiB of an image and its mask, the networks left out."""
    n_voxels = prod(stored.shape_zyx)
    reading = 2.0 * n_voxels + (0 if stored.streamed else stored.n_bytes)
    return max(reading, BYTES_PER_IMAGE_VOXEL * n_voxels) / GIB


def within_memory(model: Model, path: Path, limit_gb: float | None = None, size: StoredImage | None = None) -> Model:
    """The model, its passes no larger than what a CPU's memory has left beside the image at `path`, or beside one of
    `size` that is called so.

    Raises:
        WorkError: If not even the smallest windows fit.
    """
    if model.device.kind != "cpu":
        return model
    if size is None:
        return replace(model, network_gb=network_budget(path, model.network_gb, limit_gb))
    return replace(model, network_gb=budget_beside(path, size, model.network_gb, limit_gb))


def network_budget(path: Path, most_gb: float, limit_gb: float | None = None) -> float:
    """What the networks may take for one image, in GiB: `most_gb`, or what is free beside the image.

    Args:
        path: The image; where its header cannot be read, reading it will say so.
        most_gb: What they take where there is enough.
        limit_gb: What the whole process may take (`--memory-gb`); None: all that is free.

    Raises:
        WorkError: If not even the smallest windows fit.
    """
    try:
        return budget_beside(path, read_size(path), most_gb, limit_gb)
    except InputError:
        return most_gb


def budget_beside(name: Path, stored: StoredImage, most_gb: float, limit_gb: float | None = None) -> float:
    """`network_budget` of an image whose size is known, and what it is called in an error."""
    free = free_gb() if limit_gb is None else min(free_gb(), limit_gb - resident_gb())
    left = free - image_gb(stored)
    if left < LEAST_NETWORK_GB:
        need = image_gb(stored) + LEAST_NETWORK_GB
        size = " x ".join(str(n) for n in stored.shape_zyx[::-1])
        raise WorkError(
            f"{name}: {size} voxels need {need:.1f} GB of memory, {max(free, 0.0):.1f} GB are free; "
            "close other programs, or predict it on a machine with more"
        )
    return min(most_gb, left)


def window_that_fits(shape_zyx: IntTriple, bytes_per_voxel: float, gb: float) -> IntTriple:
    """The whole of a region where a pass over it fits into `gb`, else the thickest slab along z that does.

    Slabs are multiples of 16 slices, one at least.
    """
    per_slice = bytes_per_voxel * prod(_padded(n, MULTIPLE) for n in shape_zyx[1:])
    slices = (gb - FORWARD_FIXED_GB) * GIB / max(per_slice, 1.0)
    z, y, x = shape_zyx
    if _padded(z, DIVISOR) <= slices:
        return shape_zyx
    return (max(MULTIPLE, int(slices) // MULTIPLE * MULTIPLE), y, x)


def _padded(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
