"""Distances between the surfaces of two masks: HD95 and the surface Dice, by DeepMind's surface-distance.

The library weighs every surface element by its area in mm2, so that neither measure depends on how the
slices of an anisotropic CT happen to sample a surface (Nikolov et al. 2018, arXiv:1809.04430).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import surface_distance

from bisc.core.geometry import Triple
from bisc.core.roi import Box
from bisc.evaluation.overlap import Mask, check_same_shape

KIDNEY_TOLERANCE_MM: Final = 1.0330772532390826
"""KiTS23's tolerance for `kidney_and_mass` (kits23/configuration/labels.py): our kidney, label > 0."""

TUMOR_TOLERANCE_MM: Final = 1.1498198361434828
"""KiTS23's tolerance for `tumor`. Its third one, 1.1328796488598762 mm, is for `mass` (tumour and cyst):
not used, since KiTS19's convention counts a cyst as kidney and so has no region of masses."""

PERCENT: Final = 95.0


@dataclass(frozen=True)
class SurfaceScores:
    """How far apart two surfaces are.

    Attributes:
        hd95_mm: 95th percentile Hausdorff distance in mm, 0 at best.
        surface_dice: Share of both surfaces' area within the tolerance of the other surface, in [0, 1].
    """

    hd95_mm: float
    surface_dice: float


def surface_scores(
    reference: Mask, prediction: Mask, spacing_mm_zyx: Triple, tolerance_mm: float, penalty_mm: float
) -> SurfaceScores:
    """HD95 and surface Dice of two masks.

    HD95 is the larger of the two directed distances: the 95th percentile, weighted by area, of the
    distances from one surface to the other. Some define it as one percentile over both directions pooled,
    which is never larger.

    Args:
        reference: (z, y, x) bool.
        prediction: (z, y, x) bool, same shape. Beyond its edges everything counts as background.
        spacing_mm_zyx: Voxel spacing in mm.
        tolerance_mm: Distance up to which two surfaces count as the same.
        penalty_mm: HD95 where only one mask is empty and no distance exists; see `image_diagonal_mm`.

    Returns:
        Both empty: HD95 0, surface Dice 1. One empty: HD95 `penalty_mm`, surface Dice 0.

    Raises:
        ValueError: If the shapes differ.
    """
    check_same_shape(reference, prediction)
    box_reference, box_prediction = Box.of_mask(reference), Box.of_mask(prediction)
    if box_reference is None and box_prediction is None:
        return SurfaceScores(0.0, 1.0)
    if box_reference is None or box_prediction is None:
        return SurfaceScores(penalty_mm, 0.0)
    part = box_reference.union(box_prediction).to_slices()
    with warnings.catch_warnings():
        # surface-distance 0.1 calls scipy.ndimage by namespaces that SciPy has deprecated.
        warnings.filterwarnings("ignore", r"Please (import|use) .* `scipy\.ndimage`", DeprecationWarning)
        distances = surface_distance.compute_surface_distances(reference[part], prediction[part], spacing_mm_zyx)
    return SurfaceScores(
        float(surface_distance.compute_robust_hausdorff(distances, PERCENT)),
        float(surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm)),
    )


def image_diagonal_mm(shape_zyx: tuple[int, ...], spacing_mm_zyx: Triple) -> float:
    """The diagonal of the whole image in mm: no two surfaces in it are farther apart.

    It stands for HD95 where one mask is empty, so that a case missed altogether counts as the worst there is.
    """
    return float(np.linalg.norm(np.multiply(shape_zyx, spacing_mm_zyx)))
