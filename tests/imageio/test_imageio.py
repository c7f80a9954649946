"""Files to canonical volumes and back: nothing moves, nothing is lost, and every fault is told in one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from bisc.imageio import read_image, read_labels, write_image
from tests.support.grids import axis_angle, fault, grid, write_itk

NIFTI_MM = 1e-3
"""NIfTI keeps positions in float32: 2**-24 of a few hundred mm, several times over."""
NIFTI_COSINE = 1e-6
HEADER_ROUNDING = {".nii.gz": 1e-7, ".nii": 1e-7, ".nrrd": 1e-15, ".mha": 0.0}
"""NIfTI keeps float32 cosines, as a quaternion too; NRRD their product with the spacing, which is divided again."""
SUFFIXES = list(HEADER_ROUNDING)
LANDMARKS_ZYX = {(0, 0, 0): 11, (6, 4, 2): 22, (2, 3, 1): 33, (5, 0, 2): 44}

IPL = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
STORED = grid((7, 5, 3), (0.8, 0.9, 3.0), (-101.5, 33.25, 612.0), axis_angle((1, -2, 0.5), 17.0) @ IPL)
"""Oblique, anisotropic, odd sizes, slices running fastest: as KiTS19 stores, and tilted."""


def landmarks() -> npt.NDArray[Any]:
    """Zeros with four marked voxels, on the stored grid."""
    array = np.zeros(STORED.shape_zyx, np.int16)
    for index, value in LANDMARKS_ZYX.items():
        array[index] = value
    return array


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_read_then_write_changes_nothing(tmp_path: Path, suffix: str) -> None:
    """Header identical to the file's own, number by number, and every voxel in its place."""
    source = write_itk(tmp_path / f"in{suffix}", landmarks(), STORED)
    case = read_image(source)
    write_image(tmp_path / f"out{suffix}", case.volume.array, case.native)
    before, after = (sitk.ReadImage(str(tmp_path / f"{n}{suffix}")) for n in ("in", "out"))
    assert np.array_equal(sitk.GetArrayFromImage(after), landmarks())
    assert after.GetSize() == before.GetSize()
    assert after.GetOrigin() == before.GetOrigin()
    assert after.GetSpacing() == pytest.approx(before.GetSpacing(), abs=HEADER_ROUNDING[suffix])
    assert after.GetDirection() == pytest.approx(before.GetDirection(), abs=HEADER_ROUNDING[suffix])
    assert read_image(tmp_path / f"out{suffix}").native.geometry.is_same_grid(case.native.geometry, NIFTI_MM)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_landmarks_lie_where_they_were_put(tmp_path: Path, suffix: str) -> None:
    """In the canonical volume each landmark has its value and its mm; so it has in ITK's view of the result."""
    case = read_image(write_itk(tmp_path / f"in{suffix}", landmarks(), STORED))
    assert case.volume.array.shape == (3, 5, 7)
    for index, value in LANDMARKS_ZYX.items():
        (found,) = np.argwhere(case.volume.array == value)
        expected = STORED.index_to_physical(index)
        assert case.volume.geometry.index_to_physical(found) == pytest.approx(expected, abs=NIFTI_MM)
    write_image(tmp_path / f"out{suffix}", case.volume.array, case.native)
    written = sitk.ReadImage(str(tmp_path / f"out{suffix}"))
    for (z, y, x), value in LANDMARKS_ZYX.items():
        assert written[x, y, z] == value
        there = written.TransformIndexToPhysicalPoint((x, y, z))
        assert there == pytest.approx(STORED.index_to_physical((z, y, x)), abs=NIFTI_MM)


def test_nibabel_sees_the_same_landmarks(tmp_path: Path) -> None:
    """An independent reader: RAS mm of nibabel's affine, turned to LPS, for the file as written and as rewritten."""
    case = read_image(write_itk(tmp_path / "in.nii.gz", landmarks(), STORED))
    write_image(tmp_path / "out.nii.gz", case.volume.array, case.native)
    for name in ("in", "out"):
        image = nib.load(tmp_path / f"{name}.nii.gz")
        array = np.asarray(image.dataobj)
        for (z, y, x), value in LANDMARKS_ZYX.items():
            assert array[x, y, z] == value
            lps = (image.affine @ (x, y, z, 1))[:3] * (-1, -1, 1)
            assert lps == pytest.approx(STORED.index_to_physical((z, y, x)), abs=NIFTI_MM)


def test_a_nibabel_file_is_read_alike(tmp_path: Path) -> None:
    """A RAS file of nibabel's making: its voxel at the patient's left, back and top is canonical's last corner.

    In RAS x grows to the right and y to the front, so leftmost is index 0 and rearmost is index 0.
    """
    array = np.zeros((4, 5, 6), np.int16)
    array[0, 0, 5] = 7
    nib.save(nib.Nifti1Image(array, np.diag([0.7, 0.8, 3.0, 1.0])), tmp_path / "ras.nii.gz")
    canonical = read_image(tmp_path / "ras.nii.gz").volume
    assert canonical.geometry.spacing_mm_zyx == pytest.approx((3.0, 0.8, 0.7), abs=NIFTI_COSINE)
    assert np.argwhere(canonical.array).tolist() == [[5, 4, 3]]


