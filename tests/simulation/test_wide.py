"""The wide variety: regions, pelvis and thighs, arms, scanners, metal, domain randomisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bisc.cli.simulate import main
from bisc.core.errors import InputError
from bisc.simulation import SimulationSpec, simulate_case
from bisc.simulation.anatomy import draw_anatomy
from bisc.simulation.artefacts import add_streaks
from bisc.simulation.frame import Frame
from bisc.simulation.image import outside_circle, render
from bisc.simulation.patient import Patient, draw_patient, stream
from bisc.simulation.scanner import HU_LOW
from bisc.simulation.scene import Metal, Scene
from bisc.simulation.shapes import Canvas
from bisc.simulation.tint import Tint
from bisc.simulation.view import THICKEST_MM, THINNEST_MM, draw_view

SIZE = (64, 64, 32)


def patient_of(index: int) -> Patient:
    return draw_patient(stream(0, index, "patient"), "wide")


def usual_patient() -> Patient:
    """An enhanced man of the kits variety seen by a quiet scanner."""
    patient = draw_patient(stream(0, 0, "patient"))
    return replace(patient, female=False, scanner=replace(patient.scanner, noise_hu=3.0, has_table=False))


def scan(
    patient: Patient, low_mm: float, high_mm: float, half_mm: float = 220.0
) -> tuple[npt.NDArray[np.int16], Frame]:
    """HU without any kidney, 4 x 3 x 3 mm."""
    n, m = round((high_mm - low_mm) / 4), round(2 * half_mm / 3)
    frame = Frame.regular((n, m, m), (4, 3, 3), (low_mm, patient.depth_centre_mm - half_mm, -half_mm))
    labels = np.zeros(frame.shape_zyx, np.uint8)
    return render(patient, labels, frame, 0, 0, scattered=False), frame


def test_same_arguments_same_voxels_and_another_variety_others() -> None:
    one, two = (simulate_case(4, 2, SIZE, "wide") for _ in range(2))
    assert np.array_equal(one[0].array, two[0].array)
    assert np.array_equal(one[1].array, two[1].array)
    other = simulate_case(4, 2, SIZE)[0]
    assert not np.array_equal(one[0].array, other.array)


def test_some_scans_hold_no_kidney_and_their_label_map_is_empty() -> None:
    views = [draw_view(stream(0, i, "view"), patient_of(i), SIZE) for i in range(100)]
    chests = [i for i, frame in enumerate(views) if frame.z[0] > 140]
    pelves = [i for i, frame in enumerate(views) if frame.z[-1] < -150]
    assert 1 <= len(chests) <= 15
    assert 1 <= len(pelves) <= 20
    low = {
        i: any(k.centre_zyx[0] < -100 for k in draw_anatomy(stream(0, i, "kidneys"), "wide").kidneys) for i in pelves
    }
    for index in (chests[0], *pelves[:4]):
        image, labels = simulate_case(0, index, SIZE, "wide")
        assert labels.array.any() == low.get(index, False)  # but for a kidney that lies in the pelvis
        assert image.array.max() > 200


def test_views_vary_within_their_bounds() -> None:
    frames = [draw_view(stream(0, i, "view"), patient_of(i), (256, 256, 64)) for i in range(200)]
    widths = np.array([f.spacing_mm_zyx[2] * 256 for f in frames])
    slices = np.array([f.spacing_mm_zyx[0] for f in frames])
    assert widths.min() >= 249.9
    assert widths.max() <= 600.1
    assert np.mean(widths < 345) > 0.05
    assert np.mean(widths > 480) > 0.1
    assert slices.min() >= THINNEST_MM - 1e-6
    assert slices.max() <= THICKEST_MM + 1e-6
    assert np.ptp(slices) > 3


def test_two_thighs_with_a_bone_each_where_the_scan_reaches_there() -> None:
    hu, frame = scan(usual_patient(), -420, -380)
    middle = hu[5]
    left, right = middle[:, frame.x > 5], middle[:, frame.x < -5]
    for leg in (left, right):
        assert (leg > 500).sum() * 0.09 > 2  # cm2 of compact bone
        flesh = (leg > 20) & (leg < 100)
        assert 60 < flesh.sum() * 0.09 < 220
    between = middle[:, np.abs(frame.x) < 2]
    assert np.mean(between < -800) > 0.9


def test_pelvis_holds_hips_bladder_and_muscles() -> None:
    patient = usual_patient()
    patient = replace(patient, hu=replace(patient.hu, urine=6.0))
    hu, frame = scan(patient, -260, -220)
    z, y, x = (int(np.abs(axis - at).argmin()) for axis, at in zip(frame.axes, (-240, -26, 0), strict=True))
    assert -10 < hu[z, y - 1 : y + 2, x - 1 : x + 2].mean() < 25  # the bladder's middle
    heads = hu[z] > 150
    assert heads[:, frame.x > 60].sum() * 0.09 > 10
    assert heads[:, frame.x < -60].sum() * 0.09 > 10
    behind = hu[z][np.ix_(frame.y > 30, np.abs(frame.x) > 50)]
    assert ((behind > 30) & (behind < 90)).sum() * 0.09 > 15  # gluteal muscles


def test_chest_has_lungs_heart_and_windpipe() -> None:
    hu, frame = scan(usual_patient(), 130, 270)
    assert np.mean(hu[20] < -700) > 0.15
    z, y, x = (int(np.abs(axis - at).argmin()) for axis, at in zip(frame.axes, (262, -47, 0), strict=True))
    assert hu[z, y, x] < -600


def test_arms_lie_beside_the_trunk_in_some() -> None:
    up = usual_patient()
    beside = [scan(replace(up, arms_down=down), 60, 80, 280)[0] for down in (False, True)]
    frame = scan(up, 60, 80, 280)[1]
    far = np.abs(frame.x) > up.half_width_mm + 12
    assert (beside[0][2][:, far] > -200).sum() == 0
    assert (beside[1][2][:, far] > 300).sum() > 4  # bone
    assert 0.1 < np.mean([patient_of(i).arms_down for i in range(300)]) < 0.3


def test_transplanted_missing_and_low_kidneys_occur() -> None:
    anatomies = [draw_anatomy(stream(0, i, "kidneys"), "wide") for i in range(400)]
    lowest = np.array([min(k.centre_zyx[0] for k in a.kidneys) for a in anatomies])
    assert 0.01 < np.mean(lowest < -120) < 0.1
    assert 0.02 < np.mean([a.kind == "single" for a in anatomies]) < 0.12
    assert all(1 <= len(a.kidneys) <= 2 for a in anatomies)
    own = [a.kidneys[0].centre_zyx[0] for a, z in zip(anatomies, lowest, strict=True) if z > -120]
    assert np.std(own) > 15
    usual, below = (
        next(k for k in draw_anatomy(stream(0, 1, "kidneys"), "wide", mm).kidneys if k.side < 0) for mm in (0.0, 40.0)
    )
    assert usual.centre_zyx[0] - below.centre_zyx[0] == pytest.approx(32)


def test_metal_casts_rays_in_its_own_slices_only() -> None:
    patient = usual_patient()
    frame = Frame.regular((20, 60, 60), (4, 4, 4), (-40, -140, -120))
    scene = Scene.prepare(patient, np.zeros(frame.shape_zyx, np.uint8), frame, np.random.default_rng(0))
    scene.canvas.hu[:] = 0
    scene.metal.append(Metal((0.0, -20.0, 0.0), 8.0, 200.0))
    add_streaks(scene, np.random.default_rng(1))
    spread = scene.canvas.hu.std(axis=(1, 2))
    assert spread[np.abs(frame.z) <= 8].min() > 10
    assert spread[np.abs(frame.z) > 8].max() == 0


def test_the_field_of_view_is_round_in_some() -> None:
    frame = Frame.regular((2, 40, 40), (5, 1, 1), (0, 0, 0))
    outside = outside_circle(frame)
    assert outside[0, 0]
    assert not outside[20, 0]
    assert outside.mean() == pytest.approx(1 - np.pi / 4, abs=0.05)
    patient = usual_patient()
    patient = replace(patient, scanner=replace(patient.scanner, has_circle=True))
    assert (scan(patient, 0, 8)[0][:, 0, 0] == HU_LOW).all()


def test_a_tint_changes_all_but_gas() -> None:
    frame = Frame.regular((8, 8, 8), (2, 2, 2), (0, 0, 0))
    tint = Tint.drawn(frame, np.random.default_rng(0))
    assert tint.dye(-950.0) == -950.0
    seen = [float(np.mean(tint.dye(50.0))) for _ in range(200)]
    assert np.std(seen) == pytest.approx(40, abs=8)
    canvas = Canvas.filled(frame, 0.0, tint)
    canvas.paint(np.full(frame.shape_zyx, 10, np.float32), 50.0)
    assert canvas.hu.std() > 0  # grained
    assert 0.2 < np.mean([patient_of(i).tinted for i in range(300)]) < 0.4
    assert not any(draw_patient(stream(0, i, "patient")).tinted for i in range(100))


def test_variety_is_recorded_and_another_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["-o", str(tmp_path / "d"), "-n", "1", "--size", "32", "32", "16", "-np", "1"]
    assert main([*argv, "--variety", "wide"]) == 0
    assert '"wide"' in (tmp_path / "d/simulation.json").read_text()
    assert main(argv) == 2
    assert "variety wide" in capsys.readouterr().err
    with pytest.raises(InputError, match="--variety"):
        SimulationSpec(variety="odd")  # type: ignore[arg-type]
