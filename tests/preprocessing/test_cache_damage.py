"""Caches that were damaged, and how levels and regions stand in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import lz4.frame
import msgspec
import numpy as np
import pytest

from bisc.core.errors import InputError
from bisc.core.geometry import as_int_triple
from bisc.core.labels import labels_of
from bisc.core.volume import Box, Volume
from bisc.imageio import write_image
from bisc.preprocessing.cache import (
    CacheJob,
    cache_case,
    load_regions,
)
from bisc.preprocessing.kidneys import find_kidneys
from bisc.preprocessing.resample import (
    Intensity,
    input_of_levels,
    normalise,
    to_levels,
)
from tests.support.cached import INTENSITY, image_of, read


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
