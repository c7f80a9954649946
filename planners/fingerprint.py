"""What a data set looks like: per case its grid, kidneys, tumour and foreground HU."""

from __future__ import annotations

import numpy as np

from bisc.core.labels import MAX_KIDNEYS, MIN_KIDNEY_ML, TUMOR
from bisc.core.limits import Amount, Count, SpacingMm
from bisc.core.volume import Box, Volume
from bisc.preprocessing.parts import connected_components
from bisc.system.jsonfile import Document

SCHEMA_VERSION = 1
N_QUANTILES = 1001
"""A case's foreground HU are kept as this many evenly spaced quantiles: enough for 0.5 and 99.5 %, small on disk."""


class KidneyMeasure(Document, frozen=True):
    """One kidney with its tumour: a 26-connected component of label > 0."""

    volume_ml: Amount
    extent_mm_zyx: tuple[Amount, Amount, Amount]


class CaseFingerprint(Document, frozen=True):
    """One case. HU quantiles are None where the case has no image."""

    name: str
    shape_zyx: tuple[Count, Count, Count]
    spacing_mm_zyx: tuple[SpacingMm, SpacingMm, SpacingMm]
    kidneys: list[KidneyMeasure]
    n_components: int
    tumor_ml: Amount
    hu_quantiles: list[int] | None


class Fingerprint(Document, frozen=True):
    """The whole data set, cases sorted by name."""

    schema_version: int
    dataset: str
    cases: list[CaseFingerprint]


def measure_labels(name: str, labels: Volume, hu_quantiles: list[int] | None = None) -> CaseFingerprint:
    """Measure a canonical label map (0 background, 1 kidney, 2 tumour).

    Kidneys are the largest components of label > 0 of at least `MIN_KIDNEY_ML`, two at most.
    """
    ml = labels.geometry.voxel_volume_ml
    box = Box.of_mask(labels.array)
    inside = labels.array[:0] if box is None else labels.array[box.to_slices()]
    components = connected_components(inside > 0)
    kidneys = [
        KidneyMeasure(
            volume_ml=round(c.n_voxels * ml, 3),
            extent_mm_zyx=_extent(c.box.shape_zyx, labels.geometry.spacing_mm_zyx),
        )
        for c in components[:MAX_KIDNEYS]
        if c.n_voxels * ml >= MIN_KIDNEY_ML
    ]
    return CaseFingerprint(
        name=name,
        shape_zyx=labels.geometry.shape_zyx,
        spacing_mm_zyx=labels.geometry.spacing_mm_zyx,
        kidneys=kidneys,
        n_components=len(components),
        tumor_ml=round(float(np.count_nonzero(inside == TUMOR)) * ml, 3),
        hu_quantiles=hu_quantiles,
    )


def _extent(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> tuple[float, float, float]:
    z, y, x = (round(n * s, 4) for n, s in zip(shape, spacing, strict=True))
    return z, y, x
