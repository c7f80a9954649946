"""Batches cut on the device: the sampler's own, to the byte; chosen where the regions fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bisc.network.device import Device
from bisc.trainers.resident import BYTES_PER_VOXEL, SHARE, Resident, batches_for
from bisc.trainers.sampler import SamplingPolicy
from tests.support.broken_samplers import ANYWHERE, TUMOR_ALWAYS, make_sampler, write_region

CPU = Device(torch.device("cpu"), "fp32")
N_VOXELS = 2 * 7 * 6 * 5


class OnCuda(Device):
    """The CPU in a GPU's place."""

    @property
    def kind(self) -> str:
        return "cuda"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two regions of labels at random, one of them without a tumour."""
    root, rng = tmp_path_factory.mktemp("caches"), np.random.default_rng(0)
    drawn = [rng.integers(0, most, (7, 6, 5)).astype(np.uint8) for most in (3, 2)]
    return [write_region(root / name, labels) for name, labels in zip("ab", drawn, strict=True)]


@pytest.mark.parametrize("policy", [ANYWHERE, TUMOR_ALWAYS, SamplingPolicy(0.3, 0.4, (2.0, 1.0, 1.0))])
@pytest.mark.parametrize("patch", [(4, 4, 4), (16, 5, 5), (7, 16, 3), (20, 20, 20)])
def test_the_batches_are_the_samplers_to_the_byte(
    cases: list[Path], patch: tuple[int, int, int], policy: SamplingPolicy
) -> None:
    """Smaller and larger than a region, at its ends, jittered, mirrored; a batch of 8 cut into parts of 4."""
    sampler = make_sampler(cases, patch, policy, batch_size=8)
    resident = Resident(sampler, CPU)
    for step in range(12):
        expected, found = sampler.batch(step), resident.batch(step)
        for whole, cut in ((expected, found), (expected.parts(2)[1], found.parts(2)[1])):
            assert np.array_equal(whole.levels, torch.as_tensor(cut.levels).numpy())
            assert np.array_equal(whole.targets, torch.as_tensor(cut.targets).numpy())
    assert len(resident.kept) <= 2
    assert {pick.region.number for pick in sampler.draw(0)} == {0}


@pytest.mark.parametrize(("free", "resident"), [(1.01, True), (0.99, False)])
def test_regions_are_kept_on_a_gpu_that_has_room(
    cases: list[Path], free: float, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a quarter of what is free holds them; on a CPU never."""
    sampler = make_sampler(cases, (4, 4, 4), ANYWHERE)
    need = BYTES_PER_VOXEL * N_VOXELS / SHARE
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * need, 2 * need))
    with batches_for(sampler, OnCuda(torch.device("cpu"), "fp32"), 3, 5, 0) as ahead:
        found = list(ahead)
    assert [isinstance(batch.levels, torch.Tensor) for batch in found] == [resident] * 2
    assert np.array_equal(torch.as_tensor(found[1].levels), sampler.batch(4).levels)
    with batches_for(sampler, CPU, 3, 4, 0) as ahead:
        assert isinstance(next(ahead).levels, np.ndarray)
