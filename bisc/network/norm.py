"""Instance norm that is quick on channels-last tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-5


class InstanceNorm(nn.Module):
    """y = (x - mean) / sqrt(var + 1e-5) * weight + bias, mean and var of each case's channel (Ulyanov et al. 2016).

    torch's InstanceNorm3d copies channels-last tensors to another layout and back. Its group norm does not, forward,
    but takes its time backward: hence a backward of our own (docs/method.md has the timings).

    Args:
        features: Channels.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, features, z, y, x) in, the same out."""
        if x.is_cuda or not torch.is_grad_enabled():
            return torch.group_norm(x, x.shape[1], self.weight, self.bias, EPSILON)
        normed: Tensor = _Normalise.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return normed


class _Normalise(torch.autograd.Function):
    """Group norm with a channel a group, and the textbook's gradient in few passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        n, c = x.shape[:2]
        y, mean, rstd = torch.native_group_norm(x, weight, bias, n, c, x[0, 0].numel(), c, EPSILON)
        ctx.save_for_backward(x, mean, rstd, weight)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """With x^ = (x - mean) rstd: dx = w rstd (dy - mean(dy) - x^ mean(dy x^)); dw = sum(dy x^); db = sum(dy)."""
        (dy,) = grads
        x, mean, rstd, weight = ctx.saved_tensors
        mean, rstd = mean.to(_exact(x)), rstd.to(_exact(x))
        xhat = torch.addcmul(_spread(-mean * rstd, x), x, _spread(rstd, x))
        voxels = x[0, 0].numel()
        sum_dy, sum_dy_xhat = _sum(dy), _sum(dy * xhat)
        scale = weight * rstd
        dx = torch.addcmul(_spread(-scale * sum_dy / voxels, x), xhat, _spread(-scale * sum_dy_xhat / voxels, x))
        dx.addcmul_(dy, _spread(scale, x))
        return dx, sum_dy_xhat.sum(0), sum_dy.sum(0)


def _sum(x: Tensor) -> Tensor:
    """(batch, features) sums over space, in float32 or better; by matrix product, which is quicker here than sum()."""
    rows = x.movedim(1, -1).flatten(1, -2).to(_exact(x))
    return (rows.new_ones(1, 1, rows.shape[1]).expand(len(rows), -1, -1) @ rows)[:, 0]


def _exact(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype)[:, :, None, None, None]
