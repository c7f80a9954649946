"""The race's table, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.race_table import SMALL_ML, interval, table_of


def rows_of(contestant: str, seed: int, kidney: list[float], tumor: list[float], found: list[int]) -> pd.DataFrame:
    """Two patients, the second with a large tumour."""
    return pd.DataFrame(
        {
            "contestant": contestant,
            "minutes": 20.0,
            "seed": seed,
            "train_s": 1190.0 + 10 * seed,
            "steps": 30 * seed,
            "case": ["a", "b"],
            "dice_kidney": kidney,
            "dice_tumor": tumor,
            "surface_dice_tumor": [0.5, 0.25],
            "volume_tumor_ref_ml": [SMALL_ML / 2, 2 * SMALL_ML],
            "tumors_ref": [1, 2],
            "tumors_found": found,
            "tumors_false": [3, 0],
        }
    )


@pytest.fixture
def rows() -> pd.DataFrame:
    """Ours, and two of theirs, of which the second is better."""
    return pd.concat(
        [
            rows_of("best", 1, [0.9, 0.8], [0.5, 0.7], [1, 1]),
            rows_of("best", 2, [0.9, 0.6], [0.5, 0.5], [0, 2]),
            rows_of("nnunet:3d_lowres", 1, [0.1, 0.1], [0.0, 0.0], [0, 0]),
            rows_of("nnunet:3d_fullres", 1, [0.5, 0.7], [0.1, 0.2], [0, 1]),
            rows_of("nnunet:3d_fullres", 2, [0.5, 0.9], [0.1, 0.4], [0, 1]),
        ]
    )


def cells_of(text: str, contestant: str) -> list[str]:
    """One contestant's row."""
    (line,) = (line for line in text.splitlines() if f"| {contestant} |" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_means_counts_and_differences(rows: pd.DataFrame) -> None:
    """Patient a gains 0.4 in the mean of two seeds, b -0.1; of tumours 0.4 and 0.3; each interval is between them."""
    ours = cells_of(table_of(rows), "best")
    assert ours[:8] == ["20", "best", "2", "30, 60", "1205", "0.800", "0.550", "0.375"]
    assert ours[8:11] == ["4 of 6", "1 of 2", "6"]
    assert [cell.split()[0] for cell in ours[11:]] == ["+0.150", "+0.350"]
    assert ours[11] == "+0.150 (-0.100 to +0.400)"


def test_ours_are_set_against_the_best_of_theirs_alone(rows: pd.DataFrame) -> None:
    """Theirs have no difference; without theirs nobody has; a budget they were not given has none either."""
    assert cells_of(table_of(rows), "nnunet:3d_lowres")[11:] == ["", ""]
    alone = rows[rows.contestant == "best"]
    assert cells_of(table_of(alone), "best")[11:] == ["", ""]
    other = pd.concat([alone.assign(minutes=4.0), rows[rows.contestant != "best"]])
    assert cells_of(table_of(other), "best")[11:] == ["", ""]


def test_an_interval_is_of_the_mean() -> None:
    assert interval(np.array([0.25, 0.25])) == (0.25, 0.25)
