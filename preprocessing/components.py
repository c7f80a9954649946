"""Connected components of a mask, with their sizes and boxes, worked on inside the mask's own box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.roi import Box

CONNECT_26 = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class Component:
    """One 26-connected component.

    Attributes:
        box: Its box in the grid of the mask.
        n_voxels: Its size.
        centroid_zyx: Mean voxel index.
        label: Its number in the array returned with it (0 is outside).
    """

    box: Box
    n_voxels: int
    centroid_zyx: tuple[float, float, float]
    label: int


def connected_components(mask: npt.NDArray[np.bool_]) -> list[Component]:
    """26-connected components of a (z, y, x) mask, the largest first; an empty mask gives an empty list."""
    return label_components(mask)[0]


def label_components(
    mask: npt.NDArray[np.bool_],
) -> tuple[list[Component], npt.NDArray[np.int32], Box | None]:
    """The components, their numbered array inside the mask's box, and that box.

    Returns:
        Components (largest first), an int32 array of the box's shape where component k has its `label`, the box
        (None, with an empty array, for an empty mask).
    """
    numbered, around = number_components(mask)
    if around is None:
        return [], numbered, None
    components = []
    for label, slices in enumerate(ndimage.find_objects(numbered), start=1):
        start = (slices[0].start, slices[1].start, slices[2].start)
        box = Box(start, (slices[0].stop, slices[1].stop, slices[2].stop)).shifted(around.start_zyx)
        own = numbered[slices] == label
        n = int(np.count_nonzero(own))
        z, y, x = (s + c for s, c in zip(box.start_zyx, _centroid(own, n), strict=True))
        components.append(Component(box, n, (z, y, x), label))
    components.sort(key=lambda c: (-c.n_voxels, c.label))
    return components, numbered, around


def number_components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], Box | None]:
    """The numbered array and box of `label_components` alone: cheap however many specks a mask has."""
    around = Box.of_mask(mask)
    if around is None:
        return np.zeros((0, 0, 0), np.int32), None
    numbered = np.empty(around.shape_zyx, np.int32)
    # Canonical masks are often turned views; labelling a contiguous copy takes half the time.
    ndimage.label(np.ascontiguousarray(mask[around.to_slices()]), structure=CONNECT_26, output=numbered)
    return numbered, around


def _centroid(own: npt.NDArray[np.bool_], n: int) -> list[float]:
    """Mean (z, y, x) index of the `n` voxels of a mask, from sums along its axes: a list of indices would be huge."""
    sums = (own.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3))
    return [float(counts @ np.arange(counts.size)) / n for counts in sums]
