"""The path of a scan: which of our files `bisc_predict` enters between one .nii.gz and its mask."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

import bisc
from benchmarks.by_intensity import FAT_HU, KIDNEY_HU, TUMOR_HU, write_results
from bisc.cli.predict import main
from tests.support.grids import grid, write_itk
from tests.support.training_fixtures import use_one_thread

use_one_thread()
ROOT = Path(bisc.__file__).resolve().parents[1]
MOST_FILES = 39
PATH = {
    "bisc/cli/predict.py",
    "bisc/cli/common.py",
    "bisc/cli/places.py",
    "bisc/system/console.py",
    "bisc/imageio/inputs.py",
    "bisc/imageio/studies.py",
    "bisc/system/paths.py",
    "bisc/imageio/images.py",
    "bisc/network/device.py",
    "bisc/system/memory.py",
    "bisc/inference/model.py",
    "preprocessing/resample.py",
    "bisc/network/checkpoint.py",
    "bisc/network/sc_unet.py",
    "bisc/pipeline/predict.py",
    "bisc/pipeline/predict_run.py",
    "bisc/system/files.py",
    "bisc/system/locks.py",
    "bisc/inference/cascade.py",
    "bisc/pipeline/segment.py",
    "bisc/inference/windows.py",
    "bisc/imageio/formats/nifti.py",
    "bisc/imageio/formats/nifti_header.py",
    "bisc/imageio/formats/whole.py",
    "bisc/imageio/plausible.py",
    "bisc/imageio/slices.py",
    "bisc/core/geometry.py",
    "bisc/core/volume.py",
    "preprocessing/kidneys.py",
    "preprocessing/parts.py",
    "preprocessing/midline.py",
    "preprocessing/field.py",
    "bisc/inference/flags.py",
    "bisc/inference/signs.py",
    "bisc/inference/certainty.py",
    "bisc/inference/light.py",
    "bisc/pipeline/rows.py",
    "bisc/inference/sources.py",
}
"""In the order of the data. Whatever joins them makes the path longer for every reader; those of `flags.py` to
`light.py` say of a mask's trustworthiness, after it is made."""
FOLDED = {"bisc/network/folded.py"}
"""Batch norm folds into the convolutions."""


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_scan_enters_few_files(tmp_path: Path, norm: str) -> None:
    """A function of theirs is called; imports aside. Both kidneys are found, one with a tumour."""
    scan = np.full((32, 96, 96), FAT_HU, np.int16)
    scan[8:24, 40:64, 8:32] = scan[8:24, 40:64, 64:88] = KIDNEY_HU
    scan[12:18, 44:52, 68:76] = TUMOR_HU
    scan[:, :4] = -1000
    (tmp_path / "in").mkdir()
    write_itk(tmp_path / "in" / "case.nii.gz", scan, grid((32, 96, 96), (4.0, 3.0, 3.0)))
    model = write_results(tmp_path / "model", base_features=4, norm=norm)
    entered: set[str] = set()

    def enter(frame: FrameType, event: str, _: object) -> None:
        name = ours(frame.f_code.co_filename)
        if event == "call" and name and not importing(frame):
            entered.add(name)

    out = tmp_path / "out"
    sys.setprofile(enter)
    try:
        status = main(["-i", str(tmp_path / "in"), "-o", str(out), "-d", str(model), "--precision", "fp32"])
    finally:
        sys.setprofile(None)
    assert status == 0
    assert (out / "case.nii.gz").is_file()
    assert entered == PATH | (FOLDED if norm == "batch" else set())
    assert len(PATH | FOLDED) <= MOST_FILES


@cache
def ours(filename: str) -> str:
    """The name of a file of ours; empty for others'."""
    file = Path(filename)
    if not file.is_absolute() or ROOT not in file.resolve().parents:
        return ""
    name = file.resolve().relative_to(ROOT).as_posix()
    return "" if name.startswith((".venv", "tests", "benchmarks")) else name


def importing(frame: FrameType | None) -> bool:
    """Whether one of our modules is being imported: what its top level calls is no part of the path."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and ours(frame.f_code.co_filename):
            return True
        frame = frame.f_back
    return False
