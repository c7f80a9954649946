"""A full-size cascade whose answer is known without training: weights set by hand pass HU through to the classifier.

Speed and memory are those of a trained network of the same width; the masks are those a threshold on HU would give.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from torch import Tensor

from bisc.core.labels import N_CLASSES
from bisc.network import SCUNet
from bisc.network.checkpoint import Checkpoint, save_checkpoint
from bisc.planners.plan import Plan, StagePlan
from bisc.preprocessing.kidneys import RoiRule
from bisc.preprocessing.resample import Intensity
from bisc.system.paths import CHECKPOINT_LAST

AIR_HU, FAT_HU, KIDNEY_HU, TUMOR_HU = -1000, -100, 150, 250
INTENSITY: Final = Intensity(clip_low_hu=-200.0, clip_high_hu=400.0, mean_hu=0.0, std_hu=100.0)
ROOM: Final = 0.25
"""What is kept below a threshold, in normalised HU: features are small where classes meet, so that labels in bf16 are
float32's as often as a trained network's are (docs/lab/method.md)."""
STEEPNESS: Final = 32.0


def plan(base_features: int = 32, norm: str = "batch", packing: int = 1) -> Plan:
    """KiTS19's plan in all that costs time and memory; both stages pack as told."""
    stage = {"batch_size": 4, "base_features": base_features, "norm": norm, "estimated_memory_gb": 12.0}
    return Plan(
        schema_version=1,
        dataset="ByIntensity",
        n_cases=1,
        target_spacing_mm_zyx=(3.0, 0.78125, 0.78125),
        rough_in_plane_px=128,
        intensity=INTENSITY,
        roi=RoiRule(sides_px=[160, 192], multiple_px=16, margin_mm=6.0, min_kidney_ml=5.0),
        rough=msgspec.convert({"patch_size_zyx": [64, 128, 128], "packing": packing, **stage}, StagePlan),
        fine=msgspec.convert({"patch_size_zyx": [48, 160, 160], "packing": packing, **stage}, StagePlan),
        memory_gb=12.0,
        label_note="",
        reasons={},
    )


def network(base_features: int = 32, norm: str = "batch", packing: int = 1) -> SCUNet:
    """Logits 0 for background; rising with HU for kidney and tumour alike, for the tumour more above its threshold.

    A channel per threshold, and per voxel of a packed square: relu(HU - threshold + room).
    """
    net = SCUNet(base_features, norm, packing=packing)  # type: ignore[arg-type]
    voxels = packing**2
    with torch.no_grad():
        for value in net.parameters():
            if value.ndim > 1:  # convolutions; a norm's weight stays 1
                value.zero_()
        centre = (1, 1, 1)
        pair: Any = net.down_1
        group: Any = net.region.group.convs
        classify: Any = net.region.classify
        thresholds = enumerate(((FAT_HU + KIDNEY_HU) / 2, (KIDNEY_HU + TUMOR_HU) / 2))
        for (number, threshold_hu), voxel in product(thresholds, range(voxels)):
            channel = number * voxels + voxel
            _tap(pair[0].weight, channel, voxel, centre)
            pair[1].bias[channel] = ROOM - threshold_hu / INTENSITY.std_hu
            _tap(pair[3].weight, channel, channel, centre)
            _tap(group[0].weight, channel, base_features + channel, centre)  # y_down 1 follows the up-convolution's
            _tap(group[3].weight, channel, channel, centre)
            classes = slice((number + 1) * voxels + voxel, None, voxels)  # logits of this voxel, from this class on
            classify.weight[classes, channel] = STEEPNESS
            classify.bias[classes] -= STEEPNESS * ROOM
    return net


def write_results(folder: Path, base_features: int = 32, norm: str = "batch", packing: int = 1) -> Path:
    """RESULTS/NAME as bisc_train leaves it, for `bisc_predict` and `bisc_export`."""
    made = plan(base_features, norm, packing)
    plain = msgspec.to_builtins(made)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_bytes(msgspec.json.encode(made))
    for stage in ("rough", "fine"):
        settings = {"stage": stage, **plain[stage]}
        target = folder / stage / "fold_0" / CHECKPOINT_LAST
        net = network(base_features, norm, settings["packing"])
        save_checkpoint(target, Checkpoint(settings, plain, net.state_dict(), offsets=[0.0] * N_CLASSES))
    return folder


def _tap(weight: Tensor, out_channel: int, in_channel: int, at: tuple[int, int, int]) -> None:
    place = (out_channel, in_channel, *at)
    weight[place] = 1.0
