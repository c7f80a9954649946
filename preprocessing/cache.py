"""Caches of both stages: regions with packed targets, one folder a case, whole or absent.

A region is what a stage crops training patches from: the whole rough grid, or one kidney's or decoy's ROI with room to
jitter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace

from bisc.core.choices import STAGES, Stage
from bisc.core.errors import BiscError, InputError
from bisc.core.geometry import Geometry, Triple, as_int_triple
from bisc.core.volume import Box, digest_of
from bisc.imageio import CaseImage, on_grid_of, read_image, read_labels
from bisc.imageio.dataset import RawCase
from bisc.preprocessing.decoys import decoy_boxes
from bisc.preprocessing.edges import targets_of
from bisc.preprocessing.kidneys import RoiRule, find_kidneys, map_box, roi_box
from bisc.preprocessing.regions import MEND, Region, RegionRecord, save_region
from bisc.preprocessing.resample import Intensity, resample, resample_labels, rough_grid, to_levels
from bisc.system.console import notice
from bisc.system.files import atomic_folder
from bisc.system.jsonfile import Document, load_json, save_json

CACHE_FORMAT: Final = 5
RECORD: Final = "case.json"
JITTER_MM: Final = (24.0, 12.0, 12.0)
"""How far (z, y, x) a cached ROI reaches beyond the label's own: training shifts it as a rough mask would, whose errors
reach farthest along z, into liver, spleen and muscle."""


class CacheSettings(Document, frozen=True):
    """All that the caches depend on besides the source files."""

    target_spacing_mm_zyx: Triple
    rough_in_plane_px: int
    intensity: Intensity
    roi: RoiRule


class CaseRecord(Document, frozen=True):
    """`case.json` of one cached case; `key` changes with its sources and settings, `voxels` with what was read.

    `settings` changes with the settings alone; empty in records of before there was it.
    """

    name: str
    key: str
    regions: list[RegionRecord]
    voxels: str = ""
    settings: str = ""


@dataclass(frozen=True)
class CacheJob:
    """Cache one case under `root/{rough,fine}/NAME`.

    `voxels` is the digest of what its files hold, where they were read again (`--verify`): a cache of other voxels is
    stale though size and time of the files are the same.
    """

    case: RawCase
    settings: CacheSettings
    root: Path
    voxels: str = ""


def cache_case(job: CacheJob) -> bool:
    """Make what is missing or stale of one case's caches.

    Returns:
        Whether anything had to be made.

    Raises:
        InputError: If the case's files cannot be used.
    """
    key, made_by = cache_key(job), settings_digest(job.settings)
    stale = _stale(job)
    for stage in STAGES:
        if stage not in stale:
            _sign(job.root / stage / job.case.name / RECORD, made_by)
    if not stale:
        return False
    assert job.case.image is not None  # find_raw_dataset lets no such case through
    image = read_image(job.case.image)
    labels = on_grid_of(image, read_labels(job.case.labels, job.case.meaning))
    voxels = digest_of(image.volume, labels.volume)
    for stage in stale:
        kidneys, decoys = _rough_regions(image, job) if stage == "rough" else _fine_regions(image, labels, job)
        record = CaseRecord(name=job.case.name, key=key, regions=[], voxels=voxels, settings=made_by)
        _write(job.root / stage / job.case.name, job, record, image, labels, kidneys, decoys)
    return True


def is_cached(job: CacheJob) -> bool:
    """Whether nothing is missing or stale of one case's caches."""
    return not _stale(job)


def _stale(job: CacheJob) -> list[Stage]:
    key = cache_key(job)
    return [stage for stage in STAGES if not is_fresh(job.root / stage / job.case.name, key, job.voxels)]


def _sign(path: Path, made_by: str) -> None:
    """Enter a fresh cache's settings where an older version made it."""
    record = load_json(path, CaseRecord, "")
    if not record.settings:
        save_json(path, replace(record, settings=made_by))


def settings_digest(settings: CacheSettings) -> str:
    """Changes with the cache format and the settings."""
    return hashlib.sha256(f"{CACHE_FORMAT} {JITTER_MM} ".encode() + msgspec.json.encode(settings)).hexdigest()


