"""A cascade whose networks read the answer off the intensities, so that the right masks are known; and its patients."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid, Volume
from bisc.inference.model import FoldNetwork, Model
from bisc.network.device import Device
from bisc.planners.plan import Plan, StagePlan
from bisc.preprocessing.kidneys import RoiRule
from bisc.preprocessing.resample import Intensity
from tests.support.grids import rotation
from tests.support.training_fixtures import FAT_HU, IPL, KIDNEY_HU, TUMOR_HU, ellipsoid

OBLIQUE = NativeGrid.of(
    Geometry(
        (200, 190, 48),
        (1.5, 1.6, 2.5),
        (-120.5, -171.25, 410.0),
        tuple(float(v) for v in (rotation((11.0, -8.0, 6.0)) @ np.reshape(IPL, (3, 3))).ravel()),
    )
)
"""Turned about every axis, three different spacings, stored like KiTS19 with the slices first."""
TARGET_MM_ZYX = (2.0, 1.2, 1.2)
STAGE = StagePlan(
    patch_size_zyx=(32, 128, 128), batch_size=2, base_features=8, norm="instance", estimated_memory_gb=1.0
)
PLAN = Plan(
    schema_version=1,
    dataset="Stub",
    n_cases=1,
    target_spacing_mm_zyx=TARGET_MM_ZYX,
    rough_in_plane_px=128,
    intensity=Intensity(clip_low_hu=-200.0, clip_high_hu=400.0, mean_hu=0.0, std_hu=100.0),
    roi=RoiRule(sides_px=[48, 64], multiple_px=16, margin_mm=6.0, min_kidney_ml=5.0),
    rough=STAGE,
    fine=STAGE,
    memory_gb=1.0,
    label_note="",
    reasons={},
)
STEEPNESS = 3.0
CPU = Device(torch.device("cpu"), "fp32")
Labels = npt.NDArray[np.uint8]


class ByIntensity(nn.Module):
    """Logits that fall with the squared distance to fat's, kidney's and tumour's normalised HU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward_region(self, image: Tensor) -> Tensor:
        self.seen.append(tuple(image.shape[2:]))
        centres = (FAT_HU / 100.0, KIDNEY_HU / 100.0, TUMOR_HU / 100.0)
        return torch.cat([-STEEPNESS * (image - c) ** 2 for c in centres], dim=1)


def stub_model(network: nn.Module | None = None, plan: Plan = PLAN) -> Model:
    """Both stages by one stub network."""
    stub: Any = network or ByIntensity()
    rough = (FoldNetwork(0, stub, CPU, plan.rough.patch_size_zyx, None),)
    fine = (FoldNetwork(0, stub, CPU, None, None),)
    return Model("Stub", plan, rough, fine, CPU)


def kidneys(
    grid: Geometry, centres_x_mm: tuple[float, ...] = (-60.0, 60.0), tumor_at: float | None = 76.0, speck: bool = True
) -> tuple[Volume, Labels]:
    """A patient on a canonical grid: HU, and the labels that are right.

    Args:
        grid: Canonical.
        centres_x_mm: Kidneys, from the middle of the grid; x grows to the patient's left.
        tumor_at: Where along x the tumour lies; None leaves it out.
        speck: Also a bright ball of 2 ml far from the kidneys, which is none.
    """
    labels = np.zeros(grid.shape_zyx, np.uint8)
    for x in centres_x_mm:
        labels[ellipsoid(grid, (0.0, 10.0, x), (34.0, 24.0, 24.0))] = 1
    if tumor_at is not None:
        labels[ellipsoid(grid, (6.0, 10.0, tumor_at), (15.0, 15.0, 15.0))] = 2
    hu = np.asarray([FAT_HU, KIDNEY_HU, TUMOR_HU])[labels]
    if speck:
        hu[ellipsoid(grid, (-30.0, -90.0, 0.0), (8.0, 8.0, 8.0))] = KIDNEY_HU
    return Volume(hu.astype(np.int16), grid), labels


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """2 |a and b| / (|a| + |b|)."""
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
