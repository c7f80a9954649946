"""What a mask and its image say against the mask: sizes, places, ends of the scan, Hounsfield units; and what a rough
mask says against itself. Pure functions.

A number that cannot be told (of a mask without a kidney, of one kidney where two are compared) is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.labels import KIDNEY, TUMOR
from bisc.core.volume import Box, Volume
from bisc.preprocessing.field import beyond_field
from bisc.preprocessing.kidneys import Kidney

Labels = npt.NDArray[np.uint8]
Numbers = dict[str, float | None]
FAT_HU: Final = -30.0
"""Below lies fat: no kidney's voxel, but at its rim and in its sinus."""
BONE_HU: Final = 350.0
"""Above lies bone, or medium that was excreted: no kidney's or tumour's tissue."""
MOST_SAMPLES: Final = 200_000
"""Voxels whose quantiles are taken, at most: enough for a HU."""


def signs_of(image: Volume, labels: Labels, kidneys: Sequence[Kidney], middle_mm: float | None) -> Numbers:
    """All numbers of a canonical (z, y, x) label map on its image.

    Args:
        image: HU.
        labels: 0 background, 1 kidney, 2 tumour.
        kidneys: What `bisc.preprocessing.kidneys.find_kidneys` makes of it, the larger first.
        middle_mm: LPS x of the body's middle, where it is known.
    """
    box = Box.of_mask(labels)
    numbers = sizes(kidneys) | places(kidneys, image, middle_mm) | tissue(None, None) | cuts(None, None, None)
    if box is None:
        return numbers | {"total_ml": 0.0}
    near = box.padded((1, 1, 1)).clipped(image.geometry.shape_zyx)
    assert near is not None  # it holds the mask
    part, hu = labels[near.to_slices()], image.array[near.to_slices()]
    numbers |= tissue(part, hu) | cuts(labels, box, image)
    total_ml = int(np.count_nonzero(part)) * image.geometry.voxel_volume_ml
    return numbers | {"total_ml": total_ml}


def sizes(kidneys: Sequence[Kidney]) -> Numbers:
    """How many kidneys there are, how large, how unlike; tumours count as their kidney's."""
    two = kidneys[:2]
    return {
        "kidneys": float(len(kidneys)),
        "largest_ml": two[0].volume_ml if two else None,
        "smallest_ml": two[-1].volume_ml if two else None,
        "asymmetry": 1.0 - two[1].volume_ml / two[0].volume_ml if len(two) == 2 else None,
    }


def places(kidneys: Sequence[Kidney], image: Volume, middle_mm: float | None) -> Numbers:
    """How high kidneys reach, how far one lies above the other, how far the middle between them is off the body's."""
    grid = image.geometry
    centres = [
        grid.index_to_physical(np.add(kidney.box.start_zyx, kidney.box.stop_zyx) / 2.0 - 0.5) for kidney in kidneys[:2]
    ]
    lengths = [kidney.box.shape_zyx[0] * grid.spacing_mm_zyx[0] for kidney in kidneys[:2]]
    numbers: Numbers = {
        "longest_mm": max(lengths, default=None),
        "shortest_mm": min(lengths, default=None),
        "height_apart_mm": None,
        "off_middle_mm": None,
    }
    if len(centres) == 2:
        numbers["height_apart_mm"] = abs(float(centres[0][2] - centres[1][2]))
        if middle_mm is not None:
            numbers["off_middle_mm"] = abs(float(centres[0][0] + centres[1][0]) / 2.0 - middle_mm)
    return numbers


def tissue(labels: Labels | None, hu: npt.NDArray[np.int16] | None) -> Numbers:
    """HU inside the mask; arrays of one (z, y, x) shape, or None of an empty mask."""
    nothing: Numbers = dict.fromkeys(("kidney_hu", "tumor_hu", "fat_share", "bone_share", "hu_spread"))
    if labels is None or hu is None:
        return nothing
    inside, kidney, tumor = (_sample(hu[mask]) for mask in (labels > 0, labels == KIDNEY, labels == TUMOR))
    numbers = nothing | {"fat_share": float((inside < FAT_HU).mean()), "bone_share": float((inside > BONE_HU).mean())}
    if kidney.size:
        low, median, high = np.quantile(kidney, (0.25, 0.5, 0.75))
        numbers |= {"kidney_hu": float(median), "hu_spread": float(high - low)}
    if tumor.size:
        numbers["tumor_hu"] = float(np.median(tumor))
    return numbers


