"""The sound files that fuzzing begins with, for each reader."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk

from tests.robustness.fuzz_readers import SHAPE_ZYX, Files, made_settings, plan_json


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


def _document(folder: Path, reader: str) -> None:
    from bisc.planners.dataset import MeasuredCase
    from bisc.planners.source import Source
    from bisc.planners.splits import make_splits
    from bisc.simulation.dataset import VERSION, SimulationRecord
    from bisc.system.jsonfile import save_json
    from tests.support.grids import hand_case

    if reader == "plan.json":
        (folder / reader).write_bytes(plan_json())
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
    from bisc.trainers.loop import OPTIMIZERS, SCALER
    from bisc.trainers.optimizers import make_optimizers
    from bisc.trainers.settings import to_plain

    settings = made_settings()
    torch.manual_seed(0)
    network = SCUNet(settings.base_features, settings.norm)
    optimizers = make_optimizers(settings.optimizer, network, 1e-3)
    state = {OPTIMIZERS: [o.state_dict() for o in optimizers], SCALER: {}}
    plan = json.loads(plan_json())
    rows = [{"epoch": 1.0, "score": 0.5}]
    checkpoint = Checkpoint(to_plain(settings), plan, network.state_dict(), state, 4, 0.5, [0.1], rows, [0.0, 1.0, 2.0])
    save_checkpoint(folder / "checkpoint_last.pt", checkpoint)


def _model(folder: Path, _: str) -> None:
    """Both stages, one fold each, as bisc_export packed them before there were model files."""
    with TemporaryDirectory() as made:
        _checkpoint(Path(made), "")
        weights = (Path(made) / "checkpoint_last.pt").read_bytes()
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        archive.writestr("plan.json", plan_json())
        for stage in ("rough", "fine"):
            archive.writestr(f"{stage}/fold_0/checkpoint_last.pt", weights)


def _model_file(folder: Path, _: str) -> None:
    """The members of a model file, each a file."""
    import msgspec

    from bisc.network.checkpoint import load_checkpoint, save_checkpoint
    from bisc.pipeline.model_files import export_model
    from tests.support.sealing import members_of

    with TemporaryDirectory() as made:
        results = Path(made) / "results"
        for stage in ("rough", "fine"):
            _checkpoint(results / stage / "fold_0", "")
            path = results / stage / "fold_0" / "checkpoint_last.pt"
            checkpoint = load_checkpoint(path)
            checkpoint.settings["stage"] = stage
            checkpoint.step = checkpoint.settings["epochs"] * checkpoint.settings["iterations"]
            save_checkpoint(path, checkpoint)
        (results / "plan.json").write_bytes(msgspec.json.encode(json.loads(plan_json())))
        export_model(results, None, Path(made) / "model.zip", notes=["fuzzed"])
        for name, data in members_of(Path(made) / "model.zip").items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def _results(folder: Path, _: str) -> None:
    from bisc.evaluation.aggregate import to_frame, write_report
    from bisc.evaluation.cases import score_arrays
    from bisc.system.jsonfile import save_json

    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    fold = folder / "fine" / "fold_0"
    frame = to_frame([score_arrays(name, labels, labels, (3.0, 1.0, 1.0)) for name in ("case_0", "case_1")])
    write_report(fold / "validation" / "report.csv", frame)
    save_json(fold / "run.json", made_settings())


def _table(folder: Path, reader: str) -> None:
    if reader == "log.csv":
        text = "epoch,step,train_loss,step_s,wait_s,validation_s\n1,4,1.0,0.5,0.1,2.0\n"
    else:
        from bisc.pipeline.options import PredictionRow
        from bisc.pipeline.rows import rows_csv

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
    "model file": _model_file,
    "results": _results,
    **dict.fromkeys(("predictions.csv", "log.csv"), _table),
}
