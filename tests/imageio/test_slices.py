"""Single slices that no CT has are refused or told of, along the axes along which they come; real ones pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.errors import InputError
from bisc.core.volume import NativeGrid
from bisc.imageio import CaseImage, read_image
from bisc.imageio.plausible import tell_of_lost_grid
from bisc.imageio.slices import JUMP_HU, check_slices
from bisc.system.console import collecting
from tests.imageio.test_plausible import REAL, held
from tests.support.grids import grid


def told(array: npt.NDArray[Any]) -> list[str]:
    with collecting(quiet=True) as notes:
        check_slices(held(array))
    return list(notes)


def refused(array: npt.NDArray[Any]) -> str:
    with pytest.raises(InputError) as caught:
        check_slices(held(array))
    return str(caught.value)


def patient(n: int = 12) -> npt.NDArray[np.int16]:
    """A block of 40 HU in air, with noise: a quarter of an axial slice."""
    array = np.random.default_rng(0).integers(-1020, -979, (n, 32, 32), np.int16)
    array[:, 8:24, 8:24] += 1040
    return array


def changed(at: slice, to: Any) -> npt.NDArray[np.int16]:
    array = patient()
    array[at] = to(array[at])
    return array


def test_a_sound_patient_has_no_doubts() -> None:
    assert told(patient()) == []


@pytest.mark.parametrize("value", [0, -1024, -3024, 40])
@pytest.mark.parametrize(("at", "words"), [(slice(3, 4), "slice 4 of 12"), (slice(3, 8), "slices 4 to 8 of 12")])
def test_blank_slices_amid_the_patient_are_refused(value: int, at: slice, words: str) -> None:
    line = refused(changed(at, lambda old: value))
    assert f"blank, or of air alone, amid the patient: its axial {words}" in line


def test_slices_of_another_intercept_are_refused() -> None:
    """One alone, several, and the first half; darker by 1024 they hold no tissue."""
    for at in (slice(5, 6), slice(5, 9), slice(0, 6)):
        assert "as without the rescale intercept" in refused(changed(at, lambda old: old + 1024))
    assert "of air alone" in refused(changed(slice(5, 7), lambda old: old - 1024))


@pytest.mark.parametrize("path", REAL)
def test_real_ct_passes_and_its_spoilt_slices_do_not(shared_folder: Path, path: str) -> None:
    hu = read_image(shared_folder / "ct" / path).volume.array
    assert told(hu) == []
    middle = len(hu) // 2
    for value, words in ((0, "blank"), (-1024, "blank"), (None, "intercept")):
        spoilt = hu.copy()
        spoilt[middle] = hu[middle] + 1024 if value is None else value
        assert words in refused(spoilt)
    for axis in range(3):
        means = np.maximum(np.moveaxis(hu, axis, 0)[:, ::8, ::8], -1024).mean(axis=(1, 2))
        assert np.abs(np.diff(means)).max() < JUMP_HU / 4


def test_a_hole_in_a_file_whose_slices_are_sagittal_is_seen() -> None:
    """KiTS19 lays its slices so: along x, one behind the other."""
    array = patient()
    array[:, :, 14:17] = 0
    assert told(array) == []  # along neither z nor the file's order
    sagittal = np.ascontiguousarray(array.transpose(2, 1, 0)).transpose(2, 1, 0)
    image = held(array)
    image = CaseImage(image.path, image.volume.with_array(sagittal), image.native)
    with pytest.raises(InputError, match=r"blank, .*sagittal slices 15 to 17 of 32"):
        check_slices(image)


def test_air_between_arm_and_trunk_is_no_gap() -> None:
    array = np.full((12, 32, 32), -1024, np.int16)
    array[:, 8:24, 4:18] = patient()[:, 8:24, 8:22]
    array[:, 14:18, 24:27] = patient()[:, 14:18, 12:15]
    sagittal = np.ascontiguousarray(array.transpose(2, 1, 0)).transpose(2, 1, 0)
    image = held(array)
    check_slices(CaseImage(image.path, image.volume.with_array(sagittal), image.native))


def test_padding_at_the_ends_passes_and_zeros_there_are_told() -> None:
    air = changed(slice(9, 12), lambda old: -1024)
    assert told(air) == []
    cropped = patient()[:, 8:24, 8:24]
    assert told(np.pad(cropped, 3, constant_values=-1024)) == []
    (note,) = told(changed(slice(9, 12), lambda old: 0))
    assert "0 HU alone in its axial slices 10 to 12 of 12" in note
    (note,) = told(changed(slice(0, 1), lambda old: 0))
    assert "0 HU alone in its axial slice 1 of 12" in note


def test_equal_neighbours_are_told_and_equal_blanks_are_not() -> None:
    array = patient()
    array[5] = array[4]
    array[8:10] = array[7]
    (note,) = told(array)
    assert "axial slices 5 to 6 are equal to the last voxel, 3 such pairs in all" in note
    almost = patient()
    almost[5] = almost[4]
    almost[5, 31, 31] += 1
    assert told(almost) == []


def test_an_empty_scan_and_two_slices_have_no_neighbours() -> None:
    assert told(np.zeros((5, 8, 8))) == []
    assert told(patient()[:2]) == []


def test_a_lost_grid_is_told() -> None:
    def notes_of(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> list[str]:
        native = NativeGrid.of(grid((4, 5, 6), spacing, origin))
        image = CaseImage(Path("ct.nii"), native.to_canonical(np.zeros((4, 5, 6), np.int16)), native)
        with collecting(quiet=True) as notes:
            tell_of_lost_grid(image)
        return list(notes)

    assert "its spacing is 1 x 1 x 1 mm and its origin 0" in notes_of((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))[0]
    assert notes_of((1.0, 1.0, 1.0), (0.0, 0.0, -500.0)) == []
    assert notes_of((2.0, 1.0, 1.0), (0.0, 0.0, 0.0)) == []
