"""HU inside tumours: their many faces, one each for every separate tumour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.simulation.frame import Field, Frame, smooth_noise
from bisc.simulation.patient import Patient

Mask = npt.NDArray[np.bool_]
LEAST_CONTRAST_HU = 12.0
SPECK_MM = 3.0
FACES = ("solid", "necrotic", "homogeneous", "cystic", "septated", "alike", "fatty")
FACE_SHARES = (0.31, 0.26, 0.16, 0.08, 0.06, 0.11, 0.02)
CALCIUM_SHARE = 0.15


def tumor_hu(patient: Patient, tumors: Mask, kidney_hu: float, frame: Frame, rng: np.random.Generator) -> Field:
    """Every separate tumour may have a face of its own; between them the nearest one's HU goes on.

    None is invisible: the mean of each differs from `kidney_hu` by at least `LEAST_CONTRAST_HU`.
    """
    field = np.zeros(frame.shape_zyx, np.float32)
    parts, count = ndimage.label(tumors)
    if count == 0:
        return field
    inside = ndimage.distance_transform_edt(tumors, sampling=frame.spacing_mm_zyx).astype(np.float32)
    nearest = ndimage.distance_transform_edt(
        ~tumors, sampling=frame.spacing_mm_zyx, return_distances=False, return_indices=True
    )
    owner = parts[tuple(nearest)]
    face = str(rng.choice(FACES, p=FACE_SHARES))
    for number, cut in enumerate(ndimage.find_objects(parts), start=1):
        own = owner == number
        radius = float(inside[cut].max())
        if radius < SPECK_MM and count > 1:
            field[own] = 60.0
            continue
        hu = _Painter(patient, inside, radius, frame, rng).paint(face)
        contrast = float(hu[parts == number].mean()) - kidney_hu
        if abs(contrast) < LEAST_CONTRAST_HU:
            hu += (LEAST_CONTRAST_HU if contrast > 0 else -LEAST_CONTRAST_HU) - contrast
        field[own] = hu[own]
        if rng.random() < 0.5:
            face = str(rng.choice(FACES, p=FACE_SHARES))
    return field


@dataclass(frozen=True, eq=False)
class _Painter:
    """HU of one tumour, all over the grid.

    Attributes:
        patient: Gives the contrast phase.
        inside_mm: Distance to the tumour's surface.
        radius_mm: That of its deepest place.
        frame: The grid.
        rng: Draws the pattern.
    """

    patient: Patient
    inside_mm: Field
    radius_mm: float
    frame: Frame
    rng: np.random.Generator

    def paint(self, face: str) -> Field:
        """The face, one of `FACES`, with calcium in some."""
        coarse = smooth_noise(self.rng, self.frame, float(np.clip(0.5 * self.radius_mm, 5, 14)))
        fine = smooth_noise(self.rng, self.frame, (3.5, 2.4, 2.4))
        tone = float(self.rng.normal(0, 40 if self.patient.tinted else 7))
        out = self._face(face, coarse, fine, tone)
        if self.radius_mm > 12 and self.rng.random() < CALCIUM_SHARE:
            out += self._calcium(coarse, fine)
        return np.asarray(out, np.float32)

    def _face(self, face: str, coarse: Field, fine: Field, tone: float) -> Field:
        hu, rng = self.patient.hu, self.rng
        plain = hu.phase == "plain"
        if face in ("cystic", "septated"):
            return self._fluid(coarse, fine, tone, septa=face == "septated")
        if face == "alike":
            gap = float(rng.choice([-1, 1])) * float(rng.uniform(12, 22))
            return np.asarray(hu.kidney + gap + 6 * coarse + 4 * fine)
        if face == "homogeneous":
            return np.asarray((48 if plain else 54) + tone + 8 * coarse + 8 * fine)
        if face == "fatty":  # an angiomyolipoma: fat between vessels and muscle
            return np.asarray((30 if plain else 60) + np.clip(1.2 * coarse + 0.8, 0, 1) * -110 + 12 * fine)
        vascular = hu.phase == "arterial" and rng.random() < 0.3
        base = 48.0 + 0.5 * tone if plain else float(rng.uniform(80, 120) if vascular else rng.uniform(46, 80)) + tone
        spread = 6.0 if plain else float(rng.uniform(16, 36))
        rim = np.clip(1 - self.inside_mm / 7, 0, 1) * float(0 if plain else rng.uniform(0, 35))
        out = base + spread * coarse + 0.8 * spread * fine + rim
        if hu.phase == "arterial":  # winding vessels in clear cell carcinomas
            out += 60 * np.clip(fine - 1.4, 0, 1.5)
        if face == "necrotic" and self.radius_mm > 8:
            start = rng.uniform(0.15, 0.45)
            core = np.clip((self.inside_mm / self.radius_mm - start) * 5 + 1.1 * coarse, 0, 1)
            out += core * (float(rng.uniform(14, 32)) + 3 * fine - out)
        return np.asarray(out)

    def _fluid(self, coarse: Field, fine: Field, tone: float, septa: bool) -> Field:
        """Fluid in a wall of uneven thickness, crossed by septa, with a solid knot in some."""
        wall = np.clip(1 - self.inside_mm / (2.5 + 1.2 * np.clip(coarse, -1, 2)), 0, 1)
        lines = np.clip(1 - np.abs(coarse) * 5, 0, 1) * float(septa or self.rng.random() < 0.4)
        if septa:
            lines = np.maximum(lines, np.clip(1 - np.abs(fine + coarse) * 4, 0, 1))
        knot = np.clip(3 * coarse - 4.2, 0, 1)
        bright = 30 if self.patient.hu.phase == "plain" else 60
        return np.asarray(14 + 0.8 * tone + bright * np.maximum(np.maximum(wall, lines), knot))

    def _calcium(self, coarse: Field, fine: Field) -> Field:
        """Flecks all over, or a broken shell near the surface."""
        if self.rng.random() < 0.6:
            return np.asarray(600 * np.clip(fine * coarse - 3.2, 0, 1))
        shell = np.clip(1 - np.abs(self.inside_mm - 2.5) / 2, 0, 1)
        return np.asarray(450 * shell * np.clip(coarse - 0.6, 0, 1))
