"""A small synthetic data set, a tiny preset and a cascade trained for moments, shared by the tests of both.

Run as a script it is bisc_train with the tiny presets, interrupted from within at a given step.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from msgspec.structs import replace

from bisc.cli import plan_and_preprocess, train
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.imageio import write_image
from bisc.trainers import loop
from bisc.trainers.presets import PRESETS
from bisc.trainers.sampler import Batch

NAME = "Tiny"
IPL = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
"""KiTS19's storage: the first file axis runs downwards along the patient."""
STORED = NativeGrid.of(Geometry((64, 64, 24), (4.0, 4.0, 5.0), (10.0, -20.0, 30.0), IPL))
"""64 x 64 voxels of 4 mm in plane, 24 slices of 5 mm."""
FAT_HU, KIDNEY_HU, TUMOR_HU = -100, 150, 250
TINY_SIZES = {"epochs": 3, "iterations": 4, "max_batch": 2, "max_features": 4, "max_patch_zyx": (16, 32, 32)}
TINY = replace(
    PRESETS["quick"],
    name="tiny",
    rough=replace(PRESETS["quick"].rough, **TINY_SIZES),
    fine=replace(PRESETS["quick"].fine, **TINY_SIZES),
)


DEEPER = replace(TINY, name="deeper", rough=replace(TINY.rough, max_patch_zyx=(32, 32, 32)))
"""Deep enough for bf16 on a CPU (bisc.network.device)."""


def use_one_thread() -> None:
    """Tiny tensors gain nothing from a second thread, and on a busy machine wait for it: 30 s instead of 2 s."""
    torch.set_num_threads(1)


use_one_thread()


def ellipsoid(grid: Geometry, centre_mm: npt.ArrayLike, radii_mm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Voxels of a canonical grid inside an ellipsoid; centre and radii (z, y, x), the centre from the grid's middle."""
    sizes = zip(grid.shape_zyx, grid.spacing_mm_zyx, np.asarray(centre_mm), np.asarray(radii_mm), strict=True)
    z, y, x = ((((np.arange(n) - (n - 1) / 2.0) * step - centre) / radius) ** 2 for n, step, centre, radius in sizes)
    return np.asarray((z[:, None, None] + y[:, None]) + x <= 1.0)


def patient(
    grid: Geometry, tumor_mm: float = 14.0, seed: int = 0
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """HU and labels: two bright kidneys in fat, 120 mm apart, a brighter tumour in the one on the patient's left."""
    labels = np.zeros(grid.shape_zyx, np.uint8)
    for x in (-60.0, 60.0):
        labels[ellipsoid(grid, (0.0, 10.0, x), (34.0, 24.0, 24.0))] = 1
    labels[ellipsoid(grid, (10.0, 10.0, 70.0), (tumor_mm,) * 3)] = 2
    hu = np.asarray([FAT_HU, KIDNEY_HU, TUMOR_HU])[labels]
    noise = np.random.default_rng(seed).normal(0.0, 10.0, grid.shape_zyx)
    return np.rint(hu + noise).astype(np.int16), labels


def write_raw(folder: Path, n: int = 3) -> Path:
    """A KiTS19-layout data set of `n` patients."""
    for i in range(n):
        hu, labels = patient(STORED.canonical, 12.0 + 2.0 * i, i)
        write_image(folder / f"case_{i:05d}" / "imaging.nii.gz", hu, STORED)
        write_image(folder / f"case_{i:05d}" / "segmentation.nii.gz", labels, STORED)
    return folder


_MADE: dict[str, Path] = {}
"""What is made once per session, whichever module asks first."""


def planned(factory: pytest.TempPathFactory) -> Path:
    """A BISC_HOME with the raw and the preprocessed data set; read it, train elsewhere."""
    if "planned" not in _MADE:
        home = factory.mktemp("planned")
        write_raw(home / "raw" / NAME)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BISC_HOME", str(home))
            assert plan_and_preprocess.main(["-d", NAME, "-np", "1"]) == 0
        _MADE["planned"] = home
    return _MADE["planned"]


def trained(factory: pytest.TempPathFactory) -> Path:
    """A BISC_HOME with everything of `planned` and, under results, both stages of fold 0 trained for two steps."""
    if "trained" not in _MADE:
        source, home = planned(factory), factory.mktemp("trained")
        for part in ("raw", "preprocessed"):
            (home / part).symlink_to(source / part)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BISC_HOME", str(home))
            patch.setattr(loop, "VALIDATION_BATCHES", 2)
            patch.setitem(PRESETS, "tiny", TINY)
            brief = ["--preset", "tiny", "--epochs", "1", "--iterations", "2", "--device", "cpu"]
            assert train.main(["rough", "0", *brief]) == 0
            assert train.main(["fine", "0", *brief]) == 0
        _MADE["trained"] = home
    return _MADE["trained"]


def _struck_training() -> int:
    """bisc_train with the tiny presets; in step STEP its process group gets signal SIGNAL (STRIKE="STEP SIGNAL").

    With STRIKE_ONCE, a folder, each run is struck once however often it is begun.
    """
    PRESETS.update(tiny=TINY, deeper=DEEPER)
    setattr(loop, "VALIDATION_BATCHES", 2)  # noqa: B010 - final
    struck, signum = map(int, os.environ["STRIKE"].split())
    mark = Path(os.environ["STRIKE_ONCE"]) if "STRIKE_ONCE" in os.environ else None
    train_step = loop.TrainingRun.train_step

    def step_and_strike(run: loop.TrainingRun, batch: Batch, step: int) -> None:
        train_step(run, batch, step)
        if step + 1 == struck and (mark is None or not (mark / f"{run.settings.stage}_{run.settings.fold}").exists()):
            if mark is not None:
                (mark / f"{run.settings.stage}_{run.settings.fold}").touch()
            os.killpg(0, signum)

    setattr(loop.TrainingRun, "train_step", step_and_strike)  # noqa: B010 - a method
    return train.main(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(_struck_training())
