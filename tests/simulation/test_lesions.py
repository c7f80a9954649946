"""Phases, calyces, cysts and tumours of simulated CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from bisc.core.labels import KIDNEY
from bisc.imageio import read_image, read_labels, write_image
from bisc.simulation import SimulationSpec, simulate_case, simulate_dataset
from bisc.simulation.anatomy import draw_anatomy
from bisc.simulation.case import SIZE_XYZ
from bisc.simulation.cysts import add_cysts, draw_cyst_hu, scatter_cysts
from bisc.simulation.dataset import stored_like_kits19
from bisc.simulation.frame import Frame
from bisc.simulation.kidneys import Tumor
from bisc.simulation.label_map import draw_labels, without_cysts
from bisc.simulation.patient import Patient, draw_patient, stream
from bisc.simulation.phases import PHASE_SHARES, Phase, Variety, draw_enhancement
from bisc.simulation.tumors import LEAST_CONTRAST_HU, tumor_hu

SIZE = (128, 128, 40)
BOX = Frame.regular((24, 40, 40), (2.5, 1.5, 1.5), (-30, -30, -30))


def first_of(phase: Phase, variety: Variety = "kits") -> int:
    """The first case of seed 0 in a phase, without domain randomisation."""
    patients = ((i, patient_of(i, variety)) for i in range(500))
    return next(i for i, p in patients if p.hu.phase == phase and not p.tinted)


def patient_of(index: int, variety: Variety = "kits") -> Patient:
    return draw_patient(stream(0, index, "patient"), variety)


def ball(radius_mm: float) -> np.ndarray:  # type: ignore[type-arg]
    z, y, x = BOX.open_zyx
    return np.asarray(z**2 + y**2 + x**2 < radius_mm**2)


@pytest.mark.parametrize("variety", ["kits", "wide"])
def test_phases_come_at_their_rates(variety: Variety) -> None:
    rng = np.random.default_rng(0)
    phases = [draw_enhancement(rng, variety).phase for _ in range(1000)]
    for phase, share in PHASE_SHARES[variety].items():
        assert phases.count(phase) / 1000 == pytest.approx(share, abs=0.04)


def test_a_plain_kidney_is_hardly_brighter_than_water_and_darker_than_the_liver() -> None:
    image, labels = simulate_case(0, first_of("plain"), SIZE)
    kidney = image.array[ndimage.binary_erosion(labels.array == KIDNEY, iterations=2)]
    assert 15 < np.median(kidney) < 45


def test_excreted_contrast_medium_is_bright_inside_kidneys() -> None:
    index = first_of("excretory")
    image, labels = simulate_case(0, index, SIZE)
    inside = ndimage.binary_erosion(labels.array == KIDNEY, iterations=2)
    bright = image.array[inside] > 0.5 * patient_of(index).hu.urine
    assert 0.002 < bright.mean() < 0.3
    image, labels = simulate_case(0, first_of("arterial"), SIZE)
    inside = ndimage.binary_erosion(labels.array == KIDNEY, iterations=2)
    assert (image.array[inside] > 350).mean() < 0.002


def test_half_of_the_patients_have_cysts_some_of_them_many() -> None:
    counts = np.array([len(draw_anatomy(stream(0, i, "kidneys")).cysts) for i in range(600)])
    assert np.mean(counts > 0) == pytest.approx(0.5, abs=0.06)
    assert 0.5 < np.mean(counts[counts > 0] == 1) < 0.6
    assert counts.max() == 8


def test_one_cyst_in_eight_is_dense() -> None:
    rng = np.random.default_rng(1)
    hu = np.array([draw_cyst_hu(rng) for _ in range(2000)])
    assert np.mean(hu >= 45) == pytest.approx(0.12, abs=0.03)
    assert np.all((hu >= 45) & (hu <= 90) | (hu >= -6) & (hu <= 20))


def test_a_cyst_is_filled_to_its_edge_and_written_as_kidney() -> None:
    kidney = np.full(BOX.shape_zyx, 150, np.float32)
    cyst = ball(12)
    add_cysts(kidney, cyst, np.zeros_like(cyst), np.random.default_rng(2))
    middle = kidney[ball(8)]
    assert np.ptp(middle) < 1
    assert middle.mean() < 91
    assert kidney[~ball(18)].min() == 150
    assert without_cysts(np.array([[[0, 1, 2, 3]]], np.uint8)).tolist() == [[[0, 1, 2, 1]]]


def test_the_label_map_knows_where_cysts_are() -> None:
    index = next(i for i in range(50) if draw_anatomy(stream(0, i, "kidneys")).cysts)
    rng = stream(0, index, "kidneys")
    frame = Frame.regular((64, 100, 160), (3, 3, 3), (-96, -150, -240))
    assert (draw_labels(draw_anatomy(rng), frame, rng) == 3).any()


def test_cysts_are_scattered_inside_kidneys_of_half_of_the_given_maps() -> None:
    kidney = ball(25)
    masks = [scatter_cysts(kidney, BOX, np.random.default_rng(i)) for i in range(200)]
    assert np.mean([m.any() for m in masks]) == pytest.approx(0.5, abs=0.1)
    assert not any((m & ~kidney).any() for m in masks)


def test_given_cysts_become_kidney_with_the_hu_of_fluid(tmp_path: Path) -> None:
    spec = SimulationSpec(n=1, seed=0, size_xyz=(64, 64, 32))
    simulate_dataset(tmp_path / "made", spec)
    labels = read_labels(tmp_path / "made/case_00000/segmentation.nii.gz")
    solid = ndimage.binary_erosion(labels.volume.array == KIDNEY, iterations=2)
    stored = labels.volume.array.copy()
    stored[solid] = 3
    folder = tmp_path / "given/case_00000"
    folder.mkdir(parents=True)
    write_image(folder / "segmentation.nii.gz", stored, stored_like_kits19(labels.volume.geometry))
    seed = next(s for s in range(50) if draw_patient(stream(s, 0, "patient")).hu.phase == "arterial")
    simulate_dataset(tmp_path / "out", SimulationSpec(seed=seed, labels_dir=tmp_path / "given"))
    written = read_labels(tmp_path / "out/case_00000/segmentation.nii.gz")
    image = read_image(tmp_path / "out/case_00000/imaging.nii.gz")
    assert written.native.geometry.is_same_grid(labels.native.geometry)
    assert np.array_equal(written.volume.array, labels.volume.array)
    fluid = image.volume.array[ndimage.binary_erosion(solid)]
    assert np.median(fluid) < 30


def test_no_tumour_is_invisible_whatever_its_face() -> None:
    tumor = ball(20)
    for seed in range(30):
        patient = patient_of(seed)
        hu = tumor_hu(patient, tumor, 100.0, BOX, np.random.default_rng(seed))
        assert abs(float(hu[tumor].mean()) - 100) > LEAST_CONTRAST_HU - 0.1


def test_a_tumour_may_have_a_lobe_and_a_plug_in_the_vein() -> None:
    plain = Tumor((0, 0, 0), (12, 12, 12), 0.0)
    grown = Tumor((0, 0, 0), (12, 12, 12), 0.0, ((0, 0, 12), 0.5), ((0, 0, 0), (0, 0, -28)), 4.0)
    rng = np.random.default_rng(0)
    small, large = (t.distance(BOX, rng) > 0 for t in (plain, grown))
    assert small.sum() * 0.005625 == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.05)  # ml
    assert large[12, 20, int(30 / 1.5 + 16 / 1.5)]  # 16 mm to the left: in the lobe
    assert large[12, 20, int(30 / 1.5 - 25 / 1.5)]  # 25 mm to the right: in the vein
    assert not small[12, 20, int(30 / 1.5 - 25 / 1.5)]


def test_default_size_is_what_the_help_says() -> None:
    assert SIZE_XYZ == (256, 256, 64)
