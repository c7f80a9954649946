"""Caches: made once, remade when stale, whole or absent, and true to image and labels."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.errors import InputError
from bisc.core.labels import KIDNEY, KIDNEY_EDGE_BIT, TUMOR, TUMOR_EDGE_BIT, labels_of
from bisc.core.volume import Box
from bisc.imageio import read_labels, write_image
from bisc.preprocessing import cache
from bisc.preprocessing.cache import (
    CacheJob,
    CaseRecord,
    cache_case,
    cache_key,
    check_settings,
    is_fresh,
    list_regions,
    load_regions,
)
from bisc.preprocessing.decoys import DECOYS
from bisc.preprocessing.kidneys import find_kidneys, map_box, roi_box
from bisc.preprocessing.resample import (
    normalise,
    resample,
    resample_labels,
    rough_grid,
)
from bisc.system.console import collecting
from bisc.system.jsonfile import load_json, save_json
from bisc.trainers.sampler import index_regions
from tests.support.cached import INTENSITY, ROUGH_PX, image_of, read, settings_for


def stamps(root: Path) -> dict[str, int]:
    """Time of writing of every file."""
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_rerun_does_nothing(job: CacheJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time nothing is read or written."""
    assert cache_case(job) is True
    before = stamps(job.root)
    assert {name.split("/")[0] for name in before} == {"rough", "fine"}
    monkeypatch.setattr(cache, "read_image", lambda path: pytest.fail("read again"))
    assert cache_case(job) is False
    assert stamps(job.root) == before


def test_a_changed_source_makes_it_stale(job: CacheJob) -> None:
    """Another time or size of either file: both stages are made again."""
    for path in (image_of(job), job.case.labels):
        cache_case(job)
        key = cache_key(job)
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
        assert cache_key(job) != key
        assert not is_fresh(job.root / "fine" / job.case.name, cache_key(job))
        assert cache_case(job) is True
        assert cache_case(job) is False


