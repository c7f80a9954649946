"""Softmax over a volume: windows that cover it, padding that does not show, folds that are averaged."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bisc.core.geometry import IntTriple
from bisc.inference import windows as forward
from bisc.inference.model import FoldNetwork
from bisc.inference.windows import softmax_volume, window_starts
from bisc.network import SCUNet
from bisc.network.device import Device
from tests.support.training_fixtures import use_one_thread

use_one_thread()
CPU = Device(torch.device("cpu"), "fp32")
AIR = -3.0


class Voxelwise(nn.Module):
    """Logits (0, x, scale * x^2) of each voxel alone; remembers what it saw."""

    def __init__(self, scale: float = 0.5) -> None:
        super().__init__()
        self.scale = scale
        self.seen: list[Tensor] = []

    def forward_region(self, image: Tensor) -> Tensor:
        self.seen.append(image.clone())
        return torch.cat((torch.zeros_like(image), image, self.scale * image**2), dim=1)


class ByPlace(nn.Module):
    """Logits (k, 0, 0) at the window's k-th place along an axis: what it says depends on where the window lies."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward_region(self, image: Tensor) -> Tensor:
        k = torch.arange(image.shape[2 + self.axis], dtype=torch.float32)
        k = k.view([-1 if a == self.axis else 1 for a in range(3)]).expand_as(image)
        return torch.cat((k, torch.zeros_like(k), torch.zeros_like(k)), dim=1)


def fold(network: nn.Module, window_zyx: IntTriple | None, number: int = 0) -> FoldNetwork:
    stub: Any = network
    return FoldNetwork(number, stub, CPU, window_zyx, None)


