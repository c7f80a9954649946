"""What ends a fold's training: offsets fitted on its validation cases, and their scores through the real cascade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from bisc.core.choices import DECISIONS, DEFAULT_DECISION, Decision
from bisc.core.errors import InputError
from bisc.core.labels import labels_of
from bisc.core.volume import Volume
from bisc.evaluation.aggregate import to_frame, write_with_summary
from bisc.evaluation.cases import CaseScores, score_arrays
from bisc.imageio import on_grid_of, read_image, read_labels, write_image
from bisc.imageio.dataset import RawCase, find_raw_dataset
from bisc.inference.cascade import (
    NO_OFFSETS,
    CascadeResult,
    Offsets,
    RoughExcess,
    labels_of_rois,
    run_cascade,
)
from bisc.inference.kept import roi_arrays, rois_of_arrays
from bisc.inference.model import Model, load_model, load_stage
from bisc.inference.sources import CHECKPOINT
from bisc.inference.windows import softmax_volume
from bisc.network.checkpoint import load_checkpoint, plan_conflicts, save_checkpoint
from bisc.network.device import Device
from bisc.pipeline.calibrate import OffsetFit
from bisc.pipeline.fresh import digest_of_cases
from bisc.pipeline.validated import known_validation, remember_validation, validation_key, weights_of
from bisc.planners.dataset import cache_settings, load_plan
from bisc.planners.plan import Plan
from bisc.planners.source import current_meaning, load_source
from bisc.preprocessing.cache import check_settings, load_regions
from bisc.preprocessing.resample import resample_labels
from bisc.system.console import collecting, track
from bisc.system.files import PARTIAL, make_folder, scratch_folder
from bisc.system.paths import VALIDATION, fold_folder
from bisc.trainers.stages import check_unseen, load_fold

ROUGH_KIDNEY_WEIGHT: Final = 0.8
"""The rough stage is there to find the kidneys: fitted to the tumour as much, its ROIs spanned the whole scan."""


@dataclass(frozen=True)
class FoldCase:
    """One validation case with its reference."""

    raw: RawCase

    def read(self) -> tuple[Volume, Volume]:
        """Canonical image and reference labels."""
        assert self.raw.image is not None  # only cases with images are ever split
        image = read_image(self.raw.image)
        return image.volume, on_grid_of(image, read_labels(self.raw.labels, self.raw.meaning)).volume


def finish_fold(stage: str, fold: int, preprocessed: Path, results: Path, device: Device) -> list[str]:
    """Fit the stage's offsets, store them in its last checkpoint, and validate the fold, unless all that is done.

    The rough stage is scored on its own grid; the fine stage through the whole cascade, fed by the rough stage's
    ROIs, never by the labels'.

    Returns:
        Lines for the user.

    Raises:
        InputError: For the fine stage, as `check_rough`.
    """
    names = load_fold(preprocessed, fold).val
    folder = fold_folder(results, stage, fold)
    known = known_validation(folder, _key(stage, fold, names, preprocessed, results))
    if known is not None:
        return known
    if stage == "rough":
        lines = finish_rough(names, fold, preprocessed, results, folder, device)
    else:
        check_rough([fold], load_plan(preprocessed), preprocessed, results)  # it may be trained anew meanwhile
        lines = finish_fine(fold_cases(preprocessed, names), fold, results, folder, device)
    written = [path for path in (folder / VALIDATION).glob("*") if not path.name.startswith(PARTIAL)]
    # The key anew: the offsets are in the checkpoint now.
    key = _key(stage, fold, names, preprocessed, results)
    rests_on = weights_of(results, fold), digest_of_cases(preprocessed, names)
    remember_validation(folder, key, written, lines, *rests_on)
    return lines


def check_rough(folds: Sequence[int], plan: Plan, preprocessed: Path, results: Path) -> None:
    """Know before the fine stage trains, not after, that its validation will find the rough stage it needs; and again
    when it is validated.

    Raises:
        InputError: If a fold's rough stage is not trained to its end and validated, or was trained with another plan or
            other folds.
    """
    for fold in folds:
        path = fold_folder(results, "rough", fold) / CHECKPOINT
        mend = f"run bisc_train rough {fold} first, or leave the validation out with --no-validation"
        if not path.exists():
            raise InputError(path, "not there, and the fine stage is validated through it", "the rough stage", mend)
        checkpoint = load_checkpoint(path)
        check_unseen(path, checkpoint, load_fold(preprocessed, fold))
        conflicts = plan_conflicts(checkpoint, msgspec.to_builtins(plan))
        if conflicts:
            raise InputError(path, f"was trained with another plan: {conflicts}", "the present plan", mend)
        if checkpoint.unfinished or checkpoint.offsets is None:
            found = (
                f"its training is at {checkpoint.unfinished}" if checkpoint.unfinished else "was not validated itself"
            )
            mend = f"finish bisc_train rough {fold} (the same line with --continue), or give --no-validation"
            raise InputError(path, f"{found}, and the fine stage is validated through it", "a finished one", mend)


def finish_rough(
    names: list[str], fold: int, preprocessed: Path, results: Path, folder: Path, device: Device
) -> list[str]:
    """Offsets from the cached rough volumes, and Dice on the rough grid under both decisions."""
    plan = load_plan(preprocessed)
    intensity = plan.intensity
    check_settings([preprocessed / "rough" / name for name in names], cache_settings(plan))
    networks = load_stage(results, "rough", [fold], device)
    fit = OffsetFit(ROUGH_KIDNEY_WEIGHT)
    for name in track(names, "calibrate rough"):
        for region in load_regions(preprocessed / "rough" / name):
            image = region.image(intensity)
            softmax = softmax_volume(networks, image, intensity.air)
            fit.add([softmax], [labels_of(region.targets)])
    offsets = fit.fit()
    store_offsets(folder, offsets)
    plain, calibrated = fit.score(NO_OFFSETS), fit.score(offsets)
    return [f"rough fold {fold}: weighted Dice on its own grid {plain:.3f} argmax, {calibrated:.3f} calibrated"]


def finish_fine(cases: list[FoldCase], fold: int, results: Path, folder: Path, device: Device) -> list[str]:
    """Offsets from the cascade's ROIs, then report.csv of the default decision and one report per decision.

    Each image passes the networks once, and once more only where the decisions disagree about a ROI: the softmax of
    the default decision's ROIs waits on the disk for the offsets that all cases together determine. Where the rough
    stage marks more than any patient has, the case counts as if nothing had been found.
    """
    with collecting(quiet=True):  # of its offsets, which come below
        model = load_model(results, [fold], device, postprocess=False)
    target = make_folder(folder / VALIDATION)
    with scratch_folder(target) as scratch:
        fit, plain = OffsetFit(), []
        excesses: dict[Decision, list[str]] = {decision: [] for decision in DECISIONS}
        for case in track(cases, "validate"):
            plain.append(_first_pass(case, model, fit, scratch, excesses))
        offsets = fit.fit() if fit.cases else NO_OFFSETS
        store_offsets(folder, offsets)
        calibrated = [_second_pass(case, model, offsets, scratch, target) for case in cases]
    lines = [
        f"fine fold {fold}, {decision}: the rough stage marks more than any patient has in {len(names)} of "
        f"{len(cases)} cases ({', '.join(sorted(names)[:5])}); they count as empty masks; train it longer"
        for decision, names in excesses.items()
        if names
    ]
    scores: dict[Decision, list[CaseScores]] = {"argmax": plain, "calibrated": calibrated}
    for decision in DECISIONS:
        frame = to_frame(scores[decision])
        write_with_summary(target / f"report_{decision}.csv", frame)
        if decision == DEFAULT_DECISION:
            write_with_summary(target / "report.csv", frame)
        kidney, tumor = frame["dice_kidney"].mean(), frame["dice_tumor"].mean()
        lines.append(f"fine fold {fold}, {decision}: Dice kidney {kidney:.3f}, tumour {tumor:.3f} ({len(frame)} cases)")
    return lines


def store_offsets(folder: Path, offsets: Offsets) -> None:
    """Keep fitted offsets with the weights they were fitted to."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    checkpoint.offsets = list(offsets)
    save_checkpoint(folder / CHECKPOINT, checkpoint)


