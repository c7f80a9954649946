"""Files in, masks and predictions.csv out; one bad file never ends the others' run."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.choices import Decision
from bisc.core.errors import BiscError, InputError, PassedOver, WorkError, one_line
from bisc.core.labels import TUMOR
from bisc.imageio import CaseImage, files_of, read_image, write_image
from bisc.imageio.formats.nifti import is_byte_mask
from bisc.imageio.inputs import InputCase
from bisc.imageio.plausible import check_hu, doubt_of_scan
from bisc.inference.cascade import CascadeResult, RoughExcess, RoughResult, roi_arrays, run_cascade, upsample_labels
from bisc.inference.decision import offsets_of
from bisc.inference.model import Model
from bisc.inference.windows import network_budget
from bisc.pipeline.rows import BETWEEN_NOTES, FAILED, SKIPPED, TABLE, PredictionRow, merge_rows, read_rows
from bisc.system.console import collecting, track
from bisc.system.files import atomic_file, make_output_folder, remove_partial
from bisc.system.paths import exists

ROUGH: Final = "rough"
"""The folder of the rough stage's masks, under the output."""

MAX_KIDNEY_ML: Final = 2500.0
"""Kidneys and tumours above this are doubted: the most in 167 KiTS19 label maps is 1962 ml (case_00114). Polycystic
kidneys, of which KiTS19 has none, can be larger."""


@dataclass(frozen=True)
class PredictOptions:
    """How to predict.

    Attributes:
        decision: 'argmax' or 'calibrated'.
        save_probabilities: Also write CASE_probabilities.npz.
        save_rough: Also write the rough stage's labels, as rough/CASE.nii.gz.
        resume: Keep what a finished earlier run of the same folder holds.
        memory_gb: What this process may take; None: all that is free.
    """

    decision: Decision
    save_probabilities: bool = False
    save_rough: bool = False
    resume: bool = False
    memory_gb: float | None = None


def predict_cases(
    cases: Sequence[InputCase],
    model: Model,
    out: Path,
    options: PredictOptions,
    complain: Callable[[BiscError], None],
) -> list[PredictionRow]:
    """Predict every case into `out`.

    Args:
        cases: What to predict.
        model: The cascade.
        out: Folder of CASE.nii.gz and predictions.csv, which is brought up to date after every case; the rows of
            other cases, of earlier runs or of runs under way, stay.
        options: How.
        complain: Takes the error of each failed case.

    Returns:
        One row per case, in their order; then one for each input that is no scan.

    Raises:
        InputError: If `out` cannot be written, or would overwrite an input.
    """
    make_output_folder(out)
    for folder in (out, out / ROUGH):
        remove_partial(folder)
    passed = [PredictionRow(case.name, SKIPPED, None, error=str(case.fault)) for case in cases if _is_none(case)]
    cases = [case for case in cases if not _is_none(case)]
    there = {row.case: row for row in read_rows(out / TABLE)}  # also where all is done anew: known before the work
    check_targets(cases, out, there)
    known = there if options.resume else {}
    if passed:
        merge_rows(out / TABLE, passed)
    rows: list[PredictionRow] = []
    for case in track(cases, "predict"):
        row, stamp = known.get(case.name), _stamp(case, model, options)
        done = row is not None and row.status not in (FAILED, SKIPPED) and row.stamp in ("", stamp)
        if row is None or not done or not all(path.exists() for path in _wanted(out, case, options)):
            row = _predict_or_fail(case, model, out, options, complain)
            row = replace(row, source=os.path.realpath(case.path), stamp=stamp)
            merge_rows(out / TABLE, [row])
        rows.append(row)
    return [*rows, *passed]


def check_targets(cases: Sequence[InputCase], out: Path, there: Mapping[str, PredictionRow]) -> None:
    """Refuse a run that would write over a file that is no mask of this input, before anything is computed.

    Raises:
        InputError: If a mask would take the place of an input, of another input's mask, or of a file that is no mask.
    """
    # realpath: unlike resolve, it minds no link loops
    inputs = {os.path.realpath(path): path for case in cases for path in (case.path, *case.others)}
    for case in cases:
        target, source = _target(out, case), os.path.realpath(case.path)
        if os.path.realpath(target) in inputs:
            found = "would be overwritten by its own prediction"
            raise InputError(inputs[os.path.realpath(target)], found, "an output folder of its own")
        row = there.get(case.name)
        if row is None or row.status == SKIPPED:
            if exists(target) and not is_byte_mask(target):
                raise InputError(target, "is there and is no mask", "an output folder of its own", "move it away")
        elif row.source and row.source != source and exists(Path(row.source)):
            found = f"would be written over the mask of {row.source}, which has the same name"
            mend = "choose another output folder, or rename one of the two"
            raise InputError(case.path, found, "one name for each patient", mend)


