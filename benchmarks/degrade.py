"""What a rough network gets wrong, made on purpose: seeded changes of a true label map on the rough stage's grid.

Each change is a pure function of a map and a random generator. Sizes are in mm and ml, drawn anew for every case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from bisc.core.geometry import Geometry
from bisc.core.labels import MIN_KIDNEY_ML
from bisc.core.volume import Volume
from bisc.preprocessing.parts import label_components

Mask = npt.NDArray[np.bool_]
Share = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RoughMap:
    """Shares in 0..1 of each rough voxel (z, y, x) that are organ (kidney with tumour) and tumour."""

    organ: Share
    tumor: Share
    grid: Geometry

    def result(self) -> Volume:
        """The softmax of a rough network that is as sure as the shares say."""
        tumor = np.minimum(self.tumor, self.organ)
        return Volume(np.stack([1.0 - self.organ, self.organ - tumor, tumor]), self.grid)


Degradation = Callable[[RoughMap, np.random.Generator], RoughMap]


def kidneys_of(rough: RoughMap) -> list[Mask]:
    """Masks of the two largest components of at least 5 ml, the patient's right one (smaller x) first."""
    found, numbered, box = label_components(rough.organ > 0.5)
    large = [c for c in found if c.n_voxels * rough.grid.voxel_volume_ml >= MIN_KIDNEY_ML][:2]
    masks = []
    for component in sorted(large, key=lambda c: c.centroid_zyx[2]):
        mask = np.zeros(rough.organ.shape, bool)
        assert box is not None  # there are components
        mask[box.to_slices()] = numbered == component.label
        masks.append(mask)
    return masks


def as_it_is(rough: RoughMap, rng: np.random.Generator) -> RoughMap:
    """The rough grid alone: 128 x 128 over the field of view and z at the plan's spacing."""
    return rough


def noisy_border(rough: RoughMap, rng: np.random.Generator) -> RoughMap:
    """A blurred border that wanders by a rough voxel or so: smooth noise on the organ's and the tumour's logit."""
    noise = ndimage.gaussian_filter(rng.standard_normal(rough.organ.shape), 1.5)
    noise *= 1.5 / noise.std()

    def wander(share: Share) -> Share:
        blurred = np.clip(ndimage.gaussian_filter(share, 0.7), 1e-3, 1.0 - 1e-3)
        moved = 1.0 / (1.0 + np.exp(-np.log(blurred / (1.0 - blurred)) - noise))
        return np.where(blurred > 2e-3, moved, 0.0).astype(np.float32)

    return replace(rough, organ=wander(rough.organ), tumor=wander(rough.tumor))


def specks(rough: RoughMap, rng: np.random.Generator) -> RoughMap:
    """Thirty balls of 0.1 to 4.5 ml within 40 mm of the kidneys' box, wherever they fall."""
    inside = _points(rough.organ > 0.5, rough.grid)
    if not len(inside):
        return rough
    low, high = inside.min(axis=0) - 40.0, inside.max(axis=0) + 40.0
    organ = rough.organ
    for _ in range(30):
        radius = _ball_radius(float(rng.uniform(0.1, 4.5)))
        organ = np.maximum(organ, _ellipsoid(rough.grid, rng.uniform(low, high), np.full(3, radius)))
    return replace(rough, organ=organ)


def missing_band(rough: RoughMap, rng: np.random.Generator) -> RoughMap:
    """6 to 36 mm of slices are missing, at a height where both kidneys are (near a pole too)."""
    ranges = [np.flatnonzero(k.any(axis=(1, 2)))[[0, -1]] for k in kidneys_of(rough)]
    if not ranges:
        return rough
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if high < low:
        low, high = ranges[0]
    return _without_slices(rough, float(rng.uniform(low, high + 1)), float(rng.uniform(6.0, 36.0)))


