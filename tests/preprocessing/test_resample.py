"""Resampling: identity, exact ramps, whole bins, honest borders, and label maps without false rims."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from bisc.imageio.plausible import AIR_HU
from bisc.preprocessing import resample as module
from bisc.preprocessing.resample import (
    Interpolation,
    resample,
    resample_labels,
    rough_grid,
)
from tests.support.grids import axis_angle, ball, grid

Float = npt.NDArray[np.float64]

RAMP = 2e-3
"""float32 keeps values of a few thousand to 2.4e-4; the ramp's positions come through ITK in double."""
OBLIQUE = axis_angle((1, 2, -1), 20.0)
SLOPE_XYZ = np.array([1.5, -2.0, 3.0])


def ramp(geometry: Geometry) -> Float:
    """A linear function of the position in mm: any linear interpolation reproduces it."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape_zyx), indexing="ij"), axis=-1)
    return np.asarray(geometry.index_to_physical(index) @ SLOPE_XYZ)


def index_in(source: Geometry, target: Geometry) -> Float:
    """(z, y, x, 3) continuous source indices of the target's voxel centres."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in target.shape_zyx), indexing="ij"), axis=-1)
    return source.physical_to_index(target.index_to_physical(index))


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_identity_keeps_every_value(rng: np.random.Generator, direction: Float, interpolation: Interpolation) -> None:
    """On its own grid, and on a crop of it, the values come back as they are."""
    geometry = grid((7, 9, 11), direction=direction)
    volume = Volume(rng.integers(-1000, 1000, geometry.shape_zyx).astype(np.int16), geometry)
    same = resample(volume, geometry, interpolation=interpolation).array
    assert same.dtype == np.float32
    assert np.array_equal(same, volume.array)
    part = resample(volume, geometry.cropped((1, 2, 3), (4, 5, 6)), interpolation=interpolation).array
    assert part == pytest.approx(volume.array[1:5, 2:7, 3:9].astype(np.float32), abs=RAMP)


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize(
    "spacing",
    [
        (3.0, 0.8, 0.7),
        (1.0, 0.4, 0.35),
        (4.5, 1.1, 1.3),
        (6.0, 1.6, 1.4),
        (9.0, 3.2, 2.1),
        (7.1, 2.9, 2.2),
        (2.0, 3.2, 0.5),
    ],
    ids=str,
)
def test_linear_ramp_is_reproduced(direction: Float, spacing: tuple[float, float, float]) -> None:
    """Exact inside, finer and coarser, anisotropic, oblique, with averaging of 2, 3 and 4 voxels a bin."""
    source = grid((18, 30, 32), direction=direction)
    target = source.resampled(spacing)
    values = resample(Volume(ramp(source), source), target).array
    at = index_in(source, target)
    # Nearer to a face than half a bin the border value is repeated: exactness is claimed farther in.
    half_bin = np.maximum(1, np.divide(spacing, source.spacing_mm_zyx)) / 2
    inside = ((at >= half_bin - 0.5) & (at <= np.array(source.shape_zyx) - 0.5 - 2 * half_bin)).all(axis=-1)
    assert inside.mean() > 0.3
    assert np.abs(values - ramp(target))[inside].max() < RAMP


@given(
    st.tuples(st.integers(1, 20), st.integers(2, 12), st.integers(2, 12)),
    st.tuples(*[st.floats(0.4, 8.0)] * 3),
    st.tuples(st.integers(-3, 8), st.integers(-2, 2), st.integers(-2, 2)),
    st.integers(1, 700),
)
@settings(max_examples=60)
def test_slabs_give_what_the_whole_gives(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], start: tuple[int, int, int], slab: int
) -> None:
    """Large volumes are resampled in slabs along z: the same values, whatever the slab, also beyond the ends."""
    geometry = grid(shape, direction=OBLIQUE)
    volume = Volume(np.random.default_rng(1).integers(-1000, 1000, shape).astype(np.int16), geometry)
    target = geometry.resampled(spacing)
    target = target.cropped(start, target.shape_zyx)
    whole = resample(volume, target).array
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLAB_VOXELS", slab)
        assert resample(volume, target).array == pytest.approx(whole, abs=RAMP)


