"""Softmax of the region branch over a volume, in windows that slide where it is larger than they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from bisc.core.labels import N_CLASSES
from bisc.inference.model import FoldNetwork
from bisc.network.device import Device

MULTIPLE = 16


def softmax_volume(
    networks: Sequence[FoldNetwork], image: npt.NDArray[np.float32], air: float, device: Device
) -> npt.NDArray[np.float32]:
    """Mean softmax of several folds' networks, each in its own windows.

    Args:
        networks: Folds to average.
        image: (z, y, x) normalised.
        air: What the image is padded with.
        device: Where to compute, and in which precision.

    Returns:
        (classes, z, y, x) float32, sums to 1 over classes.
    """
    mean: npt.NDArray[np.float32] = np.zeros((N_CLASSES, *image.shape), dtype=np.float32)
    for fold in networks:
        mean += _windows(fold, image, air, device)
    mean /= len(networks)
    return mean


def window_starts(length: int, window: int) -> list[int]:
    """First indices of half-overlapping windows that cover `length`; the last one ends at the end."""
    if length <= window:
        return [0]
    last = length - window
    n = int(np.ceil(last / (window / 2))) + 1
    return sorted({round(i * last / (n - 1)) for i in range(n)})


def _windows(fold: FoldNetwork, image: npt.NDArray[np.float32], air: float, device: Device) -> npt.NDArray[np.float32]:
    out: npt.NDArray[np.float32] = np.zeros((N_CLASSES, *image.shape), dtype=np.float32)
    total: npt.NDArray[np.float32] = np.zeros(image.shape, dtype=np.float32)
    size = image.shape if fold.window_zyx is None else fold.window_zyx
    for start in product(*map(window_starts, image.shape, size)):
        at = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
        window = image[at]
        weight = _weights(window.shape)
        inside = (slice(None), *at)
        out[inside] += _one_pass(fold, window, air, device) * weight
        total[at] += weight
    out /= total
    return out


def _weights(shape_zyx: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """A triangle along each axis of a window: its middle, which sees most context, counts most."""
    z, y, x = (1.0 - np.abs((np.arange(n) + 0.5) / n - 0.5) for n in shape_zyx)
    return (z[:, None, None] * y[:, None] * x).astype(np.float32)


@torch.inference_mode()
def _one_pass(fold: FoldNetwork, image: npt.NDArray[np.float32], air: float, device: Device) -> npt.NDArray[np.float32]:
    """(classes, z, y, x) softmax of one window, padded with air to multiples of 16."""
    pad: list[int] = []
    for n in reversed(image.shape):
        pad += [0, -n % MULTIPLE]
    x = F.pad(device.put(np.ascontiguousarray(image)[None, None]), pad, value=air)
    with device.autocast():
        logits = fold.network.forward_region(x)[0]
    z, y, w = image.shape
    softmax: npt.NDArray[np.float32] = logits[:, :z, :y, :w].float().softmax(dim=0).cpu().numpy()
    return softmax
