"""BiSC-UNet: kidneys and kidney tumours in CT, by a self-configuring cascade of two networks.

    import bisc

    model = bisc.load_model("model.zip")          # once; then for any number of scans
    result = model.segment("ct.nii.gz")           # or a SimpleITK or nibabel image, or an array with its affine
    result.status, result.kidney_ml, result.tumor_ml
    result.save("mask.nii.gz")                    # 0 background, 1 kidney, 2 tumour, on the scan's own grid

segment      one image in one line, where the model is read for it alone
read_image   a CT as a canonical volume: (z, y, x), LPS, int16 HU, spacing in mm
write_labels a label map on its image's own grid
plan         what `bisc_plan_and_preprocess` does: measure a data set, choose all sizes, fill the caches
train        what `bisc_train` does, for one stage and fold
evaluate     a row of report.csv for a reference and a prediction
measure      sizes, places and nephrometry of a mask, of each kidney and tumour
download     what `bisc_download` does: KiTS19, KiTS21 or KiTS23 from where they are published
compare      what `bisc_compare` does: differences of two runs over the same patients, with intervals
simulate     what `bisc_simulate` does: CT with kidneys and tumours, to try all this on

Whatever cannot be used raises `InputError`: one line, and its fields `what`, `found`, `expected`, `mend`. Work that
fails though the input was right raises `WorkError`. Both are `BiscError`. Nothing heavy is imported before it is asked
for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bisc._version import __version__
from bisc.core.errors import BiscError, InputError, WorkError

if TYPE_CHECKING:
    from bisc.imageio import read_image as read_image
    from bisc.pipeline.compare import compare as compare
    from bisc.pipeline.download import download as download
    from bisc.pipeline.evaluate import evaluate as evaluate
    from bisc.pipeline.measure import measure as measure
    from bisc.pipeline.plan import plan as plan
    from bisc.pipeline.segment import Model as Model
    from bisc.pipeline.segment import Segmentation as Segmentation
    from bisc.pipeline.segment import load_model as load_model
    from bisc.pipeline.segment import segment as segment
    from bisc.pipeline.segment import write_labels as write_labels
    from bisc.pipeline.simulate import simulate as simulate
    from bisc.pipeline.train import train as train

_LAZY = {
    "load_model": "bisc.pipeline.segment",
    "Model": "bisc.pipeline.segment",
    "segment": "bisc.pipeline.segment",
    "Segmentation": "bisc.pipeline.segment",
    "read_image": "bisc.imageio",
    "write_labels": "bisc.pipeline.segment",
    "plan": "bisc.pipeline.plan",
    "train": "bisc.pipeline.train",
    "evaluate": "bisc.pipeline.evaluate",
    "measure": "bisc.pipeline.measure",
    "download": "bisc.pipeline.download",
    "compare": "bisc.pipeline.compare",
    "simulate": "bisc.pipeline.simulate",
}
__all__ = [*_LAZY, "BiscError", "InputError", "WorkError", "__version__"]


def __getattr__(name: str) -> Any:
    """A public name's module is imported when it is first asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'bisc' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
