"""Folds: every case validates once, small and large tumours in each, the same on every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.core.errors import InputError
from bisc.planners.dataset import load_splits
from bisc.planners.splits import N_FOLDS, Splits, make_splits
from bisc.system.jsonfile import save_json

volumes = st.dictionaries(
    st.text("abcdef0123456789", min_size=1, max_size=6), st.floats(0, 500), min_size=2, max_size=60
)


def kits_like(n: int = 210, seed: int = 0) -> dict[str, float]:
    """Skewed tumour volumes, a few hundred ml at most."""
    drawn = np.random.default_rng(seed).lognormal(3.0, 1.2, n).clip(0, 600)
    return {f"case_{i:05d}": float(v) for i, v in enumerate(drawn)}


@given(volumes)
def test_every_case_validates_once(tumor_ml: dict[str, float]) -> None:
    """Validation sets part the cases; training is the rest; sizes differ by one at most."""
    splits = make_splits(tumor_ml)
    validated = [name for fold in splits.folds for name in fold.val]
    assert sorted(validated) == sorted(tumor_ml)
    assert len(splits.folds) == min(N_FOLDS, len(tumor_ml))
    for fold in splits.folds:
        assert sorted(fold.train + fold.val) == sorted(tumor_ml)
        assert fold.val
    sizes = [len(fold.val) for fold in splits.folds]
    assert max(sizes) - min(sizes) <= 1


def test_210_cases_give_168_and_42() -> None:
    """The paper's numbers."""
    assert [(len(f.train), len(f.val)) for f in make_splits(kits_like()).folds] == [(168, 42)] * 5


def test_the_same_seed_the_same_folds() -> None:
    """Whatever the order of the cases; another seed gives others."""
    tumor_ml = kits_like()
    backwards = dict(reversed(tumor_ml.items()))
    assert make_splits(tumor_ml) == make_splits(backwards)
    assert make_splits(tumor_ml, seed=1) != make_splits(tumor_ml, seed=2)
    assert make_splits(tumor_ml, seed=7).seed == 7


@given(volumes)
def test_each_run_of_five_goes_to_five_folds(tumor_ml: dict[str, float]) -> None:
    """Stratified: sorted by size, any full run of five has one case in each fold."""
    splits = make_splits(tumor_ml)
    n = len(splits.folds)
    fold_of = {name: i for i, fold in enumerate(splits.folds) for name in fold.val}
    ordered = sorted(tumor_ml, key=lambda name: (tumor_ml[name], name))
    for start in range(0, len(ordered) - n + 1, n):
        assert sorted(fold_of[name] for name in ordered[start : start + n]) == list(range(n))


@pytest.mark.parametrize("seed", range(5))
def test_folds_see_tumours_alike(seed: int) -> None:
    """Mean tumour volume per fold within 20 % of the data set's, on skewed volumes; unstratified it strays farther."""
    tumor_ml = kits_like(seed=seed)
    overall = np.mean(list(tumor_ml.values()))

    def farthest(folds: list[list[str]]) -> float:
        return max(abs(float(np.mean([tumor_ml[name] for name in fold]) / overall) - 1) for fold in folds)

    ours = farthest([fold.val for fold in make_splits(tumor_ml, seed=seed).folds])
    shuffled = [np.random.default_rng(k).permutation(sorted(tumor_ml)).reshape(5, 42).tolist() for k in range(20)]
    assert ours < 0.20
    assert ours < np.mean([farthest(folds) for folds in shuffled])


@pytest.mark.parametrize("n", [2, 3, 4])
def test_fewer_cases_than_folds(n: int) -> None:
    """As many folds as cases, each validating one."""
    names = [f"c{i}" for i in range(n)]
    splits = make_splits(dict.fromkeys(names, 1.0))
    assert sorted(fold.val[0] for fold in splits.folds) == names
    assert [len(fold.train) for fold in splits.folds] == [n - 1] * n


def test_a_single_case_trains_and_validates_on_itself() -> None:
    """Enough to try the pipeline on."""
    (fold,) = make_splits({"only": 3.0}).folds
    assert (fold.train, fold.val) == (["only"], ["only"])


def test_splits_file_is_strict(tmp_path: Path) -> None:
    """Round trip; an unknown key is an error."""
    splits = make_splits(kits_like(7))
    save_json(tmp_path / "splits.json", splits)
    assert load_splits(tmp_path) == splits
    assert isinstance(splits, Splits)
    text = (tmp_path / "splits.json").read_text()
    (tmp_path / "splits.json").write_text(text.replace('"seed"', '"sede"'))
    with pytest.raises(InputError, match="sede"):
        load_splits(tmp_path)
