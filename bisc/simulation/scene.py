"""What the painters share: the canvas, the patient, and how far every voxel lies from wall and kidneys."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Triple
from bisc.simulation.frame import Field, Frame, Upsampler
from bisc.simulation.outline import make_outline
from bisc.simulation.patient import Patient
from bisc.simulation.shapes import Canvas, Shape, Value
from bisc.simulation.tint import Tint

AIR = -1000.0


@dataclass(frozen=True)
class Metal:
    """A piece of metal: where, how far its slices reach, and how strong its streaks are beside it."""

    centre_zyx: Triple
    reach_mm: float
    strength_hu: float


@dataclass(frozen=True, eq=False)
class Scene:
    """A half-painted patient.

    Attributes:
        canvas: HU so far.
        patient: The numbers to paint by.
        rng: For the unevenness of what is painted.
        skin_mm, muscle_mm, cavity_mm: Signed distances (z, y, x) to the body's outlines, positive inside.
        gap_mm: Distance to the nearest kidney or tumour voxel.
        metal: What will cast streaks; painters add to it.
    """

    canvas: Canvas
    patient: Patient
    rng: np.random.Generator
    skin_mm: Field
    muscle_mm: Field
    cavity_mm: Field
    gap_mm: Field
    metal: list[Metal] = field(default_factory=list)

    @classmethod
    def prepare(
        cls,
        patient: Patient,
        labels: npt.NDArray[np.uint8],
        frame: Frame,
        rng: np.random.Generator,
        tint: Tint | None = None,
    ) -> Scene:
        """An empty scene around a label map on `frame`."""
        skin, muscle, cavity = make_outline(patient, labels, frame).distances(frame, rng)
        return cls(Canvas.filled(frame, AIR, tint), patient, rng, skin, muscle, cavity, distance_to(labels, frame))

    def organ(
        self, low_mm_zyx: npt.ArrayLike, high_mm_zyx: npt.ArrayLike, shape: Shape, value: Value, gap_mm: float = 2.0
    ) -> None:
        """Paint a shape inside a box, kept within the cavity and `gap_mm` clear of the kidneys."""
        cut = self.canvas.frame.slices(low_mm_zyx, high_mm_zyx)
        if cut is None:
            return
        part = self.canvas.cut(cut)
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
