"""Distances between the surfaces of two masks: HD95 and the surface Dice, as DeepMind's surface-distance defines them.

Every surface element is weighed by its area in mm2, so that neither measure depends on how the slices of an
anisotropic CT happen to sample a surface (Nikolov et al. 2018, arXiv:1809.04430). The areas, percentile and shares
are the library's; its SciPy distance transforms are not used, since a mask scattered over a whole CT, as a barely
trained network's is, took them minutes. `edt` gives the same distances, in float32, in linear time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from multiprocessing import parent_process
from typing import Any, Final

import edt
import numpy as np
import numpy.typing as npt
import surface_distance
from surface_distance import lookup_tables

from bisc.core.geometry import Triple
from bisc.core.volume import Box
from bisc.evaluation.overlap import Mask, check_same_shape
from bisc.system.memory import usable_cores

KIDNEY_TOLERANCE_MM: Final = 1.0330772532390826
"""KiTS23's tolerance for `kidney_and_mass` (kits23/configuration/labels.py): our kidney, label > 0."""

TUMOR_TOLERANCE_MM: Final = 1.1498198361434828
"""KiTS23's tolerance for `tumor`. Its third one, 1.1328796488598762 mm, is for `mass` (tumour and cyst):
not used, since KiTS19's convention counts a cyst as kidney and so has no region of masses."""

PERCENT: Final = 95.0
MOST_THREADS: Final = min(4, usable_cores())


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
    distances = _surface_distances(reference[part], prediction[part], spacing_mm_zyx)
    return SurfaceScores(
        float(surface_distance.compute_robust_hausdorff(distances, PERCENT)),
        float(surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm)),
    )


def _surface_distances(reference: Mask, prediction: Mask, spacing_mm_zyx: Triple) -> dict[str, npt.NDArray[Any]]:
    """What surface_distance.compute_surface_distances returns: per surface, sorted distances and their areas."""
    area_of_code = _area_of_code(spacing_mm_zyx)
    gt, pred = _neighbour_codes(reference), _neighbour_codes(prediction)
    on_gt, on_pred = _is_border(gt), _is_border(pred)
    to_pred, to_gt = _distance_to(on_pred, spacing_mm_zyx)[on_gt], _distance_to(on_gt, spacing_mm_zyx)[on_pred]
    by_gt, by_pred = np.argsort(to_pred, kind="stable"), np.argsort(to_gt, kind="stable")
    return {
        "distances_gt_to_pred": to_pred[by_gt],
        "distances_pred_to_gt": to_gt[by_pred],
        "surfel_areas_gt": area_of_code[gt[on_gt]][by_gt],
        "surfel_areas_pred": area_of_code[pred[on_pred]][by_pred],
    }


def _neighbour_codes(mask: Mask) -> npt.NDArray[np.uint8]:
    """Which of the 8 voxels around each voxel corner are set, a bit each; (z + 1, y + 1, x + 1)."""
    padded = np.pad(mask.view(np.uint8), 1)
    codes = np.zeros([n + 1 for n in mask.shape], np.uint8)
    for corner in product((0, 1), repeat=3):
        bit = np.uint8(lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL[corner])
        codes |= padded[tuple(slice(c, c + n) for c, n in zip(corner, codes.shape, strict=True))] * bit
    return codes


def _is_border(codes: npt.NDArray[np.uint8]) -> Mask:
    """Corners between set and unset voxels."""
    border: Mask = (codes != 0) & (codes != 0xFF)
    return border


def _distance_to(border: Mask, spacing_mm_zyx: Triple) -> npt.NDArray[np.float32]:
    """Distance in mm of every corner to the nearest of a border."""
    # As bytes: edt takes a third less time for them than for booleans. A worker process has one core to itself.
    n_threads = 1 if parent_process() is not None else MOST_THREADS
    distances: npt.NDArray[np.float32] = edt.edt(
        (~border).view(np.uint8), anisotropy=spacing_mm_zyx, black_border=False, parallel=n_threads
    )
    return distances


@lru_cache(maxsize=64)
def _area_of_code(spacing_mm_zyx: Triple) -> npt.NDArray[np.float64]:
    table: npt.NDArray[np.float64] = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm_zyx)
    return table


def image_diagonal_mm(shape_zyx: tuple[int, ...], spacing_mm_zyx: Triple) -> float:
    """The diagonal of the whole image in mm: no two surfaces in it are farther apart.

    It stands for HD95 where one mask is empty, so that a case missed altogether counts as the worst there is.
    """
    return float(np.linalg.norm(np.multiply(shape_zyx, spacing_mm_zyx)))
