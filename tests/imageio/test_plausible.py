"""No real or simulated CT is refused as 'no HU'; the same CT stored wrongly is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.core.volume import NativeGrid
from bisc.imageio import CaseImage, read_image
from bisc.imageio.plausible import (
    BRIGHT_HU,
    LEAST_TISSUE,
    MOST_BRIGHT,
    SAMPLES_PER_AXIS,
    check_hu,
    check_kidney_hu,
    doubt_of_extent,
    doubt_of_scan,
    sample,
    straight_grid,
)
from tests.support.grids import grid

REAL = ("ts_example/ct.nii.gz", "ts_dicom_no_kidney", "acrin_noncontrast/ct.nii.gz")
FAR = 10.0
"""A limit must lie at least this many times from what real CT has."""


def held(array: npt.NDArray[Any]) -> CaseImage:
    """An image in memory."""
    z, y, x = array.shape
    native = NativeGrid.of(grid((z, y, x)))
    return CaseImage(Path("ct.nii.gz"), native.to_canonical(array.astype(np.int16)), native)


def refused(array: npt.NDArray[Any]) -> str:
    with pytest.raises(InputError) as caught:
        check_hu(held(array))
    return str(caught.value)


@pytest.mark.parametrize("path", REAL)
def test_real_ct_is_hu_and_stored_wrongly_it_is_not(shared_folder: Path, path: str) -> None:
    """As it is; cropped to half; padded; and five ways to store it wrongly. The limits lie far from it."""
    hu = read_image(shared_folder / "ct" / path).volume.array
    z, y, x = (n // 4 for n in hu.shape)
    for sound in (hu, hu[z:-z, y:-y, x:-x], np.pad(hu, 8, constant_values=-3024), np.pad(hu, 8)):
        check_hu(held(sound))
        assert doubt_of_scan(held(sound)) == ""
    voxels = sample(hu)
    assert np.mean(voxels > BRIGHT_HU) < MOST_BRIGHT / FAR
    assert np.mean((voxels >= -200) & (voxels <= 300)) > LEAST_TISSUE * FAR
    wide = hu[::3, ::3, ::3].astype(np.int32)
    assert "subtract 1024" in refused(np.clip(wide + 1024, 0, None))
    assert "invert it if air is bright" in refused(-wide)
    assert "invert it if air is bright" in refused(wide.max() - wide)
    assert "a picture's grey values" in refused(np.clip((wide + 160) * 255 // 400, 0, 255))
    assert "scaled to 0..1" in refused(wide > 0)
    assert "normalised" in refused(wide // 200)


def test_simulated_ct_is_hu(tiny_dataset: Path) -> None:
    for case in sorted(tiny_dataset.glob("case_*")):
        image = read_image(case / "imaging.nii.gz")
        check_hu(image)
        assert doubt_of_scan(image) == ""


def test_windowed_slices_are_not(shared_folder: Path) -> None:
    """KiTS19 slices as pictures: HU clipped to 0..255."""
    slices = sorted((shared_folder / "kits19_slices" / "images").iterdir())
    assert len(slices) == 24
    for path in slices:
        grey = np.atleast_3d(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))[..., 0]
        assert "a picture's grey values" in refused(grey[None])


def test_scans_without_a_patient_are_doubted_not_refused() -> None:
    """One value, or air alone."""
    air = np.random.default_rng(0).normal(-1000, 5, (8, 9, 10))
    for array, why in ((np.zeros((8, 9, 10)), "every voxel is 0 HU"), (air, "0.0 % of the voxels lie between")):
        check_hu(held(array))
        assert why in doubt_of_scan(held(array))
    almost = np.zeros((2, 200, 200))
    almost[1, 101, 101] = 40  # not among the sampled voxels
    assert doubt_of_scan(held(almost)) == ""


def test_one_slice_alone_is_doubted() -> None:
    """Two are stacks, cut off as flags tell."""
    assert "implausible: one axial slice of" in doubt_of_extent(held(np.zeros((1, 9, 10))))
    assert doubt_of_extent(held(np.zeros((2, 9, 10)))) == ""


def test_the_sample_is_small_and_spread() -> None:
    """At most 64 voxels an axis, from the first to near the last."""
    array = np.broadcast_to(np.arange(200, dtype=np.int16), (65, 3, 200))
    assert sample(array).size <= SAMPLES_PER_AXIS**3
    assert sample(array).max() >= 196


@pytest.mark.parametrize(("spacing", "sound"), [(0.1, True), (20.0, True), (0.09, False), (20.1, False)])
def test_spacings(spacing: float, sound: bool) -> None:
    """Both limits belong to what is allowed; the file and the spacing are named."""
    geometry = grid(spacing_mm_zyx=(3.0, 0.8, spacing))
    parts = (geometry.shape_zyx[::-1], geometry.spacing_mm_zyx[::-1], geometry.origin_mm_xyz, geometry.direction)
    if sound:
        assert straight_grid(Path("a.nii"), *parts) == geometry
    else:
        with pytest.raises(InputError, match=rf"a\.nii: its spacing is {spacing:g} x 0\.8 x 3 mm"):
            straight_grid(Path("a.nii"), *parts)


@pytest.mark.parametrize(("median", "sound"), [(-150.0, True), (600.0, True), (-151.0, False), (601.0, False)])
def test_kidneys_are_tissue(median: float, sound: bool) -> None:
    if sound:
        check_kidney_hu(Path("a.nii"), median)
    else:
        with pytest.raises(InputError, match="in the middle of what is labelled"):
            check_kidney_hu(Path("a.nii"), median)


def test_negative_hu_that_lost_their_sign_get_a_mend_that_mends(tmp_path: Path) -> None:
    """Half air, half water: as uint16 and as uint32 air becomes 2^n - 1000. The same bits as int16 are HU again."""
    hu = np.full((8, 16, 16), -1000, np.int16)
    hu[:, 4:12] = np.arange(16)
    for kind in (np.uint16, np.uint32):
        sitk.WriteImage(sitk.GetImageFromArray(hu.astype(kind)), str(tmp_path / "ct.nii.gz"))
        with pytest.raises(InputError, match="store the same bits as int16"):
            check_hu(read_image(tmp_path / "ct.nii.gz"))
    check_hu(held(hu.astype(np.uint16).view(np.int16)))


def test_numbers_that_are_lost_when_rounded_are_refused(tmp_path: Path) -> None:
    """0.006 to 0.3 is all 0 HU; an even image is an empty scan, and one of 0 and 1 is a picture."""
    wide = np.linspace(0.006, 0.3, 6 * 8 * 9, dtype=np.float32).reshape(6, 8, 9)
    path = tmp_path / "a.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(wide), str(path))
    with pytest.raises(InputError, match=r"voxels of 0\.006 to 0\.3: normalised"):
        read_image(path)
    sitk.WriteImage(sitk.GetImageFromArray(np.full((6, 8, 9), 0.3, np.float32)), str(path))
    assert not read_image(path).volume.array.any()
