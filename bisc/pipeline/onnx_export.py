"""The fine network as ONNX, for programs without torch: what it computes is compared with torch's before it is written.

It takes one normalised region, (1, 1, z, y, x) float32 with edges that are multiples of 16, and gives the softmax of
background, kidney and tumour, (1, 3, z, y, x). All that is around the network is not in it: finding the kidneys (the
rough stage), resampling, windows. What a program needs to know for that stands in the file's metadata.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bisc._version import __version__
from bisc.core.errors import WorkError
from bisc.core.geometry import as_int_triple
from bisc.core.limits import MULTIPLE
from bisc.inference.model import NetworkSettings, trained_network, window_of
from bisc.inference.sources import ModelFile, Source, open_source
from bisc.network import SCUNet
from bisc.planners.plan import Plan
from bisc.preprocessing.resample import normalise, resample
from bisc.simulation.case import simulate_case
from bisc.system.console import check
from bisc.system.files import write_bytes
from bisc.system.memory import usable_cores

TOLERANCE: Final = 1e-4
"""The largest difference of a probability from torch's that is written; both compute in float32, and 4e-6 is usual."""
TRACED_ZYX: Final = (2 * MULTIPLE, 3 * MULTIPLE, 4 * MULTIPLE)
"""The example that the network is traced with: edges differ, so that no axis is taken for another."""
RANDOM_ZYX: Final = (MULTIPLE, 3 * MULTIPLE, 2 * MULTIPLE)
"""Of the patch of chance: another size than the traced one, since sizes are to be free."""
MOST: Final = 2048 // MULTIPLE
SIMULATED_SIZE_XYZ: Final = (96, 96, 48)
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class OnnxFile:
    """A network that was written.

    Attributes:
        path: The file.
        fold: Its fold.
        max_difference: Of any probability from torch's, over a patch of chance and one of a simulated kidney.
        allowed: What it was allowed to be.
    """

    path: Path
    fold: int
    max_difference: float
    allowed: float


class _Softmax(nn.Module):
    def __init__(self, network: SCUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.forward_region(image).softmax(dim=1)


def export_onnx(
    path: Path, out: Path, folds: Sequence[int] | None = None, allowed: float = TOLERANCE
) -> Iterator[OnnxFile]:
    """Write `out/NAME_fine_fold_K.onnx` of a model file's fine networks, one after the other.

    Args:
        path: A model file, or an archive of the old form.
        out: A folder.
        folds: Which; None takes all that are there.
        allowed: The largest difference from torch's probabilities.

    Raises:
        InputError: If the model or a fold is missing or cannot be used.
        WorkError: If what the ONNX network computes differs from torch's by more; nothing is written of it.
    """
    source = open_source(path)
    plan = source.plan()
    for fold, name, checkpoint in source.networks("fine", folds):
        check()
        network, settings = trained_network(checkpoint, name, plan)
        softmax = _Softmax(network.eval())
        proto = _as_onnx(softmax)
        patches = (_by_chance(), _of_a_kidney(plan, settings))
        difference = max(_difference(softmax, proto.SerializeToString(), patch) for patch in patches)
        if not difference <= allowed:  # NaN is not
            raise WorkError(
                f"{name}: as ONNX its probabilities differ from torch's by {difference:.3g}, "
                f"allowed {allowed:g}; nothing was written; try another version of torch or onnxruntime"
            )
        _describe(proto, source, plan, settings, checkpoint.offsets, fold, difference, allowed)
        target = out / f"{path.stem}_fine_fold_{fold}.onnx"
        write_bytes(target, proto.SerializeToString())
        yield OnnxFile(target, fold, difference, allowed)


def _as_onnx(softmax: _Softmax) -> Any:
    """An onnx.ModelProto whose z, y and x are free. By torch.export: the older exporter, which traces, knows no group
    norm of a free size, and its batch norm networks gave other probabilities (docs/lab/method.md)."""
    import onnx

    dim = torch.export.Dim
    free = {2 + i: MULTIPLE * dim(axis, min=1, max=MOST) for i, axis in enumerate("zyx")}
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            softmax,
            (torch.zeros(1, 1, *TRACED_ZYX),),
            dynamo=True,
            input_names=["image"],
            output_names=["softmax"],
            dynamic_shapes={"image": free},
            external_data=False,
            verbose=False,
        )
    proto: Any = program.model_proto  # type: ignore[union-attr]
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output, proto.graph):
        part.ClearField("metadata_props")  # lines of this machine's source files
        part.ClearField("doc_string")
    onnx.checker.check_model(proto)
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of parts of its own that are not needed here; what matters is an error."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _by_chance() -> Array:
    return np.random.default_rng(0).normal(size=RANDOM_ZYX).astype(np.float32)


