"""Caches: made once, remade when stale, whole or absent, and true to image and labels."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lz4.frame
import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.errors import InputError
from bisc.core.geometry import as_int_triple
from bisc.core.labels import KIDNEY, KIDNEY_EDGE_BIT, TUMOR, TUMOR_EDGE_BIT, labels_of
from bisc.core.volume import Box, Volume
from bisc.imageio import CaseImage, read_image, read_labels, write_image
from bisc.imageio.dataset import find_raw_dataset
from bisc.preprocessing import cache
from bisc.preprocessing.cache import (
    CacheJob,
    CacheSettings,
    CaseRecord,
    cache_case,
    cache_key,
    is_fresh,
    load_regions,
)
from bisc.preprocessing.kidneys import RoiRule, find_kidneys, map_box, roi_box
from bisc.preprocessing.resample import (
    Intensity,
    input_of_levels,
    normalise,
    resample,
    resample_labels,
    rough_grid,
    to_levels,
)
from bisc.system.jsonfile import load_json

INTENSITY = Intensity(clip_low_hu=-80.0, clip_high_hu=300.0, mean_hu=100.0, std_hu=75.0)
ROUGH_PX = 64


def settings_for(spacing_mm_zyx: tuple[float, float, float] = (5.0, 4.0, 4.0)) -> CacheSettings:
    """A small rule for small volumes."""
    return CacheSettings(
        target_spacing_mm_zyx=spacing_mm_zyx,
        rough_in_plane_px=ROUGH_PX,
        intensity=INTENSITY,
        roi=RoiRule(sides_px=[32, 48], multiple_px=16, margin_mm=6.0, min_kidney_ml=5.0),
    )


@pytest.fixture
def job(tiny_dataset: Path, tmp_path: Path) -> CacheJob:
    """The first tiny case, copied so that a test may change it."""
    shutil.copytree(tiny_dataset / "case_00000", tmp_path / "Tiny" / "case_00000")
    (case,) = find_raw_dataset(tmp_path / "Tiny").cases
    return CacheJob(case, settings_for(), tmp_path / "cache")


def stamps(root: Path) -> dict[str, int]:
    """Time of writing of every file."""
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in sorted(root.rglob("*")) if p.is_file()}


def read(job: CacheJob) -> tuple[CaseImage, CaseImage]:
    return read_image(image_of(job)), read_labels(job.case.labels)


def image_of(job: CacheJob) -> Path:
    assert job.case.image is not None
    return job.case.image


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
        for region, entry in zip(load_regions(folder), record.regions, strict=True):
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


def test_another_grid_is_refused(job: CacheJob) -> None:
    """An image and a label map that do not belong together: nothing is written."""
    labels = read_labels(job.case.labels)
    moved = replace(labels.native, geometry=replace(labels.native.geometry, origin_mm_xyz=(0.0, 5.0, 0.0)))
    write_image(job.case.labels, labels.volume.array, moved)
    with pytest.raises(InputError, match="corners lie up to"):
        cache_case(job)
    assert not job.root.exists()


def test_damaged_caches_are_told(job: CacheJob) -> None:
    """A truncated or missing array, or no record: one line that says what to run."""
    cache_case(job)
    folder = job.root / "rough" / job.case.name
    array = folder / "region_0_image.npy"
    array.write_bytes(array.read_bytes()[:200])
    damages: list[Callable[[], object]] = [lambda: None, array.unlink, (folder / "case.json").unlink]
    for damage in damages:
        damage()
        with pytest.raises(InputError, match="run bisc_plan_and_preprocess again") as caught:
            load_regions(folder)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_damaged_targets_are_told_when_they_are_read(job: CacheJob) -> None:
    """A cut: one line. A flipped bit too, unless it changes no voxel (a 0 copied from elsewhere)."""
    cache_case(job)
    folder = job.root / "rough" / job.case.name
    file = folder / "region_0_targets.lz4"
    whole = file.read_bytes()
    (region,) = load_regions(folder)
    targets = region.targets
    for data in (whole[:-5], whole[:40], b""):
        file.write_bytes(data)
        with pytest.raises(InputError, match=r"region_0_targets.lz4: cannot be read .*delete .* and run bisc_plan"):
            _ = region.targets
    n_found = 0
    for at in np.linspace(0, len(whole) - 1, 100).astype(int):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            assert np.array_equal(region.targets, targets)
        except InputError:
            n_found += 1
    assert n_found > 80
    file.write_bytes(lz4.frame.compress(bytes(10**6)))
    with pytest.raises(InputError, match=r"cannot be read \(1000000 voxels in"):
        load_regions(folder)


@pytest.mark.parametrize("stop_zyx", [[1, 3, 4], [10_000, 3, 4]])
def test_a_record_that_marks_targets_elsewhere_is_refused(job: CacheJob, stop_zyx: list[int]) -> None:
    """A box that is empty, and one that ends outside the region: a window is cut by it."""
    cache_case(job)
    record = job.root / "rough" / job.case.name / "case.json"
    content = json.loads(record.read_text())
    content["regions"][0]["marked"] = {"start_zyx": [1, 2, 3], "stop_zyx": stop_zyx}
    record.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"case.json: .*marked.* run bisc_plan_and_preprocess again"):
        load_regions(record.parent)


def test_points_that_are_not_marked_are_refused(job: CacheJob) -> None:
    """A record without its box, or with a smaller one: the points drawn from would have no label."""
    cache_case(job)
    record = job.root / "rough" / job.case.name / "case.json"
    content = json.loads(record.read_text())
    (region,) = content["regions"]
    smaller = {**region["marked"], "start_zyx": [n - 1 for n in region["marked"]["stop_zyx"]]}
    for marked in (None, smaller):
        record.write_text(json.dumps({**content, "regions": [{**region, "marked": marked}]}))
        with pytest.raises(InputError, match=r"(points|targets).* run bisc_plan_and_preprocess again"):
            load_regions(record.parent)


def test_targets_of_a_window_are_those_of_the_whole(job: CacheJob) -> None:
    """Wherever the window lies to the marked box: around, inside, across its border, beside it."""
    cache_case(job)
    (region,) = load_regions(job.root / "rough" / job.case.name)
    whole, marked = region.targets, region.record.marked
    assert marked == Box.of_mask(whole)
    assert marked is not None
    first = Box((0, 0, 0), (1, 1, 1))
    inside = as_int_triple(np.add(marked.start_zyx, 1))
    across = Box((0, 0, 0), as_int_triple(np.add(marked.start_zyx, 2)))
    beyond = Box(inside, as_int_triple(whole.shape))
    for window in (first, across, marked, marked.padded((1, 2, 3)), Box(inside, marked.stop_zyx), beyond):
        assert np.array_equal(region.targets_in(window), whole[window.to_slices()])


def test_an_image_of_another_form_is_refused(job: CacheJob) -> None:
    """Of an older version, or of another region."""
    cache_case(job)
    folder = job.root / "rough" / job.case.name
    (region,) = load_regions(folder)
    levels = np.array(region.levels)  # not the map of a file that is about to be overwritten
    for array in (levels.astype(np.float16), levels[1:]):
        np.save(folder / "region_0_image.npy", array)
        with pytest.raises(InputError, match=r"region_0_image.npy: (float16|uint8) voxels of shape .* run bisc_plan"):
            load_regions(folder)


def test_normalise_by_hand() -> None:
    """(-80 - 100) / 75 = -2.4; (100 - 100) / 75 = 0; clipped at 300: 200 / 75."""
    out = normalise(np.array([-1000, -80, 100, 300, 3000], np.int16), INTENSITY)
    assert out.dtype == np.float32
    assert out == pytest.approx([-2.4, -2.4, 0.0, 200 / 75, 200 / 75], abs=1e-6)
    assert INTENSITY.air == pytest.approx(-2.4, abs=1e-12)


def test_levels_by_hand() -> None:
    """0 to 510 HU in steps of 2: below, on, between and above; half-way is even. And back to within a step's half."""
    intensity = Intensity(clip_low_hu=0.0, clip_high_hu=510.0, mean_hu=100.0, std_hu=50.0)
    hu = np.array([-1000, 0, 2, 100, 510, 3000], np.int16)
    levels = to_levels(hu, intensity)
    assert levels.tolist() == [0, 0, 1, 50, 255, 255]
    assert to_levels(np.array([1.0, 3.0, 4.9, 5.1]), intensity).tolist() == [0, 2, 2, 3]
    assert input_of_levels(levels, intensity) == pytest.approx([-2, -2, -1.96, 0, 8.2, 8.2], abs=1e-5)


