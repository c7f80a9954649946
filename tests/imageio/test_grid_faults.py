"""Grids that mean two things or none: straightened with a notice or refused with the angle, never bent in silence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.geometry import (
    GRID_TOLERANCE_VOXELS,
    MAX_DRIFT,
    SHEAR_TOLERANCE_DEG,
)
from bisc.imageio import check_same_grid, read_image, read_labels, read_stored_geometry, write_image
from bisc.imageio.formats.nifti_header import FORMS_TOLERANCE_MM
from tests.support.grids import fault, grid, rotation, write_itk
from tests.support.noticed import noticed, unnoticed

SHAPE = (5, 6, 7)
TURN = rotation((20.0, -10.0, 30.0))
READERS = [read_image, read_stored_geometry]


def sheared(drift: float) -> npt.NDArray[Any]:
    """A turned direction whose second and third axis miss a right angle by asin(drift), all of unit length."""
    bent = np.eye(3)
    bent[:, 2] = 0.0, drift, np.sqrt(1.0 - drift**2)
    return TURN @ bent


def nifti(
    path: Path,
    sform: npt.NDArray[Any] | None,
    qform: npt.NDArray[Any] | None,
    codes: tuple[int, int] = (1, 1),
    pixdim: object = None,
) -> Path:
    """A NIfTI file of nibabel's making with forms of our choice, (4, 4) RAS."""
    image = nib.Nifti1Image(np.zeros(SHAPE[::-1], np.int16), None)
    for form, code, put in ((sform, codes[0], image.header.set_sform), (qform, codes[1], image.header.set_qform)):
        put(form, code if form is not None else 0)
    if qform is None:
        steps = np.linalg.norm(sform[:3, :3], axis=0) if pixdim is None and sform is not None else pixdim
        image.header["pixdim"][1:4] = (0.7, 0.8, 3.0) if steps is None else steps
    nib.save(image, path)
    return path


def affine(direction: npt.NDArray[Any], spacing: tuple[float, ...] = (0.7, 0.8, 3.0)) -> npt.NDArray[Any]:
    """(4, 4) RAS of an LPS direction."""
    out = np.eye(4)
    out[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ direction @ np.diag(spacing)
    out[:3, 3] = 12.5, -30.25, 411.0
    return out


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii", ".nii.gz"])
@pytest.mark.parametrize("degrees", [0.1, 1.0, 17.5])
def test_sheared_grids_are_refused_with_their_angle(
    tmp_path: Path, read: Callable[[Path], object], suffix: str, degrees: float
) -> None:
    """One line: the file, the angle found, what is expected and the mend; from the header alone too."""
    direction = sheared(np.sin(np.deg2rad(degrees)))
    path = tmp_path / f"tilted{suffix}"
    if "nii" in suffix:
        nifti(path, affine(direction), None)
    else:
        write_itk(path, np.zeros(SHAPE, np.int16), grid(SHAPE, direction=direction))
    assert fault(read, path).startswith(
        f"its axes miss a right angle by {degrees:.3g} degrees (a sheared grid, as of a tilted gantry); expected axes "
        f"of unit length at right angles (to {SHEAR_TOLERANCE_DEG:g} degrees); resample it onto a straight grid"
    )


def test_a_qform_does_not_hide_a_sheared_sform(tmp_path: Path) -> None:
    """ITK reads the qform and passes over the shear; nibabel, and so half of all tools, reads the sform."""
    path = nifti(tmp_path / "a.nii.gz", affine(sheared(0.26)), affine(TURN))
    assert sitk.ReadImage(str(path)).GetDirection() == pytest.approx(TURN.ravel(), abs=1e-6)
    for read in READERS:
        assert fault(read, path).startswith("its axes miss a right angle by 15.1 degrees")


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 2), (4, 1)])
def test_a_mirrored_sform_is_not_chosen_by_code(tmp_path: Path, codes: tuple[int, int]) -> None:
    """Left and right by the sform's account are right and left by the qform's; ITK's choice depends on the codes."""
    mirrored = affine(np.eye(3) @ np.diag([-1.0, 1.0, 1.0]))
    path = nifti(tmp_path / "a.nii.gz", mirrored, affine(np.eye(3)), codes)
    for read in READERS:
        message = fault(read, path)
        assert message.startswith("sform and qform place voxels up to 8.4 mm apart; expected one place")  # 2 x 6 x 0.7
        assert "sform: steps (-0.7 " in message
        assert "qform: steps (0.7 " in message


def test_a_pixdim_that_the_sform_denies(tmp_path: Path) -> None:
    """ITK takes the spacing from the one and the direction from the other: 5 mm slices where nibabel sees 3 mm."""
    path = nifti(tmp_path / "a.nii.gz", affine(TURN), None, pixdim=(0.7, 0.8, 5.0))
    assert sitk.ReadImage(str(path)).GetSpacing()[2] == 5.0
    for read in READERS:
        assert fault(read, path).startswith("its header gives two spacings: 0.7 x 0.8 x 5 (pixdim)")


