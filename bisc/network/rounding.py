"""Weights in half precision whose rounding errors do not add up over a filter.

Eight bits (bf16) round each weight by up to 0.4 %. Rounded one by one, a filter's 27 errors add up by chance, and its
answer to an even stretch of an image, which is its sum times the grey value, is off by about five of them. Here each
tap's error is carried to the next tap, as error diffusion carries a pixel's to the next pixel (Floyd and Steinberg
1976): the sum is right to one tap's rounding, and what is left is a difference between neighbours, to which only a
sharp edge answers. It costs nothing at prediction (docs/lab/method.md has what it gains).
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from bisc.network.sc_unet import ExactConv3d, SCUNet


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
