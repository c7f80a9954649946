"""The degradations of benchmarks.degrade do what they say, on two kidneys made by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from benchmarks.degrade import (
    DEGRADATIONS,
    RoughMap,
    false_spleen,
    false_vertebra,
    horseshoe,
    kidneys_of,
    kidneys_touching,
    missing_band,
    missing_pole,
    noisy_border,
    of,
    specks,
    tumor_severed,
)
from bisc.core.geometry import Geometry
from bisc.inference.cascade import NO_OFFSETS, upsample_labels
from bisc.preprocessing.parts import connected_components

GRID = Geometry((70, 90, 100), (3.0, 3.9, 3.9), (-195.0, -175.0, 0.0))
SEEDS = range(3)


@cache
def patient(solitary: bool = False) -> RoughMap:
    """Kidneys of 110 x 60 x 60 mm at x = -65 and 65 mm, a tumour of 50 mm on the left one's side."""
    at = GRID.index_to_physical(np.moveaxis(np.indices(GRID.shape_zyx), 0, -1)) - np.array([0.0, 0.0, 105.0])

    def ellipsoid(x: float, radii: tuple[float, float, float]) -> npt.NDArray[np.bool_]:
        return np.asarray(np.linalg.norm((at - np.array([x, 0.0, 0.0])) / np.array(radii), axis=-1) <= 1.0)

    tumor = ellipsoid(95.0, (25.0, 25.0, 25.0))
    organ = ellipsoid(65.0, (30.0, 30.0, 55.0)) | tumor
    if not solitary:
        organ |= ellipsoid(-65.0, (30.0, 30.0, 55.0))
    return RoughMap(organ.astype(np.float32), tumor.astype(np.float32), GRID)


def sizes_ml(rough: RoughMap) -> list[float]:
    return [c.n_voxels * GRID.voxel_volume_ml for c in connected_components(rough.organ > 0.5)]


