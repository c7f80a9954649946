"""What a prediction says of its own trustworthiness: every number of a cascade's result, judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bisc.core.flags import Flags
from bisc.core.labels import KIDNEY
from bisc.inference.cascade import CascadeResult, Offsets, decide
from bisc.inference.certainty import LEAST_ML, certainty_of
from bisc.inference.light import judged
from bisc.inference.signs import Labels, signs_of
from bisc.preprocessing.kidneys import Kidney


def flags_of(
    result: CascadeResult,
    labels: Labels,
    kidneys: Sequence[Kidney],
    rough_offsets: Offsets,
    fine_offsets: Offsets,
) -> Flags:
    """The flags, the risk and the light of a mask; nothing is changed.

    Args:
        result: What the cascade found.
        labels: (z, y, x) what was decided of it.
        kidneys: What `result.kidneys(labels)` gives.
        rough_offsets: By which the rough stage's labels were decided.
        fine_offsets: And the fine stage's.
    """
    signs = signs_of(result.image, labels, kidneys, result.middle_mm if result.sided else None)
    signs["kidneys"] = float(len(kidneys) + n_left_out(result, labels, fine_offsets))
    return judged(signs | certainty_of(result, labels, rough_offsets, fine_offsets))


def n_left_out(result: CascadeResult, labels: Labels, offsets: Offsets) -> int:
    """How many regions as large as a kidney, and called kidney for the most, the mask does not hold: a network that
    sees kidneys in muscle is to be doubted though these were left out."""
    ml, n = result.image.geometry.voxel_volume_ml, 0
    for roi in result.native:
        if np.count_nonzero(labels[roi.box.to_slices()]) * ml >= LEAST_ML:
            continue
        own = decide(roi.probabilities, offsets)
        n_voxels = np.count_nonzero(own)
        n += bool(n_voxels * ml >= result.min_kidney_ml and 2 * np.count_nonzero(own == KIDNEY) > n_voxels)
    return n
