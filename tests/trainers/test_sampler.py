"""Patches: replayable by step, holding what they must hold, padded with air."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, product
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.errors import InputError
from bisc.core.volume import Box
from bisc.preprocessing.regions import Region
from bisc.trainers.sampler import (
    Pick,
    Sampler,
    SamplingPolicy,
    index_regions,
    numpy_seeded,
)
from bisc.trainers.stages import FineTrainer, RoughTrainer
from tests.support.broken_samplers import ANYWHERE, KIDNEY_ALWAYS, TUMOR_ALWAYS, make_sampler, write_region

SHAPE = (5, 6, 8)
MOST = 6
"""Along an axis of a drawn region: 6 x 6 x 6 voxels have a level each."""
NUMBERS = count()


def labels_with(*voxels: tuple[int, int, int, int], shape: tuple[int, int, int] = SHAPE) -> npt.NDArray[np.uint8]:
    """Labels of one region from (z, y, x, label)."""
    labels = np.zeros(shape, np.uint8)
    for z, y, x, label in voxels:
        labels[z, y, x] = label
    return labels


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A region with kidney and tumour, one with a kidney, one with nothing."""
    root = tmp_path_factory.mktemp("caches")
    return [
        write_region(root / "both", labels_with((0, 0, 0, 2), (4, 5, 7, 2), (2, 3, 4, 1))),
        write_region(root / "kidney", labels_with((1, 2, 3, 1))),
        write_region(root / "empty", labels_with()),
    ]


def test_a_draw_depends_on_seed_and_step_alone(cases: list[Path]) -> None:
    """Whatever was drawn before, in whatever order, by whichever object."""
    sampler = make_sampler(cases, (4, 4, 4), SamplingPolicy(0.3, 0.4, (3.0, 1.0, 1.0)))
    forwards = [sampler.draw(step) for step in range(20)]
    again = make_sampler(cases, (4, 4, 4), SamplingPolicy(0.3, 0.4, (3.0, 1.0, 1.0)))
    assert [again.draw(step) for step in reversed(range(20))][::-1] == forwards
    assert len({pick.seed for picks in forwards for pick in picks}) == 40
    assert replace(sampler, seed=6).draw(0) != forwards[0]
    first, second = sampler.batch(7), again.batch(7)
    assert np.array_equal(first.levels, second.levels)
    assert np.array_equal(first.targets, second.targets)


def test_a_batch_has_the_promised_form(cases: list[Path]) -> None:
    """(batch, 1, z, y, x) and (batch, z, y, x), both uint8."""
    batch = make_sampler(cases, (4, 6, 16), batch_size=3).batch(0)
    assert (batch.levels.shape, batch.levels.dtype) == ((3, 1, 4, 6, 16), np.dtype(np.uint8))
    assert (batch.targets.shape, batch.targets.dtype) == ((3, 4, 6, 16), np.dtype(np.uint8))


sizes = st.tuples(*(st.integers(1, 14),) * 3)


@settings(max_examples=60)
@given(
    patch=sizes,
    shape=sizes,
    where=st.tuples(*(st.floats(0, 0.999),) * 3),
    label=st.sampled_from([1, 2]),
    crops=st.lists(st.integers(0, 2**31 - 1), min_size=4, max_size=4),
)
def test_a_forced_patch_holds_its_voxel(
    tmp_path_factory: pytest.TempPathFactory,
    patch: tuple[int, int, int],
    shape: tuple[int, int, int],
    where: tuple[float, float, float],
    label: int,
    crops: list[int],
) -> None:
    """One kidney or tumour voxel anywhere, corners too: it is in the patch for every crop and every mirroring."""
    shape = tuple(min(n, MOST) for n in shape)  # type: ignore[assignment]
    z, y, x = (int(part * n) for part, n in zip(where, shape, strict=True))
    folder = tmp_path_factory.getbasetemp() / "forced" / str(next(NUMBERS))
    write_region(folder, labels_with((z, y, x, label), shape=shape))
    sampler = make_sampler([folder], patch, TUMOR_ALWAYS if label == 2 else KIDNEY_ALWAYS)
    for pick in sampler.draw(0):
        for seed in (pick.seed, *crops):
            levels, targets = sampler.cut(replace(pick, seed=seed))
            assert (targets == label).sum() == 1
            assert levels[0][targets == label] == (z * shape[1] + y) * shape[2] + x + 1


@settings(max_examples=30)
@given(shape=sizes, patch=sizes, seed=st.integers(0, 2**31 - 1))
def test_what_a_region_lacks_is_air_and_background(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], patch: tuple[int, int, int], seed: int
) -> None:
    """A patch has its size whatever the region's; along an axis shorter than it, the rest is filled around the whole
    of the region, and no voxel of the region comes twice."""
    shape = tuple(min(n, MOST) for n in shape)  # type: ignore[assignment]
    folder = tmp_path_factory.getbasetemp() / "padded" / str(next(NUMBERS))
    write_region(folder, np.full(shape, 1, np.uint8))
    (region,) = index_regions([folder])
    levels, targets = make_sampler([folder], patch).cut(Pick(region, Box.of_shape(shape), seed))
    assert levels.shape == (1, *patch)
    assert targets.shape == patch
    inside = levels[0] != 0
    assert np.array_equal(inside, targets == 1)
    assert inside.sum() == np.prod(np.minimum(shape, patch))
    assert len(np.unique(levels[0][inside])) == inside.sum()


