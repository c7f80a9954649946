"""The losses by name, of one branch and of the three. A function marked `@loss` here is all that a new one needs.

Commands offer the names before torch, whose import takes seconds, is there: hence the imports inside the functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from bisc.core.errors import InputError
from bisc.core.labels import KIDNEY_EDGE_BIT, LABEL_MASK, N_CLASSES, TUMOR_EDGE_BIT

if TYPE_CHECKING:
    from torch import Tensor

DICE_SMOOTH: Final = 1e-5

LOSSES: Final[dict[str, Callable[..., Tensor]]] = {}
"""Losses of one branch by name, from (batch, channels, z, y, x) logits and (batch, z, y, x) int64 class indices to a
scalar. One that takes a `threshold` is given the run's (`--loss-threshold`). One that takes a `total` can be trained by
several processes at once, each with a share of the batch: every sum over voxels goes through it."""


class Whole(NamedTuple):
    """A batch that is seen in parts: (channels) how many voxels of each class it has in all processes, and in how many
    equal parts."""

    counts: Tensor
    parts: int


Total = Callable[["Tensor"], "Tensor"]
"""From a process's sum to that of all processes of the run; its gradient is that of the process's own voxels."""

F = TypeVar("F", bound=Callable[..., Any])


def alone(part: Tensor) -> Tensor:
    """The `Total` of a process that sees the whole batch."""
    return part


def loss(function: F) -> F:
    """Offer a function as a loss of its name."""
    LOSSES[function.__name__] = function
    return function


@loss
def balanced_ce(
    logits: Tensor, target: Tensor, threshold: float = 0.0, total: Total = alone, whole: Whole | None = None
) -> Tensor:
    """The paper's balanced cross-entropy (equation 1), over all voxels of the batch.

    For softmax p and one-hot y over channels c and voxels n::

        L = -(1/|C|) sum_c [ (1 / sum_n y_cn) sum_n 1(|y_cn - p_cn| > T) y_cn log p_cn ]

    C are the channels with at least one voxel in the batch. The indicator is a constant for the gradient. Where
    y_cn is 1, |y_cn - p_cn| is 1 - p_cn: voxels the network is already sure of drop out of the sum, not out of the
    count they are divided by.

    Args:
        logits: (batch, channels, z, y, x).
        target: (batch, z, y, x) int64 class indices.
        threshold: T in [0, 1); 0 keeps every voxel.
        total: Adds a sum up over the processes that share the batch.
        whole: The batch, where `logits` are of one of its parts alone; the mean over the parts is then the batch's.

    Returns:
        A scalar.
    """
    import torch

    n_channels = logits.shape[1]
    log_p = torch.log_softmax(logits.float(), dim=1).gather(1, target[:, None])[:, 0]
    hard = (1.0 - log_p.detach().exp()) > threshold
    kept = torch.where(hard, log_p, torch.zeros_like(log_p)).flatten()
    flat = target.flatten()
    # scatter_add_ has no deterministic CUDA form; one masked sum per channel has, and channels are two or three.
    masks = [flat == channel for channel in range(n_channels)]
    counts = total(torch.stack([mask.sum() for mask in masks])) if whole is None else whole.counts
    means = total(torch.stack([(kept * mask).sum() for mask in masks])) / counts.clamp(min=1)
    return -means.sum() / (counts > 0).sum() * (1 if whole is None else whole.parts)


@loss
def ce(logits: Tensor, target: Tensor, total: Total = alone) -> Tensor:
    """Plain cross-entropy, the mean over all voxels: the paper's baseline. Arguments as `balanced_ce`."""
    import torch
    from torch.nn.functional import cross_entropy

    n_voxels = total(torch.full((), target.numel(), device=target.device))
    return total(cross_entropy(logits.float(), target, reduction="sum")) / n_voxels


