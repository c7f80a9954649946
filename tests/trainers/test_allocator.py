"""The allocator's setting is taken where there is glibc, and refused in peace elsewhere."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from bisc.trainers import allocator

FREED = """
import numpy as np
from bisc.trainers.allocator import keep_freed_memory
def resident_kb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4
if {keep}:
    assert keep_freed_memory()
before = resident_kb()
block = np.ones(64 * 2**20, np.uint8)
del block
print(resident_kb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's setting")
@pytest.mark.parametrize("keep", [True, False])
def test_a_freed_block_stays(keep: bool) -> None:
    """64 MiB stay resident after they are freed with the setting, and go without."""
    code = FREED.replace("{keep}", str(keep))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (int(done.stdout) > 50 * 1024) == keep


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """No mallopt on other systems."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False
