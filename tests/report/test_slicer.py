"""A SEG in 3D Slicer's own libraries, by the way that its extension QuantitativeReporting takes: dcmqi. Run by
`make test-long`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bisc.core.volume import NativeGrid
from bisc.imageio import write_image
from tests.report.test_dicom_objects import FORMS, Case, made
from tests.report.test_dicom_tools import dcmqi
from tests.report.test_ohif import centres

pytestmark = pytest.mark.long
VIEW = Path(__file__).parents[1] / "support" / "slicer_view.py"
MM = {"axial": -242.0}
"""The height at which a picture is taken: both tumours are there."""


@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("enhanced")])
def test_slicer_has_the_mask_where_it_is(tmp_path: Path, form: str) -> None:
    """Slicer reads the series and the mask each by itself; voxel on voxel they are the patient's and the mask's."""
    pytest.importorskip("trame_slicer", reason="no Slicer: pip install trame-slicer[standalone]")
    write, on = FORMS[form]
    case = made(tmp_path, write, on)
    dcmqi("segimage2itkimage", "--inputDICOM", case.out / "seg.dcm", "--outputDirectory", case.out, "--outputType",
          "nrrd")  # fmt: skip
    numbers = [segment.number for segment in case.found.segments]
    masks = [case.out / f"{number}.nrrd" for number in numbers]
    write_image(case.out / "mask.nii.gz", case.labels, NativeGrid.of(on))
    command: list[str | Path] = [sys.executable, VIEW, tmp_path / "in", case.out, *masks, case.out / "mask.nii.gz"]
    picture = ["--picture", str(MM[form])] if form in MM else []
    subprocess.run([*command, "--meta", case.out / "meta.json", *picture], check=True, capture_output=True)

    matrix = np.load(case.out / "ijk_to_ras.npy")
    array = np.load(case.out / "volume.npy")
    ijk = np.indices(array.shape).reshape(3, -1)[::-1]
    lps_mm = (matrix[:3, :3] @ ijk + matrix[:3, 3:]).T * (-1, -1, 1)
    place = on.physical_to_index(lps_mm)
    assert np.abs(place - np.rint(place)).max() < 1e-3
    at = tuple(np.rint(place).astype(int).T)
    assert np.array_equal(array.ravel(), case.volume.array[at])
    found = np.zeros(array.shape, np.uint8)
    for number, path in zip(numbers, masks, strict=True):
        found[np.load(case.out / f"{path.name}.npy") > 0] = number
    assert np.array_equal(found.ravel(), case.found.numbered[at])
    assert np.array_equal(np.load(case.out / "mask.nii.gz.npy").ravel(), case.labels[at])
    if picture:
        seen = Image.open(case.out / "slicer.png")
        seen.save(os.environ.get("BISC_SLICER_PICTURE") or tmp_path / "slicer.png")
        fill = centres(np.asarray(seen)[:, :640], (136, 97, 8))  # half of the SEG's colour on what lies below
        assert np.abs(fill - expected_px(case, MM[form])).max() < 6


def expected_px(case: Case, mm: float) -> npt.NDArray[np.float64]:
    """Mean column and row of each side's tumour on the axial slice nearest to a height, where the slice's width, or
    height, fills the picture's 640 pixels; the patient's right first."""
    grid = case.volume.geometry
    (_, height, width), (dz, dy, dx) = grid.shape_zyx, grid.spacing_mm_zyx
    k = round((mm - grid.origin_mm_xyz[2]) / dz)
    px_per_mm = 640 / max(height * dy, width * dx)
    found = []
    for segment in case.found.segments:
        if segment.organ == "tumor":
            rows, columns = np.nonzero(case.found.numbered[k] == segment.number)
            x_mm = (columns.mean() - (width - 1) / 2) * dx
            y_mm = (rows.mean() - (height - 1) / 2) * dy
            found.append((319.5 + x_mm * px_per_mm, 319.5 + y_mm * px_per_mm))
    return np.asarray(sorted(found))
