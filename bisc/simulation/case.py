"""One simulated case: from procedural anatomy, or around a given label map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Geometry, IntTriple, as_int_triple
from bisc.core.labels import CYST, KIDNEY
from bisc.core.volume import Volume
from bisc.imageio import CaseImage
from bisc.simulation.anatomy import draw_anatomy
from bisc.simulation.frame import Frame
from bisc.simulation.image import render
from bisc.simulation.label_map import draw_labels, without_cysts
from bisc.simulation.patient import draw_patient, stream
from bisc.simulation.phases import Variety
from bisc.simulation.view import draw_view

SIZE_XYZ = (256, 256, 64)


def simulate_case(
    seed: int, index: int, size_xyz: IntTriple = SIZE_XYZ, variety: Variety = "kits"
) -> tuple[Volume, Volume]:
    """A procedural case: int16 HU and uint8 labels on one canonical grid. Depends on nothing but the arguments.

    Of the `kits` variety every case shows kidneys; of `wide` some show a part of them, or none: the label map is empty.
    """
    patient = draw_patient(stream(seed, index, "patient"), variety)
    frame = draw_view(stream(seed, index, "view"), patient, size_xyz)
    shapes = stream(seed, index, "kidneys")
    labels = draw_labels(draw_anatomy(shapes, variety, patient.liver_below_mm), frame, shapes)
    nz, spacing = frame.z.size, frame.spacing_mm_zyx
    geometry = Geometry(frame.shape_zyx, spacing, (0.0, 0.0, -(nz - 1) * spacing[0]))
    image = render(patient, labels, frame, seed, index, scattered=False)
    return Volume(image, geometry), Volume(without_cysts(labels), geometry)


def simulate_around(
    given: CaseImage,
    seed: int,
    index: int,
    variety: Variety = "kits",
    cysts: npt.NDArray[np.bool_] | None = None,
) -> Volume:
    """CT anatomy that fits around a given label map, on exactly its grid.

    Args:
        given: 0 background, 1 kidney, 2 tumour.
        seed, index: Name the random streams.
        variety: Of patients and scanners; what is in view is given.
        cysts: Which of its kidney voxels are cysts; None: some are scattered in half of the cases.
    """
    volume = given.volume
    labels = np.asarray(volume.array, np.uint8)
    view_mm = volume.geometry.extent_mm_zyx[2]
    patient = draw_patient(stream(seed, index, "patient"), variety, view_mm)
    spacing = volume.geometry.spacing_mm_zyx
    origin = _spine_place(labels, spacing)
    frame = Frame.regular(labels.shape, spacing, (-origin[0], -origin[1], -origin[2]))  # type: ignore[arg-type]
    if cysts is not None:
        labels = np.where(cysts & (labels == KIDNEY), np.uint8(CYST), labels)
    return volume.with_array(render(patient, labels, frame, seed, index, scattered=cysts is None))


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
