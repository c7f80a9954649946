"""How fast can convolutions be on this machine, and how much of that does the network reach?

    python -m benchmarks.limit [--base-features 32]

The limit is the best rate of a plain 3 x 3 x 3 convolution over a table of widths and layouts, per precision. The
network's is the arithmetic of its convolutions, counted, over the seconds of a pass. One multiplication and one
addition are two operations (FLOP).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.by_intensity import network
from benchmarks.measure import seconds_of
from bisc.core.geometry import IntTriple
from bisc.network import SCUNet
from bisc.network.device import Device, choose_device
from bisc.network.folded import fold

WIDTHS: Final = (32, 64, 128, 256)
SIDE: Final = 48
REPEATS: Final = 5
ROUGH_WINDOW: Final = (64, 128, 128)
FINE_ROI: Final = (48, 160, 160)
GIGA: Final = 1e9


@dataclass(frozen=True)
class Work:
    """One kind of work, to be timed."""

    what: str
    precision: str
    gflop: float
    run: Callable[[], object]


@dataclass(frozen=True)
class Rate:
    """Of one kind of work."""

    what: str
    precision: str
    gflop: float
    seconds: float

    @property
    def gflop_per_s(self) -> float:
        return self.gflop / self.seconds


def convolutions(precision: str) -> Iterator[Work]:
    """Single convolutions, two volumes at a time."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    for width in WIDTHS:
        n = SIDE if width < WIDTHS[-1] else SIDE // 2
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            conv = nn.Conv3d(width, width, 3, padding=1).to(dtype=dtype, memory_format=layout)
            x = torch.randn(2, width, n, n, n, dtype=dtype).contiguous(memory_format=layout)
            gflop = 2 * 2 * 27 * width * width * n**3 / GIGA
            name = f"convolution {width} to {width}, {'NCDHW' if layout == torch.contiguous_format else 'NDHWC'}"
            yield Work(name, precision, gflop, partial(conv, x))


def network_pass(shape_zyx: IntTriple, device: Device, base_features: int, batch: int = 1) -> Work:
    """The region branch over one volume, as prediction runs it."""
    net = device.put_network(network(base_features)).eval()
    quick = fold(net, device)
    x = device.put(np.random.default_rng(0).standard_normal((batch, 1, *shape_zyx)).astype(np.float32))

    def run() -> None:
        with device.autocast():
            quick.forward_region(x)

    size = " x ".join(map(str, shape_zyx))
    return Work(f"network, {size}", device.precision, batch * gflop_of(net, shape_zyx), run)


def gflop_of(net: SCUNet, shape_zyx: IntTriple) -> float:
    """Of the convolutions and up-convolutions of the region branch, counted as they run."""
    total = 0.0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv3d | nn.ConvTranspose3d)
        places = inputs[0] if isinstance(module, nn.ConvTranspose3d) else out
        total += 2.0 * module.weight.numel() * places[0, 0].numel()

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    small = tuple(16 for _ in shape_zyx)
    with torch.inference_mode():
        net.forward_region(torch.zeros(1, 1, *small))
    for hook in hooks:
        hook.remove()
    return total / float(np.prod(small)) * float(np.prod(shape_zyx)) / GIGA


def measure(base_features: int = 32) -> list[Rate]:
    """Limits and the network, in the precisions that prediction takes here; a rough window also in the fine stage's.

    Medians of rounds through all of them, since the clock of a shared machine moves.
    """
    device = choose_device("cpu")
    precisions = ["fp32"] if device.precision == "fp32" else ["fp32", device.precision]
    works = [work for precision in precisions for work in convolutions(precision)]
    rough = device.in_float32()
    runs = dict.fromkeys([(ROUGH_WINDOW, rough), (ROUGH_WINDOW, device), (FINE_ROI, device)])
    works += [network_pass(shape, where, base_features) for shape, where in runs]
    with torch.inference_mode():
        rounds = [[seconds_of(work.run) for work in works] for _ in range(REPEATS + 1)]
    medians = np.median(rounds[1:], axis=0)  # the first one makes the kernels
    return [Rate(w.what, w.precision, w.gflop, float(s)) for w, s in zip(works, medians, strict=True)]


def share_of_limit(rates: list[Rate]) -> dict[str, float]:
    """Per network row (what and precision) its rate over the best convolution's in the same precision."""
    best: dict[str, float] = {}
    for rate in rates:
        if rate.what.startswith("convolution"):
            best[rate.precision] = max(best.get(rate.precision, 0.0), rate.gflop_per_s)
    networks = [r for r in rates if r.what.startswith("network")]
    return {f"{r.what}, {r.precision}": r.gflop_per_s / best[r.precision] for r in networks}


def main() -> None:
    """Print a row per rate and the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-features", type=int, default=32)
    rates = measure(parser.parse_args().base_features)
    for rate in rates:
        print(
            f"{rate.what:36s} {rate.precision} {rate.gflop:8.1f} GFLOP {rate.seconds:7.3f} s "
            f"{rate.gflop_per_s:7.1f} GFLOP/s"
        )
    for what, share in share_of_limit(rates).items():
        print(f"{what}: {share:.0%} of the best convolution")


if __name__ == "__main__":
    main()
