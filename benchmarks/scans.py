"""Scans for timing: simulated patients of KiTS19's size and storage.

Two kinds. `simulated` is bisc_simulate's CT. `painted` has the same anatomy in four plain HU values with noise: what
`by_intensity`'s network segments without training, so that the cascade's second stage has the kidneys of a real patient
to work on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.by_intensity import AIR_HU, FAT_HU, KIDNEY_HU, TUMOR_HU
from bisc.core.geometry import Geometry, IntTriple, Triple
from bisc.core.volume import NativeGrid
from bisc.imageio import write_image
from bisc.simulation import SimulationSpec, simulate_dataset
from bisc.simulation.case import simulate_case
from bisc.system.cases import process_pool

KITS_SIZE: Final = (512, 512, 108)
KITS_SPACING_ZYX: Final = (3.0, 0.78125, 0.78125)
IPL: Final = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
"""KiTS19's storage: the slice axis comes first in the file."""
NOISE_HU: Final = 20
BODY_HU: Final = -400
SEED: Final = 7


def simulated(folder: Path, n: int, size_xyz: IntTriple = KITS_SIZE) -> Path:
    """`n` simulated cases in KiTS19's layout; those that are there stay."""
    with process_pool(2) as pool:
        for outcome in simulate_dataset(folder, SimulationSpec(n=n, seed=SEED, size_xyz=size_xyz), pool):
            if outcome.error is not None:
                raise outcome.error
    return folder


def painted(path: Path, size_xyz: IntTriple = KITS_SIZE, index: int = 0, labels_path: Path | None = None) -> Path:
    """One patient in plain HU with noise, 0.78 x 0.78 x 3 mm whatever the size; kept where it is there."""
    if path.exists():
        return path
    image, labels = simulate_case(SEED, index, size_xyz)
    noise = np.random.default_rng(SEED).integers(-NOISE_HU, NOISE_HU, image.array.shape, dtype=np.int16)
    hu = np.where(image.array > BODY_HU, FAT_HU, AIR_HU).astype(np.int16)
    hu[labels.array == 1] = KIDNEY_HU
    hu[labels.array == 2] = TUMOR_HU
    grid = kits_grid(image.geometry.shape_zyx, KITS_SPACING_ZYX)
    if labels_path is not None:
        write_image(labels_path, labels.array, grid)
    write_image(path, hu + noise, grid)
    return path


def painted_data_set(folder: Path, n: int) -> Path:
    """`n` painted cases in KiTS19's layout, all of KiTS19's median spacing, so that peers plan for it."""
    for index in range(n):
        case = folder / f"case_{index:05d}"
        painted(case / "imaging.nii.gz", index=index, labels_path=case / "segmentation.nii.gz")
    return folder


def kits_grid(shape_zyx: IntTriple, spacing_mm_zyx: Triple) -> NativeGrid:
    """A grid stored as KiTS19 stores it, slices first; its canonical form has this shape and spacing."""
    return NativeGrid.of(Geometry(shape_zyx[::-1], spacing_mm_zyx[::-1], (0.0, 0.0, 0.0), IPL))
