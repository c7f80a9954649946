"""A lone kidney in a CT that shows half a body has no side, in no file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bisc.core.volume import Box, NativeGrid, Volume
from bisc.imageio import CaseImage
from bisc.measurement.sides import NO_BODY
from bisc.pipeline.dicom_cases import divided
from bisc.pipeline.measure import MeasuredMap, measure_labels
from bisc.preprocessing.kidneys import find_kidneys
from bisc.preprocessing.midline import body_middle_mm, hides_middle
from tests.support.known_kidneys import GRID, SHAPE, Ball, kidneys, of

BALL = Ball(20.0, 16.0, 0.0, 11.0)
LABELS = kidneys(BALL, only=True)
"""A left kidney 55 mm from the middle, in a body 192 mm wide with air on either side."""
HU = np.full(SHAPE, -1000, np.int16)
HU[:, 5:-5, 5:-5] = np.where(LABELS > 0, 150, -90)[:, 5:-5, 5:-5]


def seen(first: int) -> MeasuredMap:
    """Measured with the CT from a column on, towards the patient's left."""
    box = Box((0, 0, first), SHAPE)
    grid = GRID.cropped(box.start_zyx, box.shape_zyx)
    of_case = [
        CaseImage(Path("case.nii.gz"), Volume(array[box.to_slices()].copy(), grid), NativeGrid.of(grid))
        for array in (LABELS, HU)
    ]
    return measure_labels("case", *of_case)


def test_a_kidney_in_half_a_body_has_no_side() -> None:
    """From beside the spine to the flank it lies right of the middle of what is seen."""
    assert [one.name for one in seen(0).segments] == ["Left kidney", "Tumour 1 (left)"]
    half = seen(140)
    assert [one.name for one in half.segments] == ["Kidney", "Tumour 1"]
    tumor, whole = of(half.measures, "Tumour 1"), of(seen(0).measures, "Tumour 1 (left)")
    assert half.measures.notes == (f"kidney: {NO_BODY}",)
    for name in ("exophytic_percent", "renal_a", "renal_l", "padua_rim", "to_sinus_mm"):
        assert (tumor[name].value, tumor[name].why) == (None, NO_BODY)
    for name in ("axial_mm", "volume_ml", "contact_cm2"):
        assert tumor[name].value == whole[name].value


def test_nor_has_it_in_a_predictions_files() -> None:
    half = seen(140)
    labels = LABELS[:, :, 140:].copy()
    hu = Volume(HU[:, :, 140:].copy(), half.grid)
    middle_mm, sided = body_middle_mm(hu), not hides_middle(hu)
    assert [one.name for one in divided(labels, half.grid, 5.0, middle_mm, sided).segments] == ["Kidney", "Tumour 1"]
    (kidney,) = find_kidneys(labels > 0, half.grid, 5.0, middle_mm, sided=sided)
    assert kidney.side == "middle"


def test_two_kidneys_tell_each_other() -> None:
    """In a body that is cut on both sides."""
    labels = kidneys(BALL)
    hu = np.where(labels > 0, 150, -90).astype(np.int16)
    native = NativeGrid.of(GRID)
    pair = [CaseImage(Path("case.nii.gz"), Volume(array, GRID), native) for array in (labels, hu)]
    found = measure_labels("case", *pair)
    assert [one.name for one in found.segments] == ["Right kidney", "Left kidney", "Tumour 1 (left)"]
    assert found.measures.notes == ()
