"""Inside the labels: cortex, medulla and sinus of the kidneys, the many faces of tumours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.labels import KIDNEY, TUMOR
from bisc.core.volume import Box
from bisc.simulation.frame import Field, Frame, Slices, smooth_noise
from bisc.simulation.patient import Patient

Mask = npt.NDArray[np.bool_]
SINUS_MM = 11.0
"""Hollows narrower than twice this between kidney voxels are renal sinus."""
CYST_SHARE = 0.12
LEAST_CONTRAST_HU = 12.0
SPECK_MM = 3.0
FACES = ("solid", "necrotic", "homogeneous", "cystic", "alike")
FACE_SHARES = (0.34, 0.26, 0.18, 0.10, 0.12)


@dataclass(frozen=True, eq=False)
class Tissue:
    """HU inside the labels on a box of the working grid; each field is defined all over the box.

    Attributes:
        box: Where the fields lie in the working grid.
        kidney, tumor: HU of either tissue.
        sinus: Coverage 0..1 of the renal sinus.
        sinus_hu: HU there.
    """

    box: Slices
    kidney: Field
    tumor: Field
    sinus: Field
    sinus_hu: Field


def make_tissue(
    patient: Patient, labels: npt.NDArray[np.uint8], frame: Frame, rng: np.random.Generator
) -> Tissue | None:
    """Tissue for a label map on `frame`; None for an empty one."""
    found = Box.of_mask(labels)
    if found is None:
        return None
    margin = [int(np.ceil(14 / s)) for s in frame.spacing_mm_zyx]
    box = found.padded((margin[0], margin[1], margin[2])).clipped(frame.shape_zyx)
    if box is None:  # cannot be: the box was found on this grid
        return None
    cut = box.to_slices()
    part, inside = frame.cut(cut), labels[cut]
    hull = _closed(inside > 0, part)
    depth = ndimage.distance_transform_edt(hull, sampling=part.spacing_mm_zyx).astype(np.float32)
    sinus = hull & (inside == 0)
    kidney = _kidney_hu(patient, depth, part, rng)
    _add_cyst(kidney, inside == KIDNEY, part, rng)
    usual = float(kidney[inside == KIDNEY].mean()) if (inside == KIDNEY).any() else patient.hu.kidney
    tumor = _tumor_hu(patient, inside == TUMOR, usual, part, rng)
    return Tissue(cut, kidney, tumor, *_sinus(patient, sinus, depth, part, rng))


def _closed(mask: Mask, frame: Frame) -> Mask:
    """Morphological closing by a ball of `SINUS_MM`, by distances."""
    spacing = frame.spacing_mm_zyx
    grown = ndimage.distance_transform_edt(~mask, sampling=spacing) <= SINUS_MM
    return np.asarray((ndimage.distance_transform_edt(grown, sampling=spacing) > SINUS_MM) | mask)


def _kidney_hu(patient: Patient, depth: Field, frame: Frame, rng: np.random.Generator) -> Field:
    """Cortex outside, pyramids of medulla inside, columns of cortex between them."""
    hu = patient.hu
    thick = np.float32(rng.uniform(5.5, 8.0)) + 1.2 * smooth_noise(rng, frame, 9.0)
    pyramids = np.clip(1.3 * smooth_noise(rng, frame, 7.0) + 0.65, 0, 1)
    medulla = np.clip((depth - thick) / 2.5, 0, 1) * pyramids
    out = hu.cortex + (hu.medulla - hu.cortex) * medulla
    # Label maps of KiTS19 take in the calyces' ends and threads of sinus fat between the pyramids.
    calyces = np.clip(1.5 * smooth_noise(rng, frame, (7.0, 4.5, 4.5)) - 1.0, 0, 1) * np.clip((depth - 10) / 5, 0, 1)
    out += calyces * (float(rng.uniform(-30, 10)) - out)
    return np.asarray(out + 4 * smooth_noise(rng, frame, 5.0), np.float32)


def _add_cyst(kidney_hu: Field, kidney: Mask, frame: Frame, rng: np.random.Generator) -> None:
    """In some patients a simple cyst, which KiTS19 counts as kidney; changes `kidney_hu`."""
    has, radius, place = float(rng.random()), float(rng.uniform(4, 11)), float(rng.random())
    voxels = np.flatnonzero(kidney)
    if has > CYST_SHARE or voxels.size == 0:
        return
    centre = np.unravel_index(voxels[int(place * voxels.size)], kidney.shape)
    z, y, x = (a - axis[c] for a, axis, c in zip(frame.open_zyx, frame.axes, centre, strict=True))
    cover = np.clip(radius - np.sqrt(z**2 + y**2 + x**2) + 0.5, 0, 1)
    kidney_hu += cover * (9 - kidney_hu)


def _sinus(patient: Patient, sinus: Mask, depth: Field, frame: Frame, rng: np.random.Generator) -> tuple[Field, Field]:
    """Fat with branches of vein and artery, and the collecting system."""
    hu = patient.hu
    cover = ndimage.gaussian_filter(sinus.astype(np.float32), [1.0 / s for s in frame.spacing_mm_zyx])
    vessels, pelvis = smooth_noise(rng, frame, 6.0), smooth_noise(rng, frame, 10.0)
    field = np.full(frame.shape_zyx, hu.fat + 35, np.float32)
    urine = 350.0 if hu.phase == "nephrographic" and rng.random() < 0.12 else 10.0
    for weight, value in (
        (np.clip((pelvis - 0.1) * 3, 0, 1) * np.clip(depth / 8, 0, 1), urine),
        (np.clip((vessels - 0.3) * 3, 0, 1), 0.8 * hu.cava + 0.2 * hu.aorta),
    ):
        field += weight * (np.float32(value) - field)
    return cover, field


def _tumor_hu(patient: Patient, tumors: Mask, kidney_hu: float, frame: Frame, rng: np.random.Generator) -> Field:
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
        hu = _face(face, patient, inside / max(radius, 1.0), radius, frame, rng)
        contrast = float(hu[parts == number].mean()) - kidney_hu
        if abs(contrast) < LEAST_CONTRAST_HU:
            hu += (LEAST_CONTRAST_HU if contrast > 0 else -LEAST_CONTRAST_HU) - contrast
        field[own] = hu[own]
        if rng.random() < 0.5:
            face = str(rng.choice(FACES, p=FACE_SHARES))
    return field


def _face(face: str, patient: Patient, depth: Field, radius: float, frame: Frame, rng: np.random.Generator) -> Field:
    """HU of one tumour.

    Args:
        face: One of `FACES`.
        patient: Gives the contrast phase.
        depth: 0 at the tumour's surface, 1 at its deepest place.
        radius: In mm.
        frame: The grid.
        rng: Draws the pattern.
    """
    hu = patient.hu
    plain = hu.phase == "plain"
    coarse = smooth_noise(rng, frame, float(np.clip(0.5 * radius, 5, 14)))
    fine = smooth_noise(rng, frame, 4.0)
    tone = float(rng.normal(0, 7))
    if face == "cystic":
        walls = np.clip(1 - np.abs(coarse) * 5, 0, 1) * float(rng.random() < 0.6)
        rim = np.clip(1 - depth * radius / 2.5, 0, 1)
        return np.asarray(14 + 0.8 * tone + (30 if plain else 55) * np.maximum(walls, rim), np.float32)
    if face == "alike":
        gap = float(rng.choice([-1, 1])) * float(rng.uniform(12, 22))
        return np.asarray(hu.kidney + gap + 6 * coarse, np.float32)
    if face == "homogeneous":
        return np.asarray((48 if plain else 54) + tone + 7 * coarse + 5 * fine, np.float32)
    base = 48.0 + 0.5 * tone if plain else float(rng.uniform(46, 80)) + tone
    spread = 6.0 if plain else 21.0
    out = base + spread * coarse + 0.6 * spread * fine
    if not plain:  # winding vessels in clear cell carcinomas
        out += 60 * np.clip(fine - 1.4, 0, 1.5) * (hu.phase == "arterial")
    if face == "necrotic" and radius > 8:
        core = np.clip((depth - rng.uniform(0.2, 0.45)) * 5 + 0.9 * coarse, 0, 1)
        out += core * (float(rng.uniform(16, 32)) + 3 * fine - out)
    if radius > 15 and rng.random() < 0.2:
        out += 500 * np.clip(fine * coarse - 3.5, 0, 1)  # flecks of calcium
    return np.asarray(out, np.float32)
