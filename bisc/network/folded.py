"""The region branch for prediction alone: batch norm folded into the convolutions, and fewer passes over memory.

What is computed is what `SCUNet.forward_region` computes, to rounding. Folding: a convolution w followed by batch norm
with running mean m, variance v, weight g and bias b is the convolution w g / sqrt(v + eps) with bias b - m g / sqrt(v +
eps). A decoder group's first convolution reads its two inputs one after the other and adds up, so that the
concatenation is never made. On a CPU oneDNN's convolutions also do the ReLU and the sum (docs/lab/performance.md).

In half precision the two ends are as exact as float32 (`ExactConv3d` says why). The first convolution: image x and
weights w are sums of a high and a low half, and x w = x_high w_high + x_low w_high + x_high w_low but for products of
both low ones: a convolution over three channels. The classifier: float32, a slab at a time. The other weights are
rounded so that a filter's errors do not add up: bf16's eight bits round each by up to 0.4 %, and one by one a filter's
27 errors add up by chance, so that its answer to an even stretch of an image, which is its sum times the grey value, is
off by about five of them. Here each tap's error is carried to the next tap, as error diffusion carries a pixel's (Floyd
and Steinberg 1976): the sum is right to one tap's rounding. It costs nothing at prediction (docs/lab/method.md).
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bisc.network.device import Device
from bisc.network.sc_unet import ExactConv3d, SCUNet, UpGroup, packed, unpacked

TOLERANCE: Final = {torch.float32: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.05}
"""Largest error allowed in the check of a folded network, relative to the logits' own size."""
CHECK_SIDE: Final = 16
SLAB_VOXELS: Final = 65536
"""Classified at a time where their features are made float32 first: what stays in the processor's cache."""
_ONES: Final = [1, 1, 1]
_LAST: Final = torch.channels_last_3d


