"""How sure the networks are of a mask, and how far its stages and folds agree. Pure functions.

A number that cannot be told (of a mask without a kidney or tumour, of a single fold) is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.labels import BACKGROUND, TUMOR
from bisc.inference.cascade import BACKGROUND_FILL, CascadeResult, NativeRoi, Offsets, Probabilities, RoiResult, decide
from bisc.inference.signs import Labels, Numbers
from bisc.preprocessing.resample import resample

Mask = npt.NDArray[np.bool_]
NOTHING: Final[Numbers] = dict.fromkeys(
    (
        "expected_dice",
        "expected_dice_worst",
        "expected_dice_tumor",
        "unclaimed_tumor_ml",
        "unsure_share",
        "left_out_share",
        "margin",
        "rough_dice",
        "rough_ratio",
        "folds_dice",
        "outline_agreement",
        "tumor_outline_agreement",
    )
)
N_SUMS: Final = 8
LEAST_ML: Final = 1.0
"""A ROI that holds less of the mask holds no kidney: what is there is the other ROI's, or was refused."""


def certainty_of(result: CascadeResult, labels: Labels, rough_offsets: Offsets, fine_offsets: Offsets) -> Numbers:
    """All numbers of the final (z, y, x) labels of a cascade."""
    ml = result.image.geometry.voxel_volume_ml
    parts = [labels[roi.box.to_slices()] for roi in result.native]
    holding = [int(np.count_nonzero(part)) * ml >= LEAST_ML for part in parts]
    sums, worst = np.zeros(N_SUMS), 1.0
    for i, (roi, part, held) in enumerate(zip(result.native, parts, holding, strict=True)):
        own, only = _sums(roi.probabilities, part, fine_offsets), _only_in(i, result.native)
        sums += own if only is None else _sums(roi.probabilities * only, part * only, fine_offsets)
        worst = min(worst, expected_dice(*own[:3])) if held else worst
    if not any(holding):
        return NOTHING | {"unclaimed_tumor_ml": float(sums[5]) * ml}
    total, of_tumor = sums[:3], sums[3:6]
    numbers: Numbers = {
        "expected_dice": expected_dice(*total),
        "expected_dice_worst": worst,
        "expected_dice_tumor": expected_dice(*of_tumor) if of_tumor[1] else None,
        "unclaimed_tumor_ml": float(of_tumor[2] - of_tumor[0]) * ml,
        "unsure_share": float(sums[6] / total[1]),
        "left_out_share": float(sums[7] / total[1]),
    }
    agreed = [
        _agreement(roi, result, rough_offsets, fine_offsets)
        for roi, held in zip(result.rois, holding, strict=True)
        if held
    ]
    return NOTHING | numbers | {name: _worst(name, agreed) for name in agreed[0]}


def expected_dice(shared: float, marked: float, likely: float) -> float:
    """The Dice that a mask has on average, were the softmax right, to first order: 2 E|M and G| / (|M| + E|G|).

    Args:
        shared: Sum of the class' probability within the mask.
        marked: Voxels of the mask.
        likely: Sum of its probability everywhere.

    Returns:
        0 to 1; 1 where nothing is marked, nor likely.
    """
    return float(2.0 * shared / (marked + likely)) if marked + likely > 0 else 1.0


def pairwise_dice(votes: npt.NDArray[np.uint8], n_folds: int) -> float:
    """Mean Dice of each two of several folds' masks, their voxels pooled, from how many folds vote for each voxel.

    A voxel with v votes lies in v (v - 1) / 2 of the pairs' intersections, and n - 1 times v in their sums. 1 where
    nobody votes.
    """
    counts = np.bincount(votes.ravel(), minlength=n_folds + 1).astype(float)
    v = np.arange(counts.size)
    total = (n_folds - 1) * float(counts @ v)
    return float(counts @ (v * (v - 1))) / total if total else 1.0


