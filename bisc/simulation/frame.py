"""Patient coordinates of a voxel grid, and resampling of smooth fields between grids.

The patient frame is LPS in mm with its origin in the middle of a vertebral body at kidney level: z runs to the head,
y to the back, x to the patient's left. Everything drawn is drawn in these coordinates, whatever the voxel grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import IntTriple, Triple

Field = npt.NDArray[np.float32]
Axis = npt.NDArray[np.float32]
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Frame:
    """Positions of voxel centres along each array axis, in mm of the patient frame.

    Attributes:
        z, y, x: Ascending float32 positions, one per slice, row and column.
        spacing_mm_zyx: Distance of neighbouring voxels (also where an axis has only one).
    """

    z: Axis
    y: Axis
    x: Axis
    spacing_mm_zyx: Triple

    @classmethod
    def regular(cls, shape_zyx: IntTriple, spacing_mm_zyx: Triple, first_mm_zyx: Triple) -> Frame:
        """A grid of equal steps whose first voxel centre lies at `first_mm_zyx`."""
        z, y, x = (
            (first + step * np.arange(n)).astype(np.float32)
            for n, step, first in zip(shape_zyx, spacing_mm_zyx, first_mm_zyx, strict=True)
        )
        return cls(z, y, x, spacing_mm_zyx)

    @property
    def shape_zyx(self) -> IntTriple:
        """Voxels per axis."""
        return self.z.size, self.y.size, self.x.size

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """The three position vectors in (z, y, x) order."""
        return self.z, self.y, self.x

    @property
    def open_zyx(self) -> tuple[Field, Field, Field]:
        """The positions shaped (Z, 1, 1), (1, Y, 1), (1, 1, X), to broadcast."""
        return self.z[:, None, None], self.y[None, :, None], self.x[None, None, :]

    def slices(self, low_mm_zyx: npt.ArrayLike, high_mm_zyx: npt.ArrayLike) -> Slices | None:
        """The voxels whose centres lie between two corners, or None where there is none."""
        low, high = np.asarray(low_mm_zyx, np.float32), np.asarray(high_mm_zyx, np.float32)
        cut = []
        for axis, a, b in zip(self.axes, low, high, strict=True):
            start, stop = int(np.searchsorted(axis, a)), int(np.searchsorted(axis, b, side="right"))
            if stop <= start:
                return None
            cut.append(slice(start, stop))
        return cut[0], cut[1], cut[2]

    def cut(self, slices: Slices) -> Frame:
        """The sub-grid of some voxels."""
        z, y, x = (axis[s] for axis, s in zip(self.axes, slices, strict=True))
        return Frame(z, y, x, self.spacing_mm_zyx)

    def coarser(self, spacing_mm_zyx: Triple) -> Frame:
        """A grid over the same extent with steps near to, and not below, `spacing_mm_zyx`; fine axes are kept."""
        axes, steps = [], []
        for axis, step, wanted in zip(self.axes, self.spacing_mm_zyx, spacing_mm_zyx, strict=True):
            n = max(2, int(np.ceil((axis.size - 1) * step / wanted)) + 1)
            if step >= wanted or n >= axis.size:
                axes.append(axis)
                steps.append(step)
            else:
                axes.append(np.linspace(axis[0], axis[-1], n, dtype=np.float32))
                steps.append(float(axis[-1] - axis[0]) / (n - 1))
        return Frame(axes[0], axes[1], axes[2], (steps[0], steps[1], steps[2]))

    def nearest(self, other: Frame) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Indices of this grid's voxels nearest to the voxels of `other`, ready for `np.ix_`."""
        z, y, x = (
            np.clip(np.rint((theirs - ours[0]) / step), 0, ours.size - 1).astype(np.intp)
            for ours, theirs, step in zip(self.axes, other.axes, self.spacing_mm_zyx, strict=True)
        )
        return z, y, x


@dataclass(frozen=True, eq=False)
class Taps:
    """Linear interpolation along one axis: value = a[low] * (1 - weight) + a[low + 1] * weight."""

    low: npt.NDArray[np.intp]
    high: npt.NDArray[np.intp]
    weight: Axis

    @classmethod
    def between(cls, source: Axis, step: float, target: Axis) -> Taps:
        """Taps that read a field known at `source` at the positions `target`, held constant beyond the ends."""
        place = np.clip((target - source[0]) / np.float32(step), 0, source.size - 1).astype(np.float32)
        low = np.floor(place + 1e-4).astype(np.intp)
        weight = np.clip(place - low, 0, 1).astype(np.float32)
        return cls(low, np.minimum(low + 1, source.size - 1), weight)

    @property
    def is_identity(self) -> bool:
        """Whether reading changes nothing."""
        return np.array_equal(self.low, np.arange(self.high[-1] + 1)) and float(self.weight.max()) < 1e-3

    def read(self, array: Field, axis: int) -> Field:
        """The array interpolated along `axis`."""
        if array.shape[axis] == self.low.size and self.is_identity:
            return array
        shape = [1] * array.ndim
        shape[axis] = -1
        low = np.take(array, self.low, axis=axis)
        low += (np.take(array, self.high, axis=axis) - low) * self.weight.reshape(shape)
        return low


class Upsampler:
    """Reads fields known on a coarse frame at the voxels of a finer one, all at once or one slice at a time."""

    def __init__(self, source: Frame, target: Frame) -> None:
        self.z, self.y, self.x = (
            Taps.between(a, step, b) for a, step, b in zip(source.axes, source.spacing_mm_zyx, target.axes, strict=True)
        )

    def slice(self, field: Field, k: int) -> Field:
        """The (y, x) slice `k` of the finer frame."""
        low, high, weight = self.z.low[k], self.z.high[k], self.z.weight[k]
        plane = field[low] if weight == 0 else field[low] + (field[high] - field[low]) * weight
        return self.x.read(self.y.read(plane, 0), 1)

    def whole(self, field: Field) -> Field:
        """The whole field on the finer frame."""
        return self.x.read(self.y.read(self.z.read(field, 0), 1), 2)


def smooth_noise(rng: np.random.Generator, frame: Frame, length_mm_zyx: float | Triple) -> Field:
    """Band-limited noise of unit standard deviation: a cubic B-spline through random knots.

    Args:
        rng: Draws the knots.
        frame: Where to read it.
        length_mm_zyx: Distance of the knots, one for all axes or one each; about the size of a blob.
    """
    lengths = (length_mm_zyx,) * 3 if isinstance(length_mm_zyx, int | float) else length_mm_zyx
    places = [(axis - axis[0]) / np.float32(length) for axis, length in zip(frame.axes, lengths, strict=True)]
    knots = [int(p[-1]) + 4 for p in places]
    field: Field = rng.standard_normal(knots, dtype=np.float32)
    for axis, place in enumerate(places):
        field = _read_spline(field, place.astype(np.float32), axis)
    # A cubic B-spline keeps on average 0.479 of the knots' variance per axis.
    return np.asarray(field * np.float32(0.479**-1.5))


def _read_spline(knots: Field, place: Axis, axis: int) -> Field:
    low = np.floor(place).astype(np.intp)
    t = place - low
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    shape = [1] * knots.ndim
    shape[axis] = -1
    out: Field | None = None
    for i, weight in enumerate(weights):
        part = np.take(knots, low + i, axis=axis)
        part *= (weight / 6).astype(np.float32).reshape(shape)
        out = part if out is None else np.add(out, part, out=out)
    return np.asarray(out)
