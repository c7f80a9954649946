"""What several test modules share: the folder of real data, a small simulated data set, oblique grids."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from bisc.simulation import SimulationSpec, simulate_dataset

# The same examples on every run and no time limit per example: a busy machine must not fail a test.
settings.register_profile("bisc", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("bisc")

REPOSITORY = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
"""Scripts that tests start import `tests`, as the tests themselves do."""
TINY_CASES = 5
TINY_SIZE_XYZ = (96, 96, 32)


def find_shared() -> Path:
    """Where the real data is looked for; it need not be there."""
    return Path(os.environ.get("BISC_SHARED") or REPOSITORY.parent / "shared")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of real data (read only); without it the test is skipped."""
    folder = find_shared()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set BISC_SHARED")
    return folder


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five simulated cases of 96 x 96 x 32 voxels in KiTS19's layout and orientation; read only, copy to change."""
    folder = tmp_path_factory.mktemp("raw") / "Tiny"
    outcomes = simulate_dataset(folder, SimulationSpec(n=TINY_CASES, seed=1, size_xyz=TINY_SIZE_XYZ))
    assert [o.error for o in outcomes] == [None] * TINY_CASES
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session")
def tools(repository: Path) -> None:
    """Install what is missing, or skip with the reason."""
    done = subprocess.run([repository / "scripts" / "dicom_tools"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(done.stdout.strip() or done.stderr.strip()[-200:])
