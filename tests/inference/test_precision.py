"""The fine stage in half precision: where the hardware has it, and in float32 again where it overflows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from benchmarks.by_intensity import write_results
from bisc.inference import cascade
from bisc.inference.model import FoldNetwork, _quickest, load_model
from bisc.inference.windows import softmax_volume
from bisc.network import SCUNet
from bisc.network.device import Device
from bisc.network.folded import diffused
from bisc.simulation.case import simulate_case

BF16 = Device(torch.device("cpu"), "bf16")


class Threshold:
    """Kidney above 0.5; logits without end where a voxel is above `overflow`."""

    bytes_per_voxel_feature = 0.0

    def __init__(self, overflow: float = np.inf) -> None:
        self.overflow = overflow
        self.seen: list[int] = []

    def forward_region(self, image: Tensor) -> Tensor:
        self.seen.append(image.numel())
        kidney = (image[:, 0] > 0.5).float()
        kidney[image[:, 0] > self.overflow] = torch.inf
        return 9 * torch.stack([1 - kidney, kidney, torch.zeros_like(kidney)], dim=1)


def test_an_overflow_is_computed_again_in_float32() -> None:
    """Not a number is no class, yet argmax would make background of it. Region by region, in whatever order."""
    exact = Threshold()
    network = FoldNetwork(0, Threshold(overflow=2.0), BF16, None, None, 0.0, exact)
    plain = np.zeros((16, 64, 64), np.float32)
    plain[4:8, 8:20, 8:20] = 1.0
    bright = 3.0 * plain
    for image, again in ((plain, False), (bright, True), (plain, False), (bright, True)):
        exact.seen.clear()
        assert np.array_equal(softmax_volume([network], image, 0.0).argmax(axis=0), image > 0)
        assert (image.size in exact.seen) == again


def test_instance_norm_is_not_folded() -> None:
    """It predicts as it was trained; in half precision its weights are rounded so that filters keep their sums."""
    network = SCUNet(2, "instance").eval()
    assert _quickest(network, "instance", BF16.in_float32()) is network
    half = _quickest(network, "instance", BF16)
    assert isinstance(half, SCUNet)
    before, after = (net.get_parameter("bottom.0.weight") for net in (network, half))
    assert torch.equal(after, diffused(before, torch.bfloat16).float())
    assert not torch.equal(after, before)


def test_the_rough_stage_computes_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its labels place the ROIs, which half precision would move."""
    model = load_model(write_results(tmp_path / "model", base_features=4), None, BF16)
    networks = [stage[0].network for stage in (model.rough, model.fine)]
    dtypes = [next(network.buffers()).dtype for network in networks if isinstance(network, nn.Module)]
    assert dtypes == [torch.float32, torch.bfloat16]
    assert [stage[0].exact is None for stage in (model.rough, model.fine)] == [True, False]
    seen: list[str] = []

    def watching(networks: Any, image: Any, air: float, *more: Any) -> npt.NDArray[np.float32]:
        seen.append(networks[0].device.precision)
        if networks[0].device.precision == "fp32":
            return softmax_volume(networks, image, air, *more)
        return np.stack(
            [np.full(image.shape, p, np.float32) for p in (1, 0, 0)]
        )  # emulated bf16 would take half a minute

    monkeypatch.setattr(cascade, "softmax_volume", watching)
    image, _ = simulate_case(7, 0, (128, 128, 32))
    result = cascade.run_cascade(image, model, "argmax")
    assert seen == ["fp32", *["bf16"] * len(result.rois)]
    assert result.rois
