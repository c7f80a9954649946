"""What the page's viewers read: the scan around the kidneys in 8 bits, its segments, and their surfaces, all packed."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.errors import WorkError
from bisc.core.geometry import Geometry, IntTriple, as_int_triple, as_triple
from bisc.core.volume import Volume
from bisc.measurement.mesh import mesh_of
from bisc.preprocessing.segments import Segment
from bisc.report.views import choose_box

HU_LOW: Final = -250.0
HU_STEP: Final = 3.0
"""Byte b shows HU_LOW + HU_STEP * b, up to 515 HU: finer than a CT's noise, and what abdominal windows span."""
VOLUME_BYTES: Final = 6_500_000
SURFACE_BYTES: Final = 4_000_000
"""Packed, before base64 adds a third; the page may have 15 MB."""


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
    """The segments' surfaces; None where one does not fit or close: pictures alone."""
    surfaces, total = [], 0
    for one in segments:
        try:
            mesh = mesh_of(numbered == one.number, grid)
        except WorkError:  # not closed
            return None
        arrays = (np.ascontiguousarray(mesh.vertices, "<f4"), np.ascontiguousarray(mesh.faces, "<u4"))
        parts = [_zip(array.tobytes()) for array in arrays]
        total += sum(map(len, parts))
        if total > most_bytes:
            return None
        surfaces.append(Surface(one.number, *map(_base64, parts)))
    return surfaces


def _bytes_of(hu: npt.NDArray[np.generic]) -> bytes:
    scaled = np.rint((hu.astype(np.float32) - HU_LOW) / HU_STEP)
    return bytes(np.clip(scaled, 0, 255).astype(np.uint8).tobytes())


def _zip(raw: bytes) -> bytes:
    return gzip.compress(raw, 6, mtime=0)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
