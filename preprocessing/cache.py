"""Caches of both stages: regions with packed targets, one folder a case, whole or absent.

A region is what a stage crops training patches from: the whole rough grid, or one kidney's ROI with room to jitter.
The store is memory-mapped .npy, one and a half bytes a voxel: docs/performance.md has the measurement.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from bisc.core.choices import STAGES
from bisc.core.errors import BiscError, InputError
from bisc.core.files import atomic_folder
from bisc.core.geometry import Geometry, Triple
from bisc.core.jsonfile import Document, load_json, save_json
from bisc.core.labels import KIDNEY, TUMOR
from bisc.core.limits import Count, SpacingMm
from bisc.core.targets import labels_of, pack_pairs, unpack_pairs
from bisc.imageio import CaseImage, check_same_grid, read_image, read_labels
from bisc.imageio.dataset import RawCase
from bisc.preprocessing.crop import RoiRule, find_kidneys, map_box, roi_box
from bisc.preprocessing.edges import targets_of
from bisc.preprocessing.normalise import Intensity, to_levels
from bisc.preprocessing.resample import resample, resample_labels, rough_grid

CACHE_FORMAT: Final = 3
JITTER_MM: Final = (24.0, 12.0, 12.0)
"""How far (z, y, x) a cached ROI reaches beyond the label's own: training shifts it as a rough mask would, whose errors
reach farthest along z, into liver, spleen and muscle."""
MEND: Final = "run bisc_plan_and_preprocess again"
MAX_POINTS: Final = 2000
"""Voxels remembered per class and region, for foreground oversampling."""
PARTS: Final = ("image", "targets", "kidney_points", "tumor_points")
KINDS: Final = (np.dtype(np.uint8), np.dtype(np.uint8), np.dtype(np.int16), np.dtype(np.int16))
"""Of the `PARTS`."""


class CacheSettings(Document, frozen=True):
    """All that the caches depend on besides the source files."""

    target_spacing_mm_zyx: Triple
    rough_in_plane_px: int
    intensity: Intensity
    roi: RoiRule


class RegionRecord(Document, frozen=True):
    """One cached region: its size and how many voxels of each class it holds."""

    shape_zyx: tuple[Count, Count, Count]
    spacing_mm_zyx: tuple[SpacingMm, SpacingMm, SpacingMm]
    kidney_voxels: int
    tumor_voxels: int


class CaseRecord(Document, frozen=True):
    """`case.json` of one cached case; `key` changes with its sources and settings."""

    name: str
    key: str
    regions: list[RegionRecord]


@dataclass(frozen=True)
class CacheJob:
    """Cache one case under `root/{rough,fine}/NAME`."""

    case: RawCase
    settings: CacheSettings
    root: Path


@dataclass(frozen=True, eq=False)
class Region:
    """A cached region, memory-mapped.

    Attributes:
        levels: (z, y, x) uint8 as in bisc.preprocessing.normalise.
        pairs: (z, y, half of x rounded up) uint8 as in bisc.core.targets.
        kidney_points: (n, 3) int16 voxels (z, y, x) of label 1.
        tumor_points: (n, 3) int16 voxels of label 2.
    """

    levels: npt.NDArray[np.uint8]
    pairs: npt.NDArray[np.uint8]
    kidney_points: npt.NDArray[np.int16]
    tumor_points: npt.NDArray[np.int16]

    @property
    def targets(self) -> npt.NDArray[np.uint8]:
        """(z, y, x) packed targets of the whole region."""
        return unpack_pairs(self.pairs, 0, self.levels.shape[2])


def cache_case(job: CacheJob) -> bool:
    """Make what is missing or stale of one case's caches.

    Returns:
        Whether anything had to be made.

    Raises:
        InputError: If the case's files cannot be used.
    """
    key = cache_key(job)
    stale = [stage for stage in STAGES if not is_fresh(job.root / stage / job.case.name, key)]
    if not stale:
        return False
    assert job.case.image is not None  # find_raw_dataset lets no such case through
    image, labels = read_image(job.case.image), read_labels(job.case.labels)
    check_same_grid(image, labels)
    for stage in stale:
        grids = _rough_regions(image, job) if stage == "rough" else _fine_regions(labels, job)
        _write(job.root / stage / job.case.name, job, key, image, labels, grids)
    return True


def load_regions(folder: Path) -> list[Region]:
    """The regions of one cached case.

    Raises:
        InputError: If the cache is missing or damaged.
    """
    record = load_json(folder / "case.json", CaseRecord, MEND)
    return [_load_region(folder, i, region) for i, region in enumerate(record.regions)]


def cache_key(job: CacheJob) -> str:
    """Changes with the cache format, the settings and the source files' size or time."""
    stamps = [(p.stat().st_size, p.stat().st_mtime_ns) for p in (job.case.image, job.case.labels) if p is not None]
    text = f"{CACHE_FORMAT} {JITTER_MM} {stamps} ".encode() + msgspec.json.encode(job.settings)
    return hashlib.sha256(text).hexdigest()


