"""What the painters share: the canvas, the patient, and how far every voxel lies from wall and kidneys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.simulation.frame import Field, Frame, Upsampler
from bisc.simulation.outline import make_outline
from bisc.simulation.patient import Patient
from bisc.simulation.shapes import Canvas, Shape, Value

AIR = -1000.0


@dataclass(frozen=True, eq=False)
class Scene:
    """A half-painted patient.

    Attributes:
        canvas: HU so far.
        patient: The numbers to paint by.
        rng: For the unevenness of what is painted.
        skin_mm, muscle_mm, cavity_mm: Signed distances (z, y, x) to the body's outlines, positive inside.
        gap_mm: Distance to the nearest kidney or tumour voxel.
    """

    canvas: Canvas
    patient: Patient
    rng: np.random.Generator
    skin_mm: Field
    muscle_mm: Field
    cavity_mm: Field
    gap_mm: Field

    @classmethod
    def prepare(cls, patient: Patient, labels: npt.NDArray[np.uint8], frame: Frame, rng: np.random.Generator) -> Scene:
        """An empty scene around a label map on `frame`."""
        skin, muscle, cavity = make_outline(patient, labels, frame).distances(frame, rng)
        return cls(Canvas.filled(frame, AIR), patient, rng, skin, muscle, cavity, distance_to(labels, frame))

    def organ(
        self, low_mm_zyx: npt.ArrayLike, high_mm_zyx: npt.ArrayLike, shape: Shape, value: Value, gap_mm: float = 2.0
    ) -> None:
        """Paint a shape inside a box, kept within the cavity and `gap_mm` clear of the kidneys."""
        cut = self.canvas.frame.slices(low_mm_zyx, high_mm_zyx)
        if cut is None:
            return
        part = Canvas(self.canvas.hu[cut], self.canvas.frame.cut(cut))
        room = np.minimum(self.cavity_mm[cut] - np.float32(1.5), self.gap_mm[cut] - np.float32(gap_mm))
        part.paint(np.minimum(shape(part.frame), room), value if np.ndim(value) == 0 else np.asarray(value)[cut])


def distance_to(labels: npt.NDArray[np.uint8], frame: Frame) -> Field:
    """Distance in mm to the nearest labelled voxel, measured on a 4 mm grid: smooth, and quick."""
    coarse = frame.coarser((4.0, 4.0, 4.0))
    mask = labels[np.ix_(*frame.nearest(coarse))] > 0
    if not mask.any():
        return np.full(frame.shape_zyx, 1e3, np.float32)
    distance = ndimage.distance_transform_edt(~mask, sampling=coarse.spacing_mm_zyx).astype(np.float32)
    return Upsampler(coarse, frame).whole(distance)
