"""One setting of several chosen by scores, and judged on cases that had no say in it: nested cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bisc.evaluation.paired import ALPHA, DECIMALS, PairedDifference, paired_difference


@dataclass(frozen=True)
class Choice:
    """What a choice comes to.

    Attributes:
        best: Index of the candidate with the highest mean over all cases, the first of equals.
        adopted: `best` where the nested gain is shown, else 0, which changes nothing.
        nested: Candidate 0 against the nested choice: for each case the candidate that is best without its group.
    """

    best: int
    adopted: int
    nested: PairedDifference


def choose(scores: npt.NDArray[np.float64], groups: Sequence[int]) -> Choice:
    """Choose one candidate for all cases, or none.

    The highest of several means is too high by what chance lends it, so the choice is not judged by the scores that
    made it: for each group it is made on the others' cases alone and scored on the group's. The best of all is adopted
    only where the interval of that gain lies above 0, and Wilcoxon's p is below 0.05 divided by the number of
    candidates that change something (Bonferroni): where most groups choose the same, as they do, the nested gain
    still holds a part of the luck (docs/reference/evaluation.md has how often mere noise is adopted).

    Args:
        scores: (cases, candidates), the higher the better; candidate 0 changes nothing.
        groups: Of each case, what is held out together: its fold.

    Raises:
        ValueError: Of fewer than two groups, or if the two differ in length.
    """
    of = np.asarray(groups)
    if len(scores) != len(of) or len(set(groups)) < 2:
        raise ValueError(f"{len(scores)} cases in {len(set(groups))} groups: two or more, and one for each case")
    nested = scores[:, 0].copy()
    for group in sorted(set(groups)):
        held_out = of == group
        nested[held_out] = scores[held_out, _best(scores[~held_out])]
    judged = paired_difference(scores[:, 0].tolist(), nested.tolist(), "higher")
    best = _best(scores)
    shown = judged.low > 0.0 and judged.p < ALPHA / max(scores.shape[1] - 1, 1)
    return Choice(best, best if shown else 0, judged)


def _best(scores: npt.NDArray[np.float64]) -> int:
    return int(np.argmax(np.round(scores.mean(axis=0), DECIMALS)))
