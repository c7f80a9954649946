"""Every measure against others' code on real KiTS19 label maps and what may become of them.

Oracles: KiTS19's published evaluation (neheller/kits19, starter_code/evaluation.py, commit bcdd8fe), scikit-learn,
MONAI, DeepMind's surface-distance, scikit-image and SciPy's k-d tree. The default run takes the neighbourhood of the
tumour of three cases, where kidney and tumour touch the volume's border; `-m long` every third, and whole organs.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import label as skimage_label
from sklearn.metrics import f1_score, jaccard_score

from bisc.core.geometry import Triple
from bisc.core.volume import Box
from bisc.evaluation.cases import CaseScores, score_arrays
from bisc.evaluation.lesions import MIN_IOU, MIN_TUMOR_ML, LesionCounts
from bisc.evaluation.surface import KIDNEY_TOLERANCE_MM, TUMOR_TOLERANCE_MM, image_diagonal_mm
from bisc.imageio import read_labels

KITS = Path(os.environ.get("BISC_SHARED") or Path(__file__).parents[3] / "shared") / "kits19"
QUICK = ("case_00061", "case_00205", "case_00114")
"""29 slices of 5 mm; two tumours; the largest tumour, with a satellite."""
EXACT = 1e-12
"""Counts of voxels, divided once."""
DISTANCE = 1e-5
"""Ours are float32, surface-distance's float64."""
MONAI_SINGLE = 1e-5
"""MONAI computes in float32."""
Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Change = Callable[[Labels], Labels]

pytestmark = [
    pytest.mark.skipif(not KITS.is_dir(), reason=f"no real label maps at {KITS} (set BISC_SHARED)"),
    pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Please (import|use) .* `scipy.ndimage`:DeprecationWarning"),
]


def shifted(labels: Labels) -> Labels:
    out: Labels = ndimage.shift(labels, (1, 2, -2), order=0)
    return out


def dilated(labels: Labels) -> Labels:
    out: Labels = ndimage.grey_dilation(labels, footprint=np.ones((1, 5, 5), dtype=bool)).astype(np.uint8)
    return out


def eroded(labels: Labels) -> Labels:
    return np.where(ndimage.binary_erosion(labels > 0, iterations=2), labels, 0).astype(np.uint8)


def noisy(labels: Labels) -> Labels:
    """Of the voxels in 2 % of all places each takes some label."""
    rng = np.random.default_rng(5)
    return np.where(rng.random(labels.shape) < 0.02, rng.integers(0, 3, labels.shape), labels).astype(np.uint8)


