"""Which form of a training step is quickest on this device: precision, memory format, chosen kernels, compiled.

    python -m benchmarks.step_forms [--device cuda] [--patch 64 128 128] [--batch 2] [--compile] [-o bench_out]

Forward, loss and backward of the full-width network on the same tensors, one form after the other, medians. `benchmark`
is cuDNN's own trial of its kernels for every shape it meets.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from benchmarks.table import machine
from bisc.core.geometry import IntTriple
from bisc.losses import SCUNetLoss, unpack_targets
from bisc.network import SCUNet
from bisc.network.device import Device, choose_device

LAYOUTS: Final = {"channels last": torch.channels_last_3d, "contiguous": torch.contiguous_format}
WARM_UP: Final = 3
GB: Final = 1e9


@dataclass(frozen=True)
class Form:
    """One way to take a step."""

    norm: str
    precision: str
    layout: str
    benchmark: bool = False
    compiled: bool = False


def forms(device: Device, compiled: bool) -> Iterator[Form]:
    """All ways that the device has; compiled, in the precision it would choose alone, for it takes a minute each."""
    precisions = ["fp32", "bf16", "fp16"] if device.kind == "cuda" else sorted({"fp32", device.precision})
    trials = [False, True] if device.kind == "cuda" else [False]
    for norm, precision, layout, benchmark in itertools.product(["batch", "instance"], precisions, LAYOUTS, trials):
        yield Form(norm, precision, layout, benchmark)
    if compiled:
        for norm, layout in itertools.product(["batch", "instance"], LAYOUTS):
            yield Form(norm, device.precision, layout, compiled=True)


def make_step(form: Form, device: Device, patch: IntTriple, batch: int, features: int) -> Callable[[], None]:
    """A step of this form over random voxels; its gradients stay."""
    rng = np.random.default_rng(0)
    at = Device(device.device, form.precision)
    layout = LAYOUTS[form.layout]
    network = SCUNet(features, form.norm).to(at.device, memory_format=layout)  # type: ignore[arg-type, call-overload]
    run: Callable[..., Any] = torch.compile(network) if form.compiled else network
    image = torch.from_numpy(rng.standard_normal((batch, 1, *patch), dtype=np.float32)).to(at.device)
    image = image.contiguous(memory_format=layout)
    targets = unpack_targets(at.put(rng.integers(0, 3, (batch, *patch), dtype=np.uint8)))
    loss = SCUNetLoss("balanced_ce")

    def step() -> None:
        network.zero_grad(set_to_none=True)
        with torch.backends.cudnn.flags(enabled=True, benchmark=form.benchmark, allow_tf32=True):
            with at.autocast():
                logits = run(image)
            loss(logits, targets).backward()

    return step


def seconds(step: Callable[[], None], device: Device) -> float:
    """Of one step, the device's queue empty before and after."""
    wait_for(device)
    begin = time.perf_counter()
    step()
    wait_for(device)
    return time.perf_counter() - begin


def wait_for(device: Device) -> None:
    """Until the device has done what it was given."""
    if device.kind == "cuda":
        torch.cuda.synchronize(device.device)


def measure(form: Form, device: Device, patch: IntTriple, batch: int, features: int, n: int) -> dict[str, Any]:
    """One form's median, its first step, and on CUDA its peak memory."""
    if device.kind == "cuda":
        torch.cuda.reset_peak_memory_stats(device.device)
    step = make_step(form, device, patch, batch, features)
    first = seconds(step, device)
    times = [seconds(step, device) for _ in range(WARM_UP + n)][WARM_UP:]
    peak = torch.cuda.max_memory_allocated(device.device) / GB if device.kind == "cuda" else float("nan")
    return {**vars(form), "ms": 1000 * float(np.median(times)), "first_s": first, "peak_gb": peak}


def main() -> None:
    """Print a row per form and write step_forms.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device")
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 128, 128), metavar=("Z", "Y", "X"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--base-features", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("-o", dest="out", type=Path, default=Path("bench_out"))
    args = parser.parse_args()
    device = choose_device(args.device)
    rows = []
    for form in forms(device, args.compile):
        rows.append(measure(form, device, tuple(args.patch), args.batch, args.base_features, args.steps))
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        gc.collect()
        torch.compiler.reset()
    args.out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(args.out / "step_forms.csv", index=False)
    where = torch.cuda.get_device_name(device.device) if device.kind == "cuda" else machine()
    print(f"{args.batch} patches of {args.patch}, f = {args.base_features}; {where}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
