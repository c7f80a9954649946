"""Where a voxel grid lies in the patient: size, spacing, origin and direction, apart from the voxels themselves.

Arrays are indexed (z, y, x). Physical space is LPS in mm, as in ITK and DICOM: x grows to the patient's Left, y to
the Posterior, z to the Superior. `direction` has one column per array axis in ITK's order (x, y, z index axes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Triple = tuple[float, float, float]
IntTriple = tuple[int, int, int]

GRID_TOLERANCE_VOXELS = 0.35
"""Two grids are the same when the outer corners of one lie, on average, no farther than this from their places in the
other, in voxels along each index axis; then none lies farther than twice that. A shift moves all corners alike: half a
voxel, a voxel's corner taken for its centre, is refused. Rounding leaves the first voxel where it is and grows from
there: a qform's quaternion, of which ITK and nibabel make two turns up to 1.2e-3 rad apart, puts the far corner of 512
voxels 0.61 off, 0.3 on average; spacings of 0.5 mm and more written with three decimals 0.51 at most."""

IDENTICAL_VOXELS = 1e-4
"""So near, interpolating would change no value that counts."""

ROUNDING_DRIFT = 5e-7
"""Drift of a direction that passes without a word: NIfTI's float32 rounds each cosine by up to 2**-24, so that the
product of two columns is off by 2e-7 at most, and by twice that where a quaternion stands between."""

SHEAR_TOLERANCE_DEG = 0.05
"""Axes this far from a right angle are rounding (cosines written with three decimals) and are straightened, which
moves the far end of a 500 mm scan by at most 0.4 mm, half a pixel. Gantries tilt by half a degree and more."""

MAX_DRIFT = float(np.sin(np.deg2rad(SHEAR_TOLERANCE_DEG)))
"""The same as a drift; see `Geometry.drift`."""

EXACT_DRIFT = 1e-12
"""Rounding of double precision: such directions stay as they are, to the bit."""

VANISHING = 1e-30
"""Cosines below this become 0. Their squares and products underflow, upon which ITK's singular value decomposition
fails and its resampling leaves the image empty, with no more than a line on stderr."""

TIE = 1e-5
"""Sums of cosines this near to each other count as equal, so that an image and its labels, turned by 45 degrees and
rounded differently, get the same axis order."""


_CORNERS = np.array(list(product((0, 1), repeat=3)))
"""Of a box of size 1, in the order in which they are told."""


@dataclass(frozen=True)
class Geometry:
    """A regular voxel grid in LPS physical space.

    Attributes:
        shape_zyx: Number of voxels per array axis.
        spacing_mm_zyx: Distance of neighbouring voxel centres per array axis, in mm, all > 0.
        origin_mm_xyz: Centre of voxel (0, 0, 0) in LPS mm.
        direction: 3 x 3 row-major tuple; column j is the unit vector of index axis j in (x, y, z) order.

    Raises:
        ValueError: If a size or spacing is not positive, or the direction is singular.
    """

    shape_zyx: IntTriple
    spacing_mm_zyx: Triple
    origin_mm_xyz: Triple = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        if np.shape(self.shape_zyx) != (3,) or min(self.shape_zyx) < 1:
            raise ValueError(f"shape_zyx must be three positive numbers, got {self.shape_zyx}")
        spacing = np.asarray(self.spacing_mm_zyx, dtype=float)
        if spacing.shape != (3,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
            raise ValueError(f"spacing must be three positive numbers in mm, got {self.spacing_mm_zyx}")
        if len(self.direction) != 9 or not np.isfinite(self.direction).all():
            raise ValueError(f"direction must be nine finite numbers, got {self.direction}")
        if abs(np.linalg.det(self.direction_matrix)) < 1e-6:
            raise ValueError(f"direction is singular: {self.direction}")

    @property
    def direction_matrix(self) -> Float:
        """(3, 3), columns are the x, y, z index axes in LPS."""
        return np.asarray(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def drift(self) -> float:
        """How far the direction is from orthonormal: the largest element of |D'D - 1|, 0 at best.

        For unit columns that is the sine of the angle by which two axes miss a right angle.
        """
        matrix = self.direction_matrix
        return float(np.abs(matrix.T @ matrix - np.eye(3)).max())

    def orthonormal(self) -> Geometry:
        """The same grid with the orthonormal direction nearest to its own (polar decomposition); the origin stays.

        ITK does the same when it writes NIfTI, so that a written mask and this grid are one. A direction that is
        orthonormal to double precision is returned as it is, but for cosines next to nothing (`VANISHING`).
        """
        matrix = self.direction_matrix
        if self.drift > EXACT_DRIFT:
            left, _, right = np.linalg.svd(matrix)
            matrix = left @ right
        direction = tuple(0.0 if abs(v) < VANISHING else float(v) for v in matrix.ravel())
        return self if direction == self.direction else replace(self, direction=direction)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in ml (cm3)."""
        dz, dy, dx = self.spacing_mm_zyx
        return dz * dy * dx / 1000.0

    @property
    def extent_mm_zyx(self) -> Triple:
        """Edge lengths of the whole grid in mm, voxels counted with their full width."""
        z, y, x = (n * s for n, s in zip(self.shape_zyx, self.spacing_mm_zyx, strict=True))
        return z, y, x

    def index_to_physical(self, index_zyx: npt.ArrayLike) -> Float:
        """LPS mm of continuous voxel indices.

        Args:
            index_zyx: (..., 3) indices in (z, y, x) order; integers are voxel centres.

        Returns:
            (..., 3) points in (x, y, z) order.
        """
        index_xyz = np.asarray(index_zyx, dtype=np.float64)[..., ::-1]
        scaled = index_xyz * np.asarray(self.spacing_mm_zyx)[::-1]
        return np.asarray(scaled @ self.direction_matrix.T + np.asarray(self.origin_mm_xyz))

    def physical_to_index(self, point_xyz: npt.ArrayLike) -> Float:
        """Continuous (z, y, x) voxel indices of LPS points in mm; the inverse of `index_to_physical`."""
        offset = np.asarray(point_xyz, dtype=np.float64) - np.asarray(self.origin_mm_xyz)
        index_xyz = np.linalg.solve(self.direction_matrix, offset[..., None])[..., 0]
        return np.asarray((index_xyz / np.asarray(self.spacing_mm_zyx)[::-1])[..., ::-1])

    def corners(self) -> Float:
        """(8, 3) LPS positions of the centres of the eight corner voxels."""
        return self.index_to_physical(_CORNERS * np.subtract(self.shape_zyx, 1))

    def voxels_off(self, other: Geometry) -> float:
        """How far the outer corners of one grid lie from their places in the other on average, in voxels along the
        index axis along which it is most.

        Outer corners are those of the outermost voxels, so that the thickness of a single slice tells too. Counted in
        the voxels of both grids, so that the two may be exchanged. Infinite where the sizes differ.
        """
        if self.shape_zyx != other.shape_zyx:
            return math.inf
        faces = _CORNERS * self.shape_zyx - 0.5
        there = self.physical_to_index(other.index_to_physical(faces))
        back = other.physical_to_index(self.index_to_physical(faces))
        return float(max(np.abs(there - faces).mean(axis=0).max(), np.abs(back - faces).mean(axis=0).max()))

    def is_same_grid(self, other: Geometry, tolerance_voxels: float = GRID_TOLERANCE_VOXELS) -> bool:
        """Whether both have the same size and `voxels_off` is at most the tolerance."""
        return self.voxels_off(other) <= tolerance_voxels

    def cropped(self, start_zyx: npt.ArrayLike, shape_zyx: IntTriple) -> Geometry:
        """The sub-grid that begins at voxel `start_zyx` (may be negative or fractional) with `shape_zyx` voxels."""
        x, y, z = self.index_to_physical(start_zyx)
        return replace(self, shape_zyx=shape_zyx, origin_mm_xyz=(float(x), float(y), float(z)))

    def settled(self) -> Geometry:
        """The grid to compute on: spacing to 1e-5 mm and origin to 1e-4 mm.

        Formats keep as much and no more (a NIfTI header has 32-bit floats, DICOM 16 characters): one scan stored in
        two of them is one grid, and has one mask.
        """
        spacing = as_triple(np.round(self.spacing_mm_zyx, 5))
        return replace(self, spacing_mm_zyx=spacing, origin_mm_xyz=as_triple(np.round(self.origin_mm_xyz, 4)))

    def resampled(self, spacing_mm_zyx: Triple, shape_zyx: IntTriple | None = None) -> Geometry:
        """A grid over the same extent (outer voxel faces coincide) with another spacing.

        Without `shape_zyx` each size is rounded to the nearest that covers the extent; the grid is then centred on
        the old one, so that the rounding error is shared by both ends.
        """
        old_extent = np.asarray(self.extent_mm_zyx)
        spacing = np.asarray(spacing_mm_zyx, dtype=np.float64)
        shape = shape_zyx or as_int_triple(np.maximum(1, np.round(old_extent / spacing)))
        start_mm = (old_extent - np.asarray(shape) * spacing) / 2.0
        first_centre = (start_mm + spacing / 2.0) / np.asarray(self.spacing_mm_zyx) - 0.5
        x, y, z = self.index_to_physical(first_centre)
        return replace(
            self,
            shape_zyx=shape,
            spacing_mm_zyx=as_triple(spacing),
            origin_mm_xyz=(float(x), float(y), float(z)),
        )

    def describe(self) -> str:
        """One line for messages: size, spacing, origin, direction in (x, y, z) order, as image viewers show them."""
        size = " x ".join(str(n) for n in self.shape_zyx[::-1])
        spacing = " x ".join(f"{s:.6g}" for s in self.spacing_mm_zyx[::-1])
        origin = ", ".join(f"{o:.6g}" for o in self.origin_mm_xyz)
        direction = " ".join(f"{d:.4g}" for d in self.direction)
        return f"size {size}, spacing {spacing} mm, origin ({origin}), direction [{direction}]"


