"""Reading from several threads at once: every sound file is read, as it is alone."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bisc.imageio import CaseImage, read_image
from tests.support.grids import rotation

N_FILES, N_ROUNDS = 24, 5
BENT = 5e-4
"""A drift that ITK refuses to read unless told to straighten it."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Straight and bent, NIfTI-1 and NIfTI-2, packed and not; every voxel of one file has that file's number."""
    folder = tmp_path_factory.mktemp("threads")
    out = []
    for i in range(N_FILES):
        direction = rotation((20.0, -10.0, float(i)))
        if i % 2:
            bent = np.eye(3)
            bent[1, 2] = BENT
            direction = direction @ bent
        affine = np.eye(4)
        affine[:3, :3] = direction @ np.diag([0.7, 0.8, 3.0])
        image = (nib.Nifti2Image if i % 3 == 0 else nib.Nifti1Image)(np.full((40, 30, 20), i, np.int16), affine)
        image.set_sform(affine, 1)
        out.append(folder / f"{i:02d}{'.nii' if i % 4 else '.nii.gz'}")
        nib.save(image, out[-1])
    return out


def read(path: Path) -> CaseImage:
    return read_image(path)


@pytest.mark.parametrize("n_threads", [4, 8])
def test_threads_read_what_one_thread_reads(files: list[Path], n_threads: int) -> None:
    """24 sound files, half of them in need of straightening, again and again."""
    alone = [read(path) for path in files]
    for _ in range(N_ROUNDS):
        with ThreadPoolExecutor(n_threads) as pool:
            for i, (one, other) in enumerate(zip(alone, pool.map(read, files), strict=True)):
                assert one.volume.geometry == other.volume.geometry
                assert (other.volume.array == i).all()


def test_reading_leaves_the_environment_alone(files: list[Path]) -> None:
    """A caller's own reads of tilted gantries are as strict as before."""
    before = dict(os.environ)
    for i in (0, 1):
        assert (read_image(files[i]).volume.array == i).all()
    assert dict(os.environ) == before
