"""Half precision is used where it gives float32's labels, and left where it does not, region by region."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from benchmarks.by_intensity import write_results
from bisc.core.box import Box
from bisc.inference import cascade
from bisc.inference.half import BLOCK, expected_dice, half_will_do, labels_dice
from bisc.inference.model import FoldNetwork, load_model
from bisc.inference.windows import softmax_volume
from bisc.network import SCUNet
from bisc.network.device import Device
from bisc.network.folded import fold
from bisc.simulation.case import simulate_case

BF16 = Device(torch.device("cpu"), "bf16")
SHAPE = (40, 96, 80)
Labels = npt.NDArray[np.uint8]


def one_hot(labels: Labels) -> npt.NDArray[np.float32]:
    """(3, z, y, x) softmax whose argmax is (z, y, x) labels."""
    return np.stack([labels == k for k in range(3)]).astype(np.float32)


def verdict(half: Labels, exact: Labels) -> tuple[bool, list[Box]]:
    """Of two label maps, and the boxes that were looked at."""
    seen: list[Box] = []

    def in_both(block: Box) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        seen.append(block)
        return one_hot(half[block.to_slices()]), one_hot(exact[block.to_slices()])

    return half_will_do(one_hot(half), None, in_both), seen


def test_dice_of_labels_by_hand() -> None:
    """Four and three labelled voxels, two of them the same in both: 2 * 2 / 7; nothing anywhere is agreement."""
    assert labels_dice(np.array([0, 1, 1, 2, 2, 0]), np.array([0, 1, 2, 2, 0, 0])) == pytest.approx(4 / 7)
    assert labels_dice(np.zeros(5, int), np.zeros(5, int)) == 1.0


@pytest.mark.parametrize("at", [(0, 0, 0), (20, 50, 60), (39, 95, 79)])
def test_the_block_holds_a_kidney_wherever_it_lies(at: tuple[int, int, int]) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    assert verdict(labels, labels) == (True, [])
    labels[at] = 1
    fits, (block,) = verdict(labels, labels)
    assert fits
    assert block.shape_zyx == BLOCK
    assert labels[block.to_slices()].any()


def test_parts_that_lie_apart_are_not_looked_for_between_them() -> None:
    """The middle of two kidneys is in neither."""
    half = np.zeros(SHAPE, np.uint8)
    half[:8, :10, :10] = half[-8:, -10:, -10:] = 1
    exact = np.where(half > 0, 2, 0).astype(np.uint8)
    fits, (block,) = verdict(half, exact)
    assert half[block.to_slices()].any()
    assert (fits, labels_dice(half, exact)) == (False, 0.0)


def test_a_thousandth_decides_but_not_three_voxels() -> None:
    """8 x 25 x 25 labelled voxels: 5 lost are Dice 0.9995; 11, or 4 of 100, are too many; 3 of 100 tell nothing."""

    def without(n: int, of: tuple[int, int, int]) -> tuple[bool, float]:
        exact = np.zeros(SHAPE, np.uint8)
        exact[tuple(slice(10, 10 + k) for k in of)] = 1
        half = exact.copy()
        half[tuple(np.argwhere(half)[:n].T)] = 0
        return verdict(half, exact)[0], labels_dice(half, exact)

    assert without(5, (8, 25, 25)) == (True, pytest.approx(9990 / 9995))
    assert without(11, (8, 25, 25)) == (False, pytest.approx(9978 / 9989))
    assert without(4, (1, 10, 10)) == (False, pytest.approx(192 / 196))
    assert without(3, (1, 10, 10)) == (True, pytest.approx(194 / 197))


def test_overflow_is_no_background() -> None:
    """Not a number is no class, yet argmax makes background of it, in which there would be nothing to look at."""
    assert not half_will_do(np.full((3, 8, 8, 8), np.nan, np.float32), None, lambda _: pytest.fail("looked"))


def softmax_of(*logits: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """(3, z, y, x) of each class's logits."""
    e = np.exp(np.stack(np.broadcast_arrays(*map(np.float64, logits))))
    return (e / e.sum(axis=0)).astype(np.float32)


def test_the_dice_to_expect_by_hand() -> None:
    """Errors of 0.1 one way and of 0.3 the other: a margin of 0.05 is lost to every second. Of 200 labelled voxels 20
    have such a margin over background and 10 over the other label; of background 40. 10, 5 and 20 change. Dice:
    1 - (10 / 2 + 5 + 20 / 2) / 200."""
    half = softmax_of(np.zeros((2, 4, 4)), 1.0, -9.0)
    exact = softmax_of(np.zeros((2, 4, 4)), [0.9, 1.3, 0.9, 1.3], -9.0)
    kidney = np.repeat([5.0, 0.05, 0.05, -0.05, -5.0], [170, 20, 10, 40, 260]).reshape(5, 10, 10)
    tumor = np.repeat([-9.0, 0.0, -9.0], [190, 10, 300]).reshape(5, 10, 10)
    nothing = np.repeat([0.0, -9.0, 0.0], [190, 10, 300]).reshape(5, 10, 10)
    region = softmax_of(nothing, kidney, tumor)
    assert np.count_nonzero(region.argmax(axis=0)) == 200
    assert expected_dice(region, half, exact) == pytest.approx(0.9)
    assert expected_dice(region, half, half) == 1.0
    assert expected_dice(region, one_hot(np.ones((2, 4, 4), np.uint8)), one_hot(np.zeros((2, 4, 4), np.uint8))) < 0


