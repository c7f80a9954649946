"""When two headers mean one grid: in parts of a voxel, the same whichever is asked, and the image's grid counts."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.core.errors import InputError
from bisc.core.geometry import GRID_TOLERANCE_VOXELS, Geometry, Triple, as_triple
from bisc.core.volume import NativeGrid, Volume
from bisc.evaluation.cases import score_images
from bisc.imageio import CaseImage, check_same_grid, on_grid_of, read_labels, read_stored_geometry
from tests.support.grids import AXIS_ORDERS, axis_angle, grid, rotation, signed_permutation

HEADER_BYTES = 352
HEADER_NOISE = 1e-6
"""Voxels by which double precision may blur a bound."""

sizes = st.tuples(*[st.integers(1, 600)] * 3)
spacings = st.tuples(*[st.floats(0.3, 6.0)] * 3)
directions = st.builds(
    lambda order, axis, angle: axis_angle(axis, angle) @ signed_permutation(order),
    st.sampled_from(AXIS_ORDERS),
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1),
    st.floats(-40, 40),
)
grids = st.builds(grid, sizes, spacings, st.tuples(*[st.floats(-500, 500)] * 3), directions)
axes = st.integers(0, 2)


def moved(base: Geometry, voxels_zyx: tuple[float, float, float]) -> Geometry:
    """The grid shifted by so many of its voxels along its own axes."""
    return base.cropped(voxels_zyx, base.shape_zyx)


def along(axis: int, value: float, others: float = 0.0) -> Triple:
    return as_triple([value if i == axis else others for i in range(3)])


def stretched(base: Geometry, axis: int, voxels: float) -> Geometry:
    """Spacing changed so that, the first face staying, the last lies so many voxels off."""
    factor = 1.0 + voxels / base.shape_zyx[axis]
    wider = replace(base, spacing_mm_zyx=as_triple(np.multiply(base.spacing_mm_zyx, along(axis, factor, 1.0))))
    face = along(axis, -0.5)
    origin = np.add(wider.origin_mm_xyz, base.index_to_physical(face) - wider.index_to_physical(face))
    return replace(wider, origin_mm_xyz=as_triple(origin))


def as_case(geometry: Geometry, name: str) -> CaseImage:
    native = NativeGrid.of(geometry)
    empty = np.broadcast_to(np.uint8(0), native.canonical.shape_zyx)
    return CaseImage(Path(name), Volume(empty, native.canonical), native)


def same(a: Geometry, b: Geometry) -> bool:
    """By the product's own check, which works on canonical grids, and alike from both sides."""
    answers = []
    for one, other in ((a, b), (b, a)):
        try:
            check_same_grid(as_case(one, "image.nii.gz"), as_case(other, "labels.nii.gz"))
            answers.append(True)
        except InputError:
            answers.append(False)
    assert answers[0] == answers[1] == a.is_same_grid(b) == b.is_same_grid(a)
    return answers[0]


@given(grids, axes, st.floats(-3.0, 3.0))
def test_a_shift_counts_in_voxels(base: Geometry, axis: int, voxels: float) -> None:
    """The same grid up to 0.35 voxels along any axis, another beyond: half and whole voxels always."""
    other = moved(base, along(axis, voxels))
    assert base.voxels_off(other) == pytest.approx(abs(voxels), abs=HEADER_NOISE)
    if abs(abs(voxels) - GRID_TOLERANCE_VOXELS) > HEADER_NOISE:
        assert same(base, other) == (abs(voxels) < GRID_TOLERANCE_VOXELS)


@given(grids, st.tuples(*[st.sampled_from([-2, -1, -0.5, 0, 0.5, 1, 3])] * 3).filter(any))
def test_half_and_whole_voxels_are_another_grid(base: Geometry, voxels: tuple[float, float, float]) -> None:
    """Along one axis or several: the corner taken for the centre, or an index counted from 1."""
    assert not same(base, moved(base, voxels))


@given(grids, axes, st.floats(-0.9, 3.0))
def test_a_stretch_counts_by_where_it_leads(base: Geometry, axis: int, voxels: float) -> None:
    """Spacing that puts the far face v voxels off puts corners v / 2 off on average (in the smaller of the voxels)."""
    other = stretched(base, axis, voxels)
    mean = abs(voxels) / 2.0 * max(1.0, base.spacing_mm_zyx[axis] / other.spacing_mm_zyx[axis])
    assert base.voxels_off(other) == pytest.approx(mean, rel=1e-6, abs=HEADER_NOISE)
    if abs(mean - GRID_TOLERANCE_VOXELS) > HEADER_NOISE:
        assert same(base, other) == (mean < GRID_TOLERANCE_VOXELS)