def check_settings(folders: Sequence[Path], settings: CacheSettings) -> None:
    """Refuse cached cases that were made by other settings: their levels, read by these, are other HU.

    Caches of an older version, which do not say, are told of.

    Raises:
        InputError: If one was, or a record is missing or damaged.
    """
    found = {folder: load_json(folder / RECORD, CaseRecord, MEND).settings for folder in folders}
    others = [folder for folder, made_by in found.items() if made_by not in ("", settings_digest(settings))]
    if others:
        n = f"{len(others)} of {len(found)} cases"
        fault = f"was made by another plan, or another version of this package, as {n} were"
        raise InputError(others[0] / RECORD, fault, "caches of the present plan.json", MEND)
    silent = next((folder for folder, made_by in found.items() if not made_by), None)
    if silent is not None:
        fault = "cases that an older version cached do not say by which plan"
        notice(silent.parent, fault, "taken for the present one's; bisc_plan_and_preprocess makes sure")


def digest_of_voxels(folders: Sequence[Path]) -> str:
    """Changes with the images and labels that these cases were cached of; empty where one's record does not say.

    Raises:
        InputError: If a record is missing or damaged.
    """
    known = [load_json(folder / RECORD, CaseRecord, MEND) for folder in folders]
    told = repr([(record.name, record.voxels) for record in known])
    return hashlib.sha256(told.encode()).hexdigest() if all(record.voxels for record in known) else ""


def load_regions(folder: Path) -> list[Region]:
    """The regions of one cached case; no decoys.

    Raises:
        InputError: If the cache is missing or damaged.
    """
    regions = list_regions(folder)
    for region in regions:
        region.check()
    return regions


def list_regions(folder: Path, decoys: bool = False) -> list[Region]:
    """`load_regions`, and the decoys where they are wanted, by the record alone: a file at fault is told when it is
    read.

    Caches of before have decoys that hold some kidney at their ends; they are neither.
    """
    record = load_json(folder / RECORD, CaseRecord, MEND)
    return [
        Region(folder, i, region)
        for i, region in enumerate(record.regions)
        if not region.decoy or (decoys and not region.kidney_voxels + region.tumor_voxels)
    ]


def cache_key(job: CacheJob) -> str:
    """Changes with the cache format, the settings, the size or time of the source files and what their labels mean."""
    text = f"{CACHE_FORMAT} {JITTER_MM} {job.case.stamp()} ".encode() + msgspec.json.encode(job.settings)
    return hashlib.sha256(text).hexdigest()


def is_fresh(folder: Path, key: str, voxels: str = "") -> bool:
    """Whether a case's cache exists and was made from the same sources with the same settings; and of these voxels,
    where their digest is known."""
    try:
        record = load_json(folder / RECORD, CaseRecord, "")
    except BiscError:
        return False
    return record.key == key and (not voxels or record.voxels == voxels)


def _rough_regions(image: CaseImage, job: CacheJob) -> tuple[list[Geometry], list[Geometry]]:
    settings = job.settings
    grid = rough_grid(image.volume.geometry, settings.target_spacing_mm_zyx[0], settings.rough_in_plane_px)
    return [grid], []


def _fine_regions(image: CaseImage, labels: CaseImage, job: CacheJob) -> tuple[list[Geometry], list[Geometry]]:
    """One grid per kidney of the label map: its ROI at target spacing, with room to jitter; and the decoys'."""
    volume, rule = labels.volume, job.settings.roi
    foreground = volume.array > 0
    target = volume.geometry.resampled(job.settings.target_spacing_mm_zyx)
    room = as_int_triple(np.ceil(np.divide(JITTER_MM, target.spacing_mm_zyx)))

    def region(box: Box) -> Box:
        return roi_box(map_box(box, volume.geometry, target), target, rule).padded(room)

    def seen(box: Box) -> Box:  # a voxel more: a target voxel is made of what lies around its centre
        return map_box(region(box).padded((1, 1, 1)), target, volume.geometry)

    def grids(boxes: list[Box]) -> list[Geometry]:
        return [target.cropped(roi.start_zyx, roi.shape_zyx) for roi in map(region, boxes)]

    kidneys = [k.box for k in find_kidneys(foreground, volume.geometry, rule.min_kidney_ml)]
    return grids(kidneys), grids(decoy_boxes(image.volume, foreground, job.case.name, seen))


def _write(
    folder: Path,
    job: CacheJob,
    record: CaseRecord,
    image: CaseImage,
    labels: CaseImage,
    grids: list[Geometry],
    decoys: list[Geometry],
) -> None:
    with atomic_folder(folder) as scratch:
        regions = []
        for i, grid in enumerate([*grids, *decoys]):
            levels = to_levels(resample(image.volume, grid).array, job.settings.intensity)
            targets = targets_of(resample_labels(labels.volume, grid))
            region = save_region(scratch, i, levels, targets, grid.spacing_mm_zyx)
            regions.append(replace(region, decoy=i >= len(grids)))
        save_json(scratch / RECORD, replace(record, regions=regions))
