"""Every reader of a user's file, each with a sound seed to start from: the fuzz's subjects."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk


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
    from bisc.trainers.loop import TrainingRun
    from bisc.trainers.stages import RoughTrainer

    plan, settings, device = msgspec.json.decode(_plan_json(), type=Plan), _settings(), choose_device("cpu", "fp32")
    trainer = RoughTrainer(settings, folder, folder, device)
    network = SCUNet(settings.base_features, settings.norm)
    nothing: Any = None
    training = TrainingRun(settings, {}, network, nothing, nothing, folder, device, 0)
    trainer.go_on(training, folder / "checkpoint_last.pt", plan)
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


def read_results(folder: Path) -> None:
    """As bisc_evaluate -d does: run.json and the reports of a fold."""
    from bisc.evaluation.crossval import evaluate_cross_validation

    evaluate_cross_validation(folder)


def read_predictions(folder: Path) -> None:
    from bisc.core.errors import InputError
    from bisc.evaluation.pairs import read_case_list
    from bisc.pipeline.predict import read_rows, rows_csv

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
    log.write_log(folder, _settings(), [row], None)


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
    "results": read_results,
    "predictions.csv": read_predictions,
    "log.csv": read_log,
}


def seed_files(reader: str) -> Files:
    """Sound files of one reader, by their path within its folder."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        _SEEDS[reader](folder, reader)
        return Files({p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()})


def _scan(folder: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray((np.arange(np.prod(SHAPE_ZYX)) % 3).reshape(SHAPE_ZYX).astype(np.int16))
    image.SetSpacing((0.8, 0.8, 3.0))
    sitk.WriteImage(image, str(folder / f"scan.{suffix}"), useCompression=suffix in ("nrrd", "mha"))


def _series(folder: Path, reader: str) -> None:
    image = sitk.GetImageFromArray(np.arange(20, dtype=np.int16).reshape(1, 4, 5))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for i in range(3 if reader == "dicom" else 1):
        image.SetOrigin((0.0, 0.0, 3.0 * i))
        tags = {"0008|0060": "CT", "0020|000e": "1.2.3", "0020|000d": "1.2", "0020|0013": str(i)}
        tags |= {
            "0020|0032": f"0\\0\\{3 * i}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0018": f"1.2.3.{i}",
            "0018|0050": "3",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{i}.dcm"))
        writer.Execute(image)


def _plan_json() -> bytes:
    from bisc.planners.planner import make_plan
    from bisc.system.jsonfile import to_json
    from tests.support.grids import hand_fingerprint

    return to_json(make_plan(hand_fingerprint(), 12.0)).encode()


def _settings() -> Any:
    import msgspec

    from bisc.planners.plan import Plan
    from bisc.trainers.presets import PRESETS
    from bisc.trainers.settings import run_settings

    plan = msgspec.json.decode(_plan_json(), type=Plan)
    settings = run_settings(plan, "rough", 0, PRESETS["paper"], "fp32")
    return msgspec.structs.replace(settings, base_features=1, patch_size_zyx=(16, 32, 32))


def _document(folder: Path, reader: str) -> None:
    from bisc.planners.dataset import MeasuredCase
    from bisc.planners.source import Source
    from bisc.planners.splits import make_splits
    from bisc.simulation.dataset import VERSION, SimulationRecord
    from bisc.system.jsonfile import save_json
    from tests.support.grids import hand_case

    if reader == "plan.json":
        (folder / reader).write_bytes(_plan_json())
    elif reader == "splits.json":
        save_json(folder / reader, make_splits({f"case_{i}": float(i) for i in range(6)}))
    elif reader == "source.json":
        save_json(folder / reader, Source(folder="/"))
    elif reader == "measurement":
        save_json(folder / "case.json", MeasuredCase(stamp="1:2", fingerprint=hand_case("case_1", hu=[1, 2, 3])))
    else:
        save_json(folder / reader, SimulationRecord(version=VERSION, seed=1, size_xyz=(1, 2, 3), labels_dir=None))


def _cache(folder: Path, _: str) -> None:
    from bisc.preprocessing.cache import CaseRecord
    from bisc.preprocessing.regions import save_region
    from bisc.system.jsonfile import save_json

    targets = np.zeros((12, 14, 16), np.uint8)
    targets[1, 2, 3] = targets[11, 13, 15] = 1
    targets[5, 6, 7:9] = 2
    region = save_region(
        folder, 0, np.arange(targets.size, dtype=np.uint8).reshape(targets.shape), targets, (3.0, 1.0, 1.0)
    )
    save_json(folder / "case.json", CaseRecord(name="case_1", key="k", regions=[region]))


def _checkpoint(folder: Path, _: str) -> None:
    import torch

    from bisc.network import SCUNet
    from bisc.network.checkpoint import Checkpoint, save_checkpoint
    from bisc.trainers.loop import OPTIMIZERS, SCALER, to_plain
    from bisc.trainers.optimizers import make_optimizers

    settings = _settings()
    torch.manual_seed(0)
    network = SCUNet(settings.base_features, settings.norm)
    optimizers = make_optimizers(settings.optimizer, network, 1e-3)
    state = {OPTIMIZERS: [o.state_dict() for o in optimizers], SCALER: {}}
    plan = json.loads(_plan_json())
    rows = [{"epoch": 1.0, "score": 0.5}]
    checkpoint = Checkpoint(to_plain(settings), plan, network.state_dict(), state, 4, 0.5, [0.1], rows, [0.0, 1.0, 2.0])
    save_checkpoint(folder / "checkpoint_last.pt", checkpoint)


def _model(folder: Path, _: str) -> None:
    """Both stages, one fold each, as bisc_export packs them."""
    with TemporaryDirectory() as made:
        _checkpoint(Path(made), "")
        weights = (Path(made) / "checkpoint_last.pt").read_bytes()
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        archive.writestr("plan.json", _plan_json())
        for stage in ("rough", "fine"):
            archive.writestr(f"{stage}/fold_0/checkpoint_last.pt", weights)


def _results(folder: Path, _: str) -> None:
    from bisc.evaluation.aggregate import to_frame, write_report
    from bisc.evaluation.cases import score_arrays
    from bisc.system.jsonfile import save_json

    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    fold = folder / "fine" / "fold_0"
    frame = to_frame([score_arrays(name, labels, labels, (3.0, 1.0, 1.0)) for name in ("case_0", "case_1")])
    write_report(fold / "validation" / "report.csv", frame)
    save_json(fold / "run.json", _settings())


def _table(folder: Path, reader: str) -> None:
    if reader == "log.csv":
        text = "epoch,step,train_loss,step_s,wait_s,validation_s\n1,4,1.0,0.5,0.1,2.0\n"
    else:
        from bisc.pipeline.predict import PredictionRow, rows_csv

        rows = [PredictionRow("a", "ok", 1.5, '[{"side": "left"}]', 12.5, 0.0), PredictionRow("b", "failed", 0.1)]
        text = rows_csv(rows)
    (folder / reader).write_text(text)


_SEEDS: dict[str, Callable[[Path, str], None]] = {
    **dict.fromkeys(("nii", "nii.gz", "nrrd", "mha", "mhd"), _scan),
    "dicom": _series,
    "dicom slice": _series,
    **dict.fromkeys(("plan.json", "splits.json", "source.json", "measurement", "simulation.json"), _document),
    "cache": _cache,
    "checkpoint": _checkpoint,
    "model.zip": _model,
    "results": _results,
    **dict.fromkeys(("predictions.csv", "log.csv"), _table),
}
