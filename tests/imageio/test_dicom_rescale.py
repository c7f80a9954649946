"""Two ways to HU: RescaleSlope and RescaleIntercept, and RealWorldValueMappingSequence, which both count in stored
values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from bisc.core.errors import InputError
from bisc.imageio import read_image
from tests.support.ct_series import item
from tests.support.dicom_changes import ENHANCED, RESCALE, in_groups
from tests.support.dicom_forms import Change, Form, both, gone, phantom, put
from tests.support.noticed import unnoticed

NO_RESCALE = gone("RescaleSlope", "RescaleIntercept")
HALF: dict[str, Any] = {"slope": lambda i: 0.5, "intercept": lambda i: -200.0}
"""Stored values are twice the HU, from -200 on."""


def mapping(slope: float, intercept: float, code: str = "[hnsf'U]") -> Dataset:
    unit = item(CodeValue=code, CodingSchemeDesignator="UCUM", CodeMeaning="a unit")
    return item(RealWorldValueSlope=slope, RealWorldValueIntercept=intercept, MeasurementUnitsCodeSequence=[unit])


def table() -> Dataset:
    made = mapping(1, 0)
    del made.RealWorldValueSlope, made.RealWorldValueIntercept
    made.RealWorldValueLUTData = [float(v) for v in range(8)]
    return made


def mapped(*mappings: Dataset) -> Change:
    return put(RealWorldValueMappingSequence=lambda i: list(mappings))


MADE: dict[str, Form] = {
    "no rescale": Form("", **HALF, change=both(NO_RESCALE, mapped(mapping(0.5, -200)))),
    "beside another unit": Form(
        "", **HALF, change=both(NO_RESCALE, mapped(mapping(2, 0, "mg/ml"), mapping(0.5, -200)))
    ),
    "an unspecified rescale": Form(
        "", **HALF, change=both(mapped(mapping(0.5, -200)), put(RescaleSlope=1, RescaleIntercept=0, RescaleType="US"))
    ),
    "a rescale to another unit": Form(
        "", **HALF, change=both(mapped(mapping(0.5, -200)), put(RescaleSlope=1, RescaleIntercept=0, RescaleType="OD"))
    ),
    "the same twice": Form("", **HALF, change=mapped(mapping(0.500001, -200.0))),
    "a table beside a rescale": Form("", **HALF, change=mapped(table())),
    "in an enhanced file's groups": Form(
        "", **HALF, **ENHANCED, change_frame=both(gone(RESCALE), mapped(mapping(0.5, -200)))
    ),
}


@pytest.mark.parametrize("what", MADE)
def test_a_mapping_into_hu_counts(tmp_path: Path, what: str) -> None:
    """Stored numbers were taken for HU: (2 HU + 400) instead of HU."""
    with unnoticed():
        assert np.array_equal(read_image(MADE[what].write(tmp_path / "s")).volume.array, phantom())


@pytest.mark.parametrize("kind", ["HU", ""])
def test_two_ways_to_hu_that_differ_are_refused(tmp_path: Path, kind: str) -> None:
    form = Form("", change=both(mapped(mapping(1, -100)), put(RescaleType=kind)))
    with pytest.raises(InputError, match=r"makes HU by 1 x stored \+0, and RealWorldValueMapping.* by 1 x stored -100"):
        read_image(form.write(tmp_path / "s"))


@pytest.mark.parametrize("mappings", [(table(),), (mapping(1, 0), mapping(1, 100))])
def test_hu_that_no_line_makes_are_refused(tmp_path: Path, mappings: tuple[Dataset, ...]) -> None:
    with pytest.raises(InputError, match="makes HU of its values, and not by one line"):
        read_image(Form("", change=both(NO_RESCALE, mapped(*mappings))).write(tmp_path / "s"))


@pytest.mark.parametrize("kind", ["Hounsfield", "hounsfield units", "H.U.", "HU"])
def test_hounsfield_in_words(tmp_path: Path, kind: str) -> None:
    """An enhanced file's type stands in its groups."""
    group = in_groups(RESCALE, RescaleSlope=1, RescaleIntercept=0, RescaleType=kind)
    for n, form in enumerate((Form("", change=put(RescaleType=kind)), Form("", change_frame=group, **ENHANCED))):
        assert np.array_equal(read_image(form.write(tmp_path / str(n))).volume.array, phantom())
