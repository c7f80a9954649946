"""What training costs beside the arithmetic, and how many patches a second the loader cuts.

    python -m benchmarks.training PREPROCESSED/NAME [-o bench_out] [--patch 64 128 128] [--device cpu] [--no-peers]
    python -m benchmarks.training PREPROCESSED/NAME --step-only --device cuda --preset best --batch 8

Step: the trainer's own loop (batch, forward, backward, clip, optimiser) against bare forward and backward on the same
tensors, alternating, full width. Loader: patches a second in one process with crop and mirroring, ours against
batchgenerators' own, against MONAI's, and against nnU-Net's default pipeline, whose rotations and scalings are what
it spends its time on.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from batchgenerators.augmentations.crop_and_pad_augmentations import crop
from batchgenerators.augmentations.spatial_transformations import augment_mirroring
from msgspec.structs import replace
from torch import Tensor

from benchmarks import table
from benchmarks.measure import seconds_of
from benchmarks.peers import install, make_parser
from bisc.core.geometry import IntTriple
from bisc.core.labels import labels_of
from bisc.losses import BranchTargets, SCUNetLoss, unpack_targets
from bisc.network import SCUNet
from bisc.network.device import Device, choose_device
from bisc.planners.dataset import load_plan
from bisc.preprocessing.resample import input_of_levels
from bisc.trainers.allocator import keep_freed_memory
from bisc.trainers.log import EpochTimes
from bisc.trainers.loop import TrainingRun
from bisc.trainers.presets import preset_by_name
from bisc.trainers.resident import batches_for
from bisc.trainers.sampler import Sampler, index_regions
from bisc.trainers.settings import RunSettings, run_settings
from bisc.trainers.stages import FineTrainer

BATCH = 4
CUDA_ROUND, CUDA_WORKERS = 40, 4
PEER_PATCHES = Path(__file__).with_name("peer_patches.py")


def main() -> None:
    """Write loader.csv, loader.md, loader.png and step.csv."""
    parser = make_parser(__doc__)
    parser.add_argument("preprocessed", type=Path)
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 128, 128), metavar=("Z", "Y", "X"))
    parser.add_argument("--step-patch", type=int, nargs=3, default=(32, 96, 96), metavar=("Z", "Y", "X"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="of the step")
    parser.add_argument("--preset", default="paper", help="of the step")
    parser.add_argument("--step-only", action="store_true", help="no loader")
    parser.add_argument("--patches", type=int, default=100)
    args = parser.parse_args()
    patch: IntTriple = tuple(args.patch)
    rows = []
    for _ in range(0 if args.step_only else args.repeats):
        rows += loader_rows(args.preprocessed, patch, args.patches)
        if not args.no_peers:
            rows += peer_rows(install(args.peers), args.preprocessed, patch, args.patches)
        print(rows[-5:], flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    measures = {"ms": "ms a patch", "per_s": "patches a second"}
    if rows:
        print(table.write(args.out, "loader", pd.DataFrame(rows), measures, f"Patches of {patch}, one process"))
    device = choose_device(args.device)
    settings = run_settings(load_plan(args.preprocessed), "fine", 0, preset_by_name(args.preset), device.precision)
    settings = replace(settings, patch_size_zyx=tuple(args.step_patch), batch_size=args.batch)
    steps = step_seconds(args.preprocessed, settings, 2 * args.repeats, device)
    pd.DataFrame(steps).to_csv(args.out / "step.csv", index=False)
    medians = pd.DataFrame(steps).median(numeric_only=True)
    print(args.preset, settings.patch_size_zyx, settings.batch_size, settings.base_features, device.precision)
    print(medians.to_string(), f"\nstep / bare: {medians['step_s'] / medians['bare_s']:.3f}")


def loader_rows(preprocessed: Path, patch: IntTriple, n: int) -> list[dict[str, str | float]]:
    """Ours from the caches, as the loader hands patches over (bytes, of which the training step makes floats) and made
    floats at once, and batchgenerators' own crop and mirroring over the same regions, float32 in memory.

    Freed memory is kept, as in training: for both, a batch's pages are not asked of the system each time.
    """
    keep_freed_memory()
    sampler = make_sampler(preprocessed, patch, BATCH)
    sampler.batch(0)
    steps = max(1, n // BATCH)

    def ours(in_float: bool = False) -> None:
        for step in range(1, steps + 1):
            levels = sampler.batch(step).levels
            if in_float:
                input_of_levels(np.asarray(levels), sampler.intensity)

    regions = [(region.image(sampler.intensity), region.targets) for region in sampler.regions]

    def theirs() -> None:
        for i in range(n):
            whole, marks = regions[i % len(regions)]
            image, targets = crop(
                [whole[None]], [marks[None]], patch, margins=(0, 0, 0), crop_type="random",
                pad_kwargs={"constant_values": sampler.intensity.air},
            )  # fmt: skip
            augment_mirroring(image[0], targets[0], axes=(0, 1, 2))

    return [
        row(table.OURS, seconds_of(ours) / (steps * BATCH)),
        row(f"{table.OURS}, made float32", seconds_of(lambda: ours(in_float=True)) / (steps * BATCH)),
        row("batchgenerators, crop and mirror", seconds_of(theirs) / n),
    ]


def peer_rows(programs: Path, preprocessed: Path, patch: IntTriple, n: int) -> list[dict[str, str | float]]:
    """nnU-Net's and MONAI's, timed in their own environment over the same voxels."""
    with tempfile.TemporaryDirectory() as name:
        sampler = make_sampler(preprocessed, patch, 1)
        region = sampler.regions[0]
        image = region.image(sampler.intensity)
        short = [(0, max(0, p - s)) for p, s in zip(patch, image.shape, strict=True)]
        np.save(Path(name) / "image.npy", np.pad(image, short, constant_values=sampler.intensity.air))
        np.save(Path(name) / "labels.npy", np.pad(labels_of(region.targets), short))
        command = [programs / "python", PEER_PATCHES, name, *map(str, patch), str(n)]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return [row(who, seconds) for who, seconds in json.loads(done.stdout.splitlines()[-1]).items()]


def row(who: str, seconds: float) -> dict[str, str | float]:
    """One pipeline's time for a patch."""
    return {"who": who, "ms": seconds * 1000, "per_s": 1 / seconds}