@pytest.mark.parametrize(("error", "fits"), [(0.005, True), (0.02, False)])
def test_a_region_less_certain_than_its_block(error: float, fits: bool) -> None:
    """In the block all labels are float32's; elsewhere 400 of 40,400 labelled voxels have a margin of 0.01."""
    logits = np.full(SHAPE, -5.0)
    logits[10:30, 20:70, 20:60] = 5.0
    logits[0, :20, :20] = 0.01
    region = softmax_of(np.zeros(SHAPE), logits, -9.0)

    def in_both(block: Box) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        inside = logits[block.to_slices()]
        return softmax_of(0.0, inside, -9.0), softmax_of(0.0, inside - error, -9.0)

    assert half_will_do(region, None, in_both) == fits


@pytest.mark.parametrize("offset", [0.0, 1.0, -1.0])
def test_either_decision_may_be_asked_for(offset: float) -> None:
    """An error as large as the margins that an offset leaves: argmax would not notice it, nor the offset's contrary."""
    logits = np.full(SHAPE, -5.0)
    logits[10:30, 20:70, 20:60] = 5.0
    logits[0, :20, :20] = 1.01

    def in_both(block: Box) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        inside = logits[block.to_slices()]
        return softmax_of(0.0, inside, -9.0), softmax_of(0.0, inside - 0.02, -9.0)

    region = softmax_of(0.0, logits, -9.0)
    assert half_will_do(region, (0.0, offset, 0.0), in_both) == (offset != -1.0)
    assert half_will_do(region, None, in_both)


def test_what_one_decision_alone_finds_is_looked_at() -> None:
    """Argmax finds nothing; the calibrated decision a kidney, half of it in half precision."""
    half, exact = np.full(SHAPE, -5.0), np.full(SHAPE, -5.0)
    exact[10:20, 30:60, 30:60] = half[10:20, 30:60, 30:45] = -0.5
    seen: list[Box] = []

    def in_both(block: Box) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        seen.append(block)
        return softmax_of(0.0, half[block.to_slices()], -9.0), softmax_of(0.0, exact[block.to_slices()], -9.0)

    assert not half_will_do(softmax_of(0.0, half, -9.0), (0.0, 1.0, 0.0), in_both)
    assert seen


class Threshold:
    """Kidney above a value."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.seen: list[int] = []

    def forward_region(self, image: Tensor) -> Tensor:
        self.seen.append(image.numel())
        kidney = (image[:, 0] > self.value).float()
        return 9 * torch.stack([1 - kidney, kidney, torch.zeros_like(kidney)], dim=1)


def test_one_region_does_not_decide_for_another() -> None:
    """Half precision misses what is fainter than 0.7: only where there is such is float32 used, in whatever order."""
    exact = Threshold(0.5)
    network = FoldNetwork(0, Threshold(0.7), BF16, None, None, 0.0, exact)
    plain = np.zeros((16, 64, 64), np.float32)
    plain[4:8, 8:20, 8:20] = 1.0
    faint = np.where(plain > 0, plain, 0)
    faint[4:8, 8:20, 14:20] = 0.6
    for image, again in ((plain, False), (faint, True), (plain, False), (faint, True)):
        exact.seen.clear()
        assert np.array_equal(softmax_volume([network], image, 0.0).argmax(axis=0), image > 0)
        assert (image.size in exact.seen) == again


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_network_that_bf16_ruins_predicts_in_float32(norm: str) -> None:
    """Its last features live on differences far below bf16's eight bits: its mask would be noise."""
    torch.manual_seed(0)
    net = SCUNet(4, norm).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        weight = net.region.group.convs[3].weight
        weight[:] = 0.0
        weight[:, 0, 1, 1, 1] = torch.tensor([100.3, 99.8, 100.1, 99.9])  # 100.5, 100, 100, 100 in bf16
        weight[:, 1, 1, 1, 1] = -100.0
    image = np.random.default_rng(0).standard_normal((16, 32, 32)).astype(np.float32)
    single = BF16.in_float32()
    exact = FoldNetwork(0, fold(net, single), single, None, None)
    half = FoldNetwork(0, fold(net, BF16), BF16, None, None, 0.0, exact.network)
    expected = softmax_volume([exact], image, 0.0)
    assert not np.array_equal(softmax_volume([replace(half, exact=None)], image, 0.0), expected)
    assert np.array_equal(softmax_volume([half], image, 0.0), expected)


def test_the_rough_stage_computes_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its labels place the ROIs, which half precision would move."""
    model = load_model(write_results(tmp_path / "model", base_features=4), None, BF16)
    dtypes = [next(stage[0].network.buffers()).dtype for stage in (model.rough, model.fine)]
    assert dtypes == [torch.float32, torch.bfloat16]
    assert [stage[0].exact is None for stage in (model.rough, model.fine)] == [True, False]
    seen: list[str] = []

    def watching(networks: Any, image: Any, air: float, *more: Any) -> npt.NDArray[np.float32]:
        seen.append(networks[0].device.precision)
        if networks[0].device.precision == "fp32":
            return softmax_volume(networks, image, air, *more)
        return one_hot(np.zeros(image.shape, np.uint8))  # emulated bf16 would take half a minute

    monkeypatch.setattr(cascade, "softmax_volume", watching)
    image, _ = simulate_case(7, 0, (128, 128, 32))
    result = cascade.run_cascade(image, model, "argmax")
    assert seen == ["fp32", *["bf16"] * len(result.rois)]
    assert result.rois
