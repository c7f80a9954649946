"""A tumour belongs to a kidney: foreground that touches none is liver, spleen or bowel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bisc.core.labels import KIDNEY
from bisc.preprocessing.components import number_components


def drop_strays(
    labels: npt.NDArray[np.uint8], min_kidney_voxels: float, doubtful: bool = False
) -> npt.NDArray[np.uint8]:
    """Keep the 26-connected foreground components that hold enough kidney; without any, the largest one.

    The fallback keeps a kidney that is all tumour.

    Args:
        labels: (z, y, x) of one ROI: 0 background, 1 kidney, 2 tumour.
        min_kidney_voxels: Voxels of label 1 that make a component a kidney.
        doubtful: The ROI may well hold no kidney: the fallback, too, must be as large as one.

    Returns:
        (z, y, x) labels; the given array where nothing is dropped.
    """
    numbered, box = number_components(labels > 0)
    if box is None:
        return labels
    inside = labels[box.to_slices()]
    sizes = np.bincount(numbered.ravel())
    kept = np.bincount(numbered[inside == KIDNEY], minlength=sizes.size) >= min_kidney_voxels
    sizes[0] = 0
    kept[0] = False
    if not kept.any() and (not doubtful or sizes.max() >= min_kidney_voxels):
        kept[sizes.argmax()] = True
    if kept[1:].all():
        return labels
    out = np.zeros_like(labels)
    out[box.to_slices()] = np.where(kept[numbered], inside, 0)
    return out
