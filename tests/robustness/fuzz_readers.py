"""Every reader of a user's file, each with a sound seed to start from: the fuzz's subjects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


class Files(dict[str, bytes]):
    """Contents by path; hypothesis would print them whole."""

    def __repr__(self) -> str:
        return f"Files({', '.join(self)})"


SHAPE_ZYX = (4, 5, 6)


def read_scan(folder: Path) -> None:
    """As an image, as a label map, and its header alone; each must end well or in an InputError."""
    from bisc.core.errors import InputError
    from bisc.imageio import read_image, read_labels, read_stored_geometry

    path = next(p for p in sorted(folder.iterdir()) if p.name.startswith("scan."))
    refusals = []
    for read in (read_stored_geometry, read_labels, read_image):
        try:
            found: Any = read(path)
        except InputError as error:
            refusals.append(error)
            continue
        if read is not read_stored_geometry:
            array = found.volume.array
            assert array.shape == found.volume.geometry.shape_zyx
            assert array.dtype == (np.int16 if read is read_image else np.uint8)
            assert read is read_image or array.max() <= 2
    if refusals:
        raise refusals[-1]


def read_series(folder: Path) -> None:
    """A DICOM folder: found as an input, then read."""
    from bisc.imageio import read_image
    from bisc.imageio.inputs import find_inputs

    for case in find_inputs(folder):
        read_image(case.path)


def read_plan(folder: Path) -> None:
    from bisc.planners.dataset import load_plan
    from bisc.planners.planner import explain

    plan = load_plan(folder)
    explain(plan)
    assert min(plan.target_spacing_mm_zyx) > 0
    assert np.isfinite(plan.intensity.air)


def read_splits(folder: Path) -> None:
    from bisc.planners.dataset import load_splits

    for fold in load_splits(folder).folds:
        for name in (*fold.train, *fold.val):
            assert (folder / name).resolve().parent == folder.resolve(), name
            (folder / name / "case.json").exists()


def read_source(folder: Path) -> None:
    from bisc.planners.source import load_source

    assert load_source(folder).is_dir()


def read_measurement(folder: Path) -> None:
    from bisc.planners.dataset import MeasuredCase
    from bisc.system.jsonfile import load_json

    load_json(folder / "case.json", MeasuredCase, "")


def read_simulation(folder: Path) -> None:
    from bisc.simulation.dataset import SimulationRecord
    from bisc.system.jsonfile import load_json

    load_json(folder / "simulation.json", SimulationRecord, "")


def read_cache(folder: Path) -> None:
    """Index the case, then cut patches as training does."""
    from bisc.preprocessing.regions import _points
    from bisc.preprocessing.resample import Intensity
    from bisc.trainers.sampler import Sampler, SamplingPolicy, index_regions

    _points.cache_clear()
    policy = SamplingPolicy(0.4, 0.3, (0.0, 0.0, 0.0))
    sampler = Sampler(
        index_regions([folder]),
        (8, 8, 8),
        2,
        policy,
        1,
        Intensity(clip_low_hu=-80.0, clip_high_hu=300.0, mean_hu=100.0, std_hu=75.0),
    )
    for step in range(4):
        batch = sampler.batch(step)
        assert batch.levels.shape == (2, 1, 8, 8, 8)


def read_checkpoint(folder: Path) -> None:
    """As bisc_train --continue does, up to the first step."""
    import msgspec
    import torch

    from bisc.network import SCUNet
    from bisc.network.device import choose_device
    from bisc.planners.plan import Plan
    from bisc.planners.splits import Fold
    from bisc.trainers.loop import TrainingRun
    from bisc.trainers.stages import RoughTrainer

    plan, settings, device = msgspec.json.decode(plan_json(), type=Plan), made_settings(), choose_device("cpu", "fp32")
    trainer = RoughTrainer(settings, folder, folder, device)
    network = SCUNet(settings.base_features, settings.norm)
    nothing: Any = SimpleNamespace(intensity=plan.intensity)  # of both samplers no more is asked
    training = TrainingRun(settings, {}, network, nothing, nothing, folder, device, 0)
    trainer.go_on(training, folder / "checkpoint_last.pt", plan, Fold(train=["a"], val=["b"]))
    assert 0 <= training.state.step <= settings.total_steps
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in training.optimizers:
        optimizer.step()
    training.save("again.pt")


def read_model(folder: Path) -> None:
    """As bisc_predict -m does."""
    from bisc.inference.model import load_model
    from bisc.network.device import choose_device

    model = load_model(folder / "model.zip", None, choose_device("cpu", "fp32"))
    for network in (*model.rough, *model.fine):
        assert network.window_zyx is None or max(network.window_zyx) < 10_000


def read_model_file(folder: Path) -> None:
    """The members of a model file, spoilt, but rightly listed and sealed: else its digest would refuse them all."""
    import json
    from contextlib import suppress

    from bisc.pipeline.model_card import info_lines
    from bisc.pipeline.model_files import verify_model
    from bisc.system.sealed import sealed
    from tests.support.sealing import relisted

    members = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError):
        members = relisted(members)
    (folder / "model.zip").write_bytes(sealed(members))
    model = verify_model(folder / "model.zip")
    assert all(line.isprintable() for line in info_lines(model.record, model.sha256))


def read_results(folder: Path) -> None:
    """As bisc_evaluate -d does: run.json and the reports of a fold."""
    from bisc.evaluation.crossval import evaluate_cross_validation

    evaluate_cross_validation(folder)


def read_predictions(folder: Path) -> None:
    from bisc.core.errors import InputError
    from bisc.evaluation.pairs import read_case_list
    from bisc.pipeline.rows import read_rows, rows_csv

    try:
        rows_csv(read_rows(folder / "predictions.csv")).encode()
    except InputError:
        read_case_list(folder / "predictions.csv")
        raise


def read_log(folder: Path) -> None:
    """Training takes the times of earlier epochs from what it finds; the picture beside it is left out for time."""
    from bisc.trainers import log

    log.draw_progress = lambda *_: None
    row = {"epoch": 1.0, "step": 4.0, "train_loss": 1.0, "val_loss": 1.0, "dice_kidney": 0.5, "dice_tumor": 0.5}
    log.write_log(folder, made_settings(), [row], None)


READERS: dict[str, Callable[[Path], None]] = {
    "nii": read_scan,
    "nii.gz": read_scan,
    "nrrd": read_scan,
    "mha": read_scan,
    "mhd": read_scan,
    "dicom": read_series,
    "dicom slice": read_series,
    "plan.json": read_plan,
    "splits.json": read_splits,
    "source.json": read_source,
    "measurement": read_measurement,
    "simulation.json": read_simulation,
    "cache": read_cache,
    "checkpoint": read_checkpoint,
    "model.zip": read_model,
    "model file": read_model_file,
    "results": read_results,
    "predictions.csv": read_predictions,
    "log.csv": read_log,
}


def plan_json() -> bytes:
    from bisc.planners.planner import make_plan
    from bisc.system.jsonfile import to_json
    from tests.support.grids import hand_fingerprint

    return to_json(make_plan(hand_fingerprint(), 12.0)).encode()


def made_settings() -> Any:
    import msgspec

    from bisc.planners.plan import Plan
    from bisc.trainers.presets import PRESETS
    from bisc.trainers.settings import run_settings

    plan = msgspec.json.decode(plan_json(), type=Plan)
    settings = run_settings(plan, "rough", 0, PRESETS["paper"], "fp32")
    return msgspec.structs.replace(settings, base_features=1, patch_size_zyx=(16, 32, 32))