def test_bins_are_averaged() -> None:
    """Four voxels 0, 4, 8, 100 become one of 28; two bins side by side by hand."""
    source = Geometry((1, 1, 8), (1.0, 1.0, 1.0))
    volume = Volume(np.array([0, 4, 8, 100, 10, 10, 10, 30], float).reshape(1, 1, 8), source)
    target = source.resampled((1.0, 1.0, 4.0))
    assert resample(volume, target).array.ravel().tolist() == [28.0, 15.0]
    assert resample(volume, target, interpolation="nearest").array.ravel().tolist() == [8.0, 10.0]


def test_averaging_takes_the_noise_away(rng: np.random.Generator) -> None:
    """4 x 4 voxels a bin: the deviation of white noise falls by 4, within 5 %; the mean stays."""
    source = Geometry((8, 256, 256), (3.0, 0.8, 0.8))
    noise = Volume(rng.normal(50, 20, source.shape_zyx).astype(np.float32), source)
    coarse = resample(noise, rough_grid(source, 3.0, 64)).array
    assert coarse.std() == pytest.approx(20 / 4, rel=0.05)
    assert coarse.mean() == pytest.approx(50, abs=0.2)


@given(
    shape=st.tuples(st.integers(3, 40), st.integers(33, 90), st.integers(33, 90)),
    spacing_z=st.floats(0.6, 6.0),
)
@settings(max_examples=40)
def test_no_bin_is_lost_at_the_borders(shape: tuple[int, int, int], spacing_z: float) -> None:
    """A constant volume of any size stays constant on the rough grid: no slab of air at its far ends."""
    source = grid(shape, (1.0, 0.8, 0.8))
    values = resample(Volume(np.full(shape, 40, np.int16), source), rough_grid(source, spacing_z, 32)).array
    assert np.unique(values).tolist() == [40.0]


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("spacing", [(3.0, 0.8, 0.7), (1.0, 0.5, 0.5), (7.0, 2.5, 2.3)], ids=str)
@pytest.mark.parametrize("fill", [AIR_HU, 7.0])
def test_outside_is_fill(direction: Float, spacing: tuple[float, float, float], fill: float) -> None:
    """Target voxels with their centre beyond the source's outer faces hold the fill value, all others do not."""
    source = grid((5, 11, 13), direction=direction)
    target = source.cropped((-3, -4.2, -5.3), (9, 20, 20)).resampled(spacing)
    values = resample(Volume(np.full(source.shape_zyx, 40, np.int16), source), target, fill=fill).array
    at = index_in(source, target)
    outside = ((at < -0.5) | (at > np.array(source.shape_zyx) - 0.5)).any(axis=-1)
    assert 0 < outside.sum() < outside.size
    assert np.unique(values[outside]).tolist() == [fill]
    assert np.unique(values[~outside]).tolist() == [40.0]


def test_the_rest_of_a_last_bin_is_outside() -> None:
    """Five voxels in bins of three: the second bin ends at index 5.5, the source at 4.5; a centre at 5 is outside."""
    source = Geometry((1, 1, 5), (1.0, 1.0, 1.0))
    target = Geometry((1, 1, 3), (1.0, 1.0, 3.0), (-1.0, 0.0, 0.0))  # centres -1, 2, 5
    values = resample(Volume(np.full((1, 1, 5), 40, np.int16), source), target).array
    assert values.ravel().tolist() == [AIR_HU, 40.0, AIR_HU]


def test_a_target_that_does_not_meet_the_source_is_all_fill() -> None:
    """Far away in one axis is enough."""
    source = grid((5, 6, 7))
    away = source.cropped((0, 0, 200), (3, 3, 3))
    assert np.unique(resample(Volume(np.ones(source.shape_zyx), source), away).array).tolist() == [AIR_HU]
    labels = Volume(np.ones(source.shape_zyx, np.uint8), source)
    assert not resample_labels(labels, away).any()


