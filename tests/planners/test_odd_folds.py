"""What is to be minded of folds, and whose folds a named plan has."""

from __future__ import annotations

from pathlib import Path

from bisc.planners.dataset import load_splits, odd_folds, share_splits
from bisc.planners.fingerprint import CaseFingerprint, Fingerprint, KidneyMeasure
from bisc.planners.splits import GIVEN_SEED, Fold, Splits
from bisc.system.jsonfile import save_json

KIDNEY = KidneyMeasure(volume_ml=150.0, extent_mm_zyx=(100.0, 60.0, 60.0))


def fingerprint(**kidneys: bool) -> Fingerprint:
    cases = [
        CaseFingerprint(
            name=name,
            shape_zyx=(8, 8, 8),
            spacing_mm_zyx=(3.0, 1.0, 1.0),
            kidneys=[KIDNEY] if there else [],
            n_components=int(there),
            tumor_ml=0.0,
            hu_quantiles=None,
        )
        for name, there in kidneys.items()
    ]
    return Fingerprint(schema_version=1, dataset="Data", cases=cases)


def folds(*validated: str, seed: int = 1) -> Splits:
    names = {name for one in validated for name in one}
    made = [Fold(train=sorted(names - {*val}) or sorted(names), val=sorted(val)) for val in validated]
    return Splits(schema_version=1, seed=seed, folds=made)


def test_sound_folds_are_not_spoken_of() -> None:
    assert odd_folds(folds("ab", "cd"), fingerprint(a=True, b=False, c=False, d=True)) == []


def test_a_single_case_and_a_fold_without_kidneys() -> None:
    (one,) = odd_folds(folds("a"), fingerprint(a=True))
    assert "validated on what it was trained on" in one
    (none,) = odd_folds(folds("ab", "cd"), fingerprint(a=True, b=True, c=False, d=False))
    assert none.startswith("fold 1 validates no case with a kidney")


def test_a_named_plan_follows_the_data_sets_folds_but_for_those_it_was_given(tmp_path: Path) -> None:
    home, named = tmp_path / "Data", tmp_path / "Data__low"
    save_json(home / "splits.json", folds("ab", "cd"))
    share_splits(home, named)
    save_json(home / "splits.json", folds("ac", "bd", seed=GIVEN_SEED))
    share_splits(home, named)
    assert load_splits(named) == load_splits(home)
    save_json(named / "splits.json", folds("ad", "bc", seed=GIVEN_SEED))
    save_json(home / "splits.json", folds("ab", "cd"))
    share_splits(home, named)
    assert load_splits(named) == folds("ad", "bc", seed=GIVEN_SEED)
