"""Several processes that train one network together, each on its share of every batch.

They begin with the same weights. What a loss adds up over voxels is added up over the processes too, so that each knows
the loss of the whole batch; each takes the gradient of its own share, and the gradients are added up before the
optimisers' step. So all of them hold the same state after it, and the first one writes it.

Gradients are added up in one piece after the last pass. Convolutions in 3D compute much for few weights: what hiding
the transfer behind the computing could win is small, and any network, compiled or not, is trained as it is.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn

from bisc.core.errors import InputError, WorkError
from bisc.network import SCUNet
from bisc.system.console import Stopped, check
from bisc.system.files import write_text

LAUNCH: Final = ".launch"
"""In a fold's folder: which launcher began its run, so that only that one's restarted processes go on unasked."""
LAUNCH_ID: Final = "BISC_LAUNCH"
"""Environment variable: the launcher, by a name of its own (`bisc.pipeline.launch`)."""


class PeerLost(WorkError):
    """Another process of the training is gone."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a training as one of them sees them; this class is the process that trains alone.

    Attributes:
        number: This one, from 0 on.
        n: How many there are.
    """

    number: int = 0
    n: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.number == 0

    def places(self, batch_size: int, passes: int) -> tuple[int, ...]:
        """Which cases of a batch are this process's: of every pass its share, as equal as may be."""
        size = batch_size // passes
        begin, end = self.number * size // self.n, (self.number + 1) * size // self.n
        return tuple(start + i for start in range(0, passes * size, size) for i in range(begin, end))

    def largest_share(self, of_pass: int) -> int:
        """Cases that one process sees at once of a pass's."""
        return -(-of_pass // self.n)

    def total(self, part: Tensor) -> Tensor:
        """A tensor's sum over the processes; its gradient is that of this process's part."""
        return part

    def add_gradients(self, network: nn.Module) -> None:
        """Give every process the sum of all gradients."""

    def synced(self, network: SCUNet) -> SCUNet:
        """The network, with statistics of batch norm over all processes."""
        return network

    def check(self) -> None:
        """As `bisc.system.console.check`, in all processes or in none.

        Raises:
            Stopped: If the user wants one of them to stop.
        """
        check()

    def said(self, value: float) -> float:
        """The first one's value."""
        return value

    def least(self, value: float) -> float:
        """The smallest of all values."""
        return value

    def agree_on(self, what: str) -> None:
        """Make sure that all processes are about to do the same.

        Raises:
            InputError: If their texts differ.
        """

    def align(self, network: nn.Module) -> None:
        """Give every process the first one's weights: on unlike machines they drift apart by rounding."""

    def wait(self) -> None:
        """Go on when all are here."""

    def leave(self) -> None:
        """Part with the others."""

    def mark(self, folder: Path) -> None:
        """Remember in a fold's folder who began its run."""

    def began(self, folder: Path) -> bool:
        """Whether the launcher of these processes began the run in `folder`: they are started again, and go on."""
        return False


ALONE: Final = Ranks()


@dataclass(frozen=True)
class Together(Ranks):
    """One of several: over nccl on CUDA, gloo on a CPU; single numbers over gloo, for which no GPU has to wait.

    Attributes:
        words: The group for single numbers.
    """

    words: Any = None

    def total(self, part: Tensor) -> Tensor:
        """See `Ranks`."""
        whole: Tensor = _Total.apply(part)  # type: ignore[no-untyped-call]
        return whole

    def add_gradients(self, network: nn.Module) -> None:
        """See `Ranks`."""
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        whole = torch.cat([gradient.flatten() for gradient in gradients])
        _all_reduce(whole)
        parts = torch.split(whole, [gradient.numel() for gradient in gradients])
        for gradient, summed in zip(gradients, parts, strict=True):
            gradient.copy_(summed.view(gradient.shape))

    def synced(self, network: SCUNet) -> SCUNet:
        """See `Ranks`."""
        same: SCUNet = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return same

    def check(self) -> None:
        """See `Ranks`."""
        asked = 0.0
        try:
            check()
        except Stopped:
            asked = 1.0
        if any(self._extremes([asked])):
            raise Stopped

    def said(self, value: float) -> float:
        """See `Ranks`."""
        return self._extremes([value if self.first else -math.inf])[0]

    def least(self, value: float) -> float:
        """See `Ranks`."""
        return -self._extremes([-value])[0]

    def agree_on(self, what: str) -> None:
        """See `Ranks`."""
        digest = [float(byte) for byte in hashlib.sha256(what.encode()).digest()]
        most = self._extremes([*digest, *(-number for number in digest)])
        if any(high + low for high, low in zip(most, most[len(digest) :], strict=False)):
            raise InputError(
                "the processes of this training",
                "were started with different options, plans, folds or checkpoints",
                "the same in each",
                "give each machine the same command, and folders that all of them see",
            )

    def align(self, network: nn.Module) -> None:
        """See `Ranks`."""
        for tensor in network.state_dict().values():
            _together(dist.broadcast, tensor, 0)

    def wait(self) -> None:
        """See `Ranks`."""
        self._extremes([0.0])

    def leave(self) -> None:
        """See `Ranks`."""
        self.wait()
        dist.destroy_process_group()

    def mark(self, folder: Path) -> None:
        """See `Ranks`."""
        write_text(folder / LAUNCH, _launch())

    def began(self, folder: Path) -> bool:
        """See `Ranks`."""
        path = folder / LAUNCH
        return path.is_file() and path.read_text(encoding="utf-8", errors="replace") == _launch()

    def _extremes(self, values: list[float]) -> list[float]:
        """The largest of each over the processes."""
        numbers = torch.tensor(values, dtype=torch.float64)
        _all_reduce(numbers, dist.ReduceOp.MAX, self.words)
        largest: list[float] = numbers.tolist()
        return largest


class _Total(torch.autograd.Function):
    """Sum over the processes. All of them compute the same from it, so a part's gradient is the sum's."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        whole = part.clone()
        _all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def _all_reduce(tensor: Tensor, operation: Any = dist.ReduceOp.SUM, group: Any = None) -> None:
    """In place; raises as `_together`."""
    _together(dist.all_reduce, tensor, operation, group)


def _together(work: Callable[..., Any], *given: Any) -> None:
    """Something that all processes do at once.

    Raises:
        PeerLost: If another process ended, or does not answer.
    """
    try:
        work(*given)
    except RuntimeError as error:
        raise PeerLost(
            f"another process of this training is gone or does not answer ({first_line(error)}); "
            "the same command with --continue goes on from the last checkpoint"
        ) from error


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _launch() -> str:
    """The launcher by its name, or as the process that started this one: the same when it starts it again."""
    name = os.environ.get(LAUNCH_ID)
    if name:
        return name
    parent = psutil.Process(os.getppid())
    return f"{socket.gethostname()} {parent.pid} {parent.create_time()}"
