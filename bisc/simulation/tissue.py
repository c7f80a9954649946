"""Inside the labels: kidneys with their cysts and stones, the renal sinus, tumours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.labels import CYST, KIDNEY, TUMOR
from bisc.core.volume import Box
from bisc.simulation.cysts import add_cysts, scatter_cysts
from bisc.simulation.frame import Field, Frame, Slices, smooth_noise
from bisc.simulation.parenchyma import kidney_hu, renal_sinus, stone
from bisc.simulation.patient import Patient
from bisc.simulation.tumors import tumor_hu

LOOSE_MM, WOBBLE_MM = (0.3, 1.1), 0.5
Mask = npt.NDArray[np.bool_]
SINUS_MM = 11.0
"""Hollows narrower than twice this between kidney voxels are renal sinus."""


@dataclass(frozen=True, eq=False)
class Tissue:
    """HU inside the labels on a box of the working grid; each field is defined all over the box.

    Attributes:
        box: Where the fields lie in the working grid.
        kidney, tumor: HU of either tissue; cysts lie in the kidney's.
        sinus: Coverage 0..1 of the renal sinus.
        sinus_hu: HU there.
        loose_mm: How far within the labels' outline the organs' surface lies.
    """

    box: Slices
    kidney: Field
    tumor: Field
    sinus: Field
    sinus_hu: Field
    loose_mm: Field


def make_tissue(
    patient: Patient,
    labels: npt.NDArray[np.uint8],
    frame: Frame,
    rng: np.random.Generator,
    lesions: np.random.Generator,
    scattered: bool,
) -> Tissue | None:
    """Tissue for a label map on `frame`; None for an empty one.

    Args:
        patient: HU of this phase.
        labels: (z, y, x) 0/1/2/3.
        frame: Its voxels.
        rng: Draws the kidneys and tumours.
        lesions: Draws cysts and stones.
        scattered: Cysts are put into the kidneys of half of the patients; where the label map has them it knows better.
    """
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
    whole = inside == KIDNEY
    kidney, usual = kidney_hu(patient, depth, whole, part, rng)
    tumor = tumor_hu(patient, inside == TUMOR, usual, part, rng)
    sinus = renal_sinus(patient, hull & (inside == 0), depth, part, rng)
    cysts = scatter_cysts(whole, part, lesions) if scattered else inside == CYST
    add_cysts(kidney, cysts, inside == 0, lesions)
    for field in stone(patient, whole & (depth > 8), part, lesions):
        np.maximum(kidney, field, out=kidney)
        np.maximum(sinus[1], field, out=sinus[1])
    return Tissue(cut, kidney, tumor, *sinus, _loose_mm(part, lesions))


def _loose_mm(frame: Frame, rng: np.random.Generator) -> Field:
    """Persons draw around an organ, some closer than others: in KiTS19 half height lies 0.4 to 1.3 mm within."""
    wobble = WOBBLE_MM * smooth_noise(rng, frame, (4.0, 7.0, 7.0))
    return np.asarray(np.clip(rng.uniform(*LOOSE_MM) + wobble, -0.3, 1.6), np.float32)


def _closed(mask: Mask, frame: Frame) -> Mask:
    """Morphological closing by a ball of `SINUS_MM`, by distances."""
    spacing = frame.spacing_mm_zyx
    grown = ndimage.distance_transform_edt(~mask, sampling=spacing) <= SINUS_MM
    return np.asarray((ndimage.distance_transform_edt(grown, sampling=spacing) > SINUS_MM) | mask)
