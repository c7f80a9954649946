"""Five folds, seeded, stratified by tumour size."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from bisc.core.errors import InputError
from bisc.system.jsonfile import Document, read_document

N_FOLDS: Final = 5
SPLIT_SEED: Final = 12345
MEND: Final = "correct it, or leave --splits out"


class Fold(Document, frozen=True):
    """Case names of one fold."""

    train: list[str]
    val: list[str]


GIVEN_SEED: Final = -1
"""Of folds that a person gave (`--splits`), which no other cases get others for without a word."""


class Splits(Document, frozen=True):
    """What `splits.json` holds."""

    schema_version: int
    seed: int
    folds: list[Fold]


class _Ours(msgspec.Struct):
    folds: list[Fold]


def read_splits(path: Path, cases: Collection[str]) -> Splits:
    """Folds of a file: nnU-Net's splits_final.json, or a splits.json.

    Args:
        path: The file.
        cases: Of the data set; each has to be in a fold, and none beside them.

    Raises:
        InputError: If it is neither, or a fold trains and validates on one case, is empty, or names other cases; or if
            a case is in no fold, or validated twice.
    """
    raw, expected = read_document(path, "splits", MEND), "a list of folds with train and val, as nnU-Net's"
    try:
        found = msgspec.json.decode(raw, type=list[Fold] | _Ours)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(path, str(error), expected, MEND) from error
    folds = found.folds if isinstance(found, _Ours) else found
    folds = [Fold(train=sorted(fold.train), val=sorted(fold.val)) for fold in folds]
    fault = _fault_of(folds, set(cases))
    if fault:
        raise InputError(path, fault, "each case in the folds, trained on or validated", MEND)
    return Splits(schema_version=1, seed=GIVEN_SEED, folds=folds)


def check_folds(path: Path, folds: list[Fold]) -> None:
    """Refuse folds that no scores can rest on; a data set's only case is trained on and validated.

    Raises:
        InputError: If one trains and validates on one case, or is empty, or if a case is validated twice.
    """
    names = {name for fold in folds for name in (*fold.train, *fold.val)}
    fault = _fault_of(folds, names)
    if fault and not (len(folds) == len(names) == 1):
        mend = "correct it, or delete it and run bisc_plan_and_preprocess"
        raise InputError(path, fault, "folds that validate each case once, and not where it is trained on", mend)


def _fault_of(folds: list[Fold], cases: set[str]) -> str:
    """What is wrong with given folds, in words; empty where nothing is."""
    if not folds:
        return "no fold"
    seen: set[str] = set()
    for k, fold in enumerate(folds):
        names = [*fold.train, *fold.val]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            return f"fold {k} has {_some(twice)} twice, in training or validation or both"
        if not fold.train or not fold.val:
            return f"fold {k} trains on {len(fold.train)} and validates on {len(fold.val)} cases"
        if seen & {*fold.val}:
            return f"fold {k} validates {_some(sorted(seen & {*fold.val}))}, as an earlier one does"
        seen |= {*fold.val}
    named = {name for fold in folds for name in (*fold.train, *fold.val)}
    if named - cases:
        return f"names {_some(sorted(named - cases))}, which the data set has not, or not without a fault"
    return f"has no fold with {_some(sorted(cases - named))}" if cases - named else ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


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