@dataclass(frozen=True)
class AxisOrder:
    """How a stored (z, y, x) array becomes LPS: transpose by `axes`, then flip the axes marked in `flips`.

    `axes[i]` is the stored array axis that becomes canonical axis i. The 48 possible values form a group; `inverse`
    undoes one exactly, so a round trip moves no voxel.
    """

    axes: IntTriple
    flips: tuple[bool, bool, bool]

    def apply(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """A view of `array` (trailing axes after the first three are kept) in canonical order."""
        rest = tuple(range(3, array.ndim))
        turned = np.transpose(array, self.axes + rest)
        return np.flip(turned, np.flatnonzero(self.flips).tolist())

    def inverse(self) -> AxisOrder:
        """The order that takes the canonical array back to the stored one."""
        axes = [0, 0, 0]
        flips = [False, False, False]
        for canonical, stored in enumerate(self.axes):
            axes[stored] = canonical
            flips[stored] = self.flips[canonical]
        return AxisOrder((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))

    def apply_to_geometry(self, stored: Geometry) -> Geometry:
        """The canonical geometry of a grid stored as `stored`; no voxel centre moves."""
        first = [0, 0, 0]
        for canonical, axis in enumerate(self.axes):
            first[axis] = stored.shape_zyx[axis] - 1 if self.flips[canonical] else 0
        x, y, z = stored.index_to_physical(first)
        columns = []
        for canonical in (2, 1, 0):  # direction columns run x, y, z; array axes z, y, x
            column = stored.direction_matrix[:, 2 - self.axes[canonical]]
            columns.append(-column if self.flips[canonical] else column)
        # Adding 0.0 turns -0.0 into 0.0, so that a flipped zero equals a zero in files and messages.
        matrix = np.stack(columns, axis=1) + 0.0
        shape = tuple(stored.shape_zyx[a] for a in self.axes)
        spacing = tuple(stored.spacing_mm_zyx[a] for a in self.axes)
        return Geometry(
            (shape[0], shape[1], shape[2]),
            (spacing[0], spacing[1], spacing[2]),
            (float(x), float(y), float(z)),
            tuple(float(v) for v in matrix.ravel()),
        )


def canonical_axis_order(stored: Geometry) -> AxisOrder:
    """The transpose and flips that bring a stored grid as near to LPS as they can.

    Of the six permutations the one with the largest sum of absolute direction cosines along the diagonal wins, so
    oblique grids (up to 45 degrees and beyond) have one clear answer; ties (to `TIE`) go to the first in sorted order.
    """
    cosines = stored.direction_matrix  # [physical axis, index axis], both x, y, z
    sums = {p: sum(abs(cosines[i, p[i]]) for i in range(3)) for p in permutations(range(3))}
    best = next(p for p, value in sums.items() if value > max(sums.values()) - TIE)
    axes = (2 - best[2], 2 - best[1], 2 - best[0])
    flips = (bool(cosines[2, best[2]] < 0), bool(cosines[1, best[1]] < 0), bool(cosines[0, best[0]] < 0))
    return AxisOrder(axes, flips)


def as_triple(values: npt.ArrayLike) -> Triple:
    """Three numbers as a tuple of floats."""
    a, b, c = np.asarray(values, dtype=np.float64).tolist()
    return a, b, c


def as_int_triple(values: npt.ArrayLike) -> IntTriple:
    """Three whole numbers as a tuple of ints."""
    a, b, c = np.asarray(values).astype(int).tolist()
    return a, b, c
