"""What is graded is the value as it is written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bisc.measurement import measure as module
from bisc.measurement.kidney_shape import KidneyShape
from bisc.measurement.tumor_place import Mask, Place, place_of
from tests.support.known_kidneys import Ball, kidneys, measured, of

LABELS = kidneys(Ball(20.0, 16.0, 0.0, 11.0))


@pytest.mark.parametrize(
    ("share", "percent", "points", "words"),
    [
        (0.496, 50, 1, "exophytic by half or more"),
        (0.494, 49, 2, "exophytic by less than half"),
        (0.014, 1, 3, "endophytic"),
        (0.016, 2, 2, "exophytic by less than half"),
    ],
)
def test_the_share_beyond_the_outline(
    monkeypatch: pytest.MonkeyPatch, share: float, percent: int, points: int, words: str
) -> None:
    def place(tumor: Mask, kidney: KidneyShape) -> Place:
        return replace(place_of(tumor, kidney), exophytic=share)

    monkeypatch.setattr(module, "place_of", place)
    tumor = of(measured(LABELS), "Tumour 1 (left)")
    assert (tumor["exophytic_percent"].value, tumor["intraparenchymal_percent"].value) == (percent, 100 - percent)
    assert tumor["renal_e"].value == tumor["padua_exophytic"].value == points
    assert words in str(tumor["spare"].value).split(", ")
