"""Which inputs a trained model has seen in training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bisc.core.errors import BiscError
from bisc.imageio.case import InputCase
from bisc.planners.dataset import load_splits
from bisc.planners.source import load_source


def seen_cases(cases: Sequence[InputCase], preprocessed: Path) -> list[str]:
    """Names of the inputs that lie in the raw folder of a data set and are in its folds: networks of all folds together
    were trained on each of them. None where the data set is elsewhere."""
    try:
        raw, splits = load_source(preprocessed), load_splits(preprocessed)
    except BiscError:
        return []
    known = {name for fold in splits.folds for name in (*fold.train, *fold.val)}
    folder = Path(os.path.realpath(raw))
    inside = (case for case in cases if Path(os.path.realpath(case.path)).is_relative_to(folder))
    return [case.name for case in inside if case.name in known]
