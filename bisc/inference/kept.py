"""A case's softmax as it is kept in an .npz: its ROIs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import as_int_triple
from bisc.core.volume import Box
from bisc.inference.cascade import NativeRoi


def roi_arrays(rois: Sequence[NativeRoi], dtype: npt.DTypeLike = np.float32) -> dict[str, npt.NDArray[Any]]:
    """For an .npz: `roi_K` (classes, z, y, x) softmax, and `start_K`, the (z, y, x) of its first voxel."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for i, roi in enumerate(rois):
        arrays[f"roi_{i}"], arrays[f"start_{i}"] = (
            roi.probabilities.astype(dtype, copy=False),
            np.asarray(roi.box.start_zyx),
        )
    return arrays


def rois_of_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> list[NativeRoi]:
    """The ROIs that `roi_arrays` put there."""
    rois = []
    for i in range(len(arrays) // 2):
        softmax, start = arrays[f"roi_{i}"], as_int_triple(arrays[f"start_{i}"])
        rois.append(NativeRoi(Box.of_shape(as_int_triple(softmax.shape[1:])).shifted(start), softmax))
    return rois