def missing_pole(rough: RoughMap, rng: np.random.Generator) -> RoughMap:
    """The last 6 to 24 mm of one kidney, above or below, are missing."""
    kidneys = kidneys_of(rough)
    if not kidneys:
        return rough
    kidney = kidneys[int(rng.integers(len(kidneys)))]
    slices = np.flatnonzero(kidney.any(axis=(1, 2)))
    n = round(float(rng.uniform(6.0, 24.0)) / rough.grid.spacing_mm_zyx[0])
    gone = np.zeros_like(kidney)
    at = slice(slices[0], slices[0] + n) if rng.random() < 0.5 else slice(max(0, slices[-1] + 1 - n), slices[-1] + 1)
    gone[at] = ndimage.binary_dilation(kidney, iterations=2)[at]
    return _without(rough, gone)


def tumor_severed(rough: RoughMap, rng: np.random.Generator) -> RoughMap:
    """A gap of 4 to 12 mm along the tumour's border tells it from its kidney."""
    tumor = rough.tumor > 0.5
    if not tumor.any():
        return rough
    distance = ndimage.distance_transform_edt(~tumor, sampling=rough.grid.spacing_mm_zyx)
    return _without(rough, (distance > 0) & (distance <= rng.uniform(4.0, 12.0)))


def kidneys_touching(rough: RoughMap, rng: np.random.Generator) -> RoughMap:
    """A bridge, 8 to 20 mm thick, joins the two kidneys where they are nearest."""
    return _bridged(rough, float(rng.uniform(4.0, 10.0)), lower=False)


def false_spleen(rough: RoughMap, rng: np.random.Generator) -> RoughMap:
    """30 to 250 ml of spleen, lateral of and above the left kidney (or of a single one), half of them touching it."""
    kidneys = kidneys_of(rough)
    if not kidneys:
        return rough
    points = _points(kidneys[-1], rough.grid)
    middle = rough.grid.index_to_physical(np.subtract(rough.grid.shape_zyx, 1) / 2.0)
    lateral = 1.0 if len(kidneys) > 1 or points[:, 0].mean() > middle[0] else -1.0
    radii = _radii(float(rng.uniform(30.0, 250.0)), (0.75, 1.0, 1.35), rng)
    gap = float(rng.choice([-4.0, rng.uniform(4.0, 20.0)]))
    top = points[:, 2].max() - rng.uniform(0.0, 0.5) * np.ptp(points[:, 2])
    upper = points[np.abs(points[:, 2] - top) < 12.0]
    edge = upper[np.argmax(lateral * upper[:, 0])]
    centre = edge + np.array([lateral * (radii[0] + gap), rng.uniform(-15.0, 15.0), rng.uniform(0.0, radii[2])])
    return replace(rough, organ=np.maximum(rough.organ, _ellipsoid(rough.grid, centre, radii)))


def false_vertebra(rough: RoughMap, rng: np.random.Generator) -> RoughMap:
    """30 to 120 ml of vertebral body between the kidneys and behind them."""
    kidneys = kidneys_of(rough)
    if not kidneys:
        return rough
    points = [_points(k, rough.grid) for k in kidneys]
    middle_x = float(np.mean([p[:, 0].mean() for p in points]))
    if len(points) == 1:
        middle_x = float(rough.grid.index_to_physical(np.subtract(rough.grid.shape_zyx, 1) / 2.0)[0])
    every = np.concatenate(points)
    centre = np.array([middle_x, every[:, 1].mean() + rng.uniform(0.0, 25.0), rng.choice(every[:, 2])])
    radii = _radii(float(rng.uniform(30.0, 120.0)), (1.2, 0.9, 0.95), rng)
    return replace(rough, organ=np.maximum(rough.organ, _ellipsoid(rough.grid, centre, radii)))


def horseshoe(rough: RoughMap, rng: np.random.Generator) -> RoughMap:
    """No fault but another anatomy: an isthmus, 24 to 40 mm thick, joins the two lower poles."""
    return _bridged(rough, float(rng.uniform(12.0, 20.0)), lower=True)


def of(*steps: Degradation) -> Degradation:
    """Several, one after the other."""
    return lambda rough, rng: reduce(lambda now, step: step(now, rng), steps, rough)


