"""Where the edge branches see outlines, beside where the region branch's mask ends: a second opinion of one network."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from bisc.inference.model import Model
from bisc.inference.windows import softmax_volume
from bisc.network.edge_view import OUTLINE
from bisc.preprocessing.edges import canny_edges
from bisc.preprocessing.resample import normalise, resample

Mask = npt.NDArray[np.bool_]
ONE_PX = np.ones((1, 3, 3), dtype=bool)
"""Outlines a pixel apart, in plane, are the same: edges are drawn slice by slice."""


def edges_on(grid: Geometry, image: Volume, model: Model) -> Mask | None:
    """The outlines of organ and tumour that the fine stage's edge branches see.

    Args:
        grid: Of one ROI at target spacing.
        image: Canonical (z, y, x) HU.
        model: Folds that were loaded without their edges, or have none, have no say.

    Returns:
        (2, z, y, x): the folds' mean probability is above a half; None where no fold has edges.
    """
    seeing = [fold.edges for fold in model.fine if fold.edges]
    if not seeing:
        return None
    hu, air = normalise(resample(image, grid).array, model.plan.intensity), model.plan.intensity.air
    return np.stack(
        [softmax_volume(views, hu, air, model.network_gb)[OUTLINE] > 0.5 for views in zip(*seeing, strict=True)]
    )


def outline_agreement(seen: Mask, mask: Mask) -> float | None:
    """How far an edge branch's (z, y, x) outline is the outline of the region branch's mask, 0 to 1.

    Of both outlines' pixels the share that lies within a pixel of the other one; the mask's is drawn as the training
    targets' were (`bisc.preprocessing.edges`). None where neither has any.
    """
    own = canny_edges(mask)
    n = int(np.count_nonzero(own)) + int(np.count_nonzero(seen))
    if not n:
        return None
    met = [a & ndimage.binary_dilation(b, ONE_PX) for a, b in ((own, seen), (seen, own))]
    return sum(int(np.count_nonzero(one)) for one in met) / n