@given(grids, axes, st.floats(-3.0, 3.0), st.floats(-0.39, 0.39), st.floats(-2e-3, 2e-3), axes)
def test_no_voxel_of_the_same_grid_is_a_voxel_off(
    base: Geometry, axis: int, stretch: float, shift: float, turn: float, about: int
) -> None:
    """Whatever is mixed: accepted means that no corner lies farther off than twice the tolerance."""
    wide = stretched(base, axis, max(stretch, -0.5 * base.shape_zyx[axis]))
    bent = axis_angle(along(about, 1.0), float(np.rad2deg(turn))) @ wide.direction_matrix
    other = moved(replace(wide, direction=tuple(float(v) for v in bent.ravel())), along(axis, shift))
    if not base.is_same_grid(other):
        return
    last = np.subtract(base.shape_zyx, 1)
    for index in (picks * last for picks in np.ndindex(2, 2, 2)):
        off = base.physical_to_index(other.index_to_physical(index)) - index
        assert np.abs(off).max() <= 2 * GRID_TOLERANCE_VOXELS + HEADER_NOISE


@given(grids, axes)
def test_a_flip_is_another_grid(base: Geometry, axis: int) -> None:
    """Mirrored about its own middle: the same box, other voxels. One voxel deep, there is nothing to mirror."""
    matrix = np.array(base.direction_matrix)
    matrix[:, 2 - axis] *= -1
    origin = base.index_to_physical(along(axis, base.shape_zyx[axis] - 1))
    stored = replace(base, direction=tuple(float(v) for v in matrix.ravel()), origin_mm_xyz=as_triple(origin))
    assert not base.is_same_grid(stored)
    assert base.is_same_grid(base)


@given(st.integers(2, 600), spacings, directions, st.sampled_from([(0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0)]))
def test_swapped_axes_are_another_grid(
    n: int, spacing: Triple, direction: npt.NDArray[Any], order: tuple[int, ...]
) -> None:
    """A cube stored in another order of axes has the same size, and other voxels."""
    base = grid((n, n, n), spacing, direction=direction)
    columns = [2 - order[2 - j] for j in range(3)]
    matrix = base.direction_matrix[:, columns]
    swapped = replace(
        base,
        direction=tuple(float(v) for v in matrix.ravel()),
        spacing_mm_zyx=as_triple([spacing[a] for a in order]),
    )
    assert not base.is_same_grid(swapped)


def test_the_thickness_of_a_single_slice_tells() -> None:
    """Its centre is where it was: 3 mm against 5 mm puts its faces 1 mm off, a third of 3; against 6 mm, a half."""
    base = grid((1, 6, 7))
    assert base.voxels_off(replace(base, spacing_mm_zyx=(5.0, 0.8, 0.7))) == pytest.approx(1 / 3)
    assert same(base, replace(base, spacing_mm_zyx=(5.0, 0.8, 0.7)))
    assert not same(base, replace(base, spacing_mm_zyx=(6.0, 0.8, 0.7)))


KITS = (512, 512, 60)


def header_file(
    path: Path, affine: npt.NDArray[Any], sform: int, qform: int, size: tuple[int, int, int] = KITS
) -> Path:
    """Zeros of one byte, which the disk need not hold, under a header with these codes."""
    image = nib.Nifti1Image(np.broadcast_to(np.uint8(0), size), affine)
    image.set_qform(affine, qform)
    image.set_sform(affine if sform else None, sform)
    if not qform:
        image.header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    image.header["vox_offset"], image.header["magic"] = HEADER_BYTES, b"n+1"
    path.write_bytes(image.header.binaryblock)
    os.truncate(path, HEADER_BYTES + math.prod(size))
    return path


