"""Softmax of the region branch over a volume, windows sliding along z where it is deeper than they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from bisc.core.labels import N_CLASSES
from bisc.inference.model import FoldNetwork

MULTIPLE = 16


def softmax_volume(
    networks: Sequence[FoldNetwork], image: npt.NDArray[np.float32], air: float, device: torch.device, slide: bool
) -> npt.NDArray[np.float32]:
    """Mean softmax of several folds' networks.

    Args:
        networks: Folds to average.
        image: (z, y, x) normalised.
        air: What the image is padded with.
        device: Where to compute.
        slide: Slide windows of the training depth along z, half overlapping; False sees the volume in one piece.

    Returns:
        (classes, z, y, x) float32, sums to 1 over classes.
    """
    mean: npt.NDArray[np.float32] = np.zeros((N_CLASSES, *image.shape), dtype=np.float32)
    for fold in networks:
        depth = fold.depth if slide else image.shape[0]
        mean += _windows(fold, image, depth, air, device)
    mean /= len(networks)
    return mean


def window_starts(n_slices: int, depth: int) -> list[int]:
    """First slices of half-overlapping windows of `depth` that cover `n_slices`; the last one ends at the end."""
    if n_slices <= depth:
        return [0]
    last = n_slices - depth
    n = int(np.ceil(last / (depth / 2))) + 1
    return sorted({round(i * last / (n - 1)) for i in range(n)})


def _windows(
    fold: FoldNetwork, image: npt.NDArray[np.float32], depth: int, air: float, device: torch.device
) -> npt.NDArray[np.float32]:
    out: npt.NDArray[np.float32] = np.zeros((N_CLASSES, *image.shape), dtype=np.float32)
    total = np.zeros(image.shape[0], dtype=np.float32)
    for start in window_starts(image.shape[0], depth):
        window = image[start : start + depth]
        weight = _weights(window.shape[0])
        out[:, start : start + depth] += _one_pass(fold, window, air, device) * weight[None, :, None, None]
        total[start : start + depth] += weight
    out /= total[None, :, None, None]
    return out


def _weights(n: int) -> npt.NDArray[np.float32]:
    """A triangle over a window's slices: its middle, which sees most context, counts most."""
    centre = (np.arange(n) + 0.5) / n
    return (1.0 - np.abs(centre - 0.5)).astype(np.float32)


@torch.inference_mode()
def _one_pass(
    fold: FoldNetwork, image: npt.NDArray[np.float32], air: float, device: torch.device
) -> npt.NDArray[np.float32]:
    """(classes, z, y, x) softmax of one window, padded with air to multiples of 16."""
    pad: list[int] = []
    for n in reversed(image.shape):
        pad += [0, -n % MULTIPLE]
    x = F.pad(torch.from_numpy(np.ascontiguousarray(image))[None, None].to(device), pad, value=air)
    logits = fold.network.forward_region(x)[0]
    z, y, w = image.shape
    softmax: npt.NDArray[np.float32] = logits[:, :z, :y, :w].float().softmax(dim=0).cpu().numpy()
    return softmax
