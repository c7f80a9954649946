"""Edge labels: Canny on each axial slice of a binary label."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from skimage.feature import canny

from bisc.core.labels import TUMOR
from bisc.core.roi import Box
from bisc.core.targets import pack_targets

CANNY_SIGMA_PX: Final = 1.0
"""skimage's default; the paper names no value."""
BORDER_PX: Final = 4
"""Room around the mask's box so that the Gaussian sees background on all sides."""


def canny_edges(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Canny edges of a (z, y, x) mask, slice by slice; an empty mask has none.

    Only the mask's in-plane box is worked on: outside it a binary image has no gradient.
    """
    edges = np.zeros(mask.shape, dtype=bool)
    box = Box.of_mask(mask)
    if box is None:
        return edges
    z, y, x = box.to_slices()
    pad = ((0, 0), (BORDER_PX, BORDER_PX), (BORDER_PX, BORDER_PX))
    cut = np.pad(mask[z, y, x], pad).astype(np.float32)
    found = np.stack([canny(axial, sigma=CANNY_SIGMA_PX) for axial in cut])
    # The Gaussian can push an edge into the pad by a voxel: write back what still lies in the grid.
    reach = box.padded((0, BORDER_PX, BORDER_PX))
    inside = reach.clipped(mask.shape)  # type: ignore[arg-type]
    assert inside is not None  # the box itself lies inside
    offset = tuple(-s for s in reach.start_zyx)
    edges[inside.to_slices()] = found[inside.shifted((offset[0], offset[1], offset[2])).to_slices()]
    return edges


def targets_of(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Packed training targets of a (z, y, x) label map: label, kidney edge (of label > 0), tumour edge (label 2)."""
    return pack_targets(labels, canny_edges(labels > 0), canny_edges(labels == TUMOR))