def image_of(*shape_zyx: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(2).normal(size=shape_zyx).astype(np.float32)


def expected(image: npt.NDArray[np.float32], scale: float = 0.5) -> npt.NDArray[np.float64]:
    logits = np.stack((np.zeros_like(image), image, scale * image**2)).astype(np.float64)
    e = np.exp(logits)
    return np.asarray(e / e.sum(axis=0))


@given(length=st.integers(1, 700), window=st.integers(1, 96))
def test_windows_cover_everything_and_overlap_by_half(length: int, window: int) -> None:
    """The first begins at the start, the last ends at the end, and none reaches beyond."""
    starts = window_starts(length, window)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - window)
    assert all(0 < b - a <= max(1, (window + 1) // 2) for a, b in pairwise(starts))
    covered = {s for start in starts for s in range(start, min(start + window, length))}
    assert covered == set(range(length))


def test_windows_by_hand() -> None:
    """96 slices in windows of 64: two; in windows of 32: five, 16 apart."""
    assert window_starts(96, 64) == [0, 32]
    assert window_starts(96, 32) == [0, 16, 32, 48, 64]
    assert window_starts(20, 32) == window_starts(32, 32) == [0]


@pytest.mark.parametrize("shape", [(16, 16, 16), (5, 7, 9), (50, 17, 33), (1, 1, 1)])
@pytest.mark.parametrize("window", [(8, 8, 8), (16, 64, 16), (48, 16, 32), None])
def test_a_voxelwise_network_gives_the_same_in_any_windows(
    shape: tuple[int, int, int], window: IntTriple | None
) -> None:
    """Neither windows, nor their weights, nor padding change a voxel; the shape is the image's, the sum one."""
    image = image_of(*shape)
    out = softmax_volume([fold(Voxelwise(), window)], image, AIR)
    assert out.dtype == np.float32
    assert out.shape == (3, *shape)
    assert np.allclose(out, expected(image), atol=1e-5)
    assert np.allclose(out.sum(axis=0), 1.0, atol=1e-5)


def test_the_network_sees_multiples_filled_with_air() -> None:
    """(5, 17, 33) becomes (8, 32, 48), its voxels at the front; 24 slices, as some patches have, stay 24."""
    network, image = Voxelwise(), image_of(5, 17, 33)
    softmax_volume([fold(network, None)], image, AIR)
    (seen,) = network.seen
    assert seen.shape == (1, 1, 8, 32, 48)
    assert np.array_equal(seen[0, 0, :5, :17, :33].numpy(), image)
    rest = torch.ones(seen.shape[2:], dtype=torch.bool)
    rest[:5, :17, :33] = False
    assert bool((seen[0, 0][rest] == AIR).all())
    softmax_volume([fold(network, (24, 32, 32))], image_of(60, 32, 32), AIR)
    assert {tuple(x.shape[2:]) for x in network.seen[1:]} == {(24, 32, 32)}


def test_windows_are_the_folds_own_and_whole_volumes_are_seen_once() -> None:
    """50 x 16 x 24 in windows of 16: starts at most 8 apart along z, two along x."""
    network = Voxelwise()
    softmax_volume([fold(network, (16, 16, 16))], image_of(50, 16, 24), AIR)
    assert {tuple(x.shape[2:]) for x in network.seen} == {(16, 16, 16)}
    assert sum(len(x) for x in network.seen) == len(window_starts(50, 16)) * 2
    network.seen.clear()
    softmax_volume([fold(network, None)], image_of(50, 16, 16), AIR)
    assert [tuple(x.shape[2:]) for x in network.seen] == [(56, 16, 16)]


def test_batches_of_windows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """12 windows together, or two at a time: the same softmax; no batch holds more voxels than allowed."""
    network, image = Voxelwise(), image_of(50, 16, 24)
    together = softmax_volume([fold(network, (16, 16, 16))], image, AIR)
    monkeypatch.setattr(forward, "BATCH_VOXELS", 2 * 16**3 + 1)
    network.seen.clear()
    by_two = softmax_volume([fold(network, (16, 16, 16))], image, AIR)
    np.testing.assert_allclose(by_two, together, atol=1e-6)
    assert [len(x) for x in network.seen] == [2] * 6


@given(n=st.integers(1, 40), most=st.integers(1, 9))
def test_batches_are_even(n: int, most: int) -> None:
    """Every place once, in order; sizes differ by one at most."""
    places: list[forward.Place] = [(slice(i, i + 1),) for i in range(n)]
    batches = list(forward.batched(places, most))
    assert [p for b in batches for p in b] == places
    assert max(map(len, batches)) <= most
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


@pytest.mark.parametrize("axis", range(3))
def test_windows_are_weighted_by_a_triangle(axis: int) -> None:
    """Six voxels in windows of four: starts 0 and 2. Voxel 2 is voxel 2 of the first window (weight 1 - |5/8 - 1/2| =
    7/8) and voxel 0 of the second (weight 1 - |1/8 - 1/2| = 5/8)."""
    shape = np.where(np.arange(3) == axis, 6, 1)
    out = softmax_volume([fold(ByPlace(axis), (4, 4, 4))], np.zeros(shape, np.float32), AIR)[0].ravel()
    p = np.exp(np.arange(4)) / (np.exp(np.arange(4)) + 2.0)
    third = (7 / 8 * p[2] + 5 / 8 * p[0]) / (7 / 8 + 5 / 8)
    fourth = (5 / 8 * p[3] + 7 / 8 * p[1]) / (5 / 8 + 7 / 8)
    assert out == pytest.approx([p[0], p[1], third, fourth, p[2], p[3]], abs=1e-6)


def test_two_folds_give_their_mean() -> None:
    """Of the softmax, not of the logits; each slides windows of its own size."""
    image = image_of(20, 16, 16)
    folds = [fold(Voxelwise(0.5), (8, 8, 8)), fold(Voxelwise(-1.0), (16, 16, 16), 1)]
    both = softmax_volume(folds, image, AIR)
    assert np.allclose(both, (expected(image, 0.5) + expected(image, -1.0)) / 2.0, atol=1e-5)


def test_mirrored_is_the_mean_of_both_views() -> None:
    """A network that tells left from right says the same of both sides after it has seen them mirrored too."""
    image = np.zeros((4, 4, 8), np.float32)
    folds = [fold(ByPlace(2), (4, 4, 8)), fold(Voxelwise(-1.0), (4, 4, 8), 1)]
    plain = softmax_volume(folds, image, AIR)
    both = softmax_volume(folds, image, AIR, mirror=True)
    assert not np.allclose(plain, plain[..., ::-1])
    assert np.allclose(both, (plain + plain[..., ::-1]) / 2, atol=1e-6)


def test_a_real_network_leaves_no_gradient_and_the_image_alone() -> None:
    """Probabilities of the image's shape from a size no network takes; the input is not written to."""
    image = image_of(13, 18, 21)
    before = image.copy()
    out = softmax_volume([fold(SCUNet(2).eval(), (16, 16, 16))], image, AIR)
    assert out.shape == (3, 13, 18, 21)
    assert np.allclose(out.sum(axis=0), 1.0, atol=1e-5)
    assert np.array_equal(image, before)