def test_kidneys_of_one_hu_have_levels_all_the_same() -> None:
    """A phantom's, where both clips are equal; clips the wrong way round are a plan's fault."""
    one = Intensity(clip_low_hu=50.0, clip_high_hu=50.0, mean_hu=50.0, std_hu=1.0)
    assert to_levels(np.array([-1000, 50, 60], np.int16), one).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="the lower one above the upper"):
        msgspec.structs.replace(one, clip_low_hu=51.0)
    with pytest.raises(msgspec.ValidationError, match="the lower one above the upper"):
        msgspec.json.decode(b'{"clip_low_hu": 2, "clip_high_hu": 1, "mean_hu": 0, "std_hu": 1}', type=Intensity)


def test_regions_lie_where_their_grid_says(job: CacheJob) -> None:
    """A volume whose value is its x position in mm: the cached fine region's values are the positions of its grid."""
    image, labels = read(job)
    geometry = image.volume.geometry
    x_mm = geometry.index_to_physical(np.array([(0, 0, i) for i in range(geometry.shape_zyx[2])]))[:, 0]
    x_mm -= x_mm.mean()
    ramp = np.broadcast_to(x_mm, geometry.shape_zyx)
    write_image(image_of(job), np.rint(ramp).astype(np.int16), image.native)
    wide = Intensity(clip_low_hu=-1000.0, clip_high_hu=1000.0, mean_hu=0.0, std_hu=100.0)
    job = replace(job, settings=msgspec.structs.replace(job.settings, intensity=wide))
    cache_case(job)
    regions = load_regions(job.root / "fine" / job.case.name)
    kidneys = find_kidneys(labels.volume.array > 0, geometry, 5.0)
    assert len(regions) == len(kidneys)
    for region, kidney in zip(regions, kidneys, strict=True):
        box = Volume(labels.volume.array, geometry).cropped(kidney.box)
        weights = (box.array > 0).sum(axis=(0, 1))
        centre_mm = (weights * x_mm[kidney.box.start_zyx[2] : kidney.box.stop_zyx[2]]).sum() / weights.sum()
        values = region.image(wide)[labels_of(region.targets) > 0] * 100
        # The region may hold part of the other kidney: compare the nearer half.
        own = values[np.sign(values) == np.sign(centre_mm)] if abs(centre_mm) > 20 else values
        assert own.mean() == pytest.approx(centre_mm, abs=4.0)