def rngs() -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in SEEDS]


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_pure_and_seeded(name: str) -> None:
    """The map given is left alone; the same seed gives the same map; shares stay in 0..1, a softmax that sums to 1."""
    rough = patient()
    organ, tumor = rough.organ.copy(), rough.tumor.copy()
    first, again = (DEGRADATIONS[name](rough, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(rough.organ, organ)
    assert np.array_equal(rough.tumor, tumor)
    assert np.array_equal(first.organ, again.organ)
    assert np.array_equal(first.tumor, again.tumor)
    softmax = first.result().array
    assert softmax.dtype == np.float32
    assert softmax.min() >= 0
    assert np.allclose(softmax.sum(axis=0), 1.0, atol=1e-6)
    if name != "rough grid":
        assert not np.array_equal(first.organ, organ)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_nothing_and_one_kidney_are_no_fault(name: str) -> None:
    """An empty map stays a map, and a solitary kidney can be degraded too."""
    nothing = np.zeros(GRID.shape_zyx, np.float32)
    DEGRADATIONS[name](RoughMap(nothing, nothing, GRID), np.random.default_rng(0))
    assert kidneys_of(DEGRADATIONS[name](patient(solitary=True), np.random.default_rng(0)))


def test_kidneys_of_gives_the_right_one_first() -> None:
    """Smaller LPS x is the patient's right."""
    right, left = kidneys_of(patient())
    assert np.argwhere(right)[:, 2].mean() < np.argwhere(left)[:, 2].mean()
    assert (left & (patient().tumor > 0.5)).any()


def test_a_band_of_6_to_36_mm_is_missing_through_both() -> None:
    """Whole slices are gone, both kidneys lose, and nothing else changes."""
    for rng in rngs():
        rough = patient()
        after = missing_band(rough, rng).organ
        lost = (rough.organ > 0) & (after == 0)
        slices = np.flatnonzero(lost.any(axis=(1, 2)))
        assert 1 <= len(slices) <= 12
        assert np.array_equal(slices, np.arange(slices[0], slices[-1] + 1))
        assert not after[slices].any()
        assert all(lost[k].any() for k in kidneys_of(rough))
        others = np.setdiff1d(np.arange(GRID.shape_zyx[0]), slices)
        assert np.array_equal(after[others], rough.organ[others])


def test_a_pole_of_one_kidney_is_missing() -> None:
    """6 to 24 mm of its length, at one end; the other kidney is whole."""
    for rng in rngs():
        rough = patient()
        after = missing_pole(rough, rng).organ > 0.5
        lengths = [(int(k.any(axis=(1, 2)).sum()), int((k & after).any(axis=(1, 2)).sum())) for k in kidneys_of(rough)]
        lost = sorted((before - now) * 3.0 for before, now in lengths)
        assert lost[0] == 0
        assert 6.0 <= lost[1] <= 24.0


def test_a_severed_tumour_keeps_its_own_and_takes_the_gap_from_the_kidney() -> None:
    """The tumour's shares are untouched, its neighbours are background; a wide gap leaves three components."""
    components = []
    for rng in rngs():
        rough = patient()
        cut = tumor_severed(rough, rng)
        tumor = rough.tumor > 0.5
        assert np.array_equal(cut.tumor, rough.tumor)
        assert np.array_equal(cut.organ[tumor], rough.organ[tumor])
        near = ndimage.binary_dilation(tumor) & ~tumor
        assert (rough.organ[near] > 0).any()
        assert not cut.organ[near].any()
        components.append(len([ml for ml in sizes_ml(cut) if ml > 1.0]))
    assert max(components) == 3


def test_a_bridge_and_an_isthmus_join_the_two() -> None:
    """One component; the bridge adds a thread, the isthmus more, and at the lower third."""
    alone = sum(sizes_ml(patient()))
    for rng, other in zip(rngs(), rngs(), strict=True):
        bridged, fused = kidneys_touching(patient(), rng), horseshoe(patient(), other)
        assert len(sizes_ml(bridged)) == len(sizes_ml(fused)) == 1
        assert alone < sum(sizes_ml(bridged)) < sum(sizes_ml(fused))
        middle = np.flatnonzero((fused.organ[:, :, 50] > 0.5).any(axis=1)).mean()
        assert middle < np.flatnonzero((patient().organ > 0.5).any(axis=(1, 2))).mean() - 5


def test_specks_are_smaller_than_a_kidney_can_be() -> None:
    """Apart from those that happen to touch the kidneys or each other there are many, nearly all below 5 ml."""
    for rng in rngs():
        small = [ml for ml in sizes_ml(specks(patient(), rng))[2:] if ml > 0.05]
        assert len(small) >= 8
        assert np.mean([ml < 5.0 for ml in small]) > 0.8


def test_false_regions_lie_where_the_organs_do() -> None:
    """Spleen: lateral of the left kidney's middle and above its lower half. Vertebra: between the kidneys."""
    rough = patient()
    left = kidneys_of(rough)[1]
    for rng, other in zip(rngs(), rngs(), strict=True):
        at = np.argwhere((false_spleen(rough, rng).organ > 0.5) & (rough.organ < 0.5))
        assert 15.0 <= len(at) * GRID.voxel_volume_ml <= 280.0
        assert at[:, 2].mean() > np.argwhere(left)[:, 2].mean() + 5
        assert at[:, 0].mean() > np.argwhere(left)[:, 0].mean()
        at = np.argwhere((false_vertebra(rough, other).organ > 0.5) & (rough.organ < 0.5))
        assert 20.0 <= len(at) * GRID.voxel_volume_ml <= 135.0
        assert abs(GRID.index_to_physical(at).mean(axis=0)[0] - 5.0) < 15.0


def test_noise_moves_the_border_by_about_a_voxel() -> None:
    """Dice with the clean map between 0.75 and 0.99, on the rough grid and after the cascade's interpolation."""
    clean = patient()
    fine = GRID.resampled((3.0, 1.5, 1.5))
    for rng in rngs()[:2]:
        noisy = noisy_border(clean, rng)
        for a, b in (
            (clean.organ > 0.5, noisy.organ > 0.5),
            (
                upsample_labels(clean.result(), fine, NO_OFFSETS) > 0,
                upsample_labels(noisy.result(), fine, NO_OFFSETS) > 0,
            ),
        ):
            assert 0.75 < 2.0 * (a & b).sum() / (a.sum() + b.sum()) < 0.99


def test_several_steps_share_one_generator() -> None:
    """`of` is its steps one after the other."""
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    both = of(tumor_severed, missing_band)(patient(), rng)
    assert np.array_equal(both.organ, missing_band(tumor_severed(patient(), same), same).organ)
