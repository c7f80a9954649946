"""InstanceNorm against torch's own: values and gradients, both memory layouts, both precisions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bisc.network.sc_unet import InstanceNorm, SCUNet

LAYOUTS = (torch.contiguous_format, torch.channels_last_3d)


def both() -> tuple[InstanceNorm, nn.InstanceNorm3d]:
    """Ours and torch's with the same weights."""
    ours, theirs = InstanceNorm(3), nn.InstanceNorm3d(3, affine=True)
    theirs.weight.data = torch.tensor([0.5, 1.0, 2.0])
    theirs.bias.data = torch.tensor([1.0, 0.0, -1.0])
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def results(norm: nn.Module, x: Tensor, grad: Tensor) -> list[Tensor]:
    """Output, and gradients of input, weight and bias."""
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(grad)
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad for p in norm.parameters() if p.grad is not None)]


def test_by_hand() -> None:
    """1, 3 have mean 2 and deviation 1: -1, 1; times 2, plus 5: 3, 7."""
    norm = InstanceNorm(1)
    norm.weight.data, norm.bias.data = torch.tensor([2.0]), torch.tensor([5.0])
    y = norm(torch.tensor([1.0, 3.0]).view(1, 1, 1, 1, 2))
    torch.testing.assert_close(y.flatten(), torch.tensor([3.0, 7.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_gradients_are_torchs(layout: torch.memory_format) -> None:
    """On values far from zero, where a careless variance would lose its digits; the layout is kept."""
    x = (torch.randn(2, 3, 4, 5, 6, generator=torch.manual_seed(1)) * 3 + 20).contiguous(memory_format=layout)
    grad = torch.randn(2, 3, 4, 5, 6).contiguous(memory_format=layout)
    ours, theirs = both()
    mine = results(ours, x, grad)
    for a, b in zip(mine, results(theirs, x, grad), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)
    assert mine[0].is_contiguous(memory_format=layout)
    assert mine[1].is_contiguous(memory_format=layout)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), mine[0])


def test_gradients_are_the_functions_own() -> None:
    """Central differences in float64."""
    ours, _ = both()
    ours.double()
    x = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours, (x,), atol=1e-5)


def test_bf16_trains_towards_the_same_place() -> None:
    """Under autocast the gradient of a whole network points where float32's does."""
    torch.manual_seed(0)
    network = SCUNet(8, "instance")
    x = torch.randn(2, 1, 32, 32, 32)
    found = []
    for enabled in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            branches = network(x)
        torch.stack([(b.float() ** 2).mean() for b in branches]).sum().backward()  # type: ignore[no-untyped-call]
        found.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    cosine = torch.nn.functional.cosine_similarity(found[0], found[1], dim=0)
    assert float(cosine) > 0.99
