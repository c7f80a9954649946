"""Half precision is used where it gives float32's masks, and left where it does not."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from bisc.core.notices import Notice
from bisc.network import SCUNet
from bisc.network.device import Device
from bisc.network.folded import fold
from bisc.network.half import BLOCK, CheckedHalf, labels_dice

CPU_BF16 = Device(torch.device("cpu"), "bf16")


def one_hot(labels: Tensor) -> Tensor:
    """(batch, 3, z, y, x) logits whose argmax is (batch, z, y, x) labels."""
    return torch.nn.functional.one_hot(labels.long(), 3).movedim(-1, 1).float()


class Threshold:
    """Labels by voxel value: 1 above `kidney`, 2 above `tumor`; remembers what it was shown."""

    def __init__(self, kidney: float, tumor: float = 9.0) -> None:
        self.kidney, self.tumor = kidney, tumor
        self.shapes: list[tuple[int, ...]] = []

    def forward_region(self, image: Tensor) -> Tensor:
        self.shapes.append(tuple(image.shape[2:]))
        return one_hot((image[:, 0] > self.kidney).int() + (image[:, 0] > self.tumor).int())


class Overflowing:
    """fp16 ends at 65504."""

    def forward_region(self, image: Tensor) -> Tensor:
        return torch.full((len(image), 3, *image.shape[2:]), float("nan"))


def test_dice_of_labels_by_hand() -> None:
    """Four and three labelled voxels, two of them the same in both: 2 * 2 / 7; nothing anywhere is agreement."""
    a = one_hot(torch.tensor([0, 1, 1, 2, 2, 0]).reshape(1, 1, 1, 6))
    b = one_hot(torch.tensor([0, 1, 2, 2, 0, 0]).reshape(1, 1, 1, 6))
    assert labels_dice(a, b) == pytest.approx(4 / 7)
    assert labels_dice(one_hot(torch.zeros(1, 2, 2, 2)), one_hot(torch.zeros(1, 2, 2, 2))) == 1.0


@pytest.mark.parametrize("at", [(0, 0, 0), (40, 70, 60), (79, 159, 127)])
def test_checked_on_the_first_kidney_only(at: tuple[int, int, int]) -> None:
    """No foreground, nothing to check; then one block around it, wherever it lies; then half precision alone."""
    half, exact = Threshold(0.5), Threshold(0.5)
    network = CheckedHalf(half, exact)
    image = torch.zeros(2, 1, 80, 160, 128)
    network.forward_region(image)
    assert network.trusted is None
    assert exact.shapes == []
    image[(1, 0, *at)] = 1.0
    assert torch.equal(network.forward_region(image), exact.forward_region(image))
    assert network.trusted is True
    assert exact.shapes[0] == BLOCK
    n = len(exact.shapes)
    network.forward_region(image)
    assert len(exact.shapes) == n


def test_other_masks_lead_to_float32() -> None:
    """100 labelled voxels, of which half precision misses one: Dice 0.995 is too little. Told once."""
    image = torch.zeros(1, 1, 16, 16, 16)
    image[0, 0, 4, :10, :10] = 1.0
    image[0, 0, 4, 0, 0] = 0.6
    network = CheckedHalf(Threshold(0.7), Threshold(0.5))
    with pytest.warns(Notice, match=r"half precision: Dice 0\.9950 with float32's labels; .* float32"):
        first = network.forward_region(image)
    assert int(first.argmax(1).sum()) == 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(network.forward_region(image), first)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_network_that_bf16_ruins_predicts_in_float32(norm: str) -> None:
    """A classifier that lives on differences far below bf16's eight bits: its mask would be noise."""
    torch.manual_seed(0)
    net = SCUNet(4, norm).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        weight, bias = net.region.classify.weight, net.region.classify.bias
        weight[:, :, 0, 0, 0] = 100.0
        weight[1, 0], weight[1, 1] = 100.3, 99.8  # 100.5 and 100 in bf16
        assert bias is not None
        bias[:] = 0.0
    image = torch.randn(1, 1, 16, 32, 32)
    network = fold(net, CPU_BF16)
    assert isinstance(network, CheckedHalf)
    with torch.inference_mode(), pytest.warns(Notice, match="half precision"):
        with CPU_BF16.autocast():
            found = network.forward_region(image)
        torch.testing.assert_close(found, net.forward_region(image))
    assert network.trusted is False


def test_overflow_leads_to_float32() -> None:
    """Not a number is no class, yet argmax makes background of it, in which there would be nothing to check."""
    image = torch.ones(1, 1, 8, 8, 8)
    network = CheckedHalf(Overflowing(), Threshold(0.5))
    with pytest.warns(Notice, match="half precision: it overflows"):
        assert int(network.forward_region(image).argmax(1).sum()) == 512


def test_float32_is_not_checked() -> None:
    """There is nothing to compare it with."""
    assert not isinstance(fold(SCUNet(4, "batch").eval(), Device(torch.device("cpu"), "fp32")), CheckedHalf)
