"""The scores of one case, every column of report.csv; and of many, where one bad file never ends the others' run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from bisc.core.errors import BiscError, InputError
from bisc.core.geometry import Triple
from bisc.core.labels import BACKGROUND, KIDNEY, N_CLASSES, TUMOR
from bisc.core.volume import Box
from bisc.evaluation.lesions import count_lesions
from bisc.evaluation.overlap import check_same_shape, dice, volume_ml
from bisc.evaluation.pairs import Pair
from bisc.evaluation.surface import KIDNEY_TOLERANCE_MM, TUMOR_TOLERANCE_MM, image_diagonal_mm, surface_scores
from bisc.imageio import CaseImage, check_same_grid, read_labels
from bisc.imageio.label_gaps import tell_of_label_map
from bisc.system.cases import run_cases

Labels = npt.NDArray[np.uint8]
Status = Literal["ok", "missing", "failed"]


@dataclass(frozen=True)
class CaseScores:
    """One row of report.csv; the fields are its columns, in its order.

    `kidney` is the organ with its tumour, label > 0, as KiTS19 scores it, in every column except
    `dice_kidney_only`, which is label 1 alone. What each measure gives for empty masks stands in
    `docs/reference/evaluation.md`.

    Attributes:
        status: `ok`; `missing`: no prediction; `failed`: it cannot be used. The last two get the worst
            scores, those of an empty prediction, since leaving them out would raise the mean. Where the
            reference itself is at fault there is nothing to score against: the numbers are NaN and the
            counts None, empty cells in the file.
    """

    case: str
    status: Status
    dice_kidney: float
    dice_tumor: float
    dice_composite: float
    dice_kidney_only: float
    hd95_kidney_mm: float
    hd95_tumor_mm: float
    surface_dice_kidney: float
    surface_dice_tumor: float
    volume_kidney_ref_ml: float
    volume_kidney_pred_ml: float
    volume_tumor_ref_ml: float
    volume_tumor_pred_ml: float
    tumors_ref: int | None
    tumors_found: int | None
    tumors_false: int | None


COLUMNS: Final = tuple(field.name for field in fields(CaseScores))
METRICS: Final = COLUMNS[2:]
COUNTS: Final = ("tumors_ref", "tumors_found", "tumors_false")


def score_arrays(
    case: str, reference: Labels, prediction: Labels, spacing_mm_zyx: Triple, status: Status = "ok"
) -> CaseScores:
    """Score one prediction.

    Args:
        case: Its name.
        reference: (z, y, x) uint8 with 0 background, 1 kidney, 2 tumour.
        prediction: (z, y, x) uint8, same shape and labels.
        spacing_mm_zyx: Voxel spacing in mm.
        status: What the row says of the case.

    Returns:
        The scores. Both empty in a region: Dice and surface Dice 1, HD95 0. One empty: Dice and surface
        Dice 0, HD95 the image's diagonal.

    Raises:
        ValueError: If the shapes differ or another label occurs.
    """
    check_same_shape(reference, prediction)
    penalty_mm = image_diagonal_mm(reference.shape, spacing_mm_zyx)
    # All that is measured lies where either has a label: a few per cent of a CT's voxels.
    box = Box.of_mask(np.bitwise_or(reference, prediction)) or Box((0, 0, 0), (1, 1, 1))
    ref = np.ascontiguousarray(reference[box.to_slices()])
    pred = np.ascontiguousarray(prediction[box.to_slices()])
    if max(int(ref.max()), int(pred.max())) >= N_CLASSES:
        raise ValueError(f"labels up to {max(int(ref.max()), int(pred.max()))}, expected 0, 1 and 2")

    kidney_ref, kidney_pred = ref > BACKGROUND, pred > BACKGROUND
    tumor_ref, tumor_pred = ref == TUMOR, pred == TUMOR
    dice_kidney, dice_tumor = dice(kidney_ref, kidney_pred), dice(tumor_ref, tumor_pred)
    kidney = surface_scores(kidney_ref, kidney_pred, spacing_mm_zyx, KIDNEY_TOLERANCE_MM, penalty_mm)
    tumor = surface_scores(tumor_ref, tumor_pred, spacing_mm_zyx, TUMOR_TOLERANCE_MM, penalty_mm)
    lesions = count_lesions(tumor_ref, tumor_pred, spacing_mm_zyx)
    return CaseScores(
        case=case,
        status=status,
        dice_kidney=dice_kidney,
        dice_tumor=dice_tumor,
        dice_composite=(dice_kidney + dice_tumor) / 2.0,
        dice_kidney_only=dice(ref == KIDNEY, pred == KIDNEY),
        hd95_kidney_mm=kidney.hd95_mm,
        hd95_tumor_mm=tumor.hd95_mm,
        surface_dice_kidney=kidney.surface_dice,
        surface_dice_tumor=tumor.surface_dice,
        volume_kidney_ref_ml=volume_ml(kidney_ref, spacing_mm_zyx),
        volume_kidney_pred_ml=volume_ml(kidney_pred, spacing_mm_zyx),
        volume_tumor_ref_ml=volume_ml(tumor_ref, spacing_mm_zyx),
        volume_tumor_pred_ml=volume_ml(tumor_pred, spacing_mm_zyx),
        tumors_ref=lesions.reference,
        tumors_found=lesions.found,
        tumors_false=lesions.false,
    )


def score_images(case: str, reference: CaseImage, prediction: CaseImage) -> CaseScores:
    """Score one label map against its reference.

    The two may be stored in different axis orders; what counts is that their voxels lie in the same places.

    Raises:
        InputError: If the two lie on different grids.
    """
    check_same_grid(reference, prediction)
    spacing = reference.volume.geometry.spacing_mm_zyx
    return score_arrays(case, _labels(reference), _labels(prediction), spacing)


def score_worst(case: str, reference: CaseImage, status: Status) -> CaseScores:
    """The scores of a case without a usable prediction: those of an empty one, and the worst where it would
    be right.

    An empty prediction of a healthy patient's tumour scores Dice 1; a file that is not there must not.
    """
    truth = _labels(reference)
    spacing = reference.volume.geometry.spacing_mm_zyx
    empty = score_arrays(case, truth, np.zeros_like(truth), spacing, status)
    worst: dict[str, Any] = {
        **{name: 0.0 for name in METRICS if name.startswith(("dice_", "surface_dice_"))},
        **{name: image_diagonal_mm(truth.shape, spacing) for name in METRICS if name.startswith("hd95_")},
    }
    return replace(empty, **worst)


def unscored(case: str) -> CaseScores:
    """The row of a case that cannot be scored at all: status `failed`, every number NaN, every count None."""
    nothing: dict[str, Any] = {name: None if name in COUNTS else math.nan for name in METRICS}
    return CaseScores(case=case, status="failed", **nothing)


def _labels(image: CaseImage) -> Labels:
    return np.asarray(image.volume.array, dtype=np.uint8)


@dataclass(frozen=True)
class Scored:
    """The scores of one pair, and what was wrong with its files, if anything."""

    scores: CaseScores
    error: BiscError | None = None


def score_pairs(pairs: Sequence[Pair], executor: Executor | None = None) -> list[Scored]:
    """Score every pair, in the order given.

    A pair without a prediction gets the worst scores, those of an empty one (status `missing`), and so does
    one whose prediction cannot be read or lies on another grid (`failed`). A reference that cannot be read
    gives an unscored row (`failed`).

    Args:
        pairs: What to score.
        executor: Where to work; None for this process.
    """
    outcomes = run_cases(score_pair, pairs, executor, "evaluating", name=lambda pair: pair.case)
    return [outcome.result or Scored(unscored(outcome.job.case), outcome.error) for outcome in outcomes]


def score_pair(pair: Pair) -> Scored:
    """Score one pair; see `score_pairs`.

    Raises:
        InputError: If the reference cannot be read.
    """
    reference = read_labels(pair.reference, pair.reference_labels)
    tell_of_label_map(reference)
    if pair.prediction is None:
        return Scored(score_worst(pair.case, reference, "missing"))
    try:
        prediction = read_labels(pair.prediction, pair.prediction_labels)
        tell_of_label_map(prediction)
        return Scored(score_images(pair.case, reference, prediction))
    except InputError as error:
        return Scored(score_worst(pair.case, reference, "failed"), error)
