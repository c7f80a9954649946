"""Surfaces are closed, hold their voxels' volume, and lie where the bodies do that the voxels were cut from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from bisc.core.geometry import Geometry, Triple
from bisc.imageio import read_labels
from bisc.measurement.mesh import MOST_FACES, mesh_of
from bisc.preprocessing.segments import divide
from tests.support.grids import AXIS_ORDERS, grid, signed_permutation

KITS: Triple = (3.0, 0.8, 0.8)
HALF_SLICE_MM = 1.5
VOLUME_SHARE = 1e-3
"""What is promised is 2 %; the last step of `mesh_of` makes it exact but for rounding."""
FACES_SHARE = 1.3
"""The lattice's step is chosen by an estimate of the surface."""
Float = npt.NDArray[np.float64]
Body = Callable[[Float], Float]
"""From (n, 3) points, (x, y, z) mm around the body's middle, to signed distances, positive outside."""
TURNS = [
    np.eye(3),
    Rotation.random(random_state=1).as_matrix(),
    *(signed_permutation(AXIS_ORDERS[k]) @ Rotation.random(random_state=k).as_matrix() for k in (1, 13)),
]
"""The grid's own directions, turned, and turned and mirrored: axis orders and flips with and without a reflection."""


def ball(radius_mm: float) -> Body:
    return lambda p: np.asarray(np.linalg.norm(p, axis=-1) - radius_mm)


def ellipsoid(radii_mm: Triple) -> Body:
    """To first order, which is exact at the surface."""

    def distance(p: Float) -> Float:
        share, slope = (np.linalg.norm(p / np.power(radii_mm, k), axis=-1) for k in (1, 2))
        return np.asarray(share * (share - 1) / np.maximum(slope, 1e-9))

    return distance


def halved(body: Body, at_mm: float) -> Body:
    """What lies to the left of a plane."""
    return lambda p: np.maximum(body(p), at_mm - p[..., 0])


def torus(ring_mm: float, tube_mm: float) -> Body:
    return lambda p: np.asarray(np.hypot(np.hypot(p[..., 0], p[..., 1]) - ring_mm, p[..., 2]) - tube_mm)


def horseshoe(ring_mm: float, tube_mm: float) -> Body:
    """Half of a torus, its ends round."""

    def distance(p: Float) -> Float:
        ends = np.abs(p) - np.array([ring_mm, 0.0, 0.0])
        return np.where(p[..., 1] > 0, torus(ring_mm, tube_mm)(p), ball(tube_mm)(ends))

    return distance


def cut(
    body: Body, reach_mm: float, turn: Float, spacing_mm_zyx: Triple = KITS
) -> tuple[npt.NDArray[np.bool_], Geometry]:
    """Voxels whose centres lie within a body around LPS (10, -20, 300)."""
    shape = np.ceil(2 * (reach_mm + 3.0) / np.asarray(spacing_mm_zyx)).astype(int)
    on = grid((int(shape[0]), int(shape[1]), int(shape[2])), spacing_mm_zyx, (0.0, 0.0, 0.0), turn)
    middle = on.index_to_physical((shape - 1) / 2 + 0.3)
    x, y, z = np.asarray(MIDDLE) - middle
    on = grid(on.shape_zyx, spacing_mm_zyx, (float(x), float(y), float(z)), turn)
    points = on.index_to_physical(np.moveaxis(np.indices(on.shape_zyx), 0, -1))
    return body(points - MIDDLE) <= 0, on


MIDDLE = (10.0, -20.0, 300.0)


def check(mesh: trimesh.Trimesh, mask: npt.NDArray[np.bool_], on: Geometry) -> None:
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.volume / 1000 == pytest.approx(np.count_nonzero(mask) * on.voxel_volume_ml, rel=VOLUME_SHARE)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(
    ("body", "reach_mm"),
    [
        (ball(5.0), 5.0),
        (ball(12.0), 12.0),
        (ellipsoid((12.0, 15.0, 20.0)), 20.0),
        (torus(18.0, 7.0), 25.0),
        (horseshoe(20.0, 8.0), 28.0),
    ],
    ids=["0.5 ml", "7 ml", "ellipsoid", "torus", "horseshoe"],
)
def test_surfaces_lie_where_the_bodies_do(body: Body, reach_mm: float, turn: Float) -> None:
    """On KiTS19's slices, nowhere half a slice off; turned outwards on every grid."""
    mask, on = cut(body, reach_mm, turn)
    mesh = mesh_of(mask, on)
    check(mesh, mask, on)
    off_mm = body(np.asarray(mesh.vertices) - MIDDLE)
    assert np.abs(off_mm).max() < HALF_SLICE_MM
    assert np.sqrt(np.mean(off_mm**2)) < HALF_SLICE_MM / 3
    outside = np.asarray(mesh.vertices + 2.0 * mesh.vertex_normals) - MIDDLE
    assert (body(outside) > 0).mean() > 0.99


