"""Simulated CT: reproducible to the byte, shaped like KiTS19, and neither trivial nor impossible."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from bisc.cli.simulate import main
from bisc.core.errors import InputError
from bisc.imageio import read_image, read_labels
from bisc.simulation import SimulationSpec, simulate_case, simulate_dataset
from bisc.simulation.anatomy import draw_anatomy
from bisc.simulation.patient import stream
from bisc.system.cases import process_pool

SIZE = (96, 96, 32)
SMALL = ["--size", "48", "48", "24", "-np", "1"]
FEW_SLICES = "case_00061"  # 512 x 512 x 29, the smallest of the real label maps

Pair = tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8], float]


@pytest.fixture(scope="module")
def cases() -> list[Pair]:
    """HU, labels and voxel volume of a few patients."""
    pairs = [simulate_case(7, i, SIZE) for i in range(8)]
    return [(im.array, lab.array, lab.geometry.voxel_volume_ml) for im, lab in pairs]


def shared() -> Path:
    return Path(os.environ.get("BISC_SHARED") or Path(__file__).resolve().parents[3] / "shared")


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_seed_same_bytes_whatever_n_and_workers(tmp_path: Path) -> None:
    spec = SimulationSpec(n=3, seed=3, size_xyz=(48, 48, 24))
    simulate_dataset(tmp_path / "one", spec)
    with process_pool(2) as pool:
        simulate_dataset(tmp_path / "two", SimulationSpec(n=2, seed=3, size_xyz=(48, 48, 24), start_index=1), pool)
    one, two = file_bytes(tmp_path / "one"), file_bytes(tmp_path / "two")
    assert set(two) == {k for k in one if "case_00000" not in k}
    assert all(two[name] == one[name] for name in two)


def test_other_seed_or_index_other_voxels() -> None:
    base, other_seed, other_index = (
        simulate_case(seed, index, (48, 48, 24))[0].array for seed, index in ((0, 0), (1, 0), (0, 1))
    )
    assert not np.array_equal(base, other_seed)
    assert not np.array_equal(base, other_index)


def test_labels_and_types(cases: list[Pair]) -> None:
    for hu, labels, _ in cases:
        assert hu.dtype == np.int16
        assert labels.dtype == np.uint8
        assert set(np.unique(labels)) <= {0, 1, 2}
        assert hu.shape == labels.shape == SIZE[::-1]


def test_every_patient_has_whole_kidneys(cases: list[Pair]) -> None:
    for _, labels, voxel_ml in cases:
        parts, count = ndimage.label(labels > 0, np.ones((3, 3, 3)))
        volumes = np.bincount(parts.ravel())[1:] * voxel_ml
        assert 1 <= (volumes > 5).sum() <= 3
        assert count - (volumes > 5).sum() <= 1
        assert volumes.max() > 80
    inside = [not labels[0].any() and not labels[-1].any() for _, labels, _ in cases]
    assert np.mean(inside) >= 0.7
    assert np.mean([(labels == 2).any() for _, labels, _ in cases]) >= 0.8


def test_tissue_lies_in_plausible_ranges(cases: list[Pair]) -> None:
    for hu, labels, _ in cases:
        kidney = hu[ndimage.binary_erosion(labels == 1)]
        assert 20 < kidney.mean() < 200
        if (labels == 2).sum() > 50:
            assert 0 < hu[labels == 2].mean() < 200
        assert hu.min() < -900  # air
        assert hu.max() > 300  # bone
        body = hu[hu > -300]
        assert np.mean((body > -130) & (body < -70)) > 0.1  # fat; of the whole field a thin patient has less than 0.05


def test_no_threshold_solves_it(cases: list[Pair]) -> None:
    """The best of all HU windows, chosen per case with the truth in hand, stays far below a segmentation."""
    for hu, labels, _ in cases:
        kidney = labels > 0
        dice = [
            2 * (found & kidney).sum() / max((found.sum() + kidney.sum()), 1)
            for low in range(20, 160, 20)
            for width in (30, 60, 100)
            for found in [(hu > low) & (hu < low + width)]
        ]
        assert max(dice) < 0.8


def test_solitary_and_fused_kidneys_occur() -> None:
    kinds = [draw_anatomy(stream(0, i, "kidneys")).kind for i in range(400)]
    assert 0.01 < kinds.count("single") / 400 < 0.07
    assert 0.01 < kinds.count("fused") / 400 < 0.07


def test_a_fused_kidney_is_one_component() -> None:
    index = next(i for i in range(400) if draw_anatomy(stream(0, i, "kidneys")).kind == "fused")
    labels = simulate_case(0, index, SIZE)[1]
    parts, _ = ndimage.label(labels.array > 0, np.ones((3, 3, 3)))
    columns = np.nonzero((parts == np.bincount(parts.ravel())[1:].argmax() + 1).any(axis=(0, 1)))[0]
    assert np.ptp(columns) * labels.geometry.spacing_mm_zyx[2] > 100


def test_stored_as_kits19_stores(tmp_path: Path) -> None:
    simulate_dataset(tmp_path / "d", SimulationSpec(n=1, size_xyz=(48, 40, 24)))
    image = read_image(tmp_path / "d/case_00000/imaging.nii.gz")
    labels = read_labels(tmp_path / "d/case_00000/segmentation.nii.gz")
    assert image.native.geometry.shape_zyx == (48, 40, 24)  # stored (z, y, x): the slices run fastest
    assert image.native.order.axes == (2, 1, 0)
    assert image.native.order.flips == (True, False, False)
    assert image.volume.array.shape == (24, 40, 48)
    assert image.native.geometry.is_same_grid(labels.native.geometry)
    again = simulate_case(0, 0, (48, 40, 24))[0]
    assert np.array_equal(image.volume.array, again.array)


def test_given_label_map_is_kept(tmp_path: Path) -> None:
    source = shared() / "kits19" / FEW_SLICES / "segmentation.nii.gz"
    if not source.is_file():
        pytest.skip(f"no real label map at {source}; set BISC_SHARED")
    (tmp_path / "maps" / FEW_SLICES).mkdir(parents=True)
    shutil.copy(source, tmp_path / "maps" / FEW_SLICES)
    assert main(["-o", str(tmp_path / "out"), "-l", str(tmp_path / "maps"), "-np", "1"]) == 0
    given = read_labels(source)
    labels = read_labels(tmp_path / "out" / FEW_SLICES / "segmentation.nii.gz")
    image = read_image(tmp_path / "out" / FEW_SLICES / "imaging.nii.gz")
    assert labels.native.geometry.is_same_grid(given.native.geometry, 1e-6)
    assert image.native.geometry.is_same_grid(given.native.geometry, 1e-6)
    assert np.array_equal(labels.volume.array, given.volume.array)
    hu, lab = image.volume.array, given.volume.array
    assert hu[lab == 1].mean() > 60
    assert hu[ndimage.binary_dilation(lab > 0, iterations=3) & (lab == 0)].mean() < 60


def test_command_writes_skips_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d"
    assert main(["-o", str(out), "-n", "2", *SMALL]) == 0
    assert "2 cases written" in capsys.readouterr().out
    before = file_bytes(out)
    (out / "case_00001/imaging.nii.gz").unlink()
    assert main(["-o", str(out), "-n", "2", *SMALL]) == 0
    assert "1 cases written" in capsys.readouterr().out
    assert file_bytes(out) == before


def test_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("mine")
    one = tmp_path / "one"
    assert main(["-o", str(one), "-n", "1", *SMALL]) == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    maps = tmp_path / "maps"
    shutil.copytree(one / "case_00000", maps / "case_00000")
    for argv, needle in (
        (["-o", str(full), "-n", "1"], "letter.txt"),
        (["-o", str(one), "-n", "1", "--seed", "9", *SMALL], "another simulation"),
        (["-o", str(tmp_path / "x"), "-l", str(tmp_path / "none")], "no such folder"),
        (["-o", str(tmp_path / "x"), "-l", str(empty)], "no label map"),
        (["-o", str(tmp_path / "x"), "-l", str(maps), "-n", "2"], "1 label maps"),
        (["-o", str(tmp_path / "x"), "--seed", "-1"], "--seed"),
        (["-o", str(tmp_path / "x"), "--size", "8", "48", "24"], "at least 16"),
        (["-o", str(full / "letter.txt"), "-n", "1"], "is a file"),
    ):
        capsys.readouterr()
        assert main(argv) == 2
        message = capsys.readouterr().err
        assert needle in message
        assert message.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_one_bad_label_map_does_not_end_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    assert main(["-o", str(source), "-n", "2", *SMALL]) == 0
    (source / "case_00000/segmentation.nii.gz").write_bytes(b"no image")
    assert main(["-o", str(tmp_path / "out"), "-l", str(source), "-np", "1"]) == 2
    captured = capsys.readouterr()
    assert "case_00000" in captured.err
    assert "1 cases written" in captured.out
    assert (tmp_path / "out/case_00001/imaging.nii.gz").is_file()
    assert not (tmp_path / "out/case_00000").exists()


def test_bad_specification() -> None:
    with pytest.raises(InputError, match="--start-index"):
        SimulationSpec(start_index=-1)
    with pytest.raises(InputError, match="-n"):
        SimulationSpec(n=0)
