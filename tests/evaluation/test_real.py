"""Agreement with MONAI, scikit-learn and surface-distance on real KiTS19 label maps, perturbed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from bisc.core.geometry import Triple
from bisc.core.volume import Box
from bisc.evaluation.cases import score_arrays
from bisc.imageio import read_labels

KITS = Path(os.environ.get("BISC_SHARED") or Path(__file__).parents[3] / "shared") / "kits19"
CASES = ("case_00061", "case_00205")  # 29 slices of 5 mm; two tumours
Labels = npt.NDArray[np.uint8]

pytestmark = pytest.mark.skipif(not KITS.is_dir(), reason=f"no real label maps at {KITS} (set BISC_SHARED)")


def shifted(labels: Labels) -> Labels:
    return np.roll(labels, (1, 3, -2), axis=(0, 1, 2))


def eroded(labels: Labels) -> Labels:
    return np.where(ndimage.binary_erosion(labels > 0, iterations=2), labels, 0).astype(np.uint8)


def dilated(labels: Labels) -> Labels:
    return np.asarray(ndimage.grey_dilation(labels, footprint=np.ones((1, 5, 5), dtype=bool)), np.uint8)


def without_tumor(labels: Labels) -> Labels:
    return np.minimum(labels, 1)


@cache
def real(case: str) -> tuple[Labels, Triple]:
    """The labels with a margin, cropped so that the slow references take seconds."""
    image = read_labels(KITS / case / "segmentation.nii.gz")
    box = Box.of_mask(image.volume.array)
    assert box is not None
    box = box.padded((4, 8, 8)).clipped(image.volume.geometry.shape_zyx)
    assert box is not None
    part = image.volume.cropped(box)
    return np.asarray(part.array, dtype=np.uint8), part.geometry.spacing_mm_zyx


perturbed = pytest.mark.parametrize("change", [shifted, eroded, dilated])
each_case = pytest.mark.parametrize("case", CASES)
Change = Callable[[Labels], Labels]


@each_case
@perturbed
def test_dice_is_the_f1_of_scikit_learn(case: str, change: Change) -> None:
    f1_score = pytest.importorskip("sklearn.metrics").f1_score
    reference, spacing = real(case)
    prediction = change(reference)
    scores = score_arrays(case, reference, prediction, spacing)
    for ours, region in ((scores.dice_kidney, 0), (scores.dice_tumor, 1)):
        theirs = f1_score(reference.ravel() > region, prediction.ravel() > region)
        assert ours == pytest.approx(theirs, abs=1e-12)


@each_case
@perturbed
def test_dice_is_that_of_monai(case: str, change: Change) -> None:
    torch, metrics = monai()
    reference, spacing = real(case)
    prediction = change(reference)
    scores = score_arrays(case, reference, prediction, spacing)
    theirs = metrics.compute_dice(
        *(torch.tensor(np.stack([x > 0, x == 2])[None].astype(np.float32)) for x in (prediction, reference))
    )
    assert theirs[0].tolist() == pytest.approx([scores.dice_kidney, scores.dice_tumor], abs=1e-6)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")
@each_case
@perturbed
def test_hd95_is_near_that_of_monai(case: str, change: Change) -> None:
    """MONAI measures between the centres of edge voxels and counts each alike; we between surface elements, weighted
    by area. The two may differ by a step of the grid, so the tolerance is the diagonal of a voxel."""
    torch, metrics = monai()
    reference, spacing = real(case)
    prediction = change(reference)
    scores = score_arrays(case, reference, prediction, spacing)
    theirs = metrics.compute_hausdorff_distance(
        *(torch.tensor(np.stack([x > 0, x == 2])[None]) for x in (prediction, reference)),
        include_background=True,
        percentile=95,
        spacing=list(spacing),
    )
    ours = [scores.hd95_kidney_mm, scores.hd95_tumor_mm]
    assert theirs[0].tolist() == pytest.approx(ours, abs=float(np.linalg.norm(spacing)))


@each_case
def test_surfaces_are_those_of_the_library_on_the_whole_volume(case: str) -> None:
    import surface_distance

    reference, spacing = real(case)
    prediction = shifted(reference)
    scores = score_arrays(case, reference, prediction, spacing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        distances = surface_distance.compute_surface_distances(reference == 2, prediction == 2, spacing)
    assert scores.hd95_tumor_mm == pytest.approx(surface_distance.compute_robust_hausdorff(distances, 95), rel=1e-5)
    theirs = surface_distance.compute_surface_dice_at_tolerance(distances, 1.1498198361434828)
    assert scores.surface_dice_tumor == pytest.approx(theirs, rel=1e-12)


@each_case
def test_what_a_perturbation_must_do(case: str) -> None:
    reference, spacing = real(case)
    exact, small, large, none = (
        score_arrays(case, reference, p, spacing)
        for p in (reference, eroded(reference), dilated(reference), without_tumor(reference))
    )
    assert exact.dice_composite == exact.surface_dice_kidney == exact.surface_dice_tumor == 1.0
    assert small.volume_kidney_pred_ml < small.volume_kidney_ref_ml < large.volume_kidney_pred_ml
    assert exact.tumors_found == exact.tumors_ref == {"case_00061": 1, "case_00205": 2}[case]
    assert (none.dice_kidney, none.dice_tumor, none.tumors_found) == (1.0, 0.0, 0)
    assert none.dice_kidney_only < 1.0


def monai() -> tuple[Any, Any]:
    """torch and monai.metrics; what importing them warns of is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import monai.metrics
        import torch
    return torch, monai.metrics
