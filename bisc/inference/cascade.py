"""The cascade over one patient: rough on the whole field of view, ROIs, fine on each ROI, back to the native grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from bisc.core.choices import Decision
from bisc.core.errors import WorkError
from bisc.core.geometry import Geometry
from bisc.core.labels import MAX_KIDNEYS, N_CLASSES
from bisc.core.volume import Box, Volume
from bisc.inference.model import MOST_NETWORK_GB, FoldNetwork, Model
from bisc.inference.signs import excess_of_foreground, excess_of_rois
from bisc.inference.windows import softmax_volume
from bisc.planners.plan import Plan
from bisc.preprocessing.kidneys import Kidney, drop_apart, drop_strays, find_kidneys, map_box, roi_box, seen_box
from bisc.preprocessing.midline import body_middle_mm, hides_middle, within_body
from bisc.preprocessing.resample import normalise, resample, rough_grid

Offsets = tuple[float, ...]
NO_OFFSETS: Final[Offsets] = (0.0,) * N_CLASSES
Status = Literal["ok", "one_kidney", "no_kidney"]
Probabilities = npt.NDArray[np.float32]
BACKGROUND_FILL = (1.0, 0.0, 0.0)
SLAB_VOXELS = 1 << 23
"""Voxels whose probabilities are interpolated at a time: 100 MB of them. The box of two kidneys seldom has more."""


@dataclass(frozen=True, eq=False)
class RoiResult:
    """One kidney's ROI.

    Attributes:
        kidney: The rough mask's kidney, voxels of the target grid.
        softmax: (classes, z, y, x) on the ROI's grid at target spacing.
        votes: (z, y, x) likewise, how many folds call a voxel kidney or tumour; None of a single fold.
        edges: (2, z, y, x) outlines that the edge branches see (`bisc.inference.outlines`); None: not asked for.
    """

    kidney: Kidney
    softmax: Volume
    votes: npt.NDArray[np.uint8] | None = None
    edges: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class NativeRoi:
    """A ROI's softmax on the image's own voxels: `box` of the native canonical grid."""

    box: Box
    probabilities: Probabilities


@dataclass(frozen=True, eq=False)
class CascadeResult:
    """What the cascade found in one image.

    Attributes:
        image: The image's canonical volume.
        rough: The rough stage's softmax, (classes, z, y, x) on its grid.
        rois: One per kidney of the rough mask, or false region that lies apart from both; the larger first.
        native: The ROIs' softmax on the image's grid; overlaps hold the mean of both.
        min_kidney_ml: Kidney tissue below which a component of an ROI is a stray.
        middle_mm: LPS x of the body's middle, None where the image shows no body.
        n_folds: Of the fine stage.
        sided: Whether that tells the side of a lone kidney; see `find_kidneys`.
    """

    image: Volume
    rough: Volume
    rois: tuple[RoiResult, ...]
    native: tuple[NativeRoi, ...]
    min_kidney_ml: float
    middle_mm: float | None
    n_folds: int = 1
    sided: bool = True

    def status(self, labels: npt.NDArray[np.uint8]) -> Status:
        """What the final (z, y, x) labels show, whatever the rough stage took for kidneys (`status_of`)."""
        return status_of(self.kidneys(labels))

    def kidneys(self, labels: npt.NDArray[np.uint8]) -> list[Kidney]:
        """Those of the final (z, y, x) labels, the larger first."""
        return find_kidneys(labels > 0, self.image.geometry, self.min_kidney_ml, self.middle_mm, sided=self.sided)

    def labels(self, offsets: Offsets) -> npt.NDArray[np.uint8]:
        """(z, y, x) labels on the image's grid; voxels outside all ROIs are background, and so are strays."""
        return self.decided(offsets)[0]

    def decided(self, offsets: Offsets) -> tuple[npt.NDArray[np.uint8], float]:
        """`labels`, and the ml of what was left out for lying apart from both kidneys."""
        return labels_of_rois(self.native, self.image.geometry, self.min_kidney_ml, offsets)


def status_of(found: Sequence[Kidney]) -> Status:
    """'ok' for kidneys on both sides; on one side (or in the middle) a solitary or a fused kidney; 'no_kidney', a
    result too, where nothing is as large as a kidney."""
    if not found:
        return "no_kidney"
    return "ok" if {"left", "right"} <= {kidney.side for kidney in found} else "one_kidney"