@pytest.mark.parametrize("turn", TURNS)
def test_sharp_rims_are_rounded_off(turn: Float) -> None:
    """Of a ball that a plane cuts: there by up to two thirds of a slice, two slices away no more than a ball."""
    body = halved(ball(20.0), -4.0)
    mask, on = cut(body, 20.0, turn)
    mesh = mesh_of(mask, on)
    check(mesh, mask, on)
    at = np.asarray(mesh.vertices) - MIDDLE
    rim_mm = np.hypot(np.hypot(at[:, 1], at[:, 2]) - np.sqrt(20.0**2 - 4.0**2), at[:, 0] + 4.0)
    off_mm = np.abs(body(at))
    assert off_mm.max() < 2.0
    assert off_mm[rim_mm > 4 * HALF_SLICE_MM].max() < HALF_SLICE_MM


def test_surfaces_are_smooth() -> None:
    """Of a body as long as a kidney: normals are off by 3 degrees on the whole."""
    radii = np.array([20.0, 25.0, 55.0])
    mask, on = cut(ellipsoid((20.0, 25.0, 55.0)), 55.0, TURNS[1])
    mesh = mesh_of(mask, on)
    check(mesh, mask, on)
    true = (np.asarray(mesh.vertices) - MIDDLE) / radii**2
    cosines = (true * mesh.vertex_normals).sum(axis=1) / np.linalg.norm(true, axis=1)
    assert np.rad2deg(np.sqrt(np.mean(np.arccos(cosines.clip(-1, 1)) ** 2))) < 4.0


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 6), (2, 3, 4), (1, 40, 1), (30, 1, 1), (1, 60, 60)])
def test_small_and_thin_ones_keep_their_volume(shape: tuple[int, int, int]) -> None:
    """One voxel of 2 mm3, 0.05 ml in one slice and in two, threads and a sheet; in a corner of the array too."""
    mask = np.ones(shape, dtype=bool)
    on = grid(shape, KITS)
    mesh = mesh_of(mask, on)
    check(mesh, mask, on)
    middle = on.index_to_physical((np.asarray(shape) - 1) / 2)
    assert np.abs(mesh.center_mass - middle).max() < 0.05
    assert mesh.body_count == 1


def test_a_speck_does_not_vanish_beside_a_large_one() -> None:
    """Each component keeps its own volume, and a cavity is one."""
    mask, on = cut(ball(15.0), 15.0, TURNS[2])
    mask[0, 0, 0] = True
    hole = cut(ball(7.0), 15.0, TURNS[2])[0]
    hollow = mask & ~hole
    mesh = mesh_of(hollow, on)
    check(mesh, hollow, on)
    volumes = sorted(float(one.volume) for one in mesh.split(only_watertight=False, repair=False))
    assert len(volumes) == 3
    cavity_mm3 = np.count_nonzero(hole) * on.voxel_volume_ml * 1000
    assert (
        cavity_mm3 ** (1 / 3) - (-volumes[0]) ** (1 / 3)
    ) < 1.0  # the wall as a whole keeps its volume, not its faces
    assert volumes[1] == pytest.approx(on.voxel_volume_ml * 1000, rel=VOLUME_SHARE)


def test_large_ones_have_no_more_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    mask, on = cut(ball(25.0), 25.0, TURNS[0])
    assert len(mesh_of(mask, on).faces) > 20_000
    monkeypatch.setattr("bisc.measurement.mesh.MOST_FACES", 5000)
    mesh = mesh_of(mask, on)
    check(mesh, mask, on)
    assert 5000 / FACES_SHARE < len(mesh.faces) < 5000


def test_the_same_mask_gives_the_same_surface() -> None:
    mask, on = cut(torus(18.0, 7.0), 25.0, TURNS[1])
    one, other = mesh_of(mask, on), mesh_of(mask.copy(), on)
    assert np.array_equal(one.vertices, other.vertices) and np.array_equal(one.faces, other.faces)


def test_no_voxel_no_surface() -> None:
    with pytest.raises(ValueError, match="a voxel"):
        mesh_of(np.zeros((3, 4, 5), dtype=bool), grid((3, 4, 5)))
    with pytest.raises(ValueError, match="3, 4, 5"):
        mesh_of(np.ones((3, 4, 6), dtype=bool), grid((3, 4, 5)))


LONG = ["case_00004", "case_00005", "case_00030", "case_00114", "case_00194", "case_00200"]


@pytest.mark.parametrize("case", ["case_00061", *(pytest.param(case, marks=pytest.mark.long) for case in LONG)])
def test_real_kidneys_and_tumours(shared_folder: Path, case: str) -> None:
    """Closed, the voxels' volume to the promised 2 % and better, and one shell at least for each component."""
    volume = read_labels(shared_folder / "kits19" / case / "segmentation.nii.gz").volume
    numbered, segments = divide(volume.array, volume.geometry, 5.0)
    assert segments
    for one in segments:
        mask = numbered == one.number
        mesh = mesh_of(mask, volume.geometry)
        check(mesh, mask, volume.geometry)
        assert len(mesh.faces) < MOST_FACES * FACES_SHARE