class Kernels:
    """Convolutions by torch's own functions."""

    bytes_per_voxel_feature = 17.0

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
        """A convolution that keeps the size, with or without ReLU."""
        y = F.conv3d(x, weight, bias.to(x.dtype), padding=weight.shape[2] // 2)
        return F.relu_(y) if relu else y

    def conv_add_relu(self, y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """relu(y + convolution of x); may be done in y."""
        return F.relu_(y.add_(F.conv3d(x, weight, padding=weight.shape[2] // 2)))


class OneDnnKernels(Kernels):
    """oneDNN's, with ReLU and sum done while the result is still in the cache.

    By operators that torch.compile uses on CPUs. They are not public: `fold` looks whether they are there and right.
    """

    bytes_per_voxel_feature = 10.5

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
        padding = [weight.shape[2] // 2] * 3
        does = "relu" if relu else "none"
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, padding, _ONES, _ONES, 1, does, [], "")
        return y

    def conv_add_relu(self, y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        padding = [weight.shape[2] // 2] * 3
        out: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            y, x, weight, None, padding, _ONES, _ONES, 1, "add", 1.0, "relu", [], ""
        )
        return out


class FoldedSCUNet(nn.Module):
    """The region branch of a trained network with batch norm.

    Args:
        network: Whose weights are taken; it stays as it is.
        kernels: What convolves.
        dtype: What it computes in.
    """

    def __init__(self, network: SCUNet, kernels: Kernels, dtype: torch.dtype) -> None:
        super().__init__()
        self.kernels, self.dtype = kernels, dtype
        self.packing = network.packing
        self.bytes_per_voxel_feature = kernels.bytes_per_voxel_feature
        for name in ("down_1", "down_2", "down_3", "bottom"):
            for i, folded in enumerate(_folded_pair(getattr(network, name))):
                self._keep(f"{name}_{i}", *(self._first(*folded) if (name, i) == ("down_1", 0) else folded))
        groups: dict[str, UpGroup] = {"up_1": network.up_1, "up_2": network.up_2, "last": network.region.group}
        for name, group in groups.items():
            self._keep(f"{name}_up", group.up.weight, group.up.bias)
            (weight, bias), second = _folded_pair(group.convs)
            of_up, of_down = weight.chunk(2, dim=1)  # as `torch.cat((up, y_down))` has them
            self._keep(f"{name}_of_up", of_up)
            self._keep(f"{name}_of_down", of_down, bias)
            self._keep(f"{name}_1", *second)
        self._keep("classify", network.region.classify.weight, network.region.classify.bias, dtype=torch.float32)

    def forward_region(self, image: Tensor) -> Tensor:
        """(batch, 3, z, y, x) float32 logits of a (batch, 1, z, y, x) image; each axis divisible by 8.

        Inside autocast too, which is put aside: it would turn back to float32 what oneDNN's operators are given.
        """
        with torch.autocast(image.device.type, enabled=False):
            logits = self._classified(self._features(packed(image, self.packing)))
            return unpacked(logits, self.packing)

    def _features(self, image: Tensor) -> Tensor:
        x = _channels_last(image.float() if self.dtype == torch.float32 else _in_halves(image, self.dtype))
        downs: list[Tensor] = []
        for name in ("down_1", "down_2", "down_3"):
            downs.append(self._pair(name, x))
            x = F.max_pool3d(downs[-1], 2)
        x = self._pair("bottom", x)
        for name in ("up_1", "up_2", "last"):
            x = self._group(name, x, downs)
        return x

    def _classified(self, x: Tensor) -> Tensor:
        if self.dtype == torch.float32:
            return self.kernels.conv(x, *self._of("classify"), relu=False)
        slabs = torch.split(x, max(1, SLAB_VOXELS // x[0, 0, 0].numel()), dim=2)
        return torch.cat([self.kernels.conv(slab.float(), *self._of("classify"), relu=False) for slab in slabs], dim=2)

    def _pair(self, name: str, x: Tensor) -> Tensor:
        x = self.kernels.conv(x, *self._of(f"{name}_0"), relu=True)
        return self.kernels.conv(x, *self._of(f"{name}_1"), relu=True)

    def _group(self, name: str, below: Tensor, downs: list[Tensor]) -> Tensor:
        """Takes the last of `downs`, and lets go of it before its match from below is made: that bounds the memory."""
        x = self.kernels.conv(downs.pop(), *self._of(f"{name}_of_down"), relu=False)
        weight, bias = self._of(f"{name}_up")
        up = F.conv_transpose3d(below, weight, bias.to(self.dtype), stride=2)
        x = self.kernels.conv_add_relu(x, up, self.get_buffer(f"{name}_of_up_weight"))
        del up
        return self.kernels.conv(x, *self._of(f"{name}_1"), relu=True)

    def _first(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        if self.dtype == torch.float32:
            return weight, bias
        high, low = _halves(weight, self.dtype)
        return torch.cat((high, high, low), dim=1), bias

    def _keep(self, name: str, weight: Tensor, bias: Tensor | None = None, dtype: torch.dtype | None = None) -> None:
        """Biases stay float32: oneDNN takes them so."""
        rounded = diffused(weight, dtype or self.dtype)
        self.register_buffer(f"{name}_weight", rounded.contiguous(memory_format=_LAST))
        if bias is not None:
            self.register_buffer(f"{name}_bias", bias.detach().float())

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")


def fold(network: SCUNet, device: Device) -> SCUNet | FoldedSCUNet:
    """The quickest form of a network with batch norm, in eval mode on `device`, that gives the network's own logits.

    Each candidate is compared with the network on a small volume; one that fails, or gives something else, is not
    taken. Where none is, the network stays as it is, but for the rounding of weights that autocast would round.
    """
    candidates = [OneDnnKernels(), Kernels()] if device.kind == "cpu" else [Kernels()]
    for kernels in candidates:
        folded = FoldedSCUNet(network, kernels, device.dtype).to(device.device)
        if _agree(network, folded, TOLERANCE[device.dtype], device):
            return folded
    return network if device.precision == "fp32" else with_diffused_weights(network, device.dtype)


@torch.inference_mode()
def _agree(network: SCUNet, folded: FoldedSCUNet, tolerance: float, device: Device) -> bool:
    x = torch.linspace(-3.0, 3.0, CHECK_SIDE**3, device=device.device).sin().reshape(1, 1, *[CHECK_SIDE] * 3)
    expected = network.forward_region(x)
    try:
        with device.autocast():  # as prediction runs it
            found = folded.forward_region(x)
    except (RuntimeError, AttributeError):  # no such operator, or not for this processor
        return False
    return bool((found - expected).norm() <= tolerance * expected.norm())


def _folded_pair(pair: nn.Sequential) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of both convolutions of a pair (convolution, norm, ReLU, convolution, norm, ReLU)."""
    convs = [module for module in pair if isinstance(module, nn.Conv3d)]
    norms = [module for module in pair if isinstance(module, nn.BatchNorm3d)]
    return [_folded(conv, norm) for conv, norm in zip(convs, norms, strict=True)]


def _folded(conv: nn.Conv3d, norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    mean, variance, weight, bias = (_double(t) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    scale = weight / (variance + norm.eps).sqrt()
    return (_double(conv.weight) * scale[:, None, None, None, None]).float(), (bias - mean * scale).float()


def _double(value: Any) -> Tensor:
    tensor: Tensor = value.detach().double()
    return tensor


def _halves(exact: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two tensors of `dtype` whose sum is nearly a float32 one."""
    high = exact.to(dtype)
    return high, (exact - high.float()).to(dtype)


def _in_halves(image: Tensor, dtype: torch.dtype) -> Tensor:
    """The three channels that `FoldedSCUNet._first` has weights for."""
    high, low = _halves(image.float(), dtype)
    return torch.cat((high, low, high), dim=1)


def _channels_last(image: Tensor) -> Tensor:
    """A tensor of one channel has both memory formats at once; by its strides convolutions choose their output's."""
    if image.shape[1] != 1:
        return image.contiguous(memory_format=_LAST)
    n, c, z, y, x = image.shape
    return image.contiguous().as_strided((n, c, z, y, x), (z * y * x, 1, y * x, x, 1))


def diffused(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights in `dtype`; what rounding does to a tap is carried to the next one of its filter.

    Args:
        weight: (a, b, z, y, x), one filter for each of a x b pairs of channels: of a convolution or an up-convolution.
        dtype: torch.bfloat16 or torch.float16.

    Returns:
        The shape of `weight`. Each filter's sum is that of `weight` to half a unit in the last place of its last tap.
    """
    taps = weight.detach().double().flatten(2)
    found = torch.empty_like(taps, dtype=dtype)
    carried = torch.zeros_like(taps[..., 0])
    for i in range(taps.shape[2]):
        wanted = taps[..., i] + carried
        found[..., i] = wanted.to(dtype)
        carried = wanted - found[..., i].double()
    return found.reshape(weight.shape)


def with_diffused_weights(network: SCUNet, dtype: torch.dtype) -> SCUNet:
    """A copy of a network that autocast will run in `dtype`, its weights such as are in `dtype` already.

    Those of the two ends, which compute in float32, stay as they are.
    """
    copy = deepcopy(network)
    for module in copy.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and not isinstance(module, ExactConv3d):
            module.weight.data.copy_(diffused(module.weight, dtype))
    return copy
