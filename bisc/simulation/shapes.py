"""Implicit shapes: approximate signed distances in mm, positive inside; and the canvas they are painted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Triple
from bisc.simulation.frame import Field, Frame, Slices
from bisc.simulation.tint import Tint

Value = float | Field
Shape = Callable[[Frame], Field]


def rotation(tilt_deg: float = 0.0, roll_deg: float = 0.0, turn_deg: float = 0.0) -> npt.NDArray[np.float32]:
    """(3, 3) matrix from patient (z, y, x) offsets to a body's own (z, y, x) axes.

    Args:
        tilt_deg: Turn in the coronal (z, x) plane.
        roll_deg: Turn in the sagittal (z, y) plane.
        turn_deg: Turn in the axial (y, x) plane.
    """
    out = np.eye(3)
    for (i, j), angle in (((0, 2), tilt_deg), ((0, 1), roll_deg), ((1, 2), turn_deg)):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        plane = np.eye(3)
        plane[i, i], plane[i, j], plane[j, i], plane[j, j] = c, -s, s, c
        out = plane @ out
    return out.astype(np.float32)


def local_axes(
    frame: Frame, centre_zyx: npt.ArrayLike, turn: npt.NDArray[np.float32] | None
) -> tuple[Field, Field, Field]:
    """Coordinates of every voxel relative to `centre_zyx`, along the turned axes."""
    z, y, x = (a - np.float32(c) for a, c in zip(frame.open_zyx, np.asarray(centre_zyx), strict=True))
    if turn is None:
        return z, y, x
    w, v, u = (row[0] * z + row[1] * y + row[2] * x for row in turn)
    return w, v, u


def ellipsoid_distance(w: Field, v: Field, u: Field, semi_wvu: npt.ArrayLike) -> Field:
    """Signed distance (first-order) to an ellipsoid in its own axes."""
    a, b, c = (np.float32(s) for s in np.asarray(semi_wvu, float))
    r = np.sqrt((w / a) ** 2 + (v / b) ** 2 + (u / c) ** 2) + np.float32(1e-6)
    steep = np.sqrt((w / a**2) ** 2 + (v / b**2) ** 2 + (u / c**2) ** 2) + np.float32(1e-6)
    return np.asarray(r * (1 - r) / steep, np.float32)


def smooth_minimum(a: Field, b: Field, width_mm: float) -> Field:
    """The smaller of two distances with the crease rounded over `width_mm` (intersection of shapes)."""
    h = np.clip(0.5 + 0.5 * (b - a) / width_mm, 0, 1)
    return np.asarray(b + (a - b) * h - width_mm * h * (1 - h), np.float32)


def tube_distance(frame: Frame, points_zyx: npt.ArrayLike, radii_mm: npt.ArrayLike) -> Field:
    """Signed distance to a chain of straight pieces with a radius at every point."""
    points, radii = np.asarray(points_zyx, np.float32), np.asarray(radii_mm, np.float32)
    z, y, x = frame.open_zyx
    best = np.full(frame.shape_zyx, -1e3, np.float32)
    for p, q, r0, r1 in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
        d = q - p
        t = ((z - p[0]) * d[0] + (y - p[1]) * d[1] + (x - p[2]) * d[2]) / max(float(d @ d), 1e-6)
        t = np.clip(t, 0, 1)
        gap = np.sqrt((z - p[0] - t * d[0]) ** 2 + (y - p[1] - t * d[1]) ** 2 + (x - p[2] - t * d[2]) ** 2)
        np.maximum(best, r0 + (r1 - r0) * t - gap, out=best)
    return best


@dataclass(frozen=True, eq=False)
class Canvas:
    """HU on a grid; shapes are laid over it with soft edges.

    Attributes:
        hu: float32 (z, y, x), painted in place.
        frame: Its voxels in patient coordinates.
        tint: Changes how everything looks that is painted; None: nothing is changed.
    """

    hu: Field
    frame: Frame
    tint: Tint | None = None

    @classmethod
    def filled(cls, frame: Frame, hu: float, tint: Tint | None = None) -> Canvas:
        """A canvas of one value."""
        return cls(np.full(frame.shape_zyx, hu, np.float32), frame, tint)

    def window(self, low_mm_zyx: npt.ArrayLike, high_mm_zyx: npt.ArrayLike) -> Canvas | None:
        """A view of the part between two corners, or None where nothing of the grid lies there."""
        cut = self.frame.slices(low_mm_zyx, high_mm_zyx)
        return None if cut is None else self.cut(cut)

    def cut(self, slices: Slices) -> Canvas:
        """A view of some voxels."""
        tint = None if self.tint is None else self.tint.cut(slices)
        return Canvas(self.hu[slices], self.frame.cut(slices), tint)

    def coverage(self, distance_mm: Field) -> Field:
        """How much of each voxel lies inside, 0..1, from a signed distance."""
        width = self.frame.spacing_mm_zyx[2] * (1.0 if self.tint is None else self.tint.edge())
        return np.clip(distance_mm / np.float32(width) + np.float32(0.5), 0, 1)

    def paint(self, distance_mm: Field, value: Value, opacity: float = 1.0) -> None:
        """Lay `value` over everything inside."""
        weight = self.coverage(distance_mm)
        if opacity != 1.0:
            weight = weight * np.float32(opacity)
        self.blend(weight, value)

    def blend(self, weight: Field, value: Value) -> None:
        """hu <- hu + weight * (value - hu)."""
        seen = value if self.tint is None else self.tint.dye(value)
        change = np.asarray(seen, np.float32) - self.hu
        change *= weight
        self.hu.__iadd__(change)

    def ellipsoid(
        self,
        centre_zyx: npt.ArrayLike,
        semi_zyx: npt.ArrayLike,
        value: Value,
        turn: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Paint one ellipsoid of one value."""
        centre, semi = np.asarray(centre_zyx, float), np.asarray(semi_zyx, float)
        reach = semi + 3 if turn is None else np.full(3, semi.max() + 3)
        part = self.window(centre - reach, centre + reach)
        if part is not None:
            part.paint(ellipsoid_distance(*local_axes(part.frame, centre, turn), semi), value)

    def tube(
        self, points_zyx: Sequence[Triple] | npt.NDArray[np.float64], radii_mm: npt.ArrayLike, value: float
    ) -> None:
        """Paint a chain of straight pieces, each in its own small box."""
        points = np.asarray(points_zyx, float)
        radii = np.broadcast_to(np.asarray(radii_mm, float), (len(points),))
        for i in range(len(points) - 1):
            pair, reach = points[i : i + 2], radii[i : i + 2].max() + 3
            part = self.window(pair.min(axis=0) - reach, pair.max(axis=0) + reach)
            if part is not None:
                part.paint(tube_distance(part.frame, pair, radii[i : i + 2]), value)
