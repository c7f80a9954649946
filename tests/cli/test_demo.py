"""How long the demo trains, and where."""

from __future__ import annotations

import pytest

from bisc.cli.demo import (
    EPOCHS_IN_BF16,
    PRESET,
    TRAIN_CASES,
    TRAIN_CASES_IN_BF16,
    first_held_out,
    more_epochs,
    patients_for,
)
from bisc.trainers.presets import PRESETS


@pytest.mark.parametrize("stage", ["rough", "fine"])
def test_it_trains_longer_where_training_is_quick(stage: str) -> None:
    """In its own preset alone; elsewhere bisc_train is told nothing, and the preset's epochs hold."""
    assert more_epochs(stage, PRESET, "bf16") == ["--epochs", str(EPOCHS_IN_BF16[stage])]
    assert EPOCHS_IN_BF16[stage] > getattr(PRESETS[PRESET], stage).epochs
    assert more_epochs(stage, PRESET, "fp32") == []
    assert more_epochs(stage, "quick", "bf16") == []


def test_more_steps_have_more_patients() -> None:
    assert patients_for(PRESET, "bf16") == TRAIN_CASES_IN_BF16 > TRAIN_CASES
    assert patients_for(PRESET, "fp32") == patients_for("quick", "bf16") == TRAIN_CASES


@pytest.mark.parametrize("n", [1, 600, 1000, 1001, 5000])
def test_no_patient_is_trained_on_and_held_out(n: int) -> None:
    assert first_held_out(n) >= n
    assert first_held_out(600) == 1000  # as in the demos of before