@loss
def dice_ce(logits: Tensor, target: Tensor, total: Total = alone) -> Tensor:
    """Cross-entropy plus 1 - mean soft Dice of the foreground channels over the batch (nnU-Net's compound loss).

    Soft Dice of channel c: 2 sum p y / (sum p + sum y), Isensee et al. 2021, here over the whole batch, so that a
    patch without a tumour does not count as a total miss; of a batch in passes (`trainers.passes`) over each of its
    parts, where it does in a part without any. Arguments as `balanced_ce`.
    """
    import torch
    from torch.nn.functional import one_hot

    logits = logits.float()
    p = logits.softmax(dim=1)
    y = one_hot(target, logits.shape[1]).movedim(-1, 1).to(p.dtype)
    axes = (0, *range(2, p.ndim))
    overlap, size = total(torch.stack([(p * y).sum(axes), p.sum(axes) + y.sum(axes)]))
    dice: Tensor = (2 * overlap + DICE_SMOOTH) / (size + DICE_SMOOTH)
    return ce(logits, target, total) + 1.0 - dice[1:].mean()


def adds_up(name: str) -> bool:
    """Whether a loss can be computed by several processes, each with a share of the batch."""
    return _takes(name, "total")


def of_each_part(name: str) -> bool:
    """Whether a batch in parts is given the mean of the parts' losses, which need not be the batch's own."""
    return name != "ce" and not _takes(name, "whole")


def takes_threshold(name: str) -> bool:
    """Whether a loss is given the run's threshold."""
    return _takes(name, "threshold")


def _takes(name: str, parameter: str) -> bool:
    return parameter in inspect.signature(LOSSES[name]).parameters


def loss_by_name(name: str, threshold: float, total: Total = alone) -> Callable[[Tensor, Tensor], Tensor]:
    """The branch loss called `name`; `threshold` and `total` go to one that takes them.

    Raises:
        InputError: If there is none of that name.
    """
    if name not in LOSSES:
        raise InputError("--loss", f"no loss {name!r}", " or ".join(LOSSES))
    given = {"threshold": threshold, "total": total}
    return partial(LOSSES[name], **{key: value for key, value in given.items() if _takes(name, key)})


class BranchTargets(NamedTuple):
    """Class indices of the three branches, each (batch, z, y, x) int64."""

    region: Tensor
    kidney_edge: Tensor
    tumor_edge: Tensor


def unpack_targets(packed: Tensor) -> BranchTargets:
    """Split the cached (batch, z, y, x) uint8 targets: two bits of label, one bit for each edge."""
    whole = packed.long()
    return BranchTargets(
        whole & LABEL_MASK,
        (whole & KIDNEY_EDGE_BIT != 0).long(),
        (whole & TUMOR_EDGE_BIT != 0).long(),
    )


class SCUNetLoss:
    """One named loss of the region, kidney-edge and tumour-edge branches, those that there are; steps take their mean.

    Args:
        name: One of `LOSSES`.
        threshold: T of equation 1.
        total: Adds a sum up over the processes that share a batch.

    Raises:
        InputError: If there is no loss of that name.
    """

    def __init__(self, name: str, threshold: float = 0.0, total: Total = alone) -> None:
        self.name, self.total = name, total
        self.branch_loss = loss_by_name(name, threshold, total)
        self.asks_for_whole = _takes(name, "whole")

    def of_branches(
        self, logits: tuple[Tensor | None, ...], targets: BranchTargets, wholes: tuple[Whole, ...] | None = None
    ) -> dict[str, Tensor]:
        """A scalar for each branch that there is, by its name in `BranchTargets`; `wholes` as of `wholes_of`."""
        given: list[dict[str, Whole]] = [{} if wholes is None else {"whole": wholes[i]} for i in range(len(targets))]
        named = zip(BranchTargets._fields, logits, targets, given, strict=True)
        return {name: self.branch_loss(a, b, **more) for name, a, b, more in named if a is not None}

    def wholes_of(self, parts: Sequence[Tensor]) -> tuple[Whole, ...] | None:
        """Of each branch the batch that these parts make, packed targets as of `unpack_targets`, of which one at a time
        is unpacked; None where it is one part, or the loss does not ask."""
        import torch

        if len(parts) == 1 or not self.asks_for_whole:
            return None
        counts: list[Any] = [0, 0, 0]
        for part in parts:
            for i, (targets, n) in enumerate(zip(unpack_targets(part), (N_CLASSES, 2, 2), strict=True)):
                counts[i] = counts[i] + torch.bincount(targets.flatten(), minlength=n)
        return tuple(Whole(self.total(of_branch), len(parts)) for of_branch in counts)
