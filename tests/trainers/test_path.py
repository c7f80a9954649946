"""The path of a batch: which of our files a training step enters, from the cache to the gradient."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import pytest

import bisc
from bisc.network import SCUNet
from bisc.network.device import choose_device
from bisc.planners.dataset import load_plan
from bisc.trainers.loop import TrainingRun
from bisc.trainers.sampler import batches
from bisc.trainers.settings import run_settings
from bisc.trainers.stages import FineTrainer
from tests.support.training_fixtures import NAME, TINY, planned, use_one_thread

use_one_thread()
ROOT = Path(bisc.__file__).resolve().parents[1]
PATH = [
    "trainers/sampler.py",
    "preprocessing/regions.py",
    "bisc/core/volume.py",
    "bisc/core/geometry.py",
    "trainers/loop.py",
    "bisc/network/device.py",
    "bisc/losses.py",
    "bisc/network/sc_unet.py",
    "trainers/ranks.py",
]
"""In the order of the data."""


def test_a_batch_enters_nine_files(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One batch of the fine stage is drawn, cut, passed through network and loss and back; set-up is not counted."""
    home = planned(tmp_path_factory)
    preprocessed = home / "preprocessed" / NAME
    plan, device = load_plan(preprocessed), choose_device("cpu", "fp32")
    settings = run_settings(plan, "fine", 0, TINY, "fp32")
    sampler = FineTrainer(settings, preprocessed, tmp_path, device).sampler(plan, ["case_00001", "case_00002"], 1)
    run = TrainingRun(settings, {}, SCUNet(2, "instance"), sampler, sampler, tmp_path, device, 0)
    entered: list[str] = []

    def enter(frame: FrameType, event: str, _: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.suffix == ".py" and ROOT in file.resolve().parents:
            name = file.resolve().relative_to(ROOT).as_posix()
            if not name.startswith((".venv", "tests")) and name not in entered:
                entered.append(name)

    with batches(sampler, 0, 1, 0) as ahead:
        sys.setprofile(enter)
        try:
            run.gradients(next(ahead), 0)
        finally:
            sys.setprofile(None)
    assert entered == PATH
    assert len(PATH) <= 9
    assert all(parameter.grad is not None for parameter in run.network.parameters())
