"""Every form of the DICOM table, read right to the HU and the place of each voxel, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio import CaseImage, read_image
from bisc.system.console import collecting
from tests.support.dicom_forms import SHAPE, SPACING_ZYX, Form, phantom
from tests.support.dicom_table import FORMS, LOSSY, markdown

PLACE_MM = 0.25
"""A tenth of a slice is what one form moves a slice by."""


def check_voxels(image: CaseImage, form: Form) -> None:
    """Each voxel where its slice's own tags put it, with its HU, and every axis told: the canonical grid is looked up
    at the physical place of each stored pixel."""
    volume, hu = image.volume, phantom()
    rows, columns = (np.asarray(v) for v in form.turn)
    slices = list(form.keep)
    assert volume.array.size == len(slices) * SHAPE[1] * SHAPE[2]
    for i in slices:
        y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
        points = (
            np.asarray(form.place(i)) + x[..., None] * SPACING_ZYX[2] * rows + y[..., None] * SPACING_ZYX[1] * columns
        )
        index = volume.geometry.physical_to_index(points)
        nearest = np.rint(index).astype(int)
        assert np.abs((index - nearest) * volume.geometry.spacing_mm_zyx).max() < PLACE_MM
        found = volume.array[tuple(np.moveaxis(nearest, -1, 0))]
        inside = np.s_[2:] if "padding" in form.name else np.s_[:]
        assert np.array_equal(found[inside], hu[i][inside]), (form.name, i)
        assert (found[:2] <= -1000).all()


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_read_right_or_refused(tmp_path: Path, form: Form) -> None:
    folder = form.write(tmp_path / "series")
    if form.told:
        with pytest.raises(InputError) as caught:
            read_image(folder)
        message = str(caught.value)
        assert form.told in message
        assert message.startswith(str(folder))
        assert len(message.split("; ")) >= 3, f"expectation or mend is missing: {message}"
        return
    with collecting() as notes:
        check_voxels(read_image(folder), form)
    assert len(notes) == bool(form.noted)
    assert form.noted in " ".join(notes)


def test_lossy_jpeg_of_12_bits_is_what_itk_makes_of_it(tmp_path: Path) -> None:
    """Its values are the decoder's; place and rescale are ours."""
    folder = LOSSY.write(tmp_path / "series")
    image = read_image(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(folder / f"IM{i:03d}.dcm") for i in range(SHAPE[0])])
    oracle = sitk.GetArrayFromImage(reader.Execute())
    assert np.array_equal(image.volume.array, oracle)
    assert np.abs(oracle.astype(int) - phantom()).mean() < 20


def test_the_table_stands_in_the_documentation(repository: Path) -> None:
    """As `python -m tests.support.dicom_table` writes it."""
    assert (
        (repository / "docs" / "reference" / "dicom_forms.md").read_text(encoding="utf-8").endswith("\n\n" + markdown())
    )


def test_the_table_is_a_matrix() -> None:
    """At least 60 forms, no name twice, read and refused ones."""
    assert len({form.name for form in FORMS}) == len(FORMS) >= 60
    assert sum(bool(form.told) for form in FORMS) > 20
