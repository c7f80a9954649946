"""Weights in half precision: a filter keeps its sum."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bisc.network import SCUNet
from bisc.network.device import Device
from bisc.network.folded import FoldedSCUNet, diffused, fold, with_diffused_weights

BF16 = torch.bfloat16


def filters_of(*taps: float) -> Tensor:
    """(1, 1, taps, 1, 1)."""
    return torch.tensor(taps, dtype=torch.float64).reshape(1, 1, -1, 1, 1)


def test_an_error_is_carried_to_the_next_tap() -> None:
    """bf16 steps by 1/128 from 1 on. Four taps a quarter step above 1: alone each would become 1, a whole step lost.

    The second is to be half a step above, which goes to the even 1; the third three quarters, which becomes one step.
    """
    found = diffused(filters_of(*[1 + 0.25 / 128] * 4), BF16)
    assert found.dtype == BF16
    assert found.flatten().tolist() == [1.0, 1.0, 1 + 1 / 128, 1.0]


def test_filters_keep_their_errors_to_themselves() -> None:
    """The same filter twice, and between them one that needs no rounding."""
    odd, even = filters_of(1 + 0.25 / 128, 1 + 0.5 / 128, 0.3), filters_of(1.0, 2.0, 0.5)
    found = diffused(torch.cat((odd, even, odd), dim=1), BF16)
    assert torch.equal(found[:, 0], found[:, 2])
    assert torch.equal(found[:, 1].double(), even[:, 0])


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=27))
@pytest.mark.parametrize(("dtype", "bits"), [(BF16, 8), (torch.float16, 11)])
def test_a_filter_keeps_its_sum(dtype: torch.dtype, bits: int, taps: list[float]) -> None:
    """To half a unit in the last place of its last tap; a tap is off by its own rounding and another's at most."""
    found = diffused(filters_of(*taps), dtype).double().flatten()
    least = 2.0**-26  # float16's numbers below 2**-14 are 2**-24 apart, and torch rounds by way of float32
    assert abs(float(found.sum()) - sum(taps)) <= abs(float(found[-1])) * 2.0**-bits * 1.001 + 2 * least
    assert float((found - torch.tensor(taps)).abs().max()) <= 2 * 2.0**-bits * 1.01 * max(map(abs, taps)) + 4 * least


def test_what_the_type_holds_stays() -> None:
    weight = torch.randn(4, 3, 3, 3, 3)
    assert torch.equal(diffused(weight, torch.float32), weight)
    assert torch.equal(diffused(weight.bfloat16(), BF16), weight.bfloat16())


def test_an_even_image_is_answered_exactly() -> None:
    """All voxels alike, away from the border: a filter answers by its sum. Of 27 errors one is left: 1 / sqrt(27)."""
    torch.manual_seed(0)
    weight, image = torch.randn(256, 16, 3, 3, 3), torch.ones(1, 16, 3, 3, 3)
    exact = F.conv3d(image, weight)
    plain, carried = (F.conv3d(image, w.float()) - exact for w in (weight.bfloat16(), diffused(weight, BF16)))
    assert float(carried.norm() / plain.norm()) == pytest.approx(27**-0.5, rel=0.25)


def test_a_network_that_autocast_will_round() -> None:
    """Its middle is rounded, its two ends and the network itself are left; for float32 there is nothing to do."""
    torch.manual_seed(0)
    network = SCUNet(2, "instance").eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copy = with_diffused_weights(network, BF16)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    for name, value in copy.state_dict().items():
        if name == "down_1.0.weight" or "classify" in name or value.ndim < 5:
            assert torch.equal(value, before[name]), name
        else:
            assert torch.equal(value, diffused(before[name], BF16).float()), name
            assert not torch.equal(value, before[name].bfloat16().float()), name


def test_prediction_rounds_so() -> None:
    """What checks it, in float32, is not rounded."""
    network = SCUNet(2, "batch").eval()
    single, half = (fold(network, Device(torch.device("cpu"), precision)) for precision in ("fp32", "bf16"))
    assert isinstance(single, FoldedSCUNet)
    assert isinstance(half, FoldedSCUNet)
    for name in ("bottom_1_weight", "up_1_up_weight", "last_of_up_weight", "last_of_down_weight"):
        assert torch.equal(half.get_buffer(name), diffused(single.get_buffer(name), BF16)), name
    assert torch.equal(half.get_buffer("classify_weight"), single.get_buffer("classify_weight"))
