"""A case's softmax as it is kept: its ROIs alone in an .npz, or over the whole image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Geometry, as_int_triple
from bisc.core.volume import Box, NativeGrid
from bisc.inference.cascade import BACKGROUND_FILL, NativeRoi, Probabilities


def roi_arrays(rois: Sequence[NativeRoi], dtype: npt.DTypeLike = np.float32) -> dict[str, npt.NDArray[Any]]:
    """For an .npz: `roi_K` (classes, z, y, x) softmax, and `start_K`, the (z, y, x) of its first voxel."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for i, roi in enumerate(rois):
        arrays[f"roi_{i}"], arrays[f"start_{i}"] = (
            roi.probabilities.astype(dtype, copy=False),
            np.asarray(roi.box.start_zyx),
        )
    return arrays


def grid_arrays(grid: Geometry) -> dict[str, npt.NDArray[Any]]:
    """Where the arrays of `roi_arrays` lie: the canonical grid's spacing, origin and direction (LPS)."""
    return {
        "spacing_mm_zyx": np.asarray(grid.spacing_mm_zyx),
        "origin_mm_xyz": np.asarray(grid.origin_mm_xyz),
        "direction": np.asarray(grid.direction),
    }


def rois_of_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> list[NativeRoi]:
    """The ROIs that `roi_arrays` put there."""
    rois = []
    for i in range(sum(name.startswith("roi_") for name in arrays)):
        softmax, start = arrays[f"roi_{i}"], as_int_triple(arrays[f"start_{i}"])
        rois.append(NativeRoi(Box.of_shape(as_int_triple(softmax.shape[1:])).shifted(start), softmax))
    return rois


def softmax_of_rois(rois: Sequence[NativeRoi], native: NativeGrid) -> Probabilities:
    """(classes, *stored shape) softmax on the stored grid; background where no ROI is."""
    out = np.zeros((len(BACKGROUND_FILL), *native.geometry.shape_zyx), dtype=np.float32)
    out[0] = BACKGROUND_FILL[0]
    for i, channel in enumerate(out):
        view = native.to_canonical(channel).array
        for roi in rois:
            view[roi.box.to_slices()] = roi.probabilities[i]
    return out