@settings(max_examples=60)
@given(
    shape=st.tuples(*(st.integers(1, MOST),) * 3),
    patch=sizes,
    axes=st.sets(st.integers(0, 2)),
    seed=st.integers(0, 2**31 - 1),
    data=st.data(),
)
def test_a_patch_lies_where_it_is_placed(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    patch: tuple[int, int, int],
    axes: set[int],
    seed: int,
    data: st.DataObject,
) -> None:
    """To the last bit, of a window with air around it, from any window of a region marked in any part of it."""

    def part_of_it() -> Box:
        start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
        stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
        return Box(start, stop)  # type: ignore[arg-type]

    window, marked = part_of_it(), part_of_it()
    labels = np.zeros(shape, np.uint8)
    labels[marked.to_slices()] = np.random.default_rng(seed).integers(0, 3, marked.shape_zyx)
    folder = tmp_path_factory.getbasetemp() / "theirs" / str(next(NUMBERS))
    write_region(folder, labels)
    (region,) = index_regions([folder])
    sampler, pick = make_sampler([folder], patch, mirror_axes=tuple(sorted(axes))), Pick(region, window, seed)
    start, mirrored = sampler.place(pick)
    there = tuple(slice(a + n, a + 2 * n) for a, n in zip(start, patch, strict=True))
    for found, whole in zip(sampler.cut(pick), (region.levels, region.targets), strict=True):
        wide = np.pad(whole[window.to_slices()], [(n, n) for n in patch])
        assert np.array_equal(found.reshape(patch), np.flip(wide[there], mirrored))


def test_a_cached_image_has_x_last_in_memory(cases: list[Path]) -> None:
    """Whatever order the scan's voxels came in; patches are read along x."""
    for region in index_regions(cases):
        assert region.levels.flags.c_contiguous


def test_no_other_voxel_than_the_windows(cases: list[Path]) -> None:
    """Without mirroring a patch is a piece of the region, voxel for voxel; all pieces come up, about as often."""
    (region, *_) = index_regions(cases)
    whole = np.arange(1, np.prod(SHAPE) + 1).reshape(SHAPE)
    starts, sampler = [], make_sampler(cases, (3, 3, 3), mirror_axes=())
    for seed in range(320):
        levels, _ = sampler.cut(Pick(region, Box((1, 1, 2), (5, 5, 8)), seed))
        z, y, x = np.unravel_index(int(levels[0, 0, 0, 0]) - 1, SHAPE)
        assert np.array_equal(levels[0], whole[z : z + 3, y : y + 3, x : x + 3])
        starts.append((int(z), int(y), int(x)))
    assert {*starts} == {*product((1, 2), (1, 2), (2, 3, 4, 5))}
    assert max(map(starts.count, starts)) < 3 * 320 / 16


@pytest.mark.parametrize(("axes", "kinds"), [((), 1), ((2,), 2), ((0, 1, 2), 8)])
def test_only_the_named_axes_are_mirrored(cases: list[Path], axes: tuple[int, ...], kinds: int) -> None:
    """Image and targets together; every combination of the named axes comes up."""
    (region, *_) = index_regions(cases)
    seen, sampler = set(), make_sampler(cases, SHAPE, mirror_axes=axes)
    for seed in range(80):
        levels, targets = sampler.cut(Pick(region, Box.of_shape(SHAPE), seed))
        corner = int(levels[0, 0, 0, 0]) - 1
        seen.add(corner)
        z, y, x = np.unravel_index(corner, SHAPE)
        flips = tuple(-1 if v else 1 for v in (z, y, x))
        unmirrored = levels[0][tuple(slice(None, None, f) for f in flips)]
        assert np.array_equal(unmirrored.ravel(), np.arange(1, np.prod(SHAPE) + 1))
        assert (targets[levels[0] == 1] == 2).all()  # the first voxel is a tumour voxel
    assert len(seen) == kinds


def regions_of(sampler: Sampler, steps: int = 100) -> set[str]:
    return {pick.region.folder.name for step in range(steps) for pick in sampler.draw(step)}


def test_each_policy_draws_from_the_regions_that_serve_it(cases: list[Path]) -> None:
    """Tumour patches from regions with a tumour, kidney patches from those with a kidney, the rest from all."""
    assert regions_of(make_sampler(cases, (4, 4, 4), TUMOR_ALWAYS)) == {"both"}
    assert regions_of(make_sampler(cases, (4, 4, 4), KIDNEY_ALWAYS)) == {"both", "kidney"}
    assert regions_of(make_sampler(cases, (4, 4, 4), ANYWHERE)) == {"both", "kidney", "empty"}
    assert regions_of(make_sampler(cases[2:], (4, 4, 4), TUMOR_ALWAYS)) == {"empty"}