def is_fresh(folder: Path, key: str) -> bool:
    """Whether a case's cache exists and was made from the same sources with the same settings."""
    try:
        return load_json(folder / "case.json", CaseRecord, "").key == key
    except BiscError:
        return False


def _load_region(folder: Path, number: int, record: RegionRecord) -> Region:
    """One region, whose arrays are what its record says: training cuts patches at places taken from them."""
    region = Region(*(_load(folder / f"region_{number}_{part}.npy") for part in PARTS))
    z, y, x = record.shape_zyx
    shapes = (region.levels.shape, region.pairs.shape)
    kinds = (region.levels.dtype, region.pairs.dtype, region.kidney_points.dtype, region.tumor_points.dtype)
    points = ((region.kidney_points, record.kidney_voxels), (region.tumor_points, record.tumor_voxels))
    fits = all(
        at.ndim == 2 and at.shape[1] == 3 and (len(at) > 0 or n < 1) and ((at >= 0) & (at < record.shape_zyx)).all()
        for at, n in points
    )
    if shapes != ((z, y, x), (z, y, -(-x // 2))) or kinds != KINDS or not fits:
        what = folder / f"region_{number}_*.npy"
        raise InputError(what, "not the arrays of their record", "those of case.json", f"delete {folder} and {MEND}")
    return region


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        # .npy alone: neither an archive nor pickled objects, both of which np.load would take.
        array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")  # type: ignore[no-untyped-call]
        return array
    except Exception as error:  # numpy parses the header as Python text, and stumbles over it in a dozen ways
        mend = f"delete {path.parent} and {MEND}"
        raise InputError(path, f"cannot be read ({error})", "a whole .npy file", mend) from error


def _rough_regions(image: CaseImage, job: CacheJob) -> list[Geometry]:
    settings = job.settings
    return [rough_grid(image.volume.geometry, settings.target_spacing_mm_zyx[0], settings.rough_in_plane_px)]


def _fine_regions(labels: CaseImage, job: CacheJob) -> list[Geometry]:
    """One grid per kidney of the label map: its ROI at target spacing, with room to jitter."""
    volume, rule = labels.volume, job.settings.roi
    target = volume.geometry.resampled(job.settings.target_spacing_mm_zyx)
    room = np.ceil(np.divide(JITTER_MM, target.spacing_mm_zyx)).astype(int)
    regions = []
    for kidney in find_kidneys(volume.array > 0, volume.geometry, rule.min_kidney_ml):
        roi = roi_box(map_box(kidney.box, volume.geometry, target), target, rule)
        around = roi.padded((int(room[0]), int(room[1]), int(room[2])))
        regions.append(target.cropped(around.start_zyx, around.shape_zyx))
    return regions


def _write(folder: Path, job: CacheJob, key: str, image: CaseImage, labels: CaseImage, grids: list[Geometry]) -> None:
    with atomic_folder(folder) as scratch:
        records = []
        for i, grid in enumerate(grids):
            hu = resample(image.volume, grid)
            targets = targets_of(resample_labels(labels.volume, grid))
            region: tuple[npt.NDArray[Any], ...] = (
                to_levels(hu, job.settings.intensity),
                pack_pairs(targets),
                _points(targets, KIDNEY, i),
                _points(targets, TUMOR, i),
            )
            for part, array in zip(PARTS, region, strict=True):
                np.save(scratch / f"region_{i}_{part}.npy", array)
            counts = np.bincount(labels_of(targets).ravel(), minlength=3)
            records.append(
                RegionRecord(
                    shape_zyx=grid.shape_zyx,
                    spacing_mm_zyx=grid.spacing_mm_zyx,
                    kidney_voxels=int(counts[KIDNEY]),
                    tumor_voxels=int(counts[TUMOR]),
                )
            )
        save_json(scratch / "case.json", CaseRecord(name=job.case.name, key=key, regions=records))


def _points(targets: npt.NDArray[np.uint8], label: int, seed: int) -> npt.NDArray[np.int16]:
    """Up to `MAX_POINTS` voxels of a label, drawn with a fixed seed."""
    flat = np.flatnonzero(labels_of(targets) == label)
    if flat.size > MAX_POINTS:
        flat = np.sort(np.random.default_rng(seed).choice(flat, MAX_POINTS, replace=False))
    return np.stack(np.unravel_index(flat, targets.shape), axis=1).astype(np.int16)
