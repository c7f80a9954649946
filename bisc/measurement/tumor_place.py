"""Where a tumour lies in its kidney: how deep, how much beyond the outline, before or behind, how near to what."""

from __future__ import annotations

from dataclasses import dataclass

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from bisc.core.geometry import Triple
from bisc.measurement.kidney_shape import KidneyShape

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """A tumour's place in its kidney; shares are of its volume.

    Attributes:
        exophytic: Share beyond the kidney's outline.
        depth_mm: Of its deepest voxel below the outline; 0 where all of it lies outside.
        anterior: Share in front of the plane through the kidney's axis and its hilum.
        medial: Share on the hilum's side of the axis.
        centre_mm: From the outline's centre of mass to the tumour's.
        along: Where its centre lies between the lower pole (0) and the upper one (1), along z.
        to_axis_mm: From the kidney's axis to its nearest edge, in an axial slice; 0 where it holds the axis.
        to_equator_mm: From the middle between the poles to its nearest edge, along z; 0 where it crosses it.
    """

    exophytic: float
    depth_mm: float
    anterior: float
    medial: float
    centre_mm: float
    along: float
    to_axis_mm: float
    to_equator_mm: float


@dataclass(frozen=True)
class Lines:
    """A tumour and the polar lines; shares are of its volume.

    Attributes:
        above: Share above the upper line.
        below: Share below the lower line.
        crosses_middle: Whether it crosses the middle between the two.
    """

    above: float
    below: float
    crosses_middle: bool


def place_of(tumor: Mask, kidney: KidneyShape) -> Place:
    """Where a (z, y, x) tumour, not empty, lies; `tumor` has the shape of the kidney's arrays."""
    mm = kidney.spacing_mm_zyx
    at = np.argwhere(tumor)
    front, towards = kidney.beside(tumor)
    low, high = kidney.pole_slices
    bottom, top = int(at[:, 0].min()), int(at[:, 0].max()) + 1
    equator = (low + high) / 2
    from_axis = np.linalg.norm(at[:, 1:] * mm[1:] - kidney.axis_mm_yx[at[:, 0]], axis=1) - np.hypot(*mm[1:]) / 2
    return Place(
        exophytic=float(np.mean(~kidney.outline[tumor])),
        depth_mm=float(kidney.depth_mm[tumor].max()),
        anterior=float(np.mean(front > 0)),
        medial=float(np.mean(towards > 0)),
        centre_mm=float(np.linalg.norm(at.mean(axis=0) * mm - kidney.centre_mm_zyx)),
        along=float((at[:, 0].mean() + 0.5 - low) / (high - low)),
        to_axis_mm=max(0.0, float(from_axis.min())),
        to_equator_mm=max(0.0, bottom - equator, equator - top) * mm[0],
    )


def lines_of(tumor: Mask, kidney: KidneyShape) -> Lines | None:
    """The tumour and the polar lines; None where there are none."""
    if kidney.polar_slices is None:
        return None
    low, high = kidney.polar_slices
    z = np.argwhere(tumor)[:, 0]
    middle = (low + high) / 2
    return Lines(float(np.mean(z >= high)), float(np.mean(z < low)), bool(z.min() < middle < z.max() + 1))


def gap_mm(one: Mask, other: Mask, spacing_mm_zyx: Triple) -> float | None:
    """The distance between the outlines of two (z, y, x) masks, 0 where they touch; None where one is empty.

    Between the voxels as boxes: those of one grid are nearest to each other in two of their corners.
    """
    if not one.any() or not other.any():
        return None
    a, b = (np.argwhere(_corners(_rim(mask))) * spacing_mm_zyx for mask in (one, other))
    return float(cKDTree(a).query(b)[0].min())


def beyond(mask: Mask, tumor: Mask, margin_mm: float, spacing_mm_zyx: Triple) -> int:
    """How many voxels of a mask lie farther than `margin_mm` from a tumour, from centre to centre."""
    away = edt.edt(~tumor, anisotropy=spacing_mm_zyx)
    return int(np.count_nonzero(mask & (away > margin_mm)))


def _corners(mask: Mask) -> Mask:
    """Of the (z + 1, y + 1, x + 1) corners of voxels, those of a mask's."""
    return np.asarray(ndimage.binary_dilation(np.pad(mask, (0, 1)), np.ones((2, 2, 2)), origin=0))


def _rim(mask: Mask) -> Mask:
    return np.asarray(mask & ~ndimage.binary_erosion(mask))
