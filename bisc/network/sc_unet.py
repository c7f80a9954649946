"""SC-UNet, the paper's figure 2: a 3D U-Net whose last up-sampling group exists three times.

Shapes are written for an input of Z x Y x X voxels and f base features, as (channels, z, y, x). The batch axis comes
first and is left out. Z, Y and X must be divisible by 8.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from bisc.core.choices import Edges
from bisc.core.labels import N_CLASSES
from bisc.core.limits import Norm

DIVISOR: Final = 8
"""Three poolings halve each axis three times."""
N_EDGE_CLASSES: Final = 2


class Branches(NamedTuple):
    """Logits of the three branches, each (batch, channels, z, y, x); None: a network without edges."""

    region: Tensor
    """background, kidney, tumour"""
    kidney_edge: Tensor | None = None
    """background, outline of the organ (kidney with tumour)"""
    tumor_edge: Tensor | None = None
    """background, outline of the tumour"""


class SCUNet(nn.Module):
    """Shared trunk, three branches.

    Args:
        base_features: Width f of the first level; it doubles at each deeper one (32 is the paper's class).
        norm: 'batch' folds into the convolutions at inference and wants batches of 4 or more; 'instance' learns at
            any batch size.
        edges: 'branches' are the paper's: each edge has a last group of its own. 'heads': each has a 1x1x1 classifier
            on the region branch's features, which saves 45 % of a training step's arithmetic. 'off': no edges.
        packing: 1: voxels as they are. 2: the four voxels of a 2 x 2 square of a slice enter as four channels, and
            their logits leave as such (space-to-depth and back, Shi et al. 2016): a quarter of the arithmetic and
            twice the reach in plane, no voxel lost. Y and X must then be divisible by 16.
    """

    bytes_per_voxel_feature = 22.0
    """Memory of a pass in float32 per voxel and base feature, fitted to peaks (docs/lab/performance.md)."""

    def __init__(
        self, base_features: int = 32, norm: Norm = "instance", edges: Edges = "branches", packing: int = 1
    ) -> None:
        super().__init__()
        f, voxels = base_features, packing**2
        self.edges, self.packing = edges, packing
        self.down_1 = _conv_pair(voxels, f, norm, first=True)
        self.down_2 = _conv_pair(f, 2 * f, norm)
        self.down_3 = _conv_pair(2 * f, 4 * f, norm)
        self.bottom = _conv_pair(4 * f, 8 * f, norm)
        self.pool = nn.MaxPool3d(2)
        self.up_1 = UpGroup(8 * f, 4 * f, norm)
        self.up_2 = UpGroup(4 * f, 2 * f, norm)
        self.region = Branch(2 * f, f, N_CLASSES * voxels, norm)
        if edges == "branches":
            self.kidney_edge: nn.Module = Branch(2 * f, f, N_EDGE_CLASSES * voxels, norm)
            self.tumor_edge: nn.Module = Branch(2 * f, f, N_EDGE_CLASSES * voxels, norm)
        elif edges == "heads":
            self.kidney_edge = ExactConv3d(f, N_EDGE_CLASSES * voxels, kernel_size=1)
            self.tumor_edge = ExactConv3d(f, N_EDGE_CLASSES * voxels, kernel_size=1)
        self.apply(_kaiming)
        self.apply(partial(_start_alike, voxels=voxels))

    def forward(self, image: Tensor) -> Branches:
        """All three branches' logits of a normalised (batch, 1, z, y, x) image."""
        below = self.trunk(image)
        features = self.region.group(*below)
        logits = [self.region.classify(features)]
        if self.edges != "off":
            seen = below if self.edges == "branches" else (features,)
            logits += [self.kidney_edge(*seen), self.tumor_edge(*seen)]
        return Branches(*(unpacked(branch, self.packing) for branch in logits))

    def forward_region(self, image: Tensor) -> Tensor:
        """The region branch alone: (batch, 3, z, y, x) logits; what prediction needs."""
        return unpacked(self.region(*self.trunk(image)), self.packing)

    def trunk(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What the branches share: (y_up 2, y_down 1).

        Raises:
            ValueError: If a spatial axis is not divisible by 8 (`packing` 2: Y and X by 16).
        """
        size = tuple(image.shape[2:])
        least = (DIVISOR, DIVISOR * self.packing, DIVISOR * self.packing)
        if any(n % d for n, d in zip(size, least, strict=True)):
            raise ValueError(f"an image of {size} voxels (z, y, x); the axes must be divisible by {least}")
        y_down_1 = self.down_1(packed(image, self.packing))  # (f, Z, Y, X)
        y_down_2 = self.down_2(self.pool(y_down_1))  # (2f, Z/2, Y/2, X/2)
        y_down_3 = self.down_3(self.pool(y_down_2))  # (4f, Z/4, Y/4, X/4)
        y_bottom = self.bottom(self.pool(y_down_3))  # (8f, Z/8, Y/8, X/8)
        y_up_1 = self.up_1(y_bottom, y_down_3)  # (4f, Z/4, Y/4, X/4)
        y_up_2 = self.up_2(y_up_1, y_down_2)  # (2f, Z/2, Y/2, X/2)
        return y_up_2, y_down_1


class UpGroup(nn.Module):
    """2x2x2 up-convolution, concatenation with the matching y_down, two convolutions."""

    def __init__(self, in_features: int, out_features: int, norm: Norm) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(in_features, out_features, kernel_size=2, stride=2)
        self.convs = _conv_pair(2 * out_features, out_features, norm)

    def forward(self, below: Tensor, y_down: Tensor) -> Tensor:
        """(2c, z, y, x) from below and (c, 2z, 2y, 2x) from the encoder give (c, 2z, 2y, 2x)."""
        return self.convs(torch.cat((self.up(below), y_down), dim=1))  # type: ignore[no-any-return]


class Branch(nn.Module):
    """One copy of the last up-sampling group with its own 1x1x1 classifier."""

    def __init__(self, in_features: int, features: int, n_classes: int, norm: Norm) -> None:
        super().__init__()
        self.group = UpGroup(in_features, features, norm)
        self.classify = ExactConv3d(features, n_classes, kernel_size=1)

    def forward(self, y_up_2: Tensor, y_down_1: Tensor) -> Tensor:
        """(2f, Z/2, Y/2, X/2) and (f, Z, Y, X) give (n_classes, Z, Y, X) logits."""
        return self.classify(self.group(y_up_2, y_down_1))  # type: ignore[no-any-return]


def packed(image: Tensor, packing: int) -> Tensor:
    """(batch, 1, z, y, x) to (batch, packing^2, z, y / packing, x / packing): squares of a slice become channels.

    Channel i * packing + j is row i, column j of a square.
    """
    if packing == 1:
        return image
    n, _, z, y, x = image.shape
    rows, columns = y // packing, x // packing
    squares = image.reshape(n, z, rows, packing, columns, packing).permute(0, 3, 5, 1, 2, 4)
    return squares.reshape(n, packing**2, z, rows, columns)


def unpacked(logits: Tensor, packing: int) -> Tensor:
    """`packed` undone for each class: (batch, classes * packing^2, z, y, x) to (batch, classes, z, packing y, ...)."""
    if packing == 1:
        return logits
    n, c, z, y, x = logits.shape
    squares = logits.reshape(n, c // packing**2, packing, packing, z, y, x).permute(0, 1, 4, 5, 2, 6, 3)
    return squares.reshape(n, c // packing**2, z, y * packing, x * packing)


def count_parameters(network: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _conv_pair(in_features: int, out_features: int, norm: Norm, first: bool = False) -> nn.Sequential:
    """Two times 3x3x3 convolution, norm, ReLU."""
    conv = ExactConv3d if first else nn.Conv3d
    return nn.Sequential(
        # The norm that follows has a bias of its own.
        conv(in_features, out_features, kernel_size=3, padding=1, bias=False),
        _norm(norm, out_features),
        nn.ReLU(inplace=True),
        nn.Conv3d(out_features, out_features, kernel_size=3, padding=1, bias=False),
        _norm(norm, out_features),
        nn.ReLU(inplace=True),
    )


def _norm(norm: Norm, features: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm3d(features)
    return InstanceNorm(features)


def _kaiming(module: nn.Module) -> None:
    """Kaiming start; PyTorch's own default learnt nothing in 350 steps at batch 2 (docs/lab/method.md)."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _start_alike(module: nn.Module, voxels: int) -> None:
    """The voxels of a square begin with the same classifier: else the first masks are chequered."""
    if isinstance(module, ExactConv3d) and module.kernel_size[0] == 1:
        module.weight.data = module.weight.data[::voxels].repeat_interleave(voxels, dim=0)


class RegionNetwork(Protocol):
    """What prediction needs of a network."""

    def forward_region(self, image: Tensor) -> Tensor:
        """(batch, 3, z, y, x) logits of a (batch, 1, z, y, x) image."""


class ExactConv3d(nn.Conv3d):
    """A convolution that computes in float32 in eval mode, inside autocast too.

    The first one, whose input has an offset and eight bits already, and the classifier, whose logits are compared: with
    these two exact, labels in bf16 differ from float32's half as often or less, at little cost (docs/lab/method.md).
    """

    def forward(self, x: Tensor) -> Tensor:
        """As its parent's; in eval mode float32."""
        if self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


EPSILON = 1e-5


class InstanceNorm(nn.Module):
    """y = (x - mean) / sqrt(var + 1e-5) * weight + bias, mean and var of each case's channel (Ulyanov et al. 2016).

    torch's InstanceNorm3d copies channels-last tensors to another layout and back. Its group norm does not, forward,
    but takes its time backward: hence a backward of our own (docs/lab/method.md has the timings).

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
