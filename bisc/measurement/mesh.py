"""A mask's smooth, closed surface: what is printed, turned in a viewer, or measured against an instrument.

The faces of voxels are steps of a slice's height, and blurring a mask until they are gone shrinks it. Here the signed
distance to the mask's outline is blurred, which leaves a flat outline where it is, read on a finer and nearly even
lattice, and cut at the level that encloses the mask's own volume (marching cubes, Lorensen and Cline 1987, in Lewiner's
form). Each component is taken alone, so that none vanishes beside a larger one.
"""

from __future__ import annotations

from typing import Final

import edt
import numpy as np
import numpy.typing as npt
import trimesh
from scipy import ndimage
from skimage.measure import marching_cubes

from bisc.core.errors import WorkError
from bisc.core.geometry import Geometry
from bisc.preprocessing.parts import label_components

Mask = npt.NDArray[np.bool_]
Field = npt.NDArray[np.float32]
Float = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

MOST_FACES: Final = 60_000
"""Of one mask; a large one's lattice is coarser. A kidney of 150 ml has 45 000."""
LATTICE_MM: Final = 1.0
FINENESS: Final = 4.0
"""Lattice steps from a component's deepest voxel outwards: small and thin ones have a finer lattice."""
BLUR_VOXELS: Final = 0.7
BLUR_MM: Final = 0.8
"""Sigmas along each axis, added as squares. Less leaves steps, more rounds off (docs/lab/measurements.md)."""
FACES_PER_STEP: Final = 3.4
"""Marching cubes' faces for each square of the lattice's step that a surface has; of a smooth one 3.0."""
OFF_LATTICE: Final = 0.02
"""No vertex lies nearer to a point of the lattice, in steps: two in one place would be one in a file."""
NEAR: Final = 1e-3
"""So near the volume is met by the level; what is left by scaling, which moves nothing by more than 0.03 %."""
TRIES: Final = 4
AROUND: Final = 2
"""Voxels around a component that the lattice has. A surface that holds no more than the component goes no farther."""


def mesh_of(mask: Mask, grid: Geometry) -> trimesh.Trimesh:
    """The surface of a mask.

    Args:
        mask: (z, y, x). At the array's border it is closed.
        grid: Its grid.

    Returns:
        Vertices (x, y, z) in LPS mm, faces counter-clockwise seen from outside, whatever the grid's direction.
        Watertight, one shell or more for each 26-connected component; the volume of each component is that of its
        voxels.

    Raises:
        ValueError: If the mask is empty, or not of the grid's shape.
        WorkError: If the surface has a hole: no file should be made of it.
    """
    if mask.shape != grid.shape_zyx or not mask.any():
        raise ValueError(f"a mask of {grid.shape_zyx} with a voxel at least")
    found, components, around = label_components(mask)
    assert around is not None  # it has a voxel
    step_mm = max(LATTICE_MM, _least_step_mm(components > 0, grid))
    shells = []
    for one in found:
        box = one.box.within(around)
        place = grid.cropped(one.box.start_zyx, one.box.shape_zyx)
        shells.append(_shell(components[box.to_slices()] == one.label, place, step_mm))
    mesh = trimesh.util.concatenate(shells) if len(shells) > 1 else shells[0]
    if not (mesh.is_watertight and mesh.is_winding_consistent):
        raise WorkError(f"the surface of {len(shells)} components is not closed; give the mask to the makers")
    return mesh


def _least_step_mm(mask: Mask, grid: Geometry) -> float:
    """Of a lattice on which the surface has `MOST_FACES`; that of the voxels' faces is half as large again."""
    closed = np.pad(mask, 1)
    per_mm = [np.count_nonzero(np.diff(closed, axis=axis)) / mm for axis, mm in enumerate(grid.spacing_mm_zyx)]
    area_mm2 = sum(per_mm) * grid.voxel_volume_ml * 1000 * 2 / 3
    return float((FACES_PER_STEP * area_mm2 / MOST_FACES) ** 0.5)


def _shell(mask: Mask, grid: Geometry, step_mm: float) -> trimesh.Trimesh:
    """The surface of one component."""
    volume_mm3 = np.count_nonzero(mask) * grid.voxel_volume_ml * 1000
    spacing_mm = np.asarray(grid.spacing_mm_zyx)
    room = np.ceil((3 * BLUR_MM + 3 * spacing_mm.max()) / spacing_mm).astype(np.intp)
    inside = np.pad(mask, [(n, n) for n in room])
    depth_mm = float(edt.edt(inside, anisotropy=grid.spacing_mm_zyx).max())
    distance = _signed_distance(inside, spacing_mm, depth_mm)
    step_mm = min(step_mm, max(depth_mm / FINENESS, _least_step_mm(mask, grid)))
    first, last = room - AROUND, room + mask.shape - 1 + AROUND
    fine, steps = _refined(distance, first, last, step_mm / spacing_mm)
    vertices, faces = _enclosing(volume_mm3, fine, steps * spacing_mm)
    mesh = trimesh.Trimesh(grid.index_to_physical(vertices * steps - AROUND), faces, process=False)
    if mesh.volume < 0:  # of a grid that is a mirror image
        mesh.invert()
    middle = mesh.vertices.mean(axis=0)
    mesh.vertices = middle + (mesh.vertices - middle) * (volume_mm3 / mesh.volume) ** (1 / 3)
    return mesh


def _signed_distance(mask: Mask, spacing_mm: Float, depth_mm: float) -> Field:
    """Blurred, positive inside.

    Between two slices the outline goes from one's to the other's. Where it goes farther than a slice is thick, it would
    stay flat there with a step behind, so distances across slices count for more than they are: up to half of the
    greatest depth, beyond which the ends of what is small or thin become points.
    """
    stretch = np.minimum(np.sqrt(spacing_mm / spacing_mm.min()), depth_mm / 2 / spacing_mm).clip(1.0)
    anisotropy = tuple(spacing_mm * stretch)
    distance = edt.edt(mask, anisotropy=anisotropy) - edt.edt(~mask, anisotropy=anisotropy)
    sigmas = np.hypot(BLUR_VOXELS, BLUR_MM / spacing_mm)
    return np.asarray(ndimage.gaussian_filter(distance, sigmas, mode="nearest"), np.float32)


def _refined(distance: Field, first: Index, last: Index, steps: Float) -> tuple[Field, Float]:
    """Read on a lattice from one voxel to another, by cubic splines; and its steps, in voxels, of which none is larger
    than asked for."""
    shape = np.ceil((last - first) / steps).astype(int) + 1
    steps = (last - first) / (shape - 1)
    fine = ndimage.affine_transform(distance, np.diag(steps), first, tuple(shape), order=3, mode="nearest")
    return np.asarray(fine), steps


def _enclosing(volume_mm3: float, distance: Field, steps_mm: Float) -> tuple[Float, npt.NDArray[np.int32]]:
    """Vertices, in points of the lattice, and faces of the level set that encloses a volume."""
    falling = np.sort(distance, axis=None)[::-1]
    points = volume_mm3 / float(np.prod(steps_mm))
    for _ in range(TRIES):
        above = distance - np.float32(np.interp(points, np.arange(falling.size), falling))
        least = OFF_LATTICE * float(steps_mm.min())
        above = np.where(np.abs(above) < least, np.copysign(np.float32(least), above), above)
        vertices, faces, _, _ = marching_cubes(above, 0.0)
        mesh = trimesh.Trimesh(vertices * steps_mm, faces, process=False)
        share = volume_mm3 / abs(float(mesh.volume))
        if abs(share - 1) < NEAR:
            break
        points *= share
    return np.asarray(vertices, np.float64), faces
