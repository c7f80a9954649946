"""bf16 training on a CPU is right at the patch depths it is used for, and not used at the one where it is wrong."""

from __future__ import annotations

import pytest
import torch

from bisc.network.device import Device, choose_device

CPU_BF16 = Device(torch.device("cpu"), "bf16")


@pytest.mark.parametrize(("depth", "precision"), [(16, "fp32"), (32, "bf16"), (48, "bf16"), (64, "bf16")])
def test_patches_two_slices_deep_at_the_bottom_train_in_fp32(depth: int, precision: str) -> None:
    """16 slices are 2 at the bottom group, where oneDNN's bf16 weight gradient is garbage."""
    assert CPU_BF16.for_patch((depth, 64, 64)).precision == precision


def test_other_devices_keep_their_precision() -> None:
    """The fault is the CPU's."""
    assert Device(torch.device("cuda"), "bf16").for_patch((16, 64, 64)).precision == "bf16"
    assert Device(torch.device("cpu"), "fp32").for_patch((32, 64, 64)).precision == "fp32"


@pytest.mark.parametrize("depth", [3, 4, 6, 8])
@pytest.mark.parametrize("features", [8, 64])
def test_bf16_weight_gradients_agree_with_fp32(depth: int, features: int) -> None:
    """At every depth that `for_patch` lets through, the relative error is bf16's own (2 to the -8 is 0.004)."""
    if choose_device("cpu").precision != "bf16":
        pytest.skip("this CPU has no bf16 arithmetic")
    torch.manual_seed(0)
    conv = torch.nn.Conv3d(features, features, 3, padding=1, bias=False)
    x = torch.randn(2, features, depth, 16, 16)
    exact = conv(x)
    upstream = torch.randn_like(exact)
    reference = torch.autograd.grad(exact, conv.weight, upstream)[0]
    conv = conv.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    with CPU_BF16.autocast():
        half = conv(x.contiguous(memory_format=torch.channels_last_3d))
    found = torch.autograd.grad(half, conv.weight, upstream.to(half.dtype))[0]
    assert float((found - reference).norm() / reference.norm()) < 0.01