def test_decoys_have_their_share(cases: list[Path]) -> None:
    """Of all patches, out of those that need hold nothing; the regions of kidneys keep the rest."""
    sampler = make_sampler(cases, (4, 4, 4), SamplingPolicy(0.3, 0.3, p_decoy=0.1))
    empty = [r for r in sampler.regions if r.folder.name == "empty"]
    marked = tuple(
        replace(r, record=msgspec.structs.replace(r.record, decoy=True)) if r in empty else r for r in sampler.regions
    )
    names = [pick.region.folder.name for step in range(1500) for pick in replace(sampler, regions=marked).draw(step)]
    assert names.count("empty") / len(names) == pytest.approx(0.1, abs=0.02)


def test_a_kidney_is_never_looked_for_in_a_decoy(cases: list[Path]) -> None:
    """Nor a tumour where no kidney's region has one: the kidneys' regions stand in for it, not the decoys."""
    both, kidney, empty = make_sampler(cases, (4, 4, 4)).regions

    def drawn(policy: SamplingPolicy, *regions: Region, decoy: Region) -> set[str]:
        marked = replace(decoy, record=msgspec.structs.replace(decoy.record, decoy=True))
        return regions_of(replace(make_sampler(cases, (4, 4, 4), policy), regions=(*regions, marked)))

    assert drawn(KIDNEY_ALWAYS, both, empty, decoy=kidney) == {"both"}
    assert drawn(TUMOR_ALWAYS, kidney, decoy=empty) == {"kidney"}
    assert drawn(ANYWHERE, decoy=empty) == {"empty"}


def test_shares_of_the_policy(cases: list[Path]) -> None:
    """With p_tumor 0.3 and p_kidney 0.5, 'both' is drawn with 0.3 + 0.5 / 2 + 0.2 / 3 = 0.617."""
    sampler = make_sampler(cases, (4, 4, 4), SamplingPolicy(0.3, 0.5))
    names = [pick.region.folder.name for step in range(1000) for pick in sampler.draw(step)]
    assert names.count("both") / 2000 == pytest.approx(0.617, abs=0.04)
    assert names.count("empty") / 2000 == pytest.approx(0.2 / 3, abs=0.02)


def test_jitter_cuts_both_ends_by_up_to_twice_the_room(cases: list[Path]) -> None:
    """Room 1, 2, 2 voxels: starts 0..2 and 0..4, stops as far from the other end, never outside the region."""
    sampler = make_sampler(cases, (4, 4, 4), SamplingPolicy(0.0, 0.0, (3.0, 2.0, 2.0)))
    windows = [pick.window for step in range(300) for pick in sampler.draw(step)]
    for axis, (size, most) in enumerate(zip(SHAPE, (2, 4, 4), strict=True)):
        assert {w.start_zyx[axis] for w in windows} == set(range(most + 1))
        assert {size - w.stop_zyx[axis] for w in windows} == set(range(most + 1))


def test_jitter_of_a_region_hardly_larger_than_its_room_stays_inside(tmp_path: Path) -> None:
    """Whatever is cut off, at least one voxel is left."""
    folder = write_region(tmp_path / "small", labels_with(shape=(3, 3, 3)))
    sampler = make_sampler([folder], (2, 2, 2), SamplingPolicy(0.0, 0.0, (3.0, 1.0, 1.0)))
    for step in range(50):
        for pick in sampler.draw(step):
            assert Box.of_shape((3, 3, 3)).contains(pick.window)
        assert sampler.batch(step).levels.shape == (2, 1, 2, 2, 2)


def test_numpys_global_generator_is_left_alone(cases: list[Path]) -> None:
    """batchgenerators draws from it; the caller's stream goes on as if nothing had been drawn, after errors too."""
    np.random.seed(4)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(4)  # noqa: NPY002
    make_sampler(cases, (4, 4, 4)).batch(0)
    with pytest.raises(ZeroDivisionError), numpy_seeded(1):
        raise ZeroDivisionError
    assert np.array_equal(np.random.random(3), expected)  # noqa: NPY002


def test_faulty_caches_are_refused(tmp_path: Path) -> None:
    """A missing case, a damaged record, and cases without any region."""
    with pytest.raises(InputError, match=r"case\.json"):
        index_regions([tmp_path / "absent"])
    folder = write_region(tmp_path / "case", labels_with())
    (folder / "case.json").write_text('{"name": "case", "key": "", "regions": []}')
    with pytest.raises(InputError, match="no cached region"):
        index_regions([folder])
    (folder / "case.json").write_text('{"name": "case", "nonsense": 1}')
    with pytest.raises(InputError, match="nonsense"):
        index_regions([folder])


def test_the_stages_policies_are_probabilities() -> None:
    """And the fine stage jitters as a rough mask would; the rough stage sees the whole field of view."""
    for stage in (RoughTrainer, FineTrainer):
        assert 0 < stage.policy.p_tumor < stage.policy.p_tumor + stage.policy.p_kidney <= 1
    assert FineTrainer.policy.jitter_mm_zyx is not None
    assert min(FineTrainer.policy.jitter_mm_zyx) > 0
    assert RoughTrainer.policy.jitter_mm_zyx is None
