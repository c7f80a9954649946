"""From a scan to what a network sees: resampled between canonical grids of one patient, never touching more voxels than
the target needs, then normalised (at the end).

Source and target share orientation (both canonical), so axes match one to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, prod
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.geometry import IDENTICAL_VOXELS, Geometry, IntTriple, as_int_triple, as_triple
from bisc.core.labels import KIDNEY, TUMOR
from bisc.core.limits import Deviation, Hounsfield
from bisc.core.volume import Box, Volume
from bisc.imageio.plausible import AIR_HU
from bisc.system.jsonfile import Document

REACH_VOXELS: Final = 2
"""Source voxels kept around the target's extent, for the interpolator's neighbours."""
SLAB_VOXELS: Final = 1 << 25
"""Source voxels that are copied at a time; beyond it the target is made in slabs along z. A scan of 512 x 512 x 108 is
one slab."""
FULL: Final = 1000
"""A voxel wholly inside a region, in the thousandths that label fractions are resampled in."""
Interpolation = Literal["linear", "nearest"]


def rough_grid(native: Geometry, spacing_z_mm: float, in_plane_px: int) -> Geometry:
    """The rough stage's grid: the whole field of view on `in_plane_px` x `in_plane_px`, z at the plan's spacing."""
    n_slices = max(1, round(native.extent_mm_zyx[0] / spacing_z_mm))
    _, height, width = native.extent_mm_zyx
    return native.resampled(
        (spacing_z_mm, height / in_plane_px, width / in_plane_px), (n_slices, in_plane_px, in_plane_px)
    )


def resample(
    volume: Volume, grid: Geometry, fill: float | Sequence[float] = AIR_HU, interpolation: Interpolation = "linear"
) -> Volume:
    """`volume` on another grid of the same patient, in float32; softmax channel by channel.

    Where the target is at least twice as coarse along an axis, source voxels are averaged in whole bins first:
    point samples of a 512 x 512 slice on 128 x 128 would throw away fifteen of sixteen voxels and keep the noise.
    Bins are counted from the source's first voxel, whatever part is asked for, so that an image and its labels share
    them; a last bin that the source does not fill is filled up with its border value.

    Args:
        volume: Source.
        grid: Target, of the same orientation.
        fill: Value where a target voxel's centre lies outside the source's outer faces; of channels, one for each.
        interpolation: 'linear' or 'nearest' (which does not average).

    Returns:
        float32, with as many axes as `volume`.
    """
    if volume.array.ndim == 3:
        assert isinstance(fill, int | float)
        return Volume(_resampled(volume, grid, fill, interpolation), grid)
    assert isinstance(fill, Sequence)
    out = np.empty((len(volume.array), *grid.shape_zyx), dtype=np.float32)  # a stack would hold all twice
    for i, (channel, value) in enumerate(zip(volume.array, fill, strict=True)):
        out[i] = _resampled(volume.with_array(channel), grid, value, interpolation)
    return Volume(out, grid)


def _resampled(
    volume: Volume, grid: Geometry, fill: float, interpolation: Interpolation = "linear"
) -> npt.NDArray[np.float32]:
    box = _needed(volume.geometry, grid)
    if box is None:
        return np.full(grid.shape_zyx, fill, dtype=np.float32)
    n_slabs = min(ceil(prod(box.shape_zyx) / SLAB_VOXELS), grid.shape_zyx[0])
    if n_slabs == 1:
        return _resample_at_once(volume, grid, box, fill, interpolation)
    ends = [i * grid.shape_zyx[0] // n_slabs for i in range(n_slabs + 1)]
    out = np.empty(grid.shape_zyx, dtype=np.float32)
    for start, stop in pairwise(ends):
        slab = grid.cropped((start, 0, 0), (stop - start, *grid.shape_zyx[1:]))
        part = _needed(volume.geometry, slab)
        out[start:stop] = fill if part is None else _resample_at_once(volume, slab, part, fill, interpolation)
    return out


def _resample_at_once(
    volume: Volume, grid: Geometry, box: Box, fill: float, interpolation: Interpolation
) -> npt.NDArray[np.float32]:
    """`resample` from the source voxels in `box`, with copies of all of them."""
    factors = _bin_factors(volume.geometry, grid) if interpolation == "linear" else (1, 1, 1)
    part = volume.cropped(_of_whole_bins(box, factors, volume.geometry))
    if part.geometry.is_same_grid(grid, IDENTICAL_VOXELS):
        return part.array.astype(np.float32)
    filled = _filled_up(part, factors)
    image = _to_itk(_averaged(filled, factors) if max(factors) > 1 else filled)
    method = sitk.sitkLinear if interpolation == "linear" else sitk.sitkNearestNeighbor
    out = sitk.Resample(
        image,
        grid.shape_zyx[::-1],
        sitk.Transform(),
        method,
        grid.origin_mm_xyz,
        grid.spacing_mm_zyx[::-1],
        grid.direction,
        fill,
        sitk.sitkFloat32,
    )
    values: npt.NDArray[np.float32] = sitk.GetArrayFromImage(out)
    if filled is not part:
        _fill_outside(values, grid, part.geometry, fill)
    return values


def resample_labels(labels: Volume, grid: Geometry) -> npt.NDArray[np.uint8]:
    """A label map on another grid: each region (label > 0, label 2) is resampled as a fraction and cut at a half.

    Interpolating regions, not label numbers: halfway between background and tumour lies no kidney.
    """
    if labels.geometry.is_same_grid(grid, IDENTICAL_VOXELS):
        return labels.array.astype(np.uint8)
    out = np.zeros(grid.shape_zyx, dtype=np.uint8)
    box = Box.of_mask(labels.array)
    target = None if box is None else _covering(labels.geometry, box, grid)
    if box is None or target is None:
        return out
    part = labels.cropped(_with_rim(box, labels.geometry, grid))
    part_grid = grid.cropped(target.start_zyx, target.shape_zyx)
    # Fractions in thousandths of int16: float32 copies of a label map cost four times the memory traffic.
    organ = _resampled(part.with_array((part.array > 0) * np.int16(FULL)), part_grid, fill=0.0)
    tumor = _resampled(part.with_array((part.array == TUMOR) * np.int16(FULL)), part_grid, fill=0.0)
    inside = out[target.to_slices()]
    inside[organ >= FULL / 2] = KIDNEY
    inside[(tumor >= FULL / 2) & (organ >= FULL / 2)] = TUMOR
    return out


def _needed(source: Geometry, grid: Geometry) -> Box | None:
    """Source voxels that `grid` reads from, or None where the two do not meet."""
    index = source.physical_to_index(grid.corners())
    # Half a target voxel more on each side, since averaging reads the whole of it.
    half = np.maximum(1.0, np.divide(grid.spacing_mm_zyx, source.spacing_mm_zyx)) / 2.0
    start = np.floor(index.min(axis=0) - half).astype(int) - REACH_VOXELS
    stop = np.ceil(index.max(axis=0) + half).astype(int) + 1 + REACH_VOXELS
    if source.is_same_grid(grid, IDENTICAL_VOXELS):
        return Box.of_shape(source.shape_zyx)
    return Box(as_int_triple(start), as_int_triple(stop)).clipped(source.shape_zyx)


def _bin_factors(source: Geometry, grid: Geometry) -> IntTriple:
    """How many voxels of `source` per axis are averaged into one before `grid` is interpolated."""
    ratio = np.divide(grid.spacing_mm_zyx, source.spacing_mm_zyx)
    return as_int_triple(np.maximum(1, np.floor(ratio + 1e-3)))


def _of_whole_bins(box: Box, factors: IntTriple, source: Geometry) -> Box:
    """`box`, which lies inside `source`, grown to whole bins as far as the source reaches."""
    start = np.subtract(box.start_zyx, np.mod(box.start_zyx, factors))
    stop = np.add(box.stop_zyx, np.mod(np.negative(box.stop_zyx), factors))
    return Box(as_int_triple(start), as_int_triple(np.minimum(stop, source.shape_zyx)))


def _filled_up(part: Volume, factors: IntTriple) -> Volume:
    """`part`, its far ends repeated until whole bins fill it (BinShrink drops the rest); itself where they do."""
    lacking = [-n % factor for n, factor in zip(part.array.shape, factors, strict=True)]
    if not any(lacking):
        return part
    array = np.pad(part.array, [(0, n) for n in lacking], mode="edge")
    return Volume(array, part.geometry.cropped((0, 0, 0), as_int_triple(array.shape)))


def _fill_outside(values: npt.NDArray[np.float32], grid: Geometry, source: Geometry, fill: float) -> None:
    """Set the voxels of `grid` whose centres lie beyond the outer faces of `source`, in place."""
    first = source.physical_to_index(grid.index_to_physical((0, 0, 0)))
    step = np.divide(grid.spacing_mm_zyx, source.spacing_mm_zyx)
    for axis in range(3):
        index = first[axis] + step[axis] * np.arange(grid.shape_zyx[axis])
        outside = (index < -0.5) | (index > source.shape_zyx[axis] - 0.5)
        np.moveaxis(values, axis, 0)[outside] = fill


def _with_rim(box: Box, source: Geometry, grid: Geometry) -> Box:
    """`box` of `source` with background around it, one bin or more, as far as the source reaches."""
    factors = _bin_factors(source, grid)
    inside = box.padded(factors).clipped(source.shape_zyx)
    assert inside is not None  # the box itself lies inside
    return _of_whole_bins(inside, factors, source)


def _covering(source: Geometry, box: Box, grid: Geometry) -> Box | None:
    """The voxels of `grid` that `box` of `source` can reach, or None."""
    index = grid.physical_to_index(source.cropped(box.start_zyx, box.shape_zyx).corners())
    start = np.floor(index.min(axis=0)).astype(int) - 2
    stop = np.ceil(index.max(axis=0)).astype(int) + 3
    return Box(as_int_triple(start), as_int_triple(stop)).clipped(grid.shape_zyx)


def _averaged(volume: Volume, factors: IntTriple) -> Volume:
    """Means of whole bins, in the voxels' own type.

    Taken in the order in which the voxels lie in memory: turning a scan that is stored slices first, as KiTS19's are,
    takes three times as long as averaging it, and a sixteenth is left to be turned.
    """
    axes = np.argsort(np.negative(np.abs(volume.array.strides)), kind="stable")
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.transpose(axes)))
    averaged = sitk.GetArrayFromImage(sitk.BinShrink(image, [factors[axis] for axis in axes[::-1]]))
    array = averaged.transpose(np.argsort(axes))
    grid = volume.geometry
    middle = np.subtract(factors, 1) / 2.0
    return Volume(
        array,
        replace(
            grid,
            shape_zyx=as_int_triple(array.shape),
            spacing_mm_zyx=as_triple(np.multiply(grid.spacing_mm_zyx, factors)),
            origin_mm_xyz=as_triple(grid.index_to_physical(middle)),
        ),
    )


def _to_itk(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array))
    image.SetSpacing(volume.geometry.spacing_mm_zyx[::-1])
    image.SetOrigin(volume.geometry.origin_mm_xyz)
    image.SetDirection(volume.geometry.direction)
    return image


HIGHEST_LEVEL: Final = 255
"""The caches keep a byte a voxel: 256 levels between the clips, which on KiTS19 lie 1.5 HU apart. Rounding to them adds
0.4 HU to noise of ten and more (docs/lab/performance.md)."""


class Intensity(Document, frozen=True):
    """Foreground HU statistics of the training set (nnU-Net's CT scheme)."""

    clip_low_hu: Hounsfield
    clip_high_hu: Hounsfield
    mean_hu: Hounsfield
    std_hu: Deviation

    def __post_init__(self) -> None:
        if self.clip_low_hu > self.clip_high_hu:
            raise ValueError(f"clips at {self.clip_low_hu} and {self.clip_high_hu} HU, the lower one above the upper")

    @property
    def air(self) -> float:
        """The normalised value of anything at or below the lower clip; fills what lies outside the image."""
        return (self.clip_low_hu - self.mean_hu) / self.std_hu

    @property
    def level_hu(self) -> float:
        """From one cached level to the next; never 0, even where all kidneys have one HU."""
        return max(1.0, self.clip_high_hu - self.clip_low_hu) / HIGHEST_LEVEL

    @property
    def level_step(self) -> float:
        """`level_hu` as the network sees it."""
        return self.level_hu / self.std_hu


def normalise(hu: npt.NDArray[np.generic], intensity: Intensity) -> npt.NDArray[np.float32]:
    """float32 network input of an array in HU, same shape."""
    out = np.clip(hu, intensity.clip_low_hu, intensity.clip_high_hu).astype(np.float32)
    out -= np.float32(intensity.mean_hu)
    out /= np.float32(intensity.std_hu)
    return out


def to_levels(hu: npt.NDArray[np.generic], intensity: Intensity) -> npt.NDArray[np.uint8]:
    """The nearest level of each voxel of an array in HU, same shape: 0 at the lower clip, 255 at the upper one."""
    levels = np.clip(hu, intensity.clip_low_hu, intensity.clip_high_hu).astype(np.float32)
    levels -= np.float32(intensity.clip_low_hu)
    levels /= np.float32(intensity.level_hu)
    return np.rint(levels, out=levels).astype(np.uint8)


def input_of_levels(levels: npt.NDArray[np.uint8], intensity: Intensity) -> npt.NDArray[np.float32]:
    """float32 network input of levels, same shape: `normalise` of their HU."""
    out = levels.astype(np.float32)
    out *= np.float32(intensity.level_step)
    out += np.float32(intensity.air)
    return out
