"""Losses of one branch by name, and their sum over the three branches."""

from bisc.losses.branch import balanced_ce, ce, dice_ce, loss_by_name
from bisc.losses.branches import BranchTargets, SCUNetLoss, unpack_targets

__all__ = [
    "BranchTargets",
    "SCUNetLoss",
    "balanced_ce",
    "ce",
    "dice_ce",
    "loss_by_name",
    "unpack_targets",
]
