"""A cascade's result made by hand: two ellipsoids for kidneys, a ball for a tumour, networks as sure as told."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.flags import Flags
from bisc.core.geometry import Geometry
from bisc.core.volume import Box, Volume
from bisc.inference.cascade import NO_OFFSETS, CascadeResult, NativeRoi, RoiResult
from bisc.inference.flags import flags_of
from bisc.preprocessing.edges import canny_edges
from bisc.preprocessing.midline import body_middle_mm, hides_middle
from tests.support.training_fixtures import ellipsoid

GRID = Geometry((40, 60, 80), (4.0, 4.0, 4.0), (-158.0, -118.0, 0.0))
"""160 x 240 x 320 mm, x from -160 to 160 mm around the body's middle."""
KIDNEY_MM_ZYX = (50.0, 26.0, 26.0)
Array = npt.NDArray[np.float32]


@dataclass
class Made:
    """What the hand-made case is; every field may be changed before `flags`.

    Attributes:
        labels: (z, y, x) the final mask, and the fine stage's.
        hu: The image.
        sure: What the fine stage gives the class that it decides for.
        rough: (z, y, x) labels of the rough stage; None: the same.
        fold_votes: (z, y, x) votes of folds; None: a single fold.
        seen: (z, y, x) labels whose outlines the edge branches see; None: they are not asked.
        found: What the fine stage marked, where some of it was left out; None: the mask.
    """

    labels: npt.NDArray[np.uint8]
    hu: npt.NDArray[np.int16]
    sure: float = 0.99
    rough: npt.NDArray[np.uint8] | None = None
    fold_votes: npt.NDArray[np.uint8] | None = None
    n_folds: int = 1
    seen: npt.NDArray[np.uint8] | None = None
    found: npt.NDArray[np.uint8] | None = None
    grid: Geometry = field(default=GRID)

    def result(self) -> CascadeResult:
        """As the cascade would give it: a ROI for each half of the scan."""
        image = Volume(self.hu, self.grid)
        fine = softmax_of(self.labels if self.found is None else self.found, self.sure)
        rough = Volume(softmax_of(self.labels if self.rough is None else self.rough, self.sure), self.grid)
        kidneys = CascadeResult(image, rough, (), (), 5.0, None).kidneys(self.labels)
        z, y, x = self.grid.shape_zyx
        rois, native = [], []
        for box in (Box((0, 0, 0), (z, y, x // 2)), Box((0, 0, x // 2), (z, y, x))):
            inside = (slice(None), *box.to_slices())
            if not fine[inside][0].min() < 0.5:
                continue
            part = Volume(fine[inside], self.grid.cropped(box.start_zyx, box.shape_zyx))
            votes = None if self.fold_votes is None else self.fold_votes[box.to_slices()]
            edges = None if self.seen is None else edges_of(self.seen[box.to_slices()])
            rois += [RoiResult(kidneys[0], part, votes, edges)] if kidneys else []
            native.append(NativeRoi(box, part.array))
        native = native[: len(rois)]
        return CascadeResult(
            image, rough, tuple(rois), tuple(native), 5.0, body_middle_mm(image), self.n_folds, not hides_middle(image)
        )

    def flags(self) -> Flags:
        """What is said of it."""
        result = self.result()
        return flags_of(result, self.labels, result.kidneys(self.labels), NO_OFFSETS, NO_OFFSETS)


def sound(x_mm: tuple[float, ...] = (-60.0, 60.0), z_mm: tuple[float, ...] = (0.0, 0.0), tumor: bool = True) -> Made:
    """Two kidneys of 140 ml, a tumour of 14 ml in the patient's left one, all as it should be."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    for x, z in zip(x_mm, z_mm, strict=True):
        labels[ellipsoid(GRID, (z, 0.0, x), KIDNEY_MM_ZYX)] = 1
    if tumor and x_mm:
        labels[ellipsoid(GRID, (z_mm[-1], 12.0, x_mm[-1] + 12.0), (15.0, 15.0, 15.0))] = 2
    hu = np.full(labels.shape, 0, np.int16)
    hu[:, :3] = -1000
    hu += np.asarray([0, 120, 60], np.int16)[labels]
    return Made(labels, hu)


def edges_of(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """(2, z, y, x) outlines of organ and tumour, as an edge branch that is right sees them."""
    return np.stack([canny_edges(labels > 0), canny_edges(labels == 2)])


def softmax_of(labels: npt.NDArray[np.uint8], sure: float) -> Array:
    """(classes, z, y, x): `sure` for the label, the rest shared by the other two."""
    out = np.full((3, *labels.shape), (1.0 - sure) / 2.0, np.float32)
    for c in range(3):
        out[c][labels == c] = sure
    near = ndimage.binary_dilation(labels > 0)
    out[0][~near] = 1.0 - (1.0 - sure) * 0.02  # far from kidneys networks are surer
    for c in (1, 2):
        out[c][~near] = (1.0 - sure) * 0.01
    return out