def _first_pass(
    case: FoldCase, model: Model, fit: OffsetFit, scratch: Path, excesses: dict[Decision, list[str]]
) -> CaseScores:
    """Run the cascade, keep its softmax for the second pass, add the case to the fit; returns argmax's scores.

    The case's name is added to the `excesses` of each decision by which the rough stage marks too much.
    """
    image, reference = case.read()
    result = _cascade(image, model, "calibrated")
    np.savez(scratch / f"{case.raw.name}.npz", **roi_arrays(result.native if result else ()))  # type: ignore[arg-type]
    if result is not None and result.rois:
        softmax = [roi.softmax for roi in result.rois]
        fit.add([s.array for s in softmax], [resample_labels(reference, s.geometry) for s in softmax])
    plain = _cascade(image, model, "argmax", result)
    labels = plain.labels(NO_OFFSETS) if plain else np.zeros_like(_uint8(reference))
    found: dict[Decision, CascadeResult | None] = {"calibrated": result, "argmax": plain}
    for decision, one in found.items():
        if one is None:
            excesses[decision].append(case.raw.name)
    return score_arrays(case.raw.name, _uint8(reference), labels, reference.geometry.spacing_mm_zyx)


def _cascade(
    image: Volume, model: Model, decision: Decision, known: CascadeResult | None = None
) -> CascadeResult | None:
    """The cascade's result, or None where its rough stage marks more than any patient has."""
    try:
        return run_cascade(image, model, decision, known)
    except RoughExcess:
        return None