@pytest.mark.parametrize("spacing", [(2.0, 0.5, 0.6), (6.5, 1.9, 2.3)], ids=["finer", "coarser"])
def test_only_the_neighbourhood_counts(rng: np.random.Generator, spacing: tuple[float, float, float]) -> None:
    """A region resampled by itself equals the same region of the whole: a cached ROI is what prediction sees."""
    source = grid((32, 60, 64))
    volume = Volume(rng.normal(size=source.shape_zyx).astype(np.float32), source)
    target = source.resampled(spacing)
    start, shape = (3, 5, 4), (8, 11, 12)
    part = resample(volume, target.cropped(start, shape)).array
    whole = resample(volume, target).array[3:11, 5:16, 4:16]
    assert part == pytest.approx(whole, abs=1e-5)


def test_labels_share_the_bins_of_their_image() -> None:
    """A mask painted as an image and resampled as one gives, cut at the half, what it gives as a label map."""
    source = grid((33, 61, 67), (1.0, 0.8, 0.8))
    target = rough_grid(source, 3.0, 16)
    mask = ball(source, (15.0, 24.0, 29.0), 12)
    as_image = resample(Volume(mask.astype(np.float32), source), target, fill=0).array
    as_labels = resample_labels(Volume(mask.astype(np.uint8), source), target)
    undecided = np.abs(as_image - 0.5) < 1e-3  # label fractions come in thousandths
    assert np.array_equal(as_labels[~undecided] > 0, as_image[~undecided] >= 0.5)
    assert (as_labels > 0).sum() > 50


def test_rough_grid_covers_the_whole_field_of_view() -> None:
    """512 x 512 at 0.8 mm on 128 x 128: 3.2 mm, outer faces the same; 101 slices of 1 mm are 34 of 3 mm, centred."""
    native = grid((101, 512, 512), (1.0, 0.8, 0.8), direction=OBLIQUE)
    rough = rough_grid(native, 3.0, 128)
    assert rough.shape_zyx == (34, 128, 128)
    assert rough.spacing_mm_zyx == pytest.approx((3.0, 3.2, 3.2), abs=1e-12)
    for face, other in (((-0.5,) * 3, (-0.5,) * 3), ((100.5, 511.5, 511.5), (33.5, 127.5, 127.5))):
        apart = native.physical_to_index(rough.index_to_physical(other)) - face
        assert apart[1:] == pytest.approx((0, 0), abs=1e-9)
        assert abs(apart[0]) == pytest.approx(0.5, abs=1e-9)  # 102 mm over 101 mm


def test_rough_grid_of_a_thin_and_oblong_volume() -> None:
    """One slice of 1 mm is still one slice; each in-plane axis has its own spacing."""
    rough = rough_grid(Geometry((1, 200, 400), (1.0, 0.8, 0.8)), 3.0, 128)
    assert rough.shape_zyx == (1, 128, 128)
    assert rough.spacing_mm_zyx == pytest.approx((3.0, 160 / 128, 320 / 128), abs=1e-12)


GRIDS = [(3.0, 0.78, 0.78), (0.7, 0.7, 0.7), (2.0, 2.0, 2.0), (3.0, 4.0, 4.0), (5.0, 3.3, 2.7)]
FINE = Geometry((80, 90, 94), (1.0, 1.0, 1.0))
CENTRE_MM = (39.3, 44.7, 46.1)


@pytest.mark.parametrize("spacing", GRIDS, ids=str)
def test_a_tumour_in_background_gets_no_rim_of_kidney(spacing: tuple[float, float, float]) -> None:
    """Interpolated label numbers would pass through 1 between 0 and 2."""
    labels = (2 * ball(FINE, CENTRE_MM, 25)).astype(np.uint8)
    out = resample_labels(Volume(labels, FINE), FINE.resampled(spacing))
    assert np.unique(out).tolist() == [0, 2]