def run_cascade(image: Volume, model: Model, decision: Decision, known: CascadeResult | None = None) -> CascadeResult:
    """Both stages on one canonical HU image.

    Args:
        image: (z, y, x) HU.
        model: Plan and networks.
        decision: How the rough stage's labels are decided; the fine stage's are decided from the result.
        known: The same image's and model's result under another decision: what is equal in both is not computed again.

    Raises:
        RoughExcess: Before any fine pass, if the rough stage marks more than any patient has.
    """
    image = Volume(image.array, image.geometry.settled())
    rough = known.rough if known is not None else run_rough(image, model.plan, model.rough)
    middle_mm, sided = body_middle_mm(image), not hides_middle(image)
    kidneys, grids = _find_rois(rough, image.geometry, model.plan, offsets_of(model.rough, decision), middle_mm, sided)
    seen = {roi.softmax.geometry: roi for roi in known.rois} if known is not None else {}
    for kidney, grid in zip(kidneys, grids, strict=True):
        if grid not in seen:
            votes = np.zeros(grid.shape_zyx, np.uint8) if len(model.fine) > 1 else None
            fine = _softmax_on(grid, image, model.plan, model.fine, model.network_gb, model.mirror, votes)
            seen[grid] = RoiResult(kidney, fine, votes)
            if any(fold.edges for fold in model.fine):
                from bisc.inference.outlines import edges_on  # not on a plain mask's path

                seen[grid] = replace(seen[grid], edges=edges_on(grid, image, model))
    rois = [replace(seen[grid], kidney=kidney) for kidney, grid in zip(kidneys, grids, strict=True)]
    native = _average_overlaps([_to_native(roi, image.geometry) for roi in rois])
    least_ml = model.plan.roi.min_kidney_ml
    return CascadeResult(image, rough, tuple(rois), tuple(native), least_ml, middle_mm, len(model.fine), sided)


def run_rough(image: Volume, plan: Plan, networks: Sequence[FoldNetwork]) -> Volume:
    """The rough stage alone; of a very wide field it sees what holds the body."""
    image = within_body(image)
    grid = rough_grid(image.geometry, plan.target_spacing_mm_zyx[0], plan.rough_in_plane_px)
    return _softmax_on(grid, image, plan, networks)


def _softmax_on(
    grid: Geometry,
    image: Volume,
    plan: Plan,
    networks: Sequence[FoldNetwork],
    gb: float = MOST_NETWORK_GB,
    mirror: bool = False,
    votes: npt.NDArray[np.uint8] | None = None,
) -> Volume:
    hu = normalise(resample(image, grid).array, plan.intensity)
    return Volume(softmax_volume(networks, hu, plan.intensity.air, gb, mirror, votes), grid)


def _find_rois(
    rough: Volume, native: Geometry, plan: Plan, offsets: Offsets, middle_mm: float | None, sided: bool
) -> tuple[list[Kidney], list[Geometry]]:
    """The kidneys of the rough result, and the grid of each one's ROI."""
    n_marked = np.count_nonzero(decide(rough.array, offsets))
    _check(excess_of_foreground(n_marked * rough.geometry.voxel_volume_ml), rough)
    kidneys, target = locate(rough, native, plan, offsets, middle_mm, sided)
    boxes = [roi_box(kidney.reach, target, plan.roi) for kidney in kidneys]
    inside = [box.clipped(target.shape_zyx) for box in boxes]
    _check(excess_of_rois([prod(box.shape_zyx) * target.voxel_volume_ml for box in inside if box]), rough)
    return kidneys, [target.cropped(box.start_zyx, box.shape_zyx) for box in boxes]


def _check(excess: str, rough: Volume) -> None:
    if excess:
        raise RoughExcess(excess, rough)


def locate(
    rough: Volume, native: Geometry, plan: Plan, offsets: Offsets, middle_mm: float | None = None, sided: bool = True
) -> tuple[list[Kidney], Geometry]:
    """The kidneys of the rough result on the image's grid at target spacing, and that grid; `middle_mm` and `sided` as
    of `find_kidneys`."""
    target = native.resampled(plan.target_spacing_mm_zyx)
    foreground = upsample_labels(rough, target, offsets) > 0
    return find_kidneys(foreground, target, plan.roi.min_kidney_ml, middle_mm, sided=sided), target