def without_a_part(labels: Labels) -> Labels:
    """The lower half of all slices is missed."""
    out = labels.copy()
    out[: labels.shape[0] // 2] = 0
    return out


def with_a_false_region(labels: Labels) -> Labels:
    """A tumour in a corner of the volume, touching three of its borders."""
    out = labels.copy()
    out[: max(1, labels.shape[0] // 5), :14, :14] = 2
    return out


def crumb(labels: Labels) -> Labels:
    """Of the tumour its lowest slice alone: far less than a tenth, a miss; the other way round a false tumour."""
    tumour = labels == 2
    first = int(np.flatnonzero(tumour.any(axis=(1, 2)))[0])
    tumour[: first + 1] = False
    return np.where(tumour, 1, labels).astype(np.uint8)


def swapped(labels: Labels) -> Labels:
    """Kidney called tumour and the other way round."""
    return np.array([0, 2, 1], np.uint8)[labels]


WHOLE_SURFACE: tuple[Change, ...] = (shifted, dilated, eroded)
"""Changes that move all of a surface: percentiles of distances then mean the same however elements are weighed."""
CHANGES: tuple[Change, ...] = (*WHOLE_SURFACE, noisy, without_a_part, with_a_false_region, crumb, swapped)


def every(step: int, labels: Labels, spacing: Triple) -> tuple[Labels, Triple]:
    """Every `step`-th pixel of each slice."""
    dz, dy, dx = spacing
    return np.ascontiguousarray(labels[:, ::step, ::step]), (dz, step * dy, step * dx)


@cache
def real(case: str, tumour_only: bool = True) -> tuple[Labels, Triple]:
    """A real label map cropped to its tumour with 8 px around (so that the kidney is cut by the borders), or to all."""
    image = read_labels(KITS / case / "segmentation.nii.gz")
    box = Box.of_mask(image.volume.array == 2 if tumour_only else image.volume.array)
    assert box is not None
    box = box.padded((1, 8, 8)).clipped(image.volume.geometry.shape_zyx)
    assert box is not None
    part = image.volume.cropped(box)
    labels = np.ascontiguousarray(part.array, dtype=np.uint8)
    # The largest tumours fill half a CT: every second pixel of them is enough, at twice the spacing.
    return every(2 if labels.size > 1_500_000 else 1, labels, part.geometry.spacing_mm_zyx)


@cache
def monai() -> tuple[Any, Any]:
    """torch and monai.metrics; what importing them warns of is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import monai.metrics
        import torch
    return torch, monai.metrics


def regions(labels: Labels) -> tuple[Mask, Mask]:
    """Kidney (with tumour) and tumour."""
    return labels > 0, labels == 2


def kits19(reference: Labels, prediction: Labels) -> tuple[float, float]:
    """Kidney and tumour Dice as KiTS19 defines them (labels > 0, labels > 1), from the 3 x 3 table of label pairs.

    Both empty: 0 / 0, which its script turns into NaN; ours is 1 by KiTS21's and KiTS23's rule.
    """
    pairs = np.bincount(3 * reference.ravel().astype(np.int64) + prediction.ravel(), minlength=9).reshape(3, 3)
    return tuple(  # type: ignore[return-value]
        2.0 * pairs[low:, low:].sum() / (pairs[low:].sum() + pairs[:, low:].sum())
        if pairs[low:].sum() + pairs[:, low:].sum()
        else math.nan
        for low in (1, 2)
    )


def check_overlap(scores: CaseScores, reference: Labels, prediction: Labels) -> None:
    """Dice: KiTS19, scikit-learn (F1, and Jaccard by D = 2 J / (1 + J)), MONAI."""
    ours = (scores.dice_kidney, scores.dice_tumor)
    assert ours == pytest.approx(kits19(reference, prediction), abs=EXACT)
    assert scores.dice_composite == pytest.approx(sum(ours) / 2, abs=EXACT)
    for value, ref, pred in zip(ours, regions(reference), regions(prediction), strict=True):
        assert value == pytest.approx(f1_score(ref.ravel(), pred.ravel()), abs=EXACT)
        jaccard = jaccard_score(ref.ravel(), pred.ravel())
        assert value == pytest.approx(2 * jaccard / (1 + jaccard), abs=EXACT)
    only = f1_score((reference == 1).ravel(), (prediction == 1).ravel())
    assert scores.dice_kidney_only == pytest.approx(only, abs=EXACT)
    _, metrics = monai()
    dice = metrics.DiceMetric(include_background=True, ignore_empty=False)(batch(prediction), batch(reference))
    assert dice[0].tolist() == pytest.approx(ours, abs=MONAI_SINGLE)


def batch(labels: Labels) -> Any:
    """(1, 2, z, y, x) for MONAI: kidney and tumour."""
    torch, _ = monai()
    return torch.tensor(np.stack(regions(labels))[None].astype(np.float32))


def check_surfaces(scores: CaseScores, reference: Labels, prediction: Labels, spacing: Triple) -> None:
    """HD95 and surface Dice of the whole volume by DeepMind's library; the surface Dice by MONAI's sub-voxels too."""
    import surface_distance

    ours = (
        (scores.hd95_kidney_mm, scores.surface_dice_kidney, KIDNEY_TOLERANCE_MM),
        (scores.hd95_tumor_mm, scores.surface_dice_tumor, TUMOR_TOLERANCE_MM),
    )
    pairs = zip(regions(reference), regions(prediction), ours, strict=True)
    for ref, pred, (hd95, surface_dice, tolerance) in pairs:
        if not (ref.any() and pred.any()):
            assert (hd95, surface_dice) == (image_diagonal_mm(ref.shape, spacing) if ref.any() or pred.any() else 0.0,
                                            0.0 if ref.any() or pred.any() else 1.0)  # fmt: skip
            continue
        theirs = surface_distance.compute_surface_distances(ref, pred, spacing)
        assert hd95 == pytest.approx(surface_distance.compute_robust_hausdorff(theirs, 95), rel=DISTANCE)
        expected = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
        assert surface_dice == pytest.approx(expected, abs=1e-9)


def check_monai_surfaces(scores: CaseScores, reference: Labels, prediction: Labels, spacing: Triple) -> None:
    """HD95: MONAI measures between the centres of edge voxels and counts each alike, we between surface elements by
    area; a step of the grid apart at most. Surface Dice: MONAI's `use_subvoxels` takes the same elements as we do."""
    _, metrics = monai()
    hd95 = metrics.HausdorffDistanceMetric(include_background=True, percentile=95)
    theirs = hd95(batch(prediction), batch(reference), spacing=list(spacing))
    ours = [scores.hd95_kidney_mm, scores.hd95_tumor_mm]
    assert theirs[0].tolist() == pytest.approx(ours, abs=float(np.linalg.norm(spacing)))
    surface = metrics.SurfaceDiceMetric(
        [KIDNEY_TOLERANCE_MM, TUMOR_TOLERANCE_MM], include_background=True, use_subvoxels=True
    )
    theirs = surface(batch(prediction), batch(reference), spacing=list(spacing))
    expected = [scores.surface_dice_kidney, scores.surface_dice_tumor]
    assert theirs[0].tolist() == pytest.approx(expected, abs=MONAI_SINGLE)


def check_volumes(scores: CaseScores, reference: Labels, prediction: Labels, spacing: Triple) -> None:
    """ITK's physical size of each region, in mm3."""
    shape = sitk.LabelShapeStatisticsImageFilter()
    for name, labels in (("ref", reference), ("pred", prediction)):
        for region, mask in zip(("kidney", "tumor"), regions(labels), strict=True):
            image = sitk.GetImageFromArray(mask.astype(np.uint8))
            image.SetSpacing(spacing[::-1])
            shape.Execute(image)
            expected = shape.GetPhysicalSize(1) / 1000.0 if mask.any() else 0.0
            assert getattr(scores, f"volume_{region}_{name}_ml") == pytest.approx(expected, rel=1e-9)


def lesions(reference: Mask, prediction: Mask, spacing: Triple) -> LesionCounts:
    """docs/reference/evaluation.md's four rules again, with scikit-image's components, sets and k-d trees."""
    ml = float(np.prod(spacing)) / 1000.0
    tumours = [t for t in parts(reference) if len(t) * ml >= MIN_TUMOR_ML]
    pieces = parts(prediction)
    trees = [cKDTree(np.array(sorted(t)) * spacing) for t in tumours]
    found, true = 0, set()
    for i, tumour in enumerate(tumours):
        touching = [k for k, piece in enumerate(pieces) if piece & tumour]
        share: set[tuple[int, ...]] = set()
        for k in touching:
            voxels = np.array(sorted(pieces[k]))
            nearest = np.argmin([tree.query(voxels * spacing)[0] for tree in trees], axis=0)
            share |= set(map(tuple, voxels[nearest == i].tolist()))
        if len(share & tumour) >= MIN_IOU * len(share | tumour) and share & tumour:
            found += 1
            true |= set(touching)
    large = [k for k, piece in enumerate(pieces) if len(piece) * ml >= MIN_TUMOR_ML]
    return LesionCounts(len(tumours), found, len(set(large) - true))


def parts(mask: Mask) -> list[set[tuple[int, ...]]]:
    """The voxels of each 26-connected component."""
    numbered = skimage_label(mask, connectivity=3)
    order = np.argsort(numbered[mask], kind="stable")
    voxels = np.argwhere(mask)[order]
    cuts = np.cumsum(np.bincount(numbered[mask], minlength=1)[1:])[:-1]
    return [set(map(tuple, part.tolist())) for part in np.split(voxels, cuts)] if len(voxels) else []


def check_case(case: str, change: Change, tumour_only: bool = True, step: int = 1) -> None:
    """All measures of one label map against its perturbation, both ways round."""
    reference, spacing = every(step, *real(case, tumour_only))
    changed = change(reference)
    for ref, pred in ((reference, changed), (changed, reference)):
        scores = score_arrays(case, ref, pred, spacing)
        check_overlap(scores, ref, pred)
        check_surfaces(scores, ref, pred, spacing)
        check_volumes(scores, ref, pred, spacing)
        counts = LesionCounts(scores.tumors_ref or 0, scores.tumors_found or 0, scores.tumors_false or 0)
        assert counts == lesions(ref == 2, pred == 2, spacing)
        if change in WHOLE_SURFACE and (ref == 2).any() and (pred == 2).any():
            check_monai_surfaces(scores, ref, pred, spacing)
