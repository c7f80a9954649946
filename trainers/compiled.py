"""The network compiled for training on CUDA, where a run is long enough to win back what compiling takes.

Half a minute of compiling takes a quarter (batch norm) to two fifths (instance norm) off every step
(docs/lab/performance.md). On a CPU nothing is gained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from bisc.core.geometry import IntTriple
from bisc.network import Branches, SCUNet
from bisc.network.device import Device
from bisc.system.console import notice, track

LEAST_STEPS: Final = 4000
"""A run with fewer to go stays as it is: at 15 ms won a step, this many win back a minute."""
LEAST_S: Final = 300.0
"""The same of a run whose end is a time (`--minutes`): a quarter of this is more than compiling takes, twice."""

Forward = Callable[[Tensor], Branches]


def compiled_where_it_pays(
    network: SCUNet, device: Device, pays: bool, batch: int, patch_size_zyx: IntTriple
) -> Forward:
    """The network's forward pass for training, compiled or as it is.

    Args:
        network: On the device. Its weights and running statistics stay as they are, and stay its own.
        device: Where it trains.
        pays: Whether the run is long enough.
        batch: Cases of a pass.
        patch_size_zyx: Of a pass.
    """
    if device.kind != "cuda" or not pays or any(isinstance(m, nn.SyncBatchNorm) for m in network.modules()):
        return network  # statistics that processes share amid a pass: never tried
    image = torch.zeros((batch, 1, *patch_size_zyx), device=device.device)
    forward: Forward = network
    try:
        for _ in track(range(1), "compile the network", unit="network"):
            forward = tried(torch.compile(network), network, device, image)
    except Exception as error:  # noqa: BLE001 - no compiler, no Triton, an operator too many: each in its own way
        reason = next(iter(str(error).splitlines()), "")
        notice("torch.compile", f"failed ({type(error).__name__}: {reason})", "trained as it is, more slowly")
    return forward


def tried(forward: Any, network: SCUNet, device: Device, image: Tensor) -> Forward:
    """`forward`, after one pass there and back, which compiles it; whatever that raises is raised.

    Batch norm's running statistics are put back, and no gradients are left.
    """
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train()
    try:
        with device.autocast():
            branches = forward(image)
        total = torch.stack([logits.float().square().mean() for logits in branches if logits is not None]).sum()
        total.backward()  # type: ignore[no-untyped-call]
    finally:
        network.zero_grad(set_to_none=True)
        network.load_state_dict({**network.state_dict(), **before})
    result: Forward = forward
    return result
