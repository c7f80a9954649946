"""The label map of a procedural anatomy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.labels import CONNECT_26, CYST, KIDNEY, TUMOR
from bisc.simulation.frame import Field, Frame, smooth_noise
from bisc.simulation.kidneys import Anatomy
from bisc.simulation.shapes import ellipsoid_distance, local_axes, smooth_minimum, tube_distance

Labels = npt.NDArray[np.uint8]
ROOF_MM = 125.0
SPECK_ML = 1.0
"""Smaller components that the surface noise or a clipped tumour leaves are dropped."""


def without_cysts(labels: Labels) -> Labels:
    """The labels that are written: cysts are kidney, KiTS19's convention."""
    return np.where(labels == CYST, np.uint8(KIDNEY), labels)


def draw_labels(anatomy: Anatomy, frame: Frame, rng: np.random.Generator) -> Labels:
    """The label map of `anatomy` on `frame` (voxel centres decide): tumour wins over cyst, cyst over kidney.

    Args:
        anatomy: What to draw.
        frame: Where.
        rng: Draws the unevenness of the surfaces.
    """
    labels = np.zeros(frame.shape_zyx, np.uint8)
    for kidney in anatomy.kidneys:
        cut = frame.slices(np.subtract(kidney.centre_zyx, 85), np.add(kidney.centre_zyx, 85))
        bumps = np.random.default_rng(rng.integers(2**63))  # one draw each, also where the grid misses the organ
        if cut is not None:
            part = frame.cut(cut)
            solid = kidney.distance(part) + np.float32(1.3) * smooth_noise(bumps, part, 16.0)
            labels[cut][solid > 0] = KIDNEY
    if anatomy.bridge_zyx:
        labels[tube_distance(frame, anatomy.bridge_zyx, [anatomy.bridge_mm] * len(anatomy.bridge_zyx)) > 0] = KIDNEY
    for cyst in anatomy.cysts:
        cut = frame.slices(np.subtract(cyst.centre_zyx, cyst.radius_mm), np.add(cyst.centre_zyx, cyst.radius_mm))
        if cut is not None:
            part = frame.cut(cut)
            ball = ellipsoid_distance(*local_axes(part, cyst.centre_zyx, None), [cyst.radius_mm] * 3)
            labels[cut][np.minimum(ball, _room(part)) > 0] = CYST
    for tumor in anatomy.tumors:
        bumps = np.random.default_rng(rng.integers(2**63))
        cut = frame.slices(*tumor.box_mm_zyx)
        if cut is not None:
            part = frame.cut(cut)
            labels[cut][smooth_minimum(tumor.distance(part, bumps), _room(part), 6.0) > 0] = TUMOR
    return _without_specks(labels, float(np.prod(frame.spacing_mm_zyx)) / 1000)


def _room(frame: Frame) -> Field:
    """Distance to where no tumour grows: the spine with its muscles, the back's wall, the chest."""
    z, y, x = frame.open_zyx
    spine = np.sqrt(((y - 8) / 38) ** 2 + (x / 40) ** 2)
    wall = 58 - y - np.float32(0.25) * np.abs(np.abs(x) - 75)
    room = np.minimum(np.minimum((spine - 1) * 38, wall), ROOF_MM - z)
    return np.broadcast_to(room, frame.shape_zyx).astype(np.float32)


def _without_specks(labels: Labels, voxel_ml: float) -> Labels:
    parts, count = ndimage.label(labels > 0, CONNECT_26)
    if count > 1:
        volume = np.bincount(parts.ravel()) * voxel_ml
        labels[(volume < min(SPECK_ML, volume[1:].max()))[parts]] = 0
    return labels