@pytest.mark.parametrize("spacing", GRIDS, ids=str)
def test_volume_and_place_of_a_ball_are_kept(spacing: tuple[float, float, float]) -> None:
    """A kidney of 25 mm radius with a tumour of 12 mm: volumes within 3 and 8 %, centres within 0.15 voxels."""
    labels = (1 * ball(FINE, CENTRE_MM, 25) + ball(FINE, CENTRE_MM, 12)).astype(np.uint8)
    target = FINE.resampled(spacing)
    out = resample_labels(Volume(labels, FINE), target)
    for before, after, share in ((labels > 0, out > 0, 0.03), (labels == 2, out == 2, 0.08)):
        volumes = after.sum() * target.voxel_volume_ml, before.sum() * FINE.voxel_volume_ml
        assert volumes[0] == pytest.approx(volumes[1], rel=share)
        centres = [g.index_to_physical(np.argwhere(m).mean(axis=0)) for m, g in ((before, FINE), (after, target))]
        assert np.linalg.norm(centres[0] - centres[1]) < 0.15 * max(spacing)


def test_no_end_of_a_mask_is_lost_in_bins() -> None:
    """Blocks from voxel 9 up to 10 to 20 at 3 voxels a bin: bins at least half full remain, 9-11, 12-14, ..."""
    source = Geometry((30, 30, 30), (1.0, 1.0, 1.0))
    target = source.resampled((3.0, 3.0, 3.0))
    for stop, bins in ((10, []), (11, [3]), (12, [3]), (13, [3]), (14, [3, 4]), (17, [3, 4, 5]), (20, [3, 4, 5, 6])):
        mask = np.zeros(source.shape_zyx, np.uint8)
        mask[9:stop, 9:21, 9:21] = 1
        out = resample_labels(Volume(mask, source), target)
        assert np.flatnonzero(out.any(axis=(1, 2))).tolist() == bins


def test_labels_on_their_own_grid_and_empty_ones() -> None:
    """Unchanged, and a copy; an empty map stays empty."""
    labels = ball(FINE, CENTRE_MM, 20).astype(np.uint8)
    same = resample_labels(Volume(labels, FINE), FINE)
    assert np.array_equal(same, labels)
    assert not np.shares_memory(same, labels)
    empty = resample_labels(Volume(np.zeros(FINE.shape_zyx, np.uint8), FINE), FINE.resampled((3.0, 0.7, 0.7)))
    assert empty.dtype == np.uint8
    assert not empty.any()


def test_probabilities_round_trip() -> None:
    """Smooth probabilities go to a finer grid and back: they sum to one, and none moves by more than 0.03."""
    coarse = Geometry((16, 24, 24), (3.0, 3.2, 3.2))
    z, y, x = (np.linspace(-2, 2, n) for n in coarse.shape_zyx)
    kidney = 0.8 * np.exp(-(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2))
    channels = np.stack([1 - kidney, 0.75 * kidney, 0.25 * kidney]).astype(np.float32)
    fine_grid = coarse.resampled((1.0, 0.8, 0.8))
    fine = resample(Volume(channels, coarse), fine_grid, (1.0, 0.0, 0.0)).array
    assert fine.shape == (3, 48, 96, 96)
    assert np.abs(fine.sum(axis=0) - 1).max() < 1e-5
    back = resample(Volume(fine, fine_grid), coarse, (1.0, 0.0, 0.0)).array
    assert np.abs(back - channels).max() < 0.03


def test_channels_outside_are_background() -> None:
    """Each channel has its own fill: outside all is background with certainty."""
    source = Geometry((2, 4, 4), (1.0, 1.0, 1.0))
    channels = np.full((3, 2, 4, 4), 1 / 3, np.float32)
    wide = source.cropped((0, -2, -2), (2, 8, 8))
    out = resample(Volume(channels, source), wide, (1.0, 0.0, 0.0)).array
    assert out[:, 0, 0, 0].tolist() == [1.0, 0.0, 0.0]
    assert out[:, 0, 3, 3] == pytest.approx([1 / 3] * 3, abs=1e-6)
