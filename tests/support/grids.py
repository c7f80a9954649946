"""What several test modules build: oblique and anisotropic grids, spheres, files written by ITK alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.core.geometry import AxisOrder, Geometry
from bisc.planners.fingerprint import CaseFingerprint, Fingerprint, KidneyMeasure

AXIS_ORDERS = [
    AxisOrder((i, j, k), (a, b, c))
    for i, j, k in permutations(range(3))
    for a, b, c in product((False, True), repeat=3)
]
"""All 48."""


def rotation(angles_deg: tuple[float, float, float]) -> npt.NDArray[Any]:
    """Rotation about x, then y, then z."""
    a, b, c = np.deg2rad(angles_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def axis_angle(axis: tuple[float, float, float], angle_deg: float) -> npt.NDArray[Any]:
    """Rotation by `angle_deg` about `axis` (Rodrigues)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    t = np.deg2rad(angle_deg)
    return np.asarray(np.eye(3) + np.sin(t) * cross + (1 - np.cos(t)) * cross @ cross)


def signed_permutation(order: AxisOrder) -> npt.NDArray[Any]:
    """Direction of the stored grid that `order` brings to exact LPS: the axes it names, turned where it flips."""
    matrix = np.zeros((3, 3))
    for canonical, stored in enumerate(order.axes):
        matrix[2 - canonical, 2 - stored] = -1.0 if order.flips[canonical] else 1.0
    return matrix


def grid(
    shape_zyx: tuple[int, int, int] = (5, 6, 7),
    spacing_mm_zyx: tuple[float, float, float] = (3.0, 0.8, 0.7),
    origin_mm_xyz: tuple[float, float, float] = (-12.5, 30.25, 411.0),
    direction: npt.NDArray[Any] | None = None,
) -> Geometry:
    """An odd-sized, anisotropic grid, LPS unless a direction matrix is given."""
    matrix = np.eye(3) if direction is None else direction
    return Geometry(shape_zyx, spacing_mm_zyx, origin_mm_xyz, tuple(float(v) for v in matrix.ravel()))


def ball(geometry: Geometry, centre_mm_zyx: tuple[float, float, float], radius_mm: float) -> npt.NDArray[Any]:
    """Voxels whose centres lie within `radius_mm` of a point; mm count from the centre of voxel (0, 0, 0)."""
    z, y, x = (np.arange(n) * s for n, s in zip(geometry.shape_zyx, geometry.spacing_mm_zyx, strict=True))
    cz, cy, cx = centre_mm_zyx
    squares = (z - cz)[:, None, None] ** 2 + (y - cy)[None, :, None] ** 2 + (x - cx)[None, None, :] ** 2
    return np.asarray(squares <= radius_mm**2)


def itk_image(array: npt.NDArray[Any], geometry: Geometry | None = None, vector: bool = False) -> sitk.Image:
    """An ITK image by ITK's own calls."""
    image = sitk.GetImageFromArray(array, isVector=vector)
    if geometry is not None:
        image.SetSpacing(geometry.spacing_mm_zyx[::-1])
        image.SetOrigin(geometry.origin_mm_xyz)
        image.SetDirection(geometry.direction)
    return image


def write_itk(path: Path, array: npt.NDArray[Any], geometry: Geometry | None = None, vector: bool = False) -> Path:
    """A file by ITK's own calls."""
    sitk.WriteImage(itk_image(array, geometry, vector), str(path))
    return path


def fault(read: Callable[[Path], object], path: Path) -> str:
    """The message of the InputError that reading `path` raises: one line, the file named first."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def hand_case(
    name: str, extent_px: int = 100, z_mm: float = 3.0, hu: list[int] | None = None, ml: float = 10.0
) -> CaseFingerprint:
    """A case of 100 slices of 512 x 512 at 0.8 mm with one kidney `extent_px` wide and 40 slices deep."""
    return CaseFingerprint(
        name=name,
        shape_zyx=(100, 512, 512),
        spacing_mm_zyx=(z_mm, 0.8, 0.8),
        kidneys=[KidneyMeasure(volume_ml=150.0, extent_mm_zyx=(40 * 3.0, 60 * 0.8, extent_px * 0.8))],
        n_components=1,
        tumor_ml=ml,
        hu_quantiles=hu,
    )


def hand_fingerprint(cases: list[CaseFingerprint] | None = None) -> Fingerprint:
    """41 cases, kidneys of 100 to 140 px, tumours of 0 to 40 ml; or the given ones."""
    cases = cases or [hand_case(f"case_{i:03d}", extent_px=100 + i, ml=float(i)) for i in range(41)]
    return Fingerprint(schema_version=1, dataset="Hand", cases=cases)
