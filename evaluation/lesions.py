"""Tumours counted one by one: how many there are, how many were found, how many were made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Triple
from bisc.core.labels import CONNECT_26
from bisc.core.volume import Box
from bisc.evaluation.overlap import Mask, check_same_shape

MIN_TUMOR_ML: Final = 0.05
"""Components below this volume (a sphere of 4.6 mm) are specks, not tumours, in reference and prediction
alike.

In 167 label maps of KiTS19 the 29 components below it (in 19 patients) are crumbs of an annotation of at
most 0.026 ml; the next larger one has 0.126 ml, and the smallest tumour that is its patient's largest 0.82
ml.
"""

MIN_IOU: Final = 0.1
"""A tumour is found from this intersection over union on, the hit criterion of PI-CAI (Saha et al. 2024)."""


@dataclass(frozen=True)
class LesionCounts:
    """Tumours in the reference, those of them that were found, and predicted ones that are none."""

    reference: int
    found: int
    false: int


def count_lesions(reference: Mask, prediction: Mask, spacing_mm_zyx: Triple) -> LesionCounts:
    """Match the 26-connected components of two tumour masks.

    A reference tumour is found if its IoU with the prediction reaches `MIN_IOU`. Its share of the
    prediction are the voxels that lie nearer (in mm) to it than to any other reference tumour, out of the
    predicted components that touch it: so one tumour predicted in two pieces is found, and two predicted as
    one are both found, while a blob many times too large is not. The division by the nearest tumour is that
    of Jaus et al. 2024 (arXiv:2410.18684). A predicted component is false if it touches no tumour that was
    found. Specks below `MIN_TUMOR_ML` are neither tumours to find nor false ones.

    Args:
        reference: (z, y, x) bool.
        prediction: (z, y, x) bool, same shape.
        spacing_mm_zyx: Voxel spacing in mm.

    Returns:
        The counts; all 0 where both masks are empty.

    Raises:
        ValueError: If the shapes differ.
    """
    check_same_shape(reference, prediction)
    voxel_ml = float(np.prod(spacing_mm_zyx)) / 1000.0
    box = Box.of_mask(reference | prediction)
    if box is None:
        return LesionCounts(0, 0, 0)
    reference, prediction = reference[box.to_slices()], prediction[box.to_slices()]
    tumors, sizes = _components(reference)
    tumors, sizes = _without_specks(tumors, sizes, voxel_ml)
    pieces, piece_sizes = _components(prediction)
    touches, iou = _match(tumors, sizes, pieces, len(piece_sizes), spacing_mm_zyx)
    found = iou >= MIN_IOU
    is_true = touches[found].any(axis=0)
    is_large = piece_sizes * voxel_ml >= MIN_TUMOR_ML
    return LesionCounts(len(sizes), int(found.sum()), int((is_large & ~is_true).sum()))


def _match(
    tumors: npt.NDArray[np.int32],
    sizes: npt.NDArray[np.int64],
    pieces: npt.NDArray[np.int32],
    n_pieces: int,
    spacing_mm_zyx: Triple,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Which piece touches which tumour (tumours, pieces); each tumour's IoU with its share (tumours,)."""
    n_tumors = len(sizes)
    if n_tumors == 0 or n_pieces == 0:
        return np.zeros((n_tumors, n_pieces), dtype=bool), np.zeros(n_tumors)
    predicted = pieces > 0
    piece = pieces[predicted]
    hit = tumors[predicted]
    owner = _nearest(tumors, predicted, spacing_mm_zyx) if n_tumors > 1 else np.ones_like(piece)
    overlap = _table(hit, piece, n_tumors, n_pieces)
    owned = _table(owner, piece, n_tumors, n_pieces)
    touches = overlap > 0
    shared = overlap.sum(axis=1)
    share = (owned * touches).sum(axis=1)
    return touches, shared / (sizes + share - shared)


def _nearest(tumors: npt.NDArray[np.int32], at: Mask, spacing_mm_zyx: Triple) -> npt.NDArray[np.int32]:
    """The number of the tumour nearest to each voxel of `at`, in the order of `tumors[at]`."""
    indices = ndimage.distance_transform_edt(
        tumors == 0, sampling=spacing_mm_zyx, return_distances=False, return_indices=True
    )
    z, y, x = indices[:, at]
    nearest: npt.NDArray[np.int32] = tumors[z, y, x]
    return nearest


def _table(
    tumor: npt.NDArray[np.int32], piece: npt.NDArray[np.int32], n_tumors: int, n_pieces: int
) -> npt.NDArray[np.int64]:
    """Voxels per (tumour, piece); numbers begin at 1, tumour 0 (none) is left out."""
    code = tumor.astype(np.int64) * n_pieces + (piece - 1)
    counts = np.bincount(code, minlength=(n_tumors + 1) * n_pieces)
    return np.asarray(counts, dtype=np.int64).reshape(-1, n_pieces)[1:]


def _components(mask: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Components numbered from 1, and their sizes in voxels, (components,)."""
    numbered, n = ndimage.label(mask, CONNECT_26)
    sizes = np.bincount(np.ravel(numbered), minlength=int(n) + 1)[1:]
    return np.asarray(numbered, dtype=np.int32), np.asarray(sizes, dtype=np.int64)


def _without_specks(
    numbered: npt.NDArray[np.int32], sizes: npt.NDArray[np.int64], voxel_ml: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Drop components below `MIN_TUMOR_ML` and number the rest anew."""
    keep = sizes * voxel_ml >= MIN_TUMOR_ML
    renumber = np.zeros(len(sizes) + 1, dtype=np.int32)
    renumber[1:][keep] = np.arange(1, keep.sum() + 1)
    return renumber[numbered], sizes[keep]
