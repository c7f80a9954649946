"""One simulated case: from procedural anatomy, or around a given label map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Geometry, IntTriple, as_int_triple
from bisc.core.labels import KIDNEY
from bisc.core.volume import Volume
from bisc.imageio import CaseImage
from bisc.simulation.frame import Frame
from bisc.simulation.image import render
from bisc.simulation.kidneys import draw_anatomy, draw_labels
from bisc.simulation.patient import draw_patient, stream

SIZE_XYZ = (256, 256, 64)


def simulate_case(seed: int, index: int, size_xyz: IntTriple = SIZE_XYZ) -> tuple[Volume, Volume]:
    """A procedural case: int16 HU and uint8 labels on one canonical grid.

    The field of view is 360 to 440 mm wide, 190 to 300 mm high where slices of 2 to 5 mm allow it, and never lower
    than 170 mm, so that kidneys fit. Depends on nothing but the arguments.
    """
    rng = stream(seed, index, "patient")
    patient = draw_patient(rng)
    width = float(np.clip(2 * patient.half_width_mm + rng.uniform(5, 60), 360, 440))
    height = max(float(np.clip(rng.uniform(190, 300), 2 * size_xyz[2], 5 * size_xyz[2])), 170.0)
    nx, ny, nz = size_xyz
    spacing = (height / nz, width / max(nx, ny), width / max(nx, ny))
    shape = (nz, ny, nx)
    middle = (rng.uniform(-18, 18), patient.depth_centre_mm + rng.normal(12, 8), rng.normal(0, 5))
    first = [m - (n - 1) * s / 2 for m, n, s in zip(middle, shape, spacing, strict=True)]
    frame = Frame.regular(shape, spacing, (first[0], first[1], first[2]))
    shapes = stream(seed, index, "kidneys")
    labels = draw_labels(draw_anatomy(shapes), frame, shapes)
    geometry = Geometry(shape, spacing, (0.0, 0.0, -(nz - 1) * spacing[0]))
    return Volume(render(patient, labels, frame, seed, index), geometry), Volume(labels, geometry)


def simulate_around(given: CaseImage, seed: int, index: int) -> Volume:
    """CT anatomy that fits around a given label map, on exactly its grid."""
    volume = given.volume
    labels = np.asarray(volume.array, np.uint8)
    view_mm = volume.geometry.extent_mm_zyx[2]
    patient = draw_patient(stream(seed, index, "patient"), view_mm)
    spacing = volume.geometry.spacing_mm_zyx
    origin = _spine_place(labels, spacing)
    frame = Frame.regular(labels.shape, spacing, (-origin[0], -origin[1], -origin[2]))  # type: ignore[arg-type]
    return volume.with_array(render(patient, labels, frame, seed, index))


def _spine_place(
    labels: npt.NDArray[np.uint8], spacing_mm_zyx: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Where the middle of the spine at kidney level lies, in mm from the first voxel, (z, y, x).

    The kidneys flank the vertebral bodies, whose middle lies about level with theirs; among the places near the
    middle between both kidneys and near the image's own, the one that meets the fewest labelled voxels wins.
    """
    step = as_int_triple(np.maximum(1, np.rint(3.0 / np.asarray(spacing_mm_zyx))))
    small = labels[:: step[0], :: step[1], :: step[2]]
    dz, dy, dx = np.multiply(step, spacing_mm_zyx)
    ny, nx = small.shape[1:]
    flat = (small > 0).sum(axis=0).astype(np.float32)
    zs, ys, xs = np.nonzero(small == KIDNEY if (small == KIDNEY).any() else small)
    if zs.size == 0:
        return labels.shape[0] * spacing_mm_zyx[0] / 2, ny * dy * 0.6, nx * dx / 2
    sides = [xs[xs < nx / 2], xs[xs >= nx / 2]]
    paired = min(s.size for s in sides) > 0.2 * xs.size
    centre_x = float(np.mean([s.mean() for s in sides])) * dx if paired else nx * dx / 2
    centre_y = float(ys.mean()) * dy - 4
    yy, xx = np.mgrid[-45 : 45 + dy : dy, -40 : 40 + dx : dx]
    footprint = (((xx / 36) ** 2 + ((yy - 5) / 34) ** 2) < 1).astype(np.float32)
    met = ndimage.correlate(flat, footprint, mode="constant")
    far_y = (np.arange(ny) * dy - centre_y)[:, None]
    far_x = (np.arange(nx) * dx - centre_x)[None, :]
    cost = met * dz * dy * dx / 1000 + (far_y / 9) ** 2 + (far_x / 9) ** 2
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    return float(zs.mean() * dz), float(row * dy), float(column * dx)
