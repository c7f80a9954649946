"""The three branches' losses together: each weighs the same."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bisc.core.choices import LossName
from bisc.core.targets import KIDNEY_EDGE_BIT, LABEL_MASK, TUMOR_EDGE_BIT
from bisc.losses.branch import loss_by_name


class BranchTargets(NamedTuple):
    """Class indices of the three branches, each (batch, z, y, x) int64."""

    region: Tensor
    kidney_edge: Tensor
    tumor_edge: Tensor


def unpack_targets(packed: Tensor) -> BranchTargets:
    """Split the cached (batch, z, y, x) uint8 targets: two bits of label, one bit for each edge."""
    whole = packed.to(torch.int64)
    return BranchTargets(
        whole & LABEL_MASK,
        (whole & KIDNEY_EDGE_BIT != 0).to(torch.int64),
        (whole & TUMOR_EDGE_BIT != 0).to(torch.int64),
    )


class SCUNetLoss:
    """Mean of one named loss over the region, kidney-edge and tumour-edge branches.

    Args:
        name: 'balanced_ce', 'ce' or 'dice_ce'.
        threshold: T of equation 1.
    """

    def __init__(self, name: LossName, threshold: float = 0.0) -> None:
        self.name = name
        self.branch_loss = loss_by_name(name, threshold)

    def __call__(self, logits: tuple[Tensor, Tensor, Tensor], targets: BranchTargets) -> Tensor:
        """A scalar from (region, kidney edge, tumour edge) logits; the branches weigh the same."""
        losses = [self.branch_loss(a, b) for a, b in zip(logits, targets, strict=True)]
        return torch.stack(losses).mean()