def _sample(values: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    return values[:: max(1, values.size // MOST_SAMPLES)]


def cuts(labels: Labels | None, box: Box | None, image: Volume | None) -> Numbers:
    """How much of the mask lies where the scan ends.

    `cut_by_slices`: the mask's area in the first or the last slice, as a share of its largest in any slice.
    `cut_by_field`: the share of the mask's voxels that lie at the border of the slices, or beside what is filled in
    outside of the reconstructed field.
    """
    if labels is None or box is None or image is None:
        return {"cut_by_slices": None, "cut_by_field": None}
    mask = labels[box.to_slices()] > 0
    areas = np.count_nonzero(mask, axis=(1, 2))
    ends = [areas[0] * (box.start_zyx[0] == 0), areas[-1] * (box.stop_zyx[0] == labels.shape[0])]
    total = int(areas.sum())
    around = box.padded((0, 1, 1)).clipped(image.geometry.shape_zyx)
    assert around is not None  # it holds the mask
    filled = beyond_field(image, around)
    beside = np.zeros(around.shape_zyx, bool) if filled is None else _beside(filled)
    for axis in (1, 2):
        for place, ends_there in ((0, around.start_zyx[axis] == 0), (-1, around.stop_zyx[axis] == labels.shape[axis])):
            if ends_there and labels.shape[axis] > 1:
                np.moveaxis(beside, axis, 0)[place] = True
    edge = int(np.count_nonzero((labels[around.to_slices()] > 0) & beside))
    return {"cut_by_slices": float(max(ends)) / int(areas.max()), "cut_by_field": edge / total}


def _beside(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask and its neighbours in plane."""
    out = mask.copy()
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    out[..., 1:] |= mask[..., :-1]
    out[..., :-1] |= mask[..., 1:]
    return out


MOST_FOREGROUND_ML: Final = 8000.0
"""Of kidney and tumour. The most in 167 KiTS19 label maps is 1962 ml; polycystic kidneys reach 5 to 8 litres in the
worst patients, so that such a mask is still made, and doubted (`bisc.core.labels.MAX_KIDNEY_ML`)."""

MOST_ROI_ML: Final = 30_000.0
"""Of all ROIs together, as far as they lie within the scan. The 167 maps need 5 litres on average and 11 at most, 16
when degraded as a rough stage might (docs/explanation/anatomy.md), 23 with the largest pair fused to one; polycystic
kidneys of 4 litres each need 28. 28 litres took three times a sound case's CPU time and 2 GB."""

MEND: Final = (
    "the rough stage does not know images like this one: look at its mask (--save-rough), and train it longer or on "
    "similar scans"
)


def excess_of_foreground(ml: float) -> str:
    """Why a rough foreground of `ml` is no patient's; empty where it may be one's."""
    if ml <= MOST_FOREGROUND_ML:
        return ""
    return (
        f"the rough stage marks {ml:.0f} ml as kidney and tumour; expected at most {MOST_FOREGROUND_ML:.0f} ml, more "
        f"than any patient has; {MEND}"
    )


def excess_of_rois(rois_ml: Sequence[float]) -> str:
    """Why ROIs of these volumes are no patient's kidneys; empty where they may be."""
    total = sum(rois_ml)
    if total <= MOST_ROI_ML:
        return ""
    regions = "1 region" if len(rois_ml) == 1 else f"{len(rois_ml)} regions"
    return (
        f"the rough stage marks {regions} so wide that {total / 1000.0:.0f} litres around them would be "
        f"searched for kidneys; expected at most {MOST_ROI_ML / 1000.0:.0f} litres, more than any patient needs; {MEND}"
    )
