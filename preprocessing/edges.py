"""Edge labels: Canny on each axial slice of a binary label."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from skimage.feature import canny

from bisc.core.labels import TUMOR, pack_targets
from bisc.core.volume import Box

CANNY_SIGMA_PX: Final = 1.0
"""skimage's default; the paper names no value."""
BORDER_PX: Final = 9
"""Room around the mask's box. Canny's Gaussian (sigma 1, cut off at 4 px) carries the mask 4 px out of its box, and
within 4 px of an image's border it is normalised by what it sees of the image: 9 px keep the two apart."""


def canny_edges(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Canny edges of a (z, y, x) mask, slice by slice; an empty mask has none.

    The same, voxel for voxel, as Canny on whole slices, but only around the mask: elsewhere a binary image has no
    gradient. Where the grid's border cuts a mask off there is no edge: the cut is not the organ's outline.
    """
    edges = np.zeros(mask.shape, dtype=bool)
    box = Box.of_mask(mask)
    if box is None:
        return edges
    around = box.padded((0, BORDER_PX, BORDER_PX)).clipped(mask.shape)  # type: ignore[arg-type]
    assert around is not None  # the box itself lies inside
    cut = mask[around.to_slices()].astype(np.float32)
    edges[around.to_slices()] = np.stack([canny(axial, sigma=CANNY_SIGMA_PX) for axial in cut])
    return edges


def targets_of(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Packed training targets of a (z, y, x) label map: label, kidney edge (of label > 0), tumour edge (label 2)."""
    return pack_targets(labels, canny_edges(labels > 0), canny_edges(labels == TUMOR))