def _only_in(number: int, rois: Sequence[NativeRoi]) -> Mask | None:
    """The voxels of a ROI that no earlier one holds, so that each counts once; None where these are all."""
    box = rois[number].box
    met = [shared.within(box).to_slices() for roi in rois[:number] if (shared := box.meeting(roi.box)) is not None]
    if not met:
        return None
    only = np.ones(box.shape_zyx, dtype=np.bool_)
    for place in met:
        only[place] = False
    return only


def _sums(probabilities: Probabilities, labels: Labels, offsets: Offsets) -> npt.NDArray[np.float64]:
    """Of a ROI on the image's voxels: organ (shared, marked, likely), tumour likewise, unsure, left out. A voxel of no
    probability at all counts nowhere."""
    organ, tumor = probabilities[1] + probabilities[2], probabilities[TUMOR]
    mask, is_tumor = labels > 0, labels == TUMOR
    weights = np.exp(np.asarray(offsets, np.float32))
    marked = np.maximum(probabilities[1] * weights[1], tumor * weights[2]) > probabilities[BACKGROUND] * weights[0]
    return np.array(
        [
            organ.sum(where=mask, dtype=np.float64),
            np.count_nonzero(mask),
            organ.sum(dtype=np.float64),
            tumor.sum(where=is_tumor, dtype=np.float64),
            np.count_nonzero(is_tumor),
            tumor.sum(dtype=np.float64),
            4.0 * (organ * probabilities[BACKGROUND]).sum(dtype=np.float64),
            np.count_nonzero(marked & ~mask),
        ]
    )


def _agreement(roi: RoiResult, result: CascadeResult, rough_offsets: Offsets, fine_offsets: Offsets) -> Numbers:
    """Of one kidney's ROI at target spacing: rough against fine, folds against each other, the outline's margin."""
    soft = roi.softmax.array
    decided = decide(soft, fine_offsets)
    fine = decided > 0
    rough = decide(resample(result.rough, roi.softmax.geometry, BACKGROUND_FILL).array, rough_offsets) > 0
    of_fine, of_rough, shared = (int(np.count_nonzero(mask)) for mask in (fine, rough, fine & rough))
    return {
        "margin": margin_at_outline(np.abs(1.0 - 2.0 * soft[BACKGROUND]), fine),
        "rough_dice": 2.0 * shared / max(of_fine + of_rough, 1),
        "rough_ratio": min(of_fine, of_rough) / max(of_fine, of_rough, 1),
        "folds_dice": None if roi.votes is None else pairwise_dice(roi.votes, result.n_folds),
        **_outlines(roi, decided),
    }


def _outlines(roi: RoiResult, decided: Labels) -> Numbers:
    """The edge branches' outlines against the labels', where they were asked for."""
    if roi.edges is None:
        return {}
    from bisc.inference.outlines import outline_agreement  # not on a plain mask's path

    return {
        "outline_agreement": outline_agreement(roi.edges[0], decided > 0),
        "tumor_outline_agreement": outline_agreement(roi.edges[1], decided == TUMOR),
    }


def margin_at_outline(margin: npt.NDArray[np.float32], mask: Mask) -> float | None:
    """The mean of a (z, y, x) array over voxels on either side of a mask's outline; None where there is none.

    Of |p(organ) - p(background)|: near 1 where the networks leave no doubt of where the outline runs.
    """
    total, n = 0.0, 0
    for axis in range(3):
        before, behind = (tuple(slice(*end) if a == axis else slice(None) for a in range(3)) for end in _SHIFTS)
        step = mask[before] != mask[behind]
        total += float(margin[before][step].sum()) + float(margin[behind][step].sum())
        n += 2 * int(np.count_nonzero(step))
    return total / n if n else None


_SHIFTS: Final = ((None, -1), (1, None))


def _worst(name: str, agreed: list[Numbers]) -> float | None:
    """Of several kidneys' numbers the least: each is the better the larger it is."""
    return min((value for one in agreed if (value := one[name]) is not None), default=None)