def make_sampler(preprocessed: Path, patch: IntTriple, batch: int) -> Sampler:
    """The fine stage's sampler over all cached cases."""
    folders = sorted(path for path in (preprocessed / "fine").iterdir() if path.is_dir())
    regions = index_regions(folders)
    return Sampler(regions, patch, batch, FineTrainer.policy, seed=0, intensity=load_plan(preprocessed).intensity)


def step_seconds(preprocessed: Path, settings: RunSettings, n: int, device: Device) -> list[dict[str, float]]:
    """Per round the trainer's step with its wait for the batch, and bare forward and backward on the same tensors.

    A round is a step and a bare step on a CPU; on CUDA `CUDA_ROUND` of each, so that what the loader's processes made
    ready during the bare ones is soon used up.
    """
    sampler = make_sampler(preprocessed, settings.patch_size_zyx, settings.batch_size)
    network = device.put_network(SCUNet(settings.base_features, settings.norm, settings.edges, settings.packing))  # type: ignore[arg-type]
    loss = SCUNetLoss(settings.loss, settings.loss_threshold)
    size, workers = (1, 0) if device.kind == "cpu" else (CUDA_ROUND, CUDA_WORKERS)
    steps = iter(range((n + 1) * size))
    rounds = []
    with tempfile.TemporaryDirectory() as name, batches_for(sampler, device, 0, (n + 1) * size, workers) as ahead:
        run = TrainingRun(settings, {}, network, sampler, sampler, Path(name), device, workers)
        for _ in range(n + 1):
            times = EpochTimes()
            for step in islice(steps, size):
                with times.waiting():
                    drawn = next(ahead)
                with times.stepping():
                    run.train_step(drawn, step)
            with times.stepping():
                run.settle()
            image = device.put(drawn.levels).float() * sampler.intensity.level_step + sampler.intensity.air
            targets = unpack_targets(device.put(drawn.targets))

            def bare(image: Tensor = image, targets: BranchTargets = targets) -> None:
                for _ in range(size):
                    network.zero_grad(set_to_none=True)
                    with device.autocast():
                        logits = network(image)
                    torch.stack([*loss.of_branches(logits, targets).values()]).mean().backward()  # type: ignore[no-untyped-call]
                wait_for(device)

            wait_for(device)
            waited, stepped = times.wait_s / size, times.step_s / size
            rounds.append({"wait_s": waited, "step_s": waited + stepped, "bare_s": seconds_of(bare) / size})
    return rounds[1:]  # the first one makes the kernels


def wait_for(device: Device) -> None:
    """Until the device has done all it was given."""
    if device.kind == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
