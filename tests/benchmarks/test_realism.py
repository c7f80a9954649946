"""The measurements of benchmarks.realism on images made by hand, and its classifier where the answer is known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from scipy import ndimage

from benchmarks.realism.auc import patient_auc
from benchmarks.realism.classifier import halves, tell_apart
from benchmarks.realism.edges import edges
from benchmarks.realism.measures import measure
from benchmarks.realism.patches import PLACES, SIDE_PX, Patches, cut_patches
from benchmarks.realism.pictures import side_by_side
from benchmarks.realism.regions import cysts, hollow, hull, sinus
from benchmarks.realism.slices import Image, Labels, Mask, Slice, read_real, through_jpeg
from benchmarks.realism.spectrum import BANDS_PER_PX, band_powers
from benchmarks.realism.table import measurements, verdicts

KIDNEY_HU, CYST_HU = 120.0, 12.0
TEN_TO_NINETY = 2.563
"""The 10-90 % width of a step blurred by a Gaussian of sigma 1."""


def disk(radius: float, centre: tuple[float, float] = (100.0, 100.0), side: int = 200) -> Mask:
    y, x = np.mgrid[:side, :side]
    return np.asarray(np.hypot(y - centre[0], x - centre[1]) < radius)


def kidney(cyst: bool = False, notch: bool = False, patient: str = "a", noise_hu: float = 0.0) -> Slice:
    """A disk of 40 px radius in fat, which reads 0; a cyst of 10 px radius; a hilum, 16 px wide, from the right."""
    mask = disk(40)
    if notch:
        mask[92:108, 110:] = False
    hu = np.where(mask, KIDNEY_HU, 0.0)
    if cyst:
        hu[disk(10, (100, 80))] = CYST_HU
    hu = ndimage.gaussian_filter(hu, 0.8)
    hu = np.clip(hu + noise_hu * np.random.default_rng(len(patient)).standard_normal(hu.shape), 0, 255)
    return Slice(hu, mask.astype(np.uint8), patient)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_a_blurred_step_has_the_width_of_its_blur(sigma: float) -> None:
    """Noise of 10 HU changes it little; the label's outline lies where the step is."""
    mask = disk(60)
    clean = ndimage.gaussian_filter(mask * 150.0, sigma)
    noisy = clean + np.random.default_rng(0).normal(0, 10, clean.shape)
    for hu, within in ((clean, 0.03), (noisy, 0.12)):
        found = edges(hu, mask, outer_below_hu=30.0)
        assert found.width_px.size > 50
        assert np.median(found.width_px) == pytest.approx(TEN_TO_NINETY * sigma, rel=within)
        assert abs(np.median(found.offset_px)) < 0.15


def test_a_label_drawn_too_wide_shows_as_an_offset() -> None:
    """Half height lies 2 px within it."""
    hu = ndimage.gaussian_filter(disk(58) * 150.0, 1.0)
    assert np.median(edges(hu, disk(60)).offset_px) == pytest.approx(-2.0, abs=0.1)


def test_an_outline_that_meets_no_fat_has_no_edge() -> None:
    """Neither muscle beside it nor an empty label."""
    hu = np.where(disk(60), 150.0, 60.0)
    assert edges(hu, disk(60)).width_px.size == 0
    assert edges(hu, np.zeros(hu.shape, bool)).width_px.size == 0


def test_white_noise_has_a_flat_spectrum_and_smoothing_tilts_it() -> None:
    """1 in every band; a Gaussian of 1 px multiplies power by exp(-c f^2), c = (2 pi)^2, here averaged over rings."""
    white = np.random.default_rng(0).normal(60, 20, (256, 256))
    everywhere = np.ones(white.shape, bool)
    flat = band_powers(white, everywhere)
    assert flat == pytest.approx(np.ones(len(BANDS_PER_PX)), abs=0.06)
    tilted = band_powers(ndimage.gaussian_filter(white, 1.0), everywhere)
    assert tilted is not None
    assert (np.diff(tilted) < 0).all()
    c = (2 * np.pi) ** 2
    rings = np.array([(np.exp(-c * a**2) - np.exp(-c * b**2)) / (b**2 - a**2) for a, b in BANDS_PER_PX])
    assert tilted[:3] == pytest.approx((rings / rings.mean())[:3], rel=0.12)