def ras(spacing: tuple[float, float, float], angles_rad: tuple[float, float, float] = (0, 0, 0)) -> npt.NDArray[Any]:
    out = np.eye(4)
    turned = rotation(as_triple(np.rad2deg(angles_rad)))
    out[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ turned @ np.diag(spacing)
    out[:3, 3] = 200.0, 180.0, -400.0
    return out


ANGLES = [
    (0.002, 0.003, 0.001),
    (0.0, 0.0, 0.0011),
    (0.01, 0.02, 0.0009),
    (0.3, 0.0, 0.0012),
    (0.0, 0.02, 0.0005),
    (0.1, 0.2, 0.3),
    (-0.4, 0.05, -0.0008),
]


@pytest.mark.parametrize("codes", [(0, 1), (2, 1), (1, 2), (1, 0), (0, 2)])
@pytest.mark.parametrize("angles", ANGLES, ids=str)
def test_what_nibabel_makes_of_an_oblique_header_is_the_same_grid(
    tmp_path: Path, angles: tuple[float, float, float], codes: tuple[int, int]
) -> None:
    """A mask saved under `nib.load(image).affine`: nibabel's turn of a quaternion, as a sform."""
    path = header_file(tmp_path / "image.nii", ras((0.78125, 0.78125, 2.5), angles), *codes)
    mask = header_file(tmp_path / "mask.nii", nib.load(path).affine, 2, 0)
    assert same(read_stored_geometry(path), read_stored_geometry(mask))


@pytest.mark.parametrize("spacing", [0.7421875, 0.78125, 0.9765625, 0.644531, 0.724609, 0.5859375, 0.5005, 0.8203125])
def test_spacings_to_three_decimals_are_the_same_grid(tmp_path: Path, spacing: float) -> None:
    """And to two only where that is as near: 0.78 for 0.78125 puts the far corner of 512 voxels 0.82 off."""
    path = header_file(tmp_path / "image.nii", ras((spacing, spacing, 2.5)), 1, 1)
    mask = header_file(tmp_path / "mask.nii", ras((round(spacing, 3), round(spacing, 3), 2.5)), 1, 1)
    assert same(read_stored_geometry(path), read_stored_geometry(mask))
    rough = round(spacing, 2)
    coarse = header_file(tmp_path / "coarse.nii", ras((rough, rough, 2.5)), 1, 1)
    far = abs(rough - spacing) * 511.5 / min(rough, spacing)
    assert same(read_stored_geometry(path), read_stored_geometry(coarse)) == (far < 2 * GRID_TOLERANCE_VOXELS)


@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_origins_to_a_few_decimals_are_the_same_grid(decimals: int) -> None:
    """A twentieth of a millimetre is no part of a voxel that counts."""
    base = grid(origin_mm_xyz=(-200.04997, -171.25004, 411.03333))
    assert same(base, replace(base, origin_mm_xyz=as_triple(np.round(base.origin_mm_xyz, decimals))))


def test_the_reference_counts_in_scores(tmp_path: Path) -> None:
    """Volumes are those of the reference's voxels, for prediction and reference: 1000 x 0.7421875^2 x 2.5 mm3."""
    size = (512, 512, 30)
    voxels = np.zeros(size, np.uint8)
    voxels[200:210, 200:210, 10:20] = 1
    for name, spacing in (("ref", 0.7421875), ("pred", 0.742)):
        nib.save(nib.Nifti1Image(voxels, ras((spacing, spacing, 2.5))), tmp_path / f"{name}.nii.gz")
    scores = score_images("a", read_labels(tmp_path / "ref.nii.gz"), read_labels(tmp_path / "pred.nii.gz"))
    assert scores.dice_kidney == 1.0
    assert scores.volume_kidney_ref_ml == scores.volume_kidney_pred_ml
    assert scores.volume_kidney_ref_ml == pytest.approx(1000 * 0.7421875**2 * 2.5 / 1000, rel=1e-6)


def test_labels_lie_on_their_image_s_grid(tmp_path: Path) -> None:
    """In training the image's grid counts; a grid that is another one is refused."""
    image, labels = grid((20, 30, 40)), moved(grid((20, 30, 40)), (0.2, -0.2, 0.1))
    placed = on_grid_of(as_case(image, "image.nii.gz"), as_case(labels, "labels.nii.gz"))
    assert placed.volume.geometry == image
    assert placed.native.geometry == labels
    with pytest.raises(InputError, match=r"on average 0\.5 voxels along an axis"):
        on_grid_of(as_case(image, "image.nii.gz"), as_case(moved(image, (0.5, 0.0, 0.0)), "labels.nii.gz"))


def test_one_file_may_differ_in_itself_as_two_may(tmp_path: Path) -> None:
    """Forms 1.7 mm apart along slices of 5 mm: 0.34 voxels. Refused at 0.42, and at more than 1 mm in plane."""
    base = ras((0.78125, 0.78125, 5.0))
    for axis, mm, sound in ((2, 1.7, True), (2, 2.1, False), (0, 0.9, True), (0, 1.1, False), (1, 2.0, False)):
        image = nib.Nifti1Image(np.zeros((64, 64, 20), np.uint8), base)
        off = base.copy()
        off[axis, 3] += mm
        image.set_qform(off, 1)
        image.set_sform(base, 1)
        path = tmp_path / "a.nii"
        nib.save(image, path)
        if sound:
            read_labels(path)
        else:
            with pytest.raises(InputError, match="mm apart; expected one place for each voxel"):
                read_labels(path)
