"""A tumour belongs to a kidney: foreground that touches none is liver, spleen or bowel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bisc.core.labels import KIDNEY
from bisc.preprocessing.components import label_components


def drop_strays(labels: npt.NDArray[np.uint8], min_kidney_voxels: float) -> npt.NDArray[np.uint8]:
    """Keep the 26-connected foreground components that hold enough kidney; without any, the largest one.

    The fallback keeps a kidney that is all tumour.

    Args:
        labels: (z, y, x) of one ROI: 0 background, 1 kidney, 2 tumour.
        min_kidney_voxels: Voxels of label 1 that make a component a kidney.

    Returns:
        (z, y, x) labels; the given array where nothing is dropped.
    """
    components, numbered, box = label_components(labels > 0)
    if box is None or len(components) == 1:
        return labels
    inside = labels[box.to_slices()]
    kidney_voxels = np.bincount(numbered[inside == KIDNEY], minlength=len(components) + 1)
    kept = [c.label for c in components if kidney_voxels[c.label] >= min_kidney_voxels] or [components[0].label]
    out = np.zeros_like(labels)
    out[box.to_slices()] = np.where(np.isin(numbered, kept), inside, 0)
    return out
