"""What the page's viewers read: the scan around the kidneys in 8 bits, its segments, and their surfaces, all packed."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import marching_cubes

from bisc.core.geometry import Float, Geometry, IntTriple, Triple, as_int_triple, as_triple
from bisc.core.volume import Box, Volume
from bisc.preprocessing.segments import Segment
from bisc.report.views import choose_box

HU_LOW: Final = -250.0
HU_STEP: Final = 3.0
"""Byte b shows HU_LOW + HU_STEP * b, up to 515 HU: finer than a CT's noise, and what abdominal windows span."""
VOLUME_BYTES: Final = 6_500_000
SURFACE_BYTES: Final = 3_000_000
"""Packed, before base64 adds a third; the page may have 15 MB."""
LEAST_MM: Final = 1.6
"""Surfaces are taken from a grid no finer than this."""


@dataclass(frozen=True)
class Packed:
    """What the slice viewer reads.

    Attributes:
        voxels: gzip in base64: bytes of (z, y, x) as by `HU_LOW` and `HU_STEP`.
        labels: The same of segment numbers.
        grid: Of both.
        start_zyx: The first voxel's place in the scan.
        step_zyx: Every so manyth voxel of the scan is kept along each axis.
    """

    voxels: str
    labels: str
    grid: Geometry
    start_zyx: IntTriple
    step_zyx: IntTriple


@dataclass(frozen=True)
class Surface:
    """One segment's surface.

    Attributes:
        number: The segment's.
        points: gzip in base64: float32 (x, y, z) LPS mm.
        triangles: gzip in base64: uint32, three corners each.
    """

    number: int
    points: str
    triangles: str


def pack(image: Volume, numbered: npt.NDArray[np.uint8], most_bytes: int = VOLUME_BYTES) -> Packed:
    """The scan around what is labelled (all of it where nothing is), thinned until it fits.

    Voxels are left out, never averaged: each one shown is one of the scan, and so is its label.
    """
    box = choose_box([numbered], image.geometry)
    volume, labels, step = image.cropped(box), numbered[box.to_slices()], [1, 1, 1]
    while True:
        kept = tuple(slice(None, None, n) for n in step)
        packed = _zip(_bytes_of(volume.array[kept]))
        if len(packed) <= most_bytes or max(step) >= max(volume.array.shape):
            break
        spacing = [n * mm for n, mm in zip(step, image.geometry.spacing_mm_zyx, strict=True)]
        step[int(np.argmin(spacing))] += 1  # the first of equals: slices rather than pixels
    spacing_mm = as_triple(np.multiply(step, image.geometry.spacing_mm_zyx))
    first = volume.geometry
    grid = Geometry(as_int_triple(labels[kept].shape), spacing_mm, first.origin_mm_xyz, first.direction)
    numbers = _zip(np.ascontiguousarray(labels[kept]).tobytes())
    return Packed(_base64(packed), _base64(numbers), grid, box.start_zyx, as_int_triple(step))


def pack_surfaces(
    numbered: npt.NDArray[np.uint8], segments: Sequence[Segment], grid: Geometry, most_bytes: int = SURFACE_BYTES
) -> list[Surface] | None:
    """The segments' surfaces; None where they do not fit, and the page has pictures alone."""
    surfaces, total = [], 0
    for one in segments:
        points, triangles = surface_of(numbered, one, grid)
        parts = [_zip(array.tobytes()) for array in (points.astype("<f4"), np.ascontiguousarray(triangles, "<u4"))]
        total += sum(map(len, parts))
        if total > most_bytes:
            return None
        surfaces.append(Surface(one.number, *map(_base64, parts)))
    return surfaces


def surface_of(
    numbered: npt.NDArray[np.uint8], segment: Segment, grid: Geometry
) -> tuple[Float, npt.NDArray[np.int64]]:
    """A closed surface to look at, not to measure: (n, 3) points in LPS mm, (m, 3) corners of triangles."""
    mask = numbered == segment.number
    box = Box.of_mask(mask)
    if box is None:
        raise ValueError(f"segment {segment.number} has no voxel")
    spacing = grid.spacing_mm_zyx
    room = [int(np.ceil(3 * max(spacing) / mm)) + 1 for mm in spacing]
    padded = np.pad(mask[box.to_slices()], [(n, n) for n in room]).astype(np.float32)
    blurred = ndimage.gaussian_filter(padded, [0.6 * max(spacing) / mm for mm in spacing])
    field = blurred if blurred.max() > 0.6 else padded
    step = as_triple([max(1.0, LEAST_MM / mm) for mm in spacing])
    coarse = ndimage.affine_transform(field, np.diag(step), output_shape=_shape(field.shape, step), order=1)
    if coarse.max() <= 0.5:
        coarse, step = field, (1.0, 1.0, 1.0)
    points, triangles, _, _ = marching_cubes(coarse, _level(coarse, np.count_nonzero(mask) / float(np.prod(step))))
    index = points * step + np.subtract(box.start_zyx, room)
    return _outwards(grid.index_to_physical(index), np.asarray(triangles, dtype=np.int64))


def _level(field: npt.NDArray[np.float32], n_inside: float) -> float:
    """What so many samples lie above: blurred by slices of 5 mm, a small segment would lose a fifth of its volume."""
    falling = np.sort(field, axis=None)[::-1]
    return float(np.clip(falling[min(round(n_inside), falling.size - 1)], 0.2, 0.6))


def _outwards(points: Float, triangles: npt.NDArray[np.int64]) -> tuple[Float, npt.NDArray[np.int64]]:
    """Corners in the order that makes the enclosed volume positive: light falls on the outside."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    inverted = float(np.einsum("ij,ij->", a, np.cross(b, c))) < 0
    return points, triangles[:, ::-1] if inverted else triangles


def _shape(shape: tuple[int, ...], step: Triple) -> tuple[int, ...]:
    return tuple(int(np.floor((n - 1) / s)) + 1 for n, s in zip(shape, step, strict=True))


def _bytes_of(hu: npt.NDArray[np.generic]) -> bytes:
    scaled = np.rint((hu.astype(np.float32) - HU_LOW) / HU_STEP)
    return bytes(np.clip(scaled, 0, 255).astype(np.uint8).tobytes())


def _zip(raw: bytes) -> bytes:
    return gzip.compress(raw, 6, mtime=0)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
