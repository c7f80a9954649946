"""The planner's memory estimate against the peak of a real training step, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bisc.planners.memory import training_gb

STEP = """
import resource, sys
import torch
from bisc.losses import SCUNetLoss
from bisc.losses.branches import BranchTargets
from bisc.network import SCUNet

z, y, x, batch, features = map(int, sys.argv[1:])
network = SCUNet(features)
optimizer = torch.optim.Adam(network.parameters())
labels = torch.randint(0, 2, (batch, z, y, x))
for _ in range(2):
    loss = SCUNetLoss("dice_ce")(network(torch.randn(batch, 1, z, y, x)), BranchTargets(labels, labels, labels))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
TOLERANCE = 0.25
"""Of the estimate: allocators and kernels differ from machine to machine."""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux alone")
@pytest.mark.parametrize(
    ("patch_size_zyx", "batch_size", "base_features"),
    [((32, 64, 64), 2, 8), ((16, 64, 64), 2, 32), ((32, 96, 96), 2, 16)],
)
def test_the_estimate_is_what_a_step_takes(
    patch_size_zyx: tuple[int, int, int], batch_size: int, base_features: int
) -> None:
    sizes = [str(n) for n in (*patch_size_zyx, batch_size, base_features)]
    done = subprocess.run([sys.executable, "-c", STEP, *sizes], capture_output=True, text=True, timeout=300, check=True)
    measured = float(done.stdout)
    assert training_gb(patch_size_zyx, batch_size, base_features) == pytest.approx(measured, rel=TOLERANCE)