def predict_case(case: InputCase, model: Model, out: Path, options: PredictOptions) -> PredictionRow:
    """Read, run the cascade, write one case.

    Raises:
        InputError: If the image cannot be used.
        WorkError: If it does not fit into the memory.
        RoughExcess: If the rough stage marks more than any patient has; its mask is written where it was asked for.
    """
    begin = time.perf_counter()
    if case.fault is not None:
        raise case.fault
    if model.device.kind == "cpu":
        model = replace(model, network_gb=network_budget(case.path, model.network_gb, options.memory_gb))
    image = read_image(case.path)
    check_hu(image)
    try:
        result = run_cascade(image.volume, model, options.decision)
    except RoughExcess as excess:
        if options.save_rough and excess.rough is not None:
            _write_rough(excess.rough, case, image, model, out, options)
        raise RoughExcess(f"{case.path}: {excess}") from excess
    labels = result.labels(offsets_of(model.fine, options.decision))
    if options.save_rough:
        _write_rough(result.rough, case, image, model, out, options)
    if options.save_probabilities:
        save_probabilities(_probabilities_target(out, case), result)
    write_image(_target(out, case), labels, image.native)
    return _row(case, image, result, labels, _since(begin, model))


def _write_rough(
    rough: RoughResult, case: InputCase, image: CaseImage, model: Model, out: Path, options: PredictOptions
) -> None:
    labels = upsample_labels(rough, image.volume.geometry, offsets_of(model.rough, options.decision))
    write_image(_rough_target(out, case), labels, image.native)


def save_probabilities(path: Path, result: CascadeResult) -> None:
    """`roi_K` (classes, z, y, x) float16 softmax on canonical voxels, and `start_K`, the (z, y, x) of its first one."""
    with atomic_file(path) as scratch:
        np.savez_compressed(scratch, **roi_arrays(result.native, np.float16))  # type: ignore[arg-type]


def _predict_or_fail(
    case: InputCase, model: Model, out: Path, options: PredictOptions, complain: Callable[[BiscError], None]
) -> PredictionRow:
    with collecting() as notes:
        row = _attempt(case, model, out, options, complain)
    return replace(row, notes=BETWEEN_NOTES.join(notes))


def _attempt(
    case: InputCase, model: Model, out: Path, options: PredictOptions, complain: Callable[[BiscError], None]
) -> PredictionRow:
    begin = time.perf_counter()
    fault: BiscError
    try:
        return predict_case(case, model, out, options)
    except BiscError as error:
        fault = error
    except Exception as error:  # noqa: BLE001 - one broken case must not end the others
        fault = WorkError(one_line(f"{case.path}: {type(error).__name__}: {error}"))
    stale = [_target(out, case), _probabilities_target(out, case)]
    if not (isinstance(fault, RoughExcess) and options.save_rough):  # whose mask is new, and shows what is wrong
        stale.append(_rough_target(out, case))
    for path in stale:
        path.unlink(missing_ok=True)  # an older run's result beside a row that says 'failed' would be taken for its own
    if isinstance(fault, PassedOver):
        return PredictionRow(case.name, SKIPPED, None, error=str(fault))
    complain(fault)
    return PredictionRow(case.name, FAILED, _since(begin, model), error=str(fault))


def _stamp(case: InputCase, model: Model, options: PredictOptions) -> str:
    """What a prediction depends on, in a few letters: its files' sizes and times, the decision, the trained offsets."""
    try:
        stats = [file.stat() for file in files_of(case.path)]
    except OSError:
        return ""
    offsets = [list(offsets_of(folds, "calibrated")) for folds in (model.rough, model.fine)]
    parts = [[(s.st_size, s.st_mtime_ns) for s in stats], options.decision, offsets, len(model.fine)]
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _is_none(case: InputCase) -> bool:
    """Whether an input was seen to be no scan before it was read."""
    return isinstance(case.fault, PassedOver)


def _row(
    case: InputCase, image: CaseImage, result: CascadeResult, labels: npt.NDArray[np.uint8], seconds: float | None
) -> PredictionRow:
    ml = image.volume.geometry.voxel_volume_ml
    kidney_ml = round(np.count_nonzero(labels) * ml, 3)
    rois = [
        {
            "side": roi.kidney.side,
            "first_xyz": list(native.box.start_zyx[::-1]),
            "last_xyz": [stop - 1 for stop in native.box.stop_zyx[::-1]],
        }
        for roi, native in zip(result.rois, result.native, strict=True)
    ]
    return PredictionRow(
        case.name,
        result.status(labels),
        seconds,
        json.dumps(rois),
        kidney_ml,
        round(np.count_nonzero(labels == TUMOR) * ml, 3),
        doubt_of(kidney_ml) or ("" if result.rois else doubt_of_scan(image)),
    )


def doubt_of(kidney_ml: float) -> str:
    """Why a mask of this volume in ml is doubted; empty where it is not."""
    if kidney_ml <= MAX_KIDNEY_ML:
        return ""
    return (
        f"implausible: {kidney_ml:.0f} ml of kidney and tumour, expected at most {MAX_KIDNEY_ML:.0f} ml; the model "
        "does not know images like this one: look at the mask, and train on similar scans"
    )


def _since(begin: float, model: Model) -> float | None:
    return None if model.device.deterministic else round(time.perf_counter() - begin, 2)


def _target(out: Path, case: InputCase) -> Path:
    return out / f"{case.name}.nii.gz"


def _wanted(out: Path, case: InputCase, options: PredictOptions) -> list[Path]:
    """The files a finished case has."""
    rough = [_rough_target(out, case)] if options.save_rough else []
    return [_target(out, case), *rough, *([_probabilities_target(out, case)] if options.save_probabilities else [])]


def _rough_target(out: Path, case: InputCase) -> Path:
    return out / ROUGH / f"{case.name}.nii.gz"


def _probabilities_target(out: Path, case: InputCase) -> Path:
    return out / f"{case.name}_probabilities.npz"