def _of_a_kidney(plan: Plan, settings: NetworkSettings) -> Array:
    """A simulated kidney as the network sees one: at target spacing, normalised, in a patch of its training's size."""
    image, labels = simulate_case(1, 0, SIMULATED_SIZE_XYZ)
    kidneys = np.argwhere(np.asarray(labels.array) > 0)
    one = kidneys[kidneys[:, 2] < labels.geometry.shape_zyx[2] / 2]
    shape = as_int_triple([-(-n // MULTIPLE) * MULTIPLE for n in settings.patch_size_zyx])
    whole = labels.geometry.resampled(plan.target_spacing_mm_zyx)
    centre = whole.physical_to_index(labels.geometry.index_to_physical(one.mean(axis=0)))
    grid = whole.cropped(np.rint(centre) - np.asarray(shape) // 2, shape)
    return normalise(resample(image, grid).array, plan.intensity)


def _difference(softmax: _Softmax, model: bytes, patch: Array) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    image = patch[None, None]
    (found,) = session.run(None, {"image": image})
    with torch.inference_mode():
        expected = softmax(torch.from_numpy(image)).numpy()
    return float(np.abs(found - expected).max())


def _describe(
    proto: Any,
    source: Source,
    plan: Plan,
    settings: NetworkSettings,
    offsets: Sequence[float] | None,
    fold: int,
    difference: float,
    allowed: float,
) -> None:
    """What a program around the network has to know, as JSON values by key."""
    window = window_of(settings)
    intensity = plan.intensity
    facts = {
        "model": source.root.name,
        "model_sha256": source.sha256 if isinstance(source, ModelFile) else None,
        "licence": source.record.licence if isinstance(source, ModelFile) else "",
        "fold": fold,
        "input": "image: (1, 1, z, y, x) float32, one channel, LPS: z to the head, y to the back, x to the left",
        "edges_are_multiples_of": MULTIPLE,
        "spacing_mm_zyx": plan.target_spacing_mm_zyx,
        "resampling": "linear; where spacing_mm_zyx is n >= 2 times the image's, first averaged over floor(n) voxels",
        "normalisation": "(clip(HU, clip_low_hu, clip_high_hu) - mean_hu) / std_hu",
        "clip_low_hu": intensity.clip_low_hu,
        "clip_high_hu": intensity.clip_high_hu,
        "mean_hu": intensity.mean_hu,
        "std_hu": intensity.std_hu,
        "padding_value": intensity.air,
        "window_zyx": window,
        "window": "a kidney's region in one piece" if window is None else "half-overlapping windows of this size",
        "output": "softmax: (1, 3, z, y, x) float32",
        "labels": {"0": "background", "1": "kidney", "2": "tumour"},
        "calibrated_offsets": offsets,
        "calibrated_decision": "argmax of log(softmax) + calibrated_offsets; null: argmax",
        "max_difference_from_torch": difference,
        "allowed_difference": allowed,
        "made_by": f"bisc-unet {__version__}, torch {torch.__version__}",
        "use": "Research use, not a medical device.",
    }
    proto.producer_name, proto.producer_version = "bisc-unet", __version__
    del proto.metadata_props[:]
    for key, value in facts.items():
        proto.metadata_props.add(key=f"bisc.{key}", value=json.dumps(value))
