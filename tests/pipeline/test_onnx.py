"""The fine network as ONNX: what other programs compute with it is what torch computes, at any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.by_intensity import plan as kits_plan
from bisc.cli import model
from bisc.core.errors import WorkError
from bisc.inference.model import NetworkSettings
from bisc.inference.sources import open_source
from bisc.network import SCUNet
from bisc.network.checkpoint import Checkpoint, save_checkpoint
from bisc.pipeline import onnx_export
from bisc.pipeline.model_files import export_model
from bisc.system.jsonfile import save_json
from tests.support.training_fixtures import use_one_thread

use_one_thread()


def model_file(folder: Path, norm: str, packing: int) -> Path:
    """Weights of chance, with batch norm's statistics as if it had seen something."""
    made = kits_plan(4, norm, packing)
    save_json(folder / "plan.json", made)
    plain = json.loads((folder / "plan.json").read_text())
    torch.manual_seed(0)
    network = SCUNet(4, norm, "off", packing)  # type: ignore[arg-type]
    for name, value in network.named_buffers():
        if value.is_floating_point():
            value.uniform_(0.5, 2.0) if "var" in name else value.normal_()
    for stage in ("rough", "fine"):
        settings = {"stage": stage, **plain[stage], "edges": "off", "patch_size_zyx": [16, 48, 64]}
        path = folder / stage / "fold_0" / "checkpoint_last.pt"
        save_checkpoint(path, Checkpoint(settings, plain, network.state_dict(), offsets=[0.0, 0.5, 1.0]))
    export_model(folder, None, folder / "model.zip", licence="CC0-1.0")
    return folder / "model.zip"


def test_the_patch_of_a_kidney_is_one(tmp_path: Path) -> None:
    """Of the training's patch size, normalised as the plan says, with soft tissue in its middle."""
    made = kits_plan(4)
    settings = NetworkSettings(base_features=4, norm="batch", stage="fine", patch_size_zyx=(24, 48, 64))
    patch = onnx_export._of_a_kidney(made, settings)
    hu = patch * made.intensity.std_hu + made.intensity.mean_hu
    assert patch.shape == (32, 48, 64)
    assert made.intensity.clip_low_hu <= hu.min() < hu.max() <= made.intensity.clip_high_hu
    assert 0 < np.median(hu[12:20, 16:32, 24:40]) < 300


@pytest.mark.long
@pytest.mark.parametrize(("norm", "packing"), [("batch", 1), ("batch", 2), ("instance", 1), ("instance", 2)])
def test_any_size_gives_torchs_probabilities(
    tmp_path: Path, norm: str, packing: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """In onnxruntime, at sizes it was not traced with; the file names no file of this machine."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    path = model_file(tmp_path / "results", norm, packing)
    assert model.main(["onnx", str(path), "-o", str(tmp_path / "onnx")]) == 0
    (file,) = (tmp_path / "onnx").iterdir()
    told = capsys.readouterr()
    assert (file.name, told.err) == ("model_fine_fold_0.onnx", "")
    assert f"{file}: softmax differs from torch's by " in told.out
    raw = file.read_bytes()
    assert b".py" not in raw
    assert b"/" + b"tmp" not in raw
    facts: dict[str, Any] = {p.key: json.loads(p.value) for p in onnx.load(file).metadata_props}
    assert facts["bisc.max_difference_from_torch"] <= facts["bisc.allowed_difference"] == onnx_export.TOLERANCE
    assert facts["bisc.spacing_mm_zyx"] == [3.0, 0.78125, 0.78125]
    assert (facts["bisc.licence"], facts["bisc.calibrated_offsets"]) == ("CC0-1.0", [0.0, 0.5, 1.0])
    assert facts["bisc.window_zyx"] == (None if norm == "batch" else [16, 48, 64])
    session = onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    network = SCUNet(4, norm, "off", packing).eval()  # type: ignore[arg-type]
    network.load_state_dict(open_source(path).checkpoint("fine/fold_0.safetensors").network)
    for size in ((16, 16, 16), (48, 32, 80)):
        image = torch.randn(1, 1, *size)
        with torch.inference_mode():
            expected = network.forward_region(image).softmax(dim=1).numpy()
        (found,) = session.run(None, {"image": image.numpy()})
        assert np.abs(found - expected).max() < onnx_export.TOLERANCE
        assert len(np.unique(expected.argmax(axis=1))) > 1


@pytest.mark.long
def test_what_computes_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    path = model_file(tmp_path / "results", "instance", 1)
    monkeypatch.setattr(onnx_export, "_difference", lambda *_: 2e-4)
    with pytest.raises(WorkError, match=r"differ from torch's by 0.0002, allowed 0.0001; nothing was written"):
        list(onnx_export.export_onnx(path, tmp_path / "onnx"))
    monkeypatch.setattr(onnx_export, "_difference", lambda *_: float("nan"))
    with pytest.raises(WorkError, match="differ from torch's by nan"):
        list(onnx_export.export_onnx(path, tmp_path / "onnx"))
    assert not list(tmp_path.glob("onnx/*"))
