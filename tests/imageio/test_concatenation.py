"""Enhanced images that their writer divided into several files: whole, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from bisc.core.errors import InputError
from bisc.imageio import read_image
from bisc.imageio.formats.dicom.choice import choose
from bisc.imageio.formats.dicom.ranks import Wanted
from tests.imageio.test_studies import volume
from tests.support.ct_series import STEM, write_ct, write_enhanced
from tests.support.grids import fault
from tests.support.noticed import unnoticed

N_SLICES = volume().geometry.shape_zyx[0]
THIRDS = [list(map(int, part)) for part in np.array_split(np.arange(N_SLICES), 3)]


def part(folder: Path, number: int, total: int | None = 3, uid: str = "1") -> Path:
    """One third of the slices, the file's number beginning at 1."""
    tags = {"SOPInstanceUID": f"{STEM}.4.{number}", "ConcatenationUID": f"{STEM}.5.{uid}"}
    path = write_enhanced(folder / f"{number}.dcm", volume(), THIRDS[(number - 1) % 3], **tags)
    data = pydicom.dcmread(path)
    data.InConcatenationNumber = number
    if total is not None:
        data.InConcatenationTotalNumber = total
    data.save_as(path)
    return folder


@pytest.mark.parametrize("total", [3, None])
def test_a_whole_concatenation_is_read(tmp_path: Path, total: int | None) -> None:
    """In any order, whether its files say how many they are or not; a copy of one is no part more."""
    for number in (3, 1, 2):
        part(tmp_path / "s", number, total)
    with unnoticed():
        assert np.array_equal(read_image(tmp_path / "s").volume.array, volume().array)
    (tmp_path / "s" / "copy.dcm").write_bytes((tmp_path / "s" / "1.dcm").read_bytes())
    assert np.array_equal(read_image(tmp_path / "s").volume.array, volume().array)


def test_numbers_from_0_and_files_of_one_part(tmp_path: Path) -> None:
    """Which some write: what is there is all there is."""
    for number in (0, 1, 2):
        part(tmp_path / "from 0", number)
    assert np.array_equal(read_image(tmp_path / "from 0").volume.array, volume().array)
    for number in (1, 2, 3):  # each a concatenation of its own
        part(tmp_path / "own", number, None, uid=str(number))
        data = pydicom.dcmread(tmp_path / "own" / f"{number}.dcm")
        data.InConcatenationNumber = data.InConcatenationTotalNumber = 1
        data.save_as(tmp_path / "own" / f"{number}.dcm")
    assert np.array_equal(read_image(tmp_path / "own").volume.array, volume().array)


@pytest.mark.parametrize(
    ("numbers", "total", "told"),
    [((1,), 3, "part 1 of 3"), ((1, 2), 3, "part 1, 2 of 3"), ((2, 3), None, "part 2, 3 of 3")],
)
def test_a_missing_file_is_told(tmp_path: Path, numbers: tuple[int, ...], total: int | None, told: str) -> None:
    """First, last or two of three: the slices left are an even stack, and no whole scan."""
    for number in numbers:
        part(tmp_path / "s", number, total)
    assert fault(read_image, tmp_path / "s") == (
        f"{told} of an image in several files (InConcatenationNumber (0020,9162)); expected all of its files; "
        "fetch it again"
    )


def test_another_series_of_the_study_may_be_taken(tmp_path: Path) -> None:
    """The parted one is left out with its reason; asked for, it is refused."""
    part(tmp_path / "s", 1)
    write_ct(tmp_path / "s", volume(), series="2", number=2)
    files = sorted((tmp_path / "s").iterdir())
    assert "part 1 of 3 of an image in several files" in choose(tmp_path / "s", files, Wanted()).reason
    with pytest.raises(InputError, match="part 1 of 3"):
        choose(tmp_path / "s", files, Wanted(series=f"{STEM}.2.1.9"))