DEGRADATIONS: Final[Mapping[str, Degradation]] = {
    "rough grid": as_it_is,
    "noisy border": noisy_border,
    "specks": specks,
    "missing band": missing_band,
    "missing pole": missing_pole,
    "tumour severed": tumor_severed,
    "kidneys touching": kidneys_touching,
    "false spleen": false_spleen,
    "false vertebra": false_vertebra,
    "noise, specks, spleen": of(noisy_border, specks, false_spleen),
    "band, spleen, vertebra": of(missing_band, false_spleen, false_vertebra),
    "severed, band, noise": of(tumor_severed, missing_band, noisy_border),
    "touching, spleen, noise": of(kidneys_touching, false_spleen, noisy_border),
    "horseshoe": horseshoe,
}
FUSING: Final = ("horseshoe",)
"""Here the two true kidneys have become one."""


def _bridged(rough: RoughMap, radius_mm: float, lower: bool) -> RoughMap:
    """A tube between the nearest points of the two kidneys, or of their lower thirds."""
    kidneys = kidneys_of(rough)
    if len(kidneys) < 2:
        return rough
    clouds: list[Points] = []
    for kidney in kidneys:
        points = _points(kidney, rough.grid)
        bound = points[:, 2].min() + np.ptp(points[:, 2]) / 3.0
        clouds.append(points[points[:, 2] <= bound] if lower else points)
    distances, nearest = cKDTree(clouds[1]).query(clouds[0])
    first = int(np.argmin(distances))
    ends = np.stack([clouds[0][first], clouds[1][nearest[first]]])
    along = (ends[1] - ends[0]) / max(float(np.linalg.norm(ends[1] - ends[0])), 1e-6)
    ends += np.outer((-radius_mm, radius_mm), along)  # the tube reaches into both
    steps = np.linspace(ends[0], ends[1], 2 + int(np.linalg.norm(ends[1] - ends[0]) / 2.0))
    organ = rough.organ
    for a, b in pairwise(steps):
        organ = np.maximum(organ, _ellipsoid(rough.grid, (a + b) / 2.0, np.full(3, radius_mm)))
    return replace(rough, organ=organ)


def _without(rough: RoughMap, gone: Mask) -> RoughMap:
    return replace(rough, organ=np.where(gone, 0, rough.organ), tumor=np.where(gone, 0, rough.tumor))


def _without_slices(rough: RoughMap, middle: float, thickness_mm: float) -> RoughMap:
    n = max(1, round(thickness_mm / rough.grid.spacing_mm_zyx[0]))
    first = max(0, int(middle - n / 2.0))
    gone = np.zeros(rough.organ.shape, bool)
    gone[first : first + n] = True
    return _without(rough, gone)


def _points(mask: Mask, grid: Geometry) -> Points:
    """(n, 3) LPS mm (x, y, z) of a mask's voxels."""
    return np.asarray(grid.index_to_physical(np.argwhere(mask)))


def _ball_radius(ml: float) -> float:
    return float(np.cbrt(3000.0 * ml / (4.0 * np.pi)))


def _radii(ml: float, shape_xyz: tuple[float, float, float], rng: np.random.Generator) -> Points:
    """Half axes (x, y, z) in mm of an ellipsoid of `ml`, of about the given proportions."""
    form = np.asarray(shape_xyz) * rng.uniform(0.85, 1.15, 3)
    return np.asarray(form * _ball_radius(ml) / np.cbrt(form.prod()))


def _ellipsoid(grid: Geometry, centre_xyz: Points, radii_xyz: Points) -> Share:
    """Shares of an ellipsoid whose border is one rough voxel wide."""
    out = np.zeros(grid.shape_zyx, np.float32)
    spacing = np.asarray(grid.spacing_mm_zyx)
    reach = radii_xyz.max() + 2.0 * spacing.max()
    index = grid.physical_to_index(centre_xyz)
    low = np.clip(np.floor(index - reach / spacing), 0, grid.shape_zyx).astype(int)
    high = np.clip(np.ceil(index + reach / spacing) + 1, 0, grid.shape_zyx).astype(int)
    if (high <= low).any():
        return out
    at: Any = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    offset = grid.index_to_physical(np.moveaxis(np.indices(high - low), 0, -1) + low) - centre_xyz
    depth_mm = (1.0 - np.linalg.norm(offset / radii_xyz, axis=-1)) * float(np.cbrt(radii_xyz.prod()))
    out[at] = np.clip(0.5 + depth_mm / float(np.cbrt(spacing.prod())), 0.0, 1.0)
    return out
