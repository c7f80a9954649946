"""A network folded for prediction gives the network's own logits, or is not taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bisc.network import SCUNet
from bisc.network.device import choose_device
from bisc.network.folded import FoldedSCUNet, Kernels, OneDnnKernels, _halves, fold
from bisc.network.sc_unet import ExactConv3d

CPU = choose_device("cpu", "fp32")
BF16 = choose_device("cpu", "bf16")


def trained_like(features: int = 4, packing: int = 1) -> SCUNet:
    """Batch norm whose statistics, weights and biases are none of them trivial."""
    torch.manual_seed(0)
    network = CPU.put_network(SCUNet(features, "batch", packing=packing)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            for values, low, high in (
                (module.running_mean, -1.0, 1.0),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
            ):
                assert values is not None
                values.uniform_(low, high)
        elif isinstance(module, nn.ConvTranspose3d) and module.bias is not None:
            module.bias.data.uniform_(-1.0, 1.0)
    return network


def expect_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("kernels", [Kernels(), OneDnnKernels()], ids=["torch", "oneDNN"])
@pytest.mark.parametrize(
    ("shape", "packing"), [((1, 1, 16, 24, 40), 1), ((2, 1, 8, 16, 16), 1), ((2, 1, 8, 32, 48), 2)]
)
def test_the_logits_are_the_networks_own(kernels: Kernels, shape: tuple[int, ...], packing: int) -> None:
    network = trained_like(packing=packing)
    x = torch.randn(shape)
    with torch.inference_mode():
        expect_equal(FoldedSCUNet(network, kernels, torch.float32).forward_region(x), network.forward_region(x))


def test_the_network_itself_is_left_as_it_was() -> None:
    network = trained_like()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fold(network, CPU)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_activations_stay_channels_last() -> None:
    """An image of one channel has both formats; taken for the other one, every convolution runs a third slower."""
    seen: list[bool] = []

    class Watching(OneDnnKernels):
        def conv(self, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
            y = super().conv(x, weight, bias, relu)
            seen.append(y.is_contiguous(memory_format=torch.channels_last_3d))
            return y

    with torch.inference_mode():
        FoldedSCUNet(trained_like(), Watching(), torch.float32).forward_region(torch.randn(1, 1, 16, 16, 16))
    assert seen
    assert all(seen)


@pytest.mark.parametrize("kernels", [Kernels(), OneDnnKernels()], ids=["torch", "oneDNN"])
def test_autocast_around_it_changes_nothing(kernels: Kernels) -> None:
    """Prediction runs every network in autocast; a folded one has its own precision already."""
    folded = FoldedSCUNet(trained_like(), kernels, torch.float32)
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        alone = folded.forward_region(x)
        with BF16.autocast():
            assert torch.equal(folded.forward_region(x), alone)


@pytest.mark.parametrize("shape", [(1, 1, 16, 16, 16), (2, 1, 32, 48, 48)])
def test_half_precision_runs_as_prediction_runs_it(shape: tuple[int, ...]) -> None:
    """On every CPU; by oneDNN's operators where it has bf16 arithmetic."""
    network = trained_like(8)
    folded = fold(network, BF16)
    assert isinstance(folded, FoldedSCUNet)
    if choose_device("cpu").precision == "bf16":
        assert isinstance(folded.kernels, OneDnnKernels)
    x = torch.randn(shape)
    with torch.inference_mode():
        expected = network.forward_region(x)
        with BF16.autocast():
            found = folded.forward_region(x)
    assert float((found - expected).norm() / expected.norm()) < 0.05


def first_features(folded: FoldedSCUNet, x: Tensor) -> Tensor:
    """What the first convolution gives, by torch's own kernels."""
    seen: list[Tensor] = []

    class Watching(Kernels):
        def conv(self, *args: Any, **more: Any) -> Tensor:
            seen.append(super().conv(*args, **more))
            return seen[-1]

    folded.kernels = Watching()
    with torch.inference_mode():
        folded.forward_region(x)
    return seen[0].float()


@pytest.mark.parametrize("packing", [1, 2])
def test_half_precision_begins_exactly(packing: int) -> None:
    """An image far from 0, as HU of soft tissue are: rounded to bf16 first, its features would be off by 0.0053."""
    network, x = trained_like(8, packing), torch.randn(1, 1, 16, 32, 32) * 0.5 + 5
    exact = first_features(FoldedSCUNet(network, Kernels(), torch.float32), x)
    found = first_features(FoldedSCUNet(network, Kernels(), torch.bfloat16), x)
    assert float((found - exact).norm() / exact.norm()) < 0.003


def test_half_precision_ends_exactly() -> None:
    """Logits of eight bits would be equal where classes meet; slabs of 16 and 8 slices are put together again."""
    network, x = trained_like(8), torch.randn(1, 1, 24, 64, 64)
    with torch.inference_mode():
        logits = FoldedSCUNet(network, Kernels(), torch.bfloat16).forward_region(x)
        expected = network.forward_region(x)
    assert logits.dtype == torch.float32
    assert float((logits != logits.bfloat16().float()).float().mean()) > 0.9
    for z in (0, 7, 23):
        assert float((logits[:, :, z] - expected[:, :, z]).norm() / expected[:, :, z].norm()) < 0.05


def test_the_ends_of_a_network_are_exact_when_it_predicts_alone() -> None:
    """Not folded, as with instance norm; in training autocast decides."""
    conv, x = ExactConv3d(1, 4, 3, padding=1), torch.randn(1, 1, 8, 8, 8) + 5
    with torch.no_grad():
        exact = conv(x)
        with BF16.autocast():
            assert conv.train()(x).dtype == torch.bfloat16
            assert torch.equal(conv.eval()(x), exact)
            assert torch.equal(conv(x.bfloat16()), conv(x.bfloat16().float()))


@given(st.floats(-1e4, 1e4, width=32))
def test_halves_are_twice_as_exact(value: float) -> None:
    """Of bf16's 8 bits, 16: or what is left is below the least number."""
    exact = torch.tensor([value])
    high, low = _halves(exact, torch.bfloat16)
    assert high.dtype == low.dtype == torch.bfloat16
    assert abs(high.double() + low.double() - exact.double()).item() <= max(abs(value) * 2.0**-16, 1e-38)


def test_a_missing_operator_leads_to_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> Tensor:
        raise AttributeError("no such operator")

    monkeypatch.setattr(OneDnnKernels, "conv", missing)
    folded = fold(trained_like(), CPU)
    assert isinstance(folded, FoldedSCUNet)
    assert type(folded.kernels) is Kernels


def test_what_gives_other_logits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kernels, "conv_add_relu", lambda self, y, x, weight: y)
    monkeypatch.setattr(OneDnnKernels, "conv_add_relu", lambda self, y, x, weight: y)
    network = trained_like()
    assert fold(network, CPU) is network