@pytest.mark.parametrize("direction", [np.eye(3), IPL, np.diag([-1.0, -1.0, 1.0])], ids=["LPS", "IPL", "RAS"])
def test_patients_left_has_larger_canonical_x(tmp_path: Path, direction: npt.NDArray[Any]) -> None:
    """However a file is stored, a mark at LPS x = +40 mm has a larger canonical x index than one at -40 mm."""
    geometry = grid((11, 11, 11), (10.0, 10.0, 10.0), (0.0, 0.0, 0.0), direction)
    middle = geometry.index_to_physical((5, 5, 5))
    array = np.zeros(geometry.shape_zyx, np.uint8)
    for value, x_mm in ((1, 40.0), (2, -40.0)):
        at = np.rint(geometry.physical_to_index(middle + np.array((x_mm, 0.0, 0.0)))).astype(int)
        array[tuple(at)] = value
    volume = read_labels(write_itk(tmp_path / "a.nii.gz", array, geometry)).volume
    left, right = (np.argwhere(volume.array == value)[0] for value in (1, 2))
    assert left[2] - right[2] == 8
    assert left[:2].tolist() == right[:2].tolist()


def test_hu_types(tmp_path: Path) -> None:
    """Floats are rounded, out-of-range values clipped to int16, integers of any width kept."""
    values = np.array([-1024.4, 0.6, 40000.0, -40000.0]).reshape(1, 1, 4)
    read = read_image(write_itk(tmp_path / "f.mha", values)).volume.array
    assert read.dtype == np.int16
    assert read.ravel().tolist() == [-1024, 1, 32767, -32768]
    for kind in (np.uint8, np.int16, np.uint16, np.int32, np.int64):
        path = write_itk(tmp_path / f"{np.dtype(kind).name}.nrrd", np.arange(8, dtype=kind).reshape(2, 2, 2))
        assert read_image(path).volume.array.ravel().tolist() == list(range(8))
    wide = write_itk(tmp_path / "wide.nrrd", np.full((2, 2, 2), 70000, np.int32))
    assert read_image(wide).volume.array.max() == 32767


def test_cysts_become_kidney_and_whole_floats_are_labels(tmp_path: Path) -> None:
    """3 -> 1 (KiTS19's convention); a float file with 0, 1, 2 is a label map."""
    values = np.array([0, 1, 2, 3], float).reshape(1, 2, 2)
    for kind in (np.uint8, np.int16, np.float32, np.float64):
        labels = read_labels(write_itk(tmp_path / f"{np.dtype(kind).name}.nii.gz", values.astype(kind))).volume.array
        assert labels.dtype == np.uint8
        assert labels.ravel().tolist() == [0, 1, 2, 1]


def test_one_volume_in_four_dimensions_is_read(tmp_path: Path) -> None:
    """Some exporters write (x, y, z, 1)."""
    array = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
    case = read_image(write_itk(tmp_path / "a.mha", array))
    assert np.array_equal(case.volume.array, array[0])
    assert case.native.geometry.shape_zyx == (2, 3, 4)


@pytest.fixture(scope="module")
def dicom(shared_folder: Path) -> Path:
    return shared_folder / "ct" / "ts_dicom_no_kidney"


def test_dicom_series(dicom: Path) -> None:
    """20 real slices: size, spacing and HU as its README and headers say."""
    case = read_image(dicom)
    assert case.volume.array.shape == (20, 512, 512)
    assert case.volume.array.dtype == np.int16
    assert case.native.geometry.spacing_mm_zyx == pytest.approx((2.0, 0.9765625, 0.9765625), abs=1e-6)
    lowest = min(sitk.ReadImage(str(p)).GetOrigin()[2] for p in dicom.iterdir())
    assert case.volume.geometry.origin_mm_xyz[2] == pytest.approx(lowest, abs=1e-6)
    assert -1100 < case.volume.array.min() <= -1000


def test_dicom_series_that_lacks_a_slice(tmp_path: Path, dicom: Path) -> None:
    """ITK alone would stretch the others over the gap."""
    for path in sorted(dicom.iterdir()):
        shutil.copy(path, tmp_path)
    by_z = sorted(tmp_path.iterdir(), key=lambda p: sitk.ReadImage(str(p)).GetOrigin()[2])
    by_z[7].unlink()
    message = fault(read_image, tmp_path)
    assert message.startswith("slices 7 and 8 of 19 lie 4 mm apart, the others 2 mm (CT.")