def _second_pass(case: FoldCase, model: Model, offsets: Offsets, scratch: Path, masks: Path) -> CaseScores:
    """Decide the kept softmax by the fitted offsets, write the mask, return its scores."""
    stored = read_labels(case.raw.labels, case.raw.meaning)
    reference = stored.volume
    with np.load(scratch / f"{case.raw.name}.npz", allow_pickle=False) as kept:
        rois = rois_of_arrays(kept)
    labels, _ = labels_of_rois(rois, reference.geometry, model.plan.roi.min_kidney_ml, offsets)
    write_image(masks / f"{case.raw.name}.nii.gz", labels, stored.native)
    return score_arrays(case.raw.name, _uint8(reference), labels, reference.geometry.spacing_mm_zyx)


def fold_cases(preprocessed: Path, names: list[str]) -> list[FoldCase]:
    """These cases of the raw data set, in this order; InputError if one is not there."""
    source = load_source(preprocessed)
    meaning = current_meaning(source, preprocessed)
    by_name = {case.name: case for case in find_raw_dataset(source, meaning=meaning).cases}
    gone = [name for name in names if name not in by_name]
    if gone:  # a mean over the others would look like the fold's
        raise InputError(
            source,
            f"the validation case {gone[0]} is not there, or not usable, any more",
            "the cases of splits.json",
            "put it back, and run the same command with --continue",
        )
    return [FoldCase(by_name[name]) for name in names]


def _uint8(volume: Volume) -> npt.NDArray[np.uint8]:
    array: npt.NDArray[np.uint8] = volume.array
    return array


def _key(stage: str, fold: int, names: list[str], preprocessed: Path, results: Path) -> str:
    weights = [fold_folder(results, of, fold) / CHECKPOINT for of in ("rough", stage)]
    # The records of the caches too: they tell of voxels that changed though size and time of their file did not.
    files = [*weights, *(preprocessed / stage / name / "case.json" for name in names)]
    if stage == "rough":
        return validation_key(files, names)
    return validation_key(files, [f"{c.raw.name} {c.raw.stamp()}" for c in fold_cases(preprocessed, names)])