@given(st.floats(0.0, 3.0), st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1))
@settings(max_examples=25)
def test_forms_may_differ_by_their_tolerance(
    tmp_path_factory: pytest.TempPathFactory, mm: float, way: tuple[float, float, float]
) -> None:
    """Moved by less the file is read, moved by more it is refused (1e-3 mm around the tolerance is float32's).

    By less: 1 mm, or what two files may differ by, in voxels.
    """
    moved = affine(TURN)
    moved[:3, 3] += mm * np.asarray(way) / np.linalg.norm(way)
    path = nifti(tmp_path_factory.mktemp("forms") / "a.nii", affine(TURN), moved)
    voxels = np.abs(np.linalg.solve(affine(TURN), moved)[:3, 3]).max()
    if mm < FORMS_TOLERANCE_MM - 1e-3 or voxels < GRID_TOLERANCE_VOXELS - 1e-3:
        read_stored_geometry(path)
    elif mm > FORMS_TOLERANCE_MM + 1e-3 and voxels > GRID_TOLERANCE_VOXELS + 1e-3:
        assert "mm apart" in fault(read_stored_geometry, path)


@given(st.tuples(*[st.floats(-180, 180)] * 3), st.booleans(), st.sampled_from([(0, 1), (1, 0), (1, 1), (2, 1)]))
@settings(max_examples=40)
def test_sound_forms_pass_in_silence(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, float, float],
    left_handed: bool,
    codes: tuple[int, int],
) -> None:
    """Any rotation, mirrored or not, in nibabel's float32 sform, qform or both: no notice."""
    direction = rotation(angles) @ np.diag([1.0, 1.0, -1.0 if left_handed else 1.0])
    both = affine(direction, (0.78125, 0.9, 3.0))
    path = nifti(
        tmp_path_factory.mktemp("sound") / "a.nii", both if codes[0] else None, both if codes[1] else None, codes
    )
    with unnoticed():
        stored = read_stored_geometry(path)
    ours = stored.index_to_physical(np.subtract(SHAPE, 1))
    theirs = (both @ (*np.subtract(SHAPE[::-1], 1), 1))[:3] * (-1, -1, 1)
    assert ours == pytest.approx(theirs, abs=0.02)  # the quaternion's 6.4e-4 rad over 14 mm


def test_a_file_without_orientation_is_named(tmp_path: Path) -> None:
    """Neither form: the axes are a guess, so left may be right, and the user is told."""
    path = nifti(tmp_path / "a.nii.gz", None, None)
    with noticed(re.escape(f"{path}: no orientation in its header")):
        assert read_image(path).volume.array.shape == SHAPE


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("drift", [1e-6, 1e-5, 6e-5, 5e-4])
def test_drift_is_straightened_with_a_notice(tmp_path: Path, suffix: str, drift: float) -> None:
    """The grid worked on is orthonormal; no voxel moves by more than the drift over the scan; a mask fits its image."""
    stored = grid(SHAPE, direction=sheared(drift))
    path = tmp_path / f"in{suffix}"
    if "nii" in suffix:
        nifti(path, affine(sheared(drift)), None)
    else:
        write_itk(path, np.zeros(SHAPE, np.int16), stored)
    with noticed(re.escape(f"{path}: its direction matrix is off by {drift:.0e}"[:-4])) as notes:
        image = read_image(path)
    assert len(notes) == 1
    work = image.volume.geometry
    assert work.drift < 1e-12
    moved = np.linalg.norm(image.native.geometry.corners() - image.native.geometry.orthonormal().corners(), axis=1)
    assert moved.max() <= drift * np.linalg.norm(stored.extent_mm_zyx)
    if suffix != ".nii.gz":  # ITK gives NIfTI's above 1e-4 straightened already
        assert image.native.geometry.direction == pytest.approx(stored.direction, abs=1e-9)
    write_image(tmp_path / "mask.nii.gz", np.ones(work.shape_zyx, np.uint8), image.native)
    mask = read_labels(tmp_path / "mask.nii.gz")
    check_same_grid(image, mask)


def test_drift_within_float32_passes_in_silence(tmp_path: Path) -> None:
    """Below `ROUNDING_DRIFT` no notice; the shear tolerance is the sine of its angle."""
    with unnoticed():
        read_image(write_itk(tmp_path / "a.mha", np.zeros(SHAPE, np.int16), grid(SHAPE, direction=sheared(4e-7))))
    assert pytest.approx(0.05) == np.rad2deg(np.arcsin(MAX_DRIFT))


@pytest.mark.parametrize("length", [2.0, 0.5, 1.01])
def test_axes_of_another_length_are_refused(tmp_path: Path, length: float) -> None:
    """MHA may scale its directions: spacing x direction are then the voxels' true distances, and spacing is not."""
    direction = TURN @ np.diag([1.0, length, 1.0])
    path = write_itk(tmp_path / "a.mha", np.zeros(SHAPE, np.int16), grid(SHAPE, direction=direction))
    assert fault(read_image, path).startswith(f"an axis of its direction has length {length:.4g}; expected")


@given(st.tuples(*[st.floats(-180, 180)] * 3), st.floats(-MAX_DRIFT, MAX_DRIFT))
def test_orthonormal_is_the_nearest(angles: tuple[float, float, float], drift: float) -> None:
    """Polar decomposition: orthonormal, the same hand, idempotent, and at most half of the drift away."""
    bent = np.eye(3)
    bent[1, 2] = drift
    stored = grid(direction=rotation(angles) @ bent)
    straight = stored.orthonormal()
    assert straight.drift < 1e-12
    assert straight.orthonormal() == straight
    assert np.linalg.det(straight.direction_matrix) > 0
    assert np.abs(straight.direction_matrix - stored.direction_matrix).max() <= 0.51 * abs(drift) + 1e-12
    assert (straight.origin_mm_xyz, straight.spacing_mm_zyx) == (stored.origin_mm_xyz, stored.spacing_mm_zyx)
