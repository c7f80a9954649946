"""Compiling for training: tried where it pays, without a trace in the network, and done without where it fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bisc.core.limits import Norm
from bisc.network import Branches, SCUNet
from bisc.network.device import Device
from bisc.trainers.compiled import compiled_where_it_pays, tried
from tests.support.noticed import noticed

CPU = Device(torch.device("cpu"), "fp32")
PATCH = (16, 16, 16)


class LikeCuda(Device):
    """Computes on the CPU and says that it is CUDA."""

    @property
    def kind(self) -> str:
        return "cuda"


LIKE_CUDA = LikeCuda(torch.device("cpu"), "fp32")


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What torch.compile, which here makes a plain call of it, was given."""
    given: list[Any] = []

    def compile_(network: SCUNet) -> Any:
        given.append(network)
        return lambda image: network(image)

    monkeypatch.setattr(torch, "compile", compile_)
    return given


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_trial_leaves_no_trace(norm: Norm) -> None:
    """Weights, running statistics (which a forward pass in training moves) and gradients are those of before."""
    torch.manual_seed(0)
    network = SCUNet(2, norm).eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    seen: list[Branches] = []

    def forward(image: Tensor) -> Branches:
        seen.append(network(image))
        return seen[-1]

    assert tried(forward, network, CPU, torch.randn(2, 1, *PATCH)) is forward
    assert len(seen) == 1
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    if norm == "batch":
        network.train()
        network(torch.randn(2, 1, *PATCH))
        assert not torch.equal(network.state_dict()["down_1.1.running_mean"], state["down_1.1.running_mean"])


def test_a_long_run_on_cuda_is_compiled(compilations: list[Any]) -> None:
    network = SCUNet(2, "batch")
    forward = compiled_where_it_pays(network, LIKE_CUDA, True, 2, PATCH)
    assert compilations == [network]
    assert forward is not network
    image = torch.randn(2, 1, *PATCH)
    for found, expected in zip(forward(image), network(image), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("device", "pays"), [(CPU, True), (LIKE_CUDA, False)])
def test_others_train_as_they_are(device: Device, pays: bool, compilations: list[Any]) -> None:
    network = SCUNet(2, "batch")
    assert compiled_where_it_pays(network, device, pays, 2, PATCH) is network
    assert compilations == []


def test_a_machine_that_cannot_compile_trains_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails on the first pass, not before: with the compiler's own errors, many lines long."""

    def compile_(_: SCUNet) -> Any:
        def forward(_: Tensor) -> Branches:
            raise RuntimeError("Cannot find a working triton installation\nand so on")

        return forward

    monkeypatch.setattr(torch, "compile", compile_)
    network = SCUNet(2, "batch")
    with noticed(r"RuntimeError: Cannot find a working triton installation\); trained as it is"):
        assert compiled_where_it_pays(network, LIKE_CUDA, True, 2, PATCH) is network
