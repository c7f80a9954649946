"""Five folds, seeded, stratified by tumour size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from bisc.system.jsonfile import Document

N_FOLDS: Final = 5
SPLIT_SEED: Final = 12345


class Fold(Document, frozen=True):
    """Case names of one fold."""

    train: list[str]
    val: list[str]


class Splits(Document, frozen=True):
    """What `splits.json` holds."""

    schema_version: int
    seed: int
    folds: list[Fold]


def make_splits(tumor_ml: Mapping[str, float], n_folds: int = N_FOLDS, seed: int = SPLIT_SEED) -> Splits:
    """Every case validates once; each fold sees small and large tumours alike (168/42 on KiTS19's 210).

    Cases are sorted by tumour volume and dealt out in runs of `n_folds`, each run in a shuffled order. With fewer
    cases than folds there are as many folds as cases; a single case trains and validates on itself.

    Args:
        tumor_ml: Tumour volume by case name.
        n_folds: Folds at most.
        seed: Of the shuffle.
    """
    names = sorted(tumor_ml, key=lambda name: (tumor_ml[name], name))
    n = min(n_folds, len(names))
    if n == 1:
        return Splits(schema_version=1, seed=seed, folds=[Fold(train=names, val=names)])
    rng = np.random.default_rng(seed)
    val: list[list[str]] = [[] for _ in range(n)]
    for start in range(0, len(names), n):
        order = rng.permutation(n)
        for fold, name in zip(order, names[start : start + n], strict=False):
            val[int(fold)].append(name)
    folds = [Fold(train=sorted(set(names) - set(v)), val=sorted(v)) for v in val]
    return Splits(schema_version=1, seed=seed, folds=folds)