def test_a_tissue_smaller_than_a_window_has_no_spectrum() -> None:
    """A constant one has none either."""
    assert band_powers(np.zeros((200, 200)), disk(15)) is None
    assert band_powers(np.full((200, 200), 7.0), disk(60)) is None


def test_a_cyst_is_found_and_a_plain_kidney_has_none() -> None:
    """Its HU are its own; its blurred rim of 3 px is left out; fat within the label is no cyst."""
    assert cysts(kidney()) == []
    (found,) = cysts(kidney(cyst=True))
    assert found[100, 80]
    measured = measure(kidney(cyst=True))
    assert measured["largest dark blob: mean HU"] == pytest.approx(CYST_HU, abs=1.5)
    assert measured["largest dark blob: diameter of its even core px"] == pytest.approx(20 - 6, abs=2)
    fat = kidney()
    fat.hu[disk(10, (100, 80))] = 0.0
    assert cysts(fat) == []


def test_the_hilum_is_the_hollow_that_closing_fills() -> None:
    """A disk has none; a notch is nearly all filled, and its fat is the sinus."""
    plain, notched = kidney(), kidney(notch=True)
    assert not hollow(plain, hull(plain)).any()
    assert not sinus(plain, hull(plain)).any()
    found = hollow(notched, hull(notched))
    cut_out = disk(36) & (notched.labels == 0)
    assert (found & cut_out).sum() > 0.9 * cut_out.sum()
    measured = measure(notched)
    assert measured["sinus and calyces: share of fat"] > 0.8
    assert measured["sinus and calyces: mean HU"] < 10