def upsample_labels(rough: Volume, grid: Geometry, offsets: Offsets) -> npt.NDArray[np.uint8]:
    """The rough labels on a finer grid of the patient: probabilities are interpolated, then decided; in slabs, and only
    in the foreground's box, grown by two rough voxels."""
    labels = np.zeros(grid.shape_zyx, dtype=np.uint8)
    around = Box.of_mask(decide(rough.array, offsets))
    if around is None:
        return labels
    box = map_box(around.padded((2, 2, 2)), rough.geometry, grid).clipped(grid.shape_zyx)
    if box is None:
        return labels
    for slab in box.slabs(SLAB_VOXELS):
        part = grid.cropped(slab.start_zyx, slab.shape_zyx)
        labels[slab.to_slices()] = decide(resample(rough, part, BACKGROUND_FILL).array, offsets)
    return labels


def labels_of_rois(
    rois: Sequence[NativeRoi], native: Geometry, min_kidney_ml: float, offsets: Offsets
) -> tuple[npt.NDArray[np.uint8], float]:
    """(z, y, x) labels on the image's grid from its ROIs' softmax, all else background; and the ml left out of them
    by `drop_apart`.

    Nobody has three kidneys: what the fine stage finds in the third ROI must be as large as a kidney to be one.
    """
    out = np.zeros(native.shape_zyx, dtype=np.uint8)
    least = min_kidney_ml / native.voxel_volume_ml
    for i, roi in enumerate(rois):
        part = out[roi.box.to_slices()]
        kept = drop_strays(decide(roi.probabilities, offsets), least, doubtful=i >= MAX_KIDNEYS)
        np.maximum(part, kept, out=part)
    return drop_apart(out, native)


def _to_native(roi: RoiResult, native: Geometry) -> NativeRoi:
    """Probabilities, not labels, go back to the native grid; the ROI may reach beyond it.

    No voxel beyond the ROI's faces is among them: filled up, it would count in the mean with another ROI as background,
    and cut a slit into what that one finds.
    """
    box = seen_box(roi.softmax.geometry, native).clipped(native.shape_zyx)
    assert box is not None  # a ROI is centred on voxels of the image
    grid = native.cropped(box.start_zyx, box.shape_zyx)
    return NativeRoi(box, resample(roi.softmax, grid, BACKGROUND_FILL).array)


def _average_overlaps(rois: list[NativeRoi]) -> list[NativeRoi]:
    """Where ROIs meet, all of them hold the mean of their softmax."""
    for roi, mean in [(roi, _mean_in(roi, rois)) for roi in rois]:
        if mean is not None:
            roi.probabilities[...] = mean
    return rois


def _mean_in(roi: NativeRoi, rois: Sequence[NativeRoi]) -> Probabilities | None:
    """The mean over all ROIs within the box of one of them; None where it meets no other."""
    total: Probabilities | None = None
    count = np.ones(roi.box.shape_zyx, np.float32)
    for other in rois:
        shared = roi.box.meeting(other.box)
        if other is roi or shared is None:
            continue
        total = roi.probabilities.copy() if total is None else total
        z, y, x = shared.within(roi.box).to_slices()
        total[:, z, y, x] += _inside(other, shared)
        count[z, y, x] += 1.0
    return None if total is None else total / count


def _inside(roi: NativeRoi, box: Box) -> Probabilities:
    z, y, x = box.within(roi.box).to_slices()
    return roi.probabilities[:, z, y, x]


class RoughExcess(WorkError):
    """The rough stage marks more than any patient has; no fine pass was run, and there is no result.

    Attributes:
        rough: What the rough stage gave.
    """

    def __init__(self, message: str, rough: Volume | None = None) -> None:
        super().__init__(message)
        self.rough = rough


def decide(probabilities: npt.NDArray[np.float32], offsets: Offsets) -> npt.NDArray[np.uint8]:
    """Labels of (classes, z, y, x) probabilities: argmax of log p + offset (computed as p * exp(offset))."""
    if offsets == NO_OFFSETS:
        plain: npt.NDArray[np.uint8] = probabilities.argmax(axis=0).astype(np.uint8)
        return plain
    weights = np.exp(np.asarray(offsets, dtype=np.float32))
    best = probabilities[0] * weights[0]
    labels = np.zeros(best.shape, dtype=np.uint8)
    for c in range(1, len(offsets)):
        score = probabilities[c] * weights[c]
        higher = score > best
        labels[higher] = c
        best = np.where(higher, score, best)
    return labels


def offsets_of(networks: Sequence[FoldNetwork], decision: Decision) -> Offsets:
    """The offsets a decision uses: none for argmax; for calibrated the mean of the folds that have any, if one has."""
    fitted = [n.offsets for n in networks if n.offsets is not None]
    if decision == "argmax" or not fitted:
        return NO_OFFSETS
    return tuple(float(b) for b in np.mean(fitted, axis=0))
