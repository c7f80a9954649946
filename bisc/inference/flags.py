"""What a prediction says of its own trustworthiness: every number of a cascade's result, judged."""

from __future__ import annotations

from collections.abc import Sequence

from bisc.core.flags import Flags
from bisc.inference.cascade import CascadeResult, Offsets
from bisc.inference.certainty import certainty_of
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
    return judged(
        signs_of(result.image, labels, kidneys, result.middle_mm if result.sided else None)
        | certainty_of(result, labels, rough_offsets, fine_offsets)
    )
