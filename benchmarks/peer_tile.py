"""Run by `benchmarks.predict` in the peers' environment: seconds a tile of nnU-Net's own network, also in bf16.

python peer_tile.py IMAGE N        IMAGE is what is predicted; prints JSON: tiles, fp32_s, bf16_s

nnU-Net computes in float32 on a CPU. What it would gain from bf16 is taken from its network run by hand: weights and
input in bf16, as they lie in memory or with channels last, whichever is quicker.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import SimpleITK as sitk
import torch
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from nnunetv2.run.run_training import get_trainer_from_args

STEP = 0.5
"""nnU-Net's default: tiles overlap by half."""


def main() -> None:
    image, repeats = sys.argv[1], int(sys.argv[2])
    trainer = get_trainer_from_args("901", "3d_fullres", 0, device=torch.device("cpu"))
    trainer.initialize()
    plan = trainer.configuration_manager
    network = trainer.network.eval()
    n_tiles = 1
    shape = shape_at(image, trainer.plans_manager.transpose_forward, plan.spacing)
    for steps in compute_steps_for_sliding_window(shape, plan.patch_size, STEP):
        n_tiles *= len(steps)
    x = torch.randn(1, 1, *plan.patch_size)
    forms = {
        "fp32": (torch.float32, torch.contiguous_format),
        "bf16": (torch.bfloat16, torch.contiguous_format),
        "bf16, channels last": (torch.bfloat16, torch.channels_last_3d),
    }
    seconds = {}
    with torch.inference_mode():
        for name, (dtype, layout) in forms.items():
            network = network.to(dtype=dtype, memory_format=layout)
            tile = x.to(dtype=dtype).contiguous(memory_format=layout)
            network(tile)
            seconds[name] = statistics.median(seconds_of(network, tile) for _ in range(repeats))
    bf16 = min(s for name, s in seconds.items() if name.startswith("bf16"))
    print(json.dumps({"tiles": n_tiles, "fp32_s": seconds["fp32"], "bf16_s": bf16}))


def shape_at(path: str, axes: list[int], spacing: list[float]) -> tuple[int, ...]:
    """Of the image with its axes put into nnU-Net's order and resampled to its spacing."""
    image = sitk.ReadImage(path)
    size, old = image.GetSize()[::-1], image.GetSpacing()[::-1]
    return tuple(round(size[axis] * old[axis] / new) for axis, new in zip(axes, spacing, strict=True))


def seconds_of(network: torch.nn.Module, tile: torch.Tensor) -> float:
    begin = time.perf_counter()
    network(tile)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
