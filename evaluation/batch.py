"""Scoring many pairs of files, where one bad file never ends the others' run."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from bisc.core.errors import BiscError, InputError
from bisc.evaluation.cases import CaseScores, score_images, score_worst, unscored
from bisc.evaluation.pairs import Pair
from bisc.imageio import read_labels
from bisc.system.cases import run_cases


@dataclass(frozen=True)
class Scored:
    """The scores of one pair, and what was wrong with its files, if anything."""

    scores: CaseScores
    error: BiscError | None = None


def score_pairs(pairs: Sequence[Pair], executor: Executor | None = None) -> list[Scored]:
    """Score every pair, in the order given.

    A pair without a prediction gets the worst scores, those of an empty one (status `missing`), and so does
    one whose prediction cannot be read or lies on another grid (`failed`). A reference that cannot be read
    gives an unscored row (`failed`).

    Args:
        pairs: What to score.
        executor: Where to work; None for this process.
    """
    outcomes = run_cases(score_pair, pairs, executor, "evaluating", name=lambda pair: pair.case)
    return [outcome.result or Scored(unscored(outcome.job.case), outcome.error) for outcome in outcomes]


def score_pair(pair: Pair) -> Scored:
    """Score one pair; see `score_pairs`.

    Raises:
        InputError: If the reference cannot be read.
    """
    reference = read_labels(pair.reference, pair.reference_labels)
    if pair.prediction is None:
        return Scored(score_worst(pair.case, reference, "missing"))
    try:
        prediction = read_labels(pair.prediction, pair.prediction_labels)
        return Scored(score_images(pair.case, reference, prediction))
    except InputError as error:
        return Scored(score_worst(pair.case, reference, "failed"), error)
