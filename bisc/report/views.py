"""Which slices of a case to show and how they lie on the screen; pure functions without any drawing.

Radiological convention: the patient's right is on the viewer's left in the axial and coronal planes, anterior on it in
the sagittal one; anterior is up in the axial view, superior in the other two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Geometry, IntTriple, as_int_triple
from bisc.core.labels import TUMOR
from bisc.core.volume import Box, Volume

Array = npt.NDArray[np.generic]
Labels = npt.NDArray[np.uint8]
Plane = Literal["axial", "coronal", "sagittal"]
PLANES: Final[tuple[Plane, ...]] = ("axial", "coronal", "sagittal")
"""In the order of the axes that they cut: z, y, x."""

MARGIN_MM = 25.0
"""How far the view reaches beyond the kidneys on every side."""
MIN_VIEW_MM_ZYX = (150.0, 150.0, 240.0)
"""The view is never smaller than this (unless the volume is): one kidney alone is still seen in its body."""


@dataclass(frozen=True, eq=False)
class View:
    """One slice as the viewer sees it.

    Attributes:
        plane: "axial", "coronal" or "sagittal".
        pixels: (rows, columns); row 0 is the top and column 0 the left of the screen.
        pixel_mm: Height and width of a pixel in mm.
        index: The slice's index along the axis that is cut (z for axial, y for coronal, x for sagittal).
        count: The number of slices along that axis in the whole volume.
        sides: The letters of the patient's sides at the left, right, top and bottom of the screen.
    """

    plane: Plane
    pixels: Array
    pixel_mm: tuple[float, float]
    index: int
    count: int
    sides: str

    @property
    def height_mm(self) -> float:
        """From the top edge of the first row to the bottom edge of the last."""
        return self.pixels.shape[0] * self.pixel_mm[0]

    @property
    def width_mm(self) -> float:
        """From the left edge of the first column to the right edge of the last."""
        return self.pixels.shape[1] * self.pixel_mm[1]

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top in mm from the top left corner; down is positive."""
        return 0.0, self.width_mm, self.height_mm, 0.0


def display_slices(volume: Volume, at_zyx: IntTriple, box: Box) -> tuple[View, View]:
    """The axial and the coronal slice through voxel `at_zyx`, cut to `box`.

    Args:
        volume: Canonical (z, y, x) LPS voxels, so that x grows to the patient's left.
        at_zyx: The voxel where the planes meet; only its z and y count.
        box: The part to show, inside the volume.

    Returns:
        The axial and the coronal view; both have the same width, so that one scale serves them.
    """
    return display_slice(volume, "axial", at_zyx, box), display_slice(volume, "coronal", at_zyx, box)


def display_slice(volume: Volume, plane: Plane, at_zyx: IntTriple, box: Box) -> View:
    """The slice of one plane through voxel `at_zyx`, cut to `box`; arguments as of `display_slices`."""
    z, y, x = at_zyx
    in_z, in_y, in_x = box.to_slices()
    depth, height, width = volume.geometry.shape_zyx
    dz, dy, dx = volume.geometry.spacing_mm_zyx
    if plane == "axial":
        # Rows of the axial slice run to posterior, columns to the patient's left: already radiological.
        return View(plane, volume.array[z, in_y, in_x], (dy, dx), z, depth, "RLAP")
    # z grows to superior but rows run down the screen: upside down as stored.
    if plane == "coronal":
        return View(plane, volume.array[in_z, y, in_x][::-1], (dz, dx), y, height, "RLSI")
    return View(plane, volume.array[in_z, in_y, x][::-1], (dz, dy), x, width, "APSI")


def choose_slice(labels: Sequence[Labels]) -> IntTriple:
    """The voxel whose axial and coronal planes show the most tumour.

    Args:
        labels: (z, y, x) label maps of one grid by falling authority (reference, fine, rough); at least one.

    Returns:
        z of the largest axial and y of the largest coronal tumour section in the first map that has a tumour;
        where none has one, the same for the kidney; where all are empty, the middle. x is the middle.
    """
    boxes = [Box.of_mask(array) for array in labels]
    middle_z, middle_y, middle_x = (n // 2 for n in labels[0].shape)
    for lowest in (TUMOR, 1):
        for array, box in zip(labels, boxes, strict=True):
            if box is None:
                continue
            mask = array[box.to_slices()] >= lowest
            if mask.any():
                z, y = _largest(mask.sum(axis=(1, 2))), _largest(mask.sum(axis=(0, 2)))
                return box.start_zyx[0] + z, box.start_zyx[1] + y, middle_x
    return middle_z, middle_y, middle_x


def _largest(areas: npt.NDArray[np.int_]) -> int:
    """Where `areas` is largest; of several equal places the middle one."""
    places = np.flatnonzero(areas == areas.max())
    return int(places[places.size // 2])


def choose_box(labels: Sequence[Labels], geometry: Geometry) -> Box:
    """The part of the volume to show: all labels and `MARGIN_MM` around them, at least `MIN_VIEW_MM_ZYX`.

    Args:
        labels: (z, y, x) label maps that must be in view whole.
        geometry: Their grid.

    Returns:
        A box inside the grid; the whole grid where all maps are empty.
    """
    boxes = [box for box in map(Box.of_mask, labels) if box is not None]
    if not boxes:
        return Box.of_shape(geometry.shape_zyx)
    union = boxes[0]
    for box in boxes[1:]:
        union = union.union(box)
    start, stop = [], []
    for axis in range(3):
        low, high = _span(
            union.start_zyx[axis],
            union.stop_zyx[axis],
            geometry.shape_zyx[axis],
            MARGIN_MM / geometry.spacing_mm_zyx[axis],
            MIN_VIEW_MM_ZYX[axis] / geometry.spacing_mm_zyx[axis],
        )
        start.append(low)
        stop.append(high)
    return Box(as_int_triple(start), as_int_triple(stop))


def _span(start: int, stop: int, size: int, margin: float, least: float) -> tuple[int, int]:
    """`start` to `stop` with `margin` at both ends, at least `least` long, moved or cut to fit 0 to `size`."""
    length = min(size, round(max(stop - start + 2 * margin, least)))
    low = min(max(round((start + stop - length) / 2), 0), size - length)
    return low, low + length