@pytest.mark.parametrize(
    "change",
    [
        {"target_spacing_mm_zyx": (5.0, 4.0, 4.1)},
        {"rough_in_plane_px": 48},
        {"intensity": msgspec.structs.replace(INTENSITY, mean_hu=101.0)},
        {"roi": msgspec.structs.replace(settings_for().roi, margin_mm=9.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changed_settings_make_it_stale(job: CacheJob, change: dict[str, object]) -> None:
    """Every setting is part of the key."""
    other = replace(job, settings=msgspec.structs.replace(job.settings, **change))
    assert cache_key(other) != cache_key(job)


def test_only_the_missing_stage_is_made(job: CacheJob) -> None:
    """A deleted stage comes back, the other is left alone."""
    cache_case(job)
    before = stamps(job.root / "rough")
    shutil.rmtree(job.root / "fine" / job.case.name)
    assert cache_case(job) is True
    assert stamps(job.root / "rough") == before
    assert is_fresh(job.root / "fine" / job.case.name, cache_key(job))


def test_caches_of_other_settings_are_refused_until_they_are_made_anew(job: CacheJob) -> None:
    """As training and the rough stage's validation ask: the levels are HU by these settings alone."""
    other = replace(job, settings=msgspec.structs.replace(job.settings, rough_in_plane_px=48))
    folders = [job.root / stage / job.case.name for stage in ("rough", "fine")]
    cache_case(job)
    check_settings(folders, job.settings)
    with pytest.raises(InputError, match=r"case\.json: was made by another plan, .* as 2 of 2 cases were; .*run bisc_"):
        check_settings(folders, other.settings)
    assert cache_case(other) is True
    check_settings(folders, other.settings)


def test_caches_of_an_older_version_are_taken_with_a_notice_until_they_are_looked_through(job: CacheJob) -> None:
    """Their records say nothing of the plan; a rerun that finds them fresh enters it, and makes nothing."""
    cache_case(job)
    folders, noted = [job.root / stage / job.case.name for stage in ("rough", "fine")], list[list[str]]()
    for path in (folder / "case.json" for folder in folders):
        path.write_text(path.read_text().replace(load_json(path, CaseRecord, "").settings, ""))
    for _ in range(2):
        with collecting() as notes:
            check_settings(folders, job.settings)
        noted.append(notes)
        assert cache_case(job) is False
    assert [len(notes) for notes in noted] == [1, 0]
    assert "cases that an older version cached do not say by which plan" in noted[0][0]


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError, MemoryError])
def test_an_interrupted_write_leaves_nothing(
    job: CacheJob, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    """A region's last file fails: no half-written case, no scratch; the older cache stays; a rerun mends it."""
    saved = np.save
    calls = []

    def failing(path: Path, array: npt.NDArray[np.generic]) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise fault
        saved(path, array)

    monkeypatch.setattr(np, "save", failing)
    with pytest.raises(InputError if fault is OSError else fault):
        cache_case(job)
    assert len(calls) == 3
    assert [p for p in job.root.rglob("*") if p.is_file()] == []
    assert list((job.root / "rough").iterdir()) == []
    assert cache_case(job) is True
    before = stamps(job.root)
    calls.clear()
    changed = replace(job, settings=settings_for((5.0, 4.0, 4.5)))
    with pytest.raises(InputError if fault is OSError else fault):
        cache_case(changed)
    assert stamps(job.root) == before
    assert not is_fresh(job.root / "rough" / job.case.name, cache_key(changed))


def test_the_rough_region(job: CacheJob) -> None:
    """The whole field of view at 64 x 64: labels those of the label map, air and tissue where the image has them."""
    cache_case(job)
    image, labels = read(job)
    (region,) = load_regions(job.root / "rough" / job.case.name)
    expected = rough_grid(image.volume.geometry, 5.0, ROUGH_PX)
    assert region.levels.shape == region.targets.shape == expected.shape_zyx
    assert [str(voxels.dtype) for voxels in (region.levels, region.targets)] == ["uint8"] * 2
    assert np.array_equal(labels_of(region.targets), resample_labels(labels.volume, expected))
    low, high = normalise(np.array([-2000, 2000]), INTENSITY)
    shown = region.image(INTENSITY)
    assert shown.min() == pytest.approx(low, abs=1e-6)
    assert shown.max() == pytest.approx(high, abs=1e-6)
    true = normalise(resample(image.volume, expected).array, INTENSITY)
    assert np.abs(shown - true).max() <= INTENSITY.level_hu / INTENSITY.std_hu / 2 + 1e-6
    kidney = shown[labels_of(region.targets) == 1]
    air = shown[0, :4, :4]
    assert kidney.mean() > air.mean() + 1


def test_fine_regions_hold_their_kidneys_with_room(job: CacheJob) -> None:
    """Each region is the kidney's ROI and the jitter's room around it, and loses no voxel of the kidney."""
    cache_case(job)
    _, labels = read(job)
    volume, rule = labels.volume, job.settings.roi
    target = volume.geometry.resampled(job.settings.target_spacing_mm_zyx)
    kidneys = find_kidneys(volume.array > 0, volume.geometry, rule.min_kidney_ml)
    regions = load_regions(job.root / "fine" / job.case.name)
    assert len(regions) == len(kidneys) > 0
    whole = resample_labels(volume, target)
    for region, kidney in zip(regions, kidneys, strict=True):
        inner = map_box(kidney.box, volume.geometry, target)
        roi = roi_box(inner, target, rule)
        room = np.subtract(region.targets.shape, roi.shape_zyx) / 2
        assert room.tolist() == [5, 3, 3]  # 24 mm over 5 mm and 12 over 4 mm, rounded up
        at = inner.shifted(tuple((room.astype(int) - roi.start_zyx).tolist()))
        margins = np.minimum(at.start_zyx, np.subtract(region.targets.shape, at.stop_zyx))
        assert (margins * target.spacing_mm_zyx >= 6.0 + np.asarray((24.0, 12.0, 12.0))).all()
        assert Box.of_shape(target.shape_zyx).contains(inner)
        own = labels_of(region.targets)[at.to_slices()]
        assert np.array_equal(own, whole[inner.to_slices()])
        volume_ml = (own > 0).sum() * target.voxel_volume_ml
        assert volume_ml == pytest.approx(kidney.volume_ml, rel=0.1)


def test_points_and_records_agree_with_the_targets(job: CacheJob) -> None:
    """Remembered voxels carry their label, counts are those of the targets, edges lie at the label's border."""
    cache_case(job)
    for stage in ("rough", "fine"):
        folder = job.root / stage / job.case.name
        record = load_json(folder / "case.json", CaseRecord, "")
        assert (record.name, record.key) == (job.case.name, cache_key(job))
        for region, entry in zip(list_regions(folder, decoys=True), record.regions, strict=True):
            found = labels_of(region.targets)
            assert entry.shape_zyx == region.targets.shape
            assert entry.kidney_voxels == (found == 1).sum()
            assert entry.tumor_voxels == (found == 2).sum()
            for points, label in ((region.points(KIDNEY), 1), (region.points(TUMOR), 2)):
                assert points.dtype == np.int16
                assert len(points) == min(2000, (found == label).sum())
                assert len(np.unique(points, axis=0)) == len(points)
                assert (found[tuple(points.T)] == label).all()
            assert ((region.targets & KIDNEY_EDGE_BIT) > 0).any() == (found > 0).any()
            assert ((region.targets & TUMOR_EDGE_BIT) > 0).any() == (found == 2).any()


def rewrite_labels(job: CacheJob, change: dict[int, int]) -> None:
    """Write the case's label map again with some values replaced."""
    labels = read_labels(job.case.labels)
    array = labels.volume.array.copy()
    for old, new in change.items():
        array[labels.volume.array == old] = new
    write_image(job.case.labels, array, labels.native)


def test_cases_without_tumour_or_kidney(job: CacheJob) -> None:
    """No tumour: no tumour points, no tumour edge. No kidney: a rough region all background, and no fine region."""
    rewrite_labels(job, {2: 1})
    assert cache_case(job)
    for region in load_regions(job.root / "fine" / job.case.name):
        assert region.points(TUMOR).shape == (0, 3)
        assert not (region.targets & TUMOR_EDGE_BIT).any()
    rewrite_labels(job, {1: 0})
    assert cache_case(job)
    (rough,) = load_regions(job.root / "rough" / job.case.name)
    assert not rough.targets.any()
    assert load_regions(job.root / "fine" / job.case.name) == []
    decoys = list_regions(job.root / "fine" / job.case.name, decoys=True)
    assert len(decoys) == DECOYS
    assert all(region.record.decoy and not region.targets.any() for region in decoys)


def test_decoys_are_wanted_or_not_there(job: CacheJob) -> None:
    """They stand behind the kidneys, of an ROI's size with room to jitter: 110 mm and 24 mm on both sides, at least.
    Nothing of a kidney is in them."""
    cache_case(job)
    folder = job.root / "fine" / job.case.name
    both = list_regions(folder, decoys=True)
    kidneys = [region for region in both if not region.record.decoy]
    assert load_regions(folder) == kidneys == both[: len(kidneys)]
    assert len(both) > len(kidneys)
    for decoy in both[len(kidneys) :]:
        assert not decoy.targets.any()
        depth_mm, *in_plane_mm = np.multiply(decoy.shape_zyx, decoy.record.spacing_mm_zyx)
        assert depth_mm >= 110 + 2 * 24
        assert min(in_plane_mm) >= 60 + 2 * 12
    assert set(index_regions([folder])) == set(kidneys)
    assert set(index_regions([folder], decoys=True)) == set(both)


def test_decoys_of_before_that_hold_a_kidney_are_none(job: CacheJob) -> None:
    """Their caches load; such a region is no kidney's either."""
    cache_case(job)
    folder = job.root / "fine" / job.case.name
    record, kidneys = load_json(folder / "case.json", CaseRecord, ""), load_regions(folder)
    first, *others = record.regions
    save_json(
        folder / "case.json",
        msgspec.structs.replace(record, regions=[msgspec.structs.replace(first, decoy=True), *others]),
    )
    assert first.kidney_voxels > 0
    assert load_regions(folder) == kidneys[1:]
    assert [region.number for region in list_regions(folder, decoys=True)] == [*range(1, len(record.regions))]


def test_another_grid_is_refused(job: CacheJob) -> None:
    """An image and a label map that do not belong together: nothing is written."""
    labels = read_labels(job.case.labels)
    moved = replace(labels.native, geometry=replace(labels.native.geometry, origin_mm_xyz=(0.0, 5.0, 0.0)))
    write_image(job.case.labels, labels.volume.array, moved)
    with pytest.raises(InputError, match="corners lie up to"):
        cache_case(job)
    assert not job.root.exists()
