"""A model whose fine stage packs voxels into channels: loaded by its settings, it says of each voxel what it should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.by_intensity import write_results
from bisc.inference.model import UNPACKING_BYTES, load_model
from bisc.inference.windows import softmax_volume
from bisc.network import SCUNet
from bisc.network.checkpoint import load_checkpoint, save_checkpoint
from bisc.network.device import Device
from bisc.network.folded import FoldedSCUNet

CPU = Device(torch.device("cpu"), "fp32")


def test_a_packed_model_gives_the_probabilities_of_one_that_is_not(tmp_path: Path) -> None:
    """Weights by hand compute the same from channels as from voxels; sizes that 16 does not divide are padded."""
    plain = load_model(write_results(tmp_path / "plain", base_features=8), None, CPU)
    packed = load_model(write_results(tmp_path / "packed", base_features=8, packing=2), None, CPU)
    assert isinstance(packed.fine[0].network, FoldedSCUNet)
    assert packed.fine[0].network.packing == 2
    assert packed.rough[0].network.packing == 2  # type: ignore[attr-defined]
    assert packed.fine[0].bytes_per_voxel == plain.fine[0].bytes_per_voxel / 4 + UNPACKING_BYTES
    image = np.random.default_rng(0).normal(1.0, 1.5, (13, 37, 50)).astype(np.float32)
    expected, found = (softmax_volume(model.fine, image, -2.0) for model in (plain, packed))
    assert np.allclose(found, expected, atol=1e-4)
    assert set(np.unique(found.argmax(axis=0))) == {0, 1, 2}


def test_a_network_of_before_there_was_packing_is_one_that_does_not(tmp_path: Path) -> None:
    """Its settings do not name it."""
    folder = write_results(tmp_path / "old", base_features=2, norm="instance")
    path = folder / "fine/fold_0/checkpoint_last.pt"
    checkpoint = load_checkpoint(path)
    del checkpoint.settings["packing"]
    save_checkpoint(path, checkpoint)
    (fine,) = load_model(folder, None, CPU).fine
    assert isinstance(fine.network, SCUNet)
    assert fine.network.packing == 1