def values(
    rng: np.random.Generator, n: int, shift: float = 0.0
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    return [rng.normal(shift + rng.normal(), 0.2, 10) for _ in range(n)]


def test_an_auc_counts_patients_not_values() -> None:
    """By hand: 3 of 4 pairs of patients are won, however many values stand behind each; ties are half."""
    low, high = np.array([1.0]), np.array([3.0])
    found = patient_auc([low, np.full(99, 2.0)], [np.array([1.5]), high])
    assert found.value == 0.75
    assert patient_auc([low], [low]).value == 0.5
    assert str(patient_auc([low], [high])) == "1.00 (1.00 to 1.00)"
    only_first = np.array([[True, False], [False, False]])
    assert patient_auc([low, high], [high, low], only_first).value == 1.0
    with pytest.raises(ValueError, match="needs both"):
        patient_auc([], [low])


def test_the_interval_is_as_wide_as_the_patients_are_few() -> None:
    """Ten values of a patient are one observation; with 200 patients the interval is narrow and holds 0.5."""
    rng = np.random.default_rng(0)
    few, many = (patient_auc(values(rng, n), values(rng, n)) for n in (8, 200))
    assert few.high - few.low > 2 * (many.high - many.low)
    assert many.low < 0.5 < many.high


def patches(n_patients: int, seed: int, sigma: float = 0.0) -> Patches:
    """Noise of unit-free grain `sigma` px and one standard deviation, 8 patches of each patient."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n_patients * 8, SIDE_PX, SIDE_PX))
    if sigma:
        noise = ndimage.gaussian_filter(noise, (0, sigma, sigma))
    hu = (60 + 20 * noise / noise.std()).astype(np.float32)
    return Patches(hu, np.arange(len(hu)) % len(PLACES), np.repeat(np.arange(n_patients), 8))


@pytest.mark.long
def test_the_classifier_finds_nothing_where_there_is_nothing() -> None:
    """Two draws of one distribution, and two halves of one draw: 0.5 lies in the interval."""
    same = tell_apart(patches(12, seed=1), patches(12, seed=2), seed=0, epochs=2).all
    assert 0.3 < same.value < 0.7
    one, other = halves(patches(13, seed=3), seed=0)
    assert (one.n_patients, other.n_patients) == (7, 6)
    assert len(one.hu) + len(other.hu) == 13 * 8


def test_the_classifier_tells_another_grain_and_repeats_itself() -> None:
    """Equal mean and spread; the grain alone differs."""
    first, again = (tell_apart(patches(8, seed=1), patches(8, seed=2, sigma=0.8), seed=0, epochs=3) for _ in range(2))
    assert first.all.value > 0.95
    assert set(first.by_place) == set(PLACES)
    assert first == again


def test_patches_are_of_every_place_and_as_many_of_every_patient() -> None:
    """One patient has three slices, the other one; a patient without anything labelled is left out."""
    slices = [kidney(patient="a"), kidney(patient="a"), kidney(patient="a"), kidney(patient="b")]
    empty = Slice(np.zeros((200, 200)), np.zeros((200, 200), np.uint8), "c")
    cut = cut_patches([*slices, empty], seed=0, per_place=5)
    assert cut.n_patients == 2
    assert np.array_equal(np.bincount(cut.patient), [10, 10])
    assert np.array_equal(np.bincount(cut.place, minlength=3), [10, 0, 10])
    assert cut.hu.shape[1:] == (SIDE_PX, SIDE_PX)
    assert np.array_equal(cut.hu, cut_patches([*slices, empty], seed=0, per_place=5).hu)


def save(path: Path, pixels: Image | Labels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(pixels.astype(np.uint8)).save(path)


def test_both_layouts_of_real_slices_are_read(tmp_path: Path) -> None:
    """The same slice in each gives the same HU, labels and patient; a folder of neither is refused."""
    one = kidney()
    one.labels[disk(10)] = 2
    new, old = tmp_path / "new", tmp_path / "old"
    save(new / "images" / "case_00135_z103.png", one.hu)
    save(new / "labels" / "case_00135_z103.png", one.labels)
    with (new / "meta.csv").open("w", newline="") as lines:
        rows = [["name", "case", "dy", "dx", "ext"], ["case_00135_z103", "135", "0.7", "0.8", "jpg"]]
        csv.writer(lines).writerows(rows)
    save(old / "images" / "10036_103.png", one.hu)
    colours = np.stack([one.labels == 2, one.labels == 0, one.labels == 1], axis=-1) * 255 * np.array([1, 0, 1])
    save(old / "masks" / "10036_103.png", colours)
    (first,), (second,) = read_real(new), read_real(old)
    assert (first.patient, first.lossy, first.spacing_mm_yx) == ("case_00135", True, (0.7, 0.8))
    assert (second.patient, second.lossy, second.spacing_mm_yx) == ("case_00135", False, None)
    assert np.array_equal(first.hu, second.hu)
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.labels, one.labels)
    with pytest.raises(FileNotFoundError, match="neither"):
        read_real(tmp_path)


def test_jpeg_leaves_a_trace_and_the_size() -> None:
    """Some counts of difference, none in the mean."""
    hu = kidney(noise_hu=10.0).hu
    kept = through_jpeg(hu, 85)
    assert kept.shape == hu.shape
    assert 0.5 < np.abs(kept - hu)[disk(40)].mean() < 10
    assert abs((kept - hu)[disk(40)].mean()) < 0.5


def test_the_tables_put_the_most_telling_first() -> None:
    """Kidneys with and without a hilum: the share that no label covers is in the first rows, the mean HU is not."""
    plain = {name: [measure(kidney(patient=name, noise_hu=5.0))] for name in ("a", "bb", "ccc")}
    notched = {name: [measure(kidney(notch=True, patient=name, noise_hu=5.0))] for name in ("a", "bb", "ccc")}
    lines = measurements(plain, notched).splitlines()
    assert lines[0] == "| measurement | real (3 slices, 3 patients) | simulated (3 slices, 3 patients) | AUC (95 %) |"
    row = next(line for line in lines if "no label covers |" in line)
    assert row.endswith("| 1.00 (1.00 to 1.00) |")
    assert lines.index(row) < next(
        i for i, line in enumerate(lines) if line.startswith("| largest") or "mean HU" in line
    )
    assert "too few" in measurements(plain, {"a": notched["a"]})
    found = tell_apart(patches(4, seed=1), patches(4, seed=2), seed=0, epochs=1)
    assert (
        verdicts({"noise": found}).splitlines()[2].startswith(f"| noise | {found.all} | {found.by_place['kidney']} |")
    )


def test_the_picture_has_three_columns_a_side() -> None:
    """A line of 8 px between; slices of any size."""
    slices = [kidney(patient=str(i)) for i in range(3)]
    assert side_by_side(slices, slices, rows=2).shape == (2 * 512, 6 * 512 + 8)
