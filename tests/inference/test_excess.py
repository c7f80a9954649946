"""A rough stage that marks more than any patient has costs no fine pass, and is told as what it is."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisc.core.errors import BiscError, InputError, WorkError
from bisc.core.geometry import Geometry
from bisc.core.labels import MAX_KIDNEY_ML
from bisc.core.volume import Box, Volume
from bisc.imageio import read_labels, write_image
from bisc.imageio.dataset import RawCase
from bisc.imageio.inputs import find_inputs
from bisc.inference import cascade
from bisc.inference.cascade import NO_OFFSETS, RoughExcess, run_cascade, run_rough, upsample_labels
from bisc.inference.signs import MOST_FOREGROUND_ML, MOST_ROI_ML, excess_of_foreground, excess_of_rois
from bisc.pipeline import validate as validation
from bisc.pipeline.options import PredictionRow, PredictOptions
from bisc.pipeline.predict import predict_cases
from bisc.pipeline.rows import merge_rows
from bisc.pipeline.validate import FoldCase, finish_fine
from tests.support.stub_model import CPU, OBLIQUE, PLAN, ByIntensity, kidneys, stub_model
from tests.support.training_fixtures import FAT_HU, KIDNEY_HU, use_one_thread

use_one_thread()
WINDOW = PLAN.rough.patch_size_zyx
ROI_LIMIT = "bisc.inference.signs.MOST_ROI_ML"
FOREGROUND_LIMIT = "bisc.inference.signs.MOST_FOREGROUND_ML"


def swamped() -> Volume:
    """A patient all of whom looks like kidney: 200 x 190 x 48 voxels of 1.5 x 1.6 x 2.5 mm, 10.9 litres."""
    grid = OBLIQUE.canonical
    hu = np.full(grid.shape_zyx, KIDNEY_HU, np.int16)
    hu[:, :1] = FAT_HU
    return Volume(hu, grid)


def scattered() -> Volume:
    """Six balls of 14 ml, far apart: less than two kidneys, around which much would be searched."""
    volume, _ = kidneys(OBLIQUE.canonical, (), None, speck=False)
    hu = np.array(volume.array)
    axes = np.indices(hu.shape, sparse=True)
    z, y, x = (axis * mm for axis, mm in zip(axes, volume.geometry.spacing_mm_zyx, strict=True))
    middle = np.multiply(hu.shape, volume.geometry.spacing_mm_zyx) / 2.0
    for side in (-90.0, 0.0, 90.0):
        for back in (-60.0, 60.0):
            ball = (z - middle[0]) ** 2 + (y - middle[1] - back) ** 2 + (x - middle[2] - side) ** 2 < 15.0**2
            hu[ball] = KIDNEY_HU
    return Volume(hu, volume.geometry)


def predict(
    source: Path, out: Path, network: ByIntensity, **how: object
) -> tuple[dict[str, PredictionRow], list[BiscError]]:
    errors: list[BiscError] = []
    options = PredictOptions("argmax", **how)  # type: ignore[arg-type]
    rows = predict_cases(find_inputs(source), stub_model(network), out, options, errors.append)
    return {row.case: row for row in rows}, errors


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patient who is all kidney, and a sound one."""
    folder = tmp_path_factory.mktemp("scans")
    write_image(folder / "all.nii.gz", swamped().array, OBLIQUE)
    write_image(folder / "sound.nii.gz", kidneys(OBLIQUE.canonical)[0].array, OBLIQUE)
    return folder


@pytest.mark.parametrize("ml", [0.0, 300.0, 1962.0, 5540.0, 7999.0, MOST_FOREGROUND_ML])
def test_what_patients_have_is_none_of_it(ml: float) -> None:
    """The largest of 167 label maps, the worst polycystic kidneys; some are doubted, and made all the same."""
    assert excess_of_foreground(ml) == ""
    assert MAX_KIDNEY_ML < MOST_FOREGROUND_ML


@pytest.mark.parametrize(
    "rois_ml",
    [
        [],
        [160 * 160 * 96 * 0.00183] * 2,
        [192 * 192 * 112 * 0.00183] * 2,
        [12_800_000 * 0.00183],  # the largest pair of the 167 maps, fused
        [8_622_080 * 0.00183],  # the most ROIs of the degraded ones
        [14_000.0, 14_000.0],  # polycystic kidneys of 4 litres each
    ],
)
def test_what_patients_need_is_none_of_it(rois_ml: list[float]) -> None:
    """Measured on real anatomy at 0.78 x 0.78 x 3 mm (1.83 mm3), docs/explanation/anatomy.md."""
    assert excess_of_rois(rois_ml) == ""


@given(st.floats(MOST_FOREGROUND_ML + 1, 1e6))
def test_more_is_told_with_its_volume(ml: float) -> None:
    """Found, expected, mend."""
    found, expected, mend = excess_of_foreground(ml).split("; ")
    assert found == f"the rough stage marks {ml:.0f} ml as kidney and tumour"
    assert expected == "expected at most 8000 ml, more than any patient has"
    assert "--save-rough" in mend
    assert "train it longer" in mend


@given(st.lists(st.floats(1.0, 2e5), min_size=1, max_size=6))
def test_rois_count_together(rois_ml: list[float]) -> None:
    """One huge region or several."""
    told = excess_of_rois(rois_ml)
    assert bool(told) == (sum(rois_ml) > MOST_ROI_ML)
    if told:
        assert told.startswith(f"the rough stage marks {len(rois_ml)} region")
        assert "expected at most 30 litres" in told


def test_no_fine_pass_is_run() -> None:
    """The network sees the rough stage's windows and nothing else."""
    network = ByIntensity()
    with pytest.raises(RoughExcess, match="the rough stage marks 10") as caught:
        run_cascade(swamped(), stub_model(network), "argmax")
    assert {shape[-3:] for shape in network.seen} == {WINDOW}
    assert caught.value.rough is not None
    assert caught.value.rough.array.argmax(axis=0).mean() > 0.9


@pytest.mark.parametrize("litres", [0.5, 1.0, 2.0])
def test_scattered_regions_are_no_kidneys(monkeypatch: pytest.MonkeyPatch, litres: float) -> None:
    """Little is marked, but each of six regions would get its ROI: bounded by what the ROIs hold together."""
    found = run_cascade(scattered(), stub_model(), "argmax")
    total = sum(
        np.prod(roi.softmax.geometry.shape_zyx) * roi.softmax.geometry.voxel_volume_ml for roi in found.rois
    )  # some of it outside
    assert total > 2000.0
    monkeypatch.setattr(ROI_LIMIT, 1000.0 * litres)
    network = ByIntensity()
    with pytest.raises(RoughExcess, match=f"the rough stage marks {len(found.rois)} regions so wide that "):
        run_cascade(scattered(), stub_model(network), "argmax")
    assert {shape[-3:] for shape in network.seen} == {WINDOW}
    monkeypatch.setattr(ROI_LIMIT, total + 1.0)
    assert len(run_cascade(scattered(), stub_model(), "argmax").rois) == len(found.rois)


@pytest.mark.parametrize("save_rough", [False, True])
def test_the_case_fails_and_the_others_go_on(scans: Path, tmp_path: Path, save_rough: bool) -> None:
    """A failed row and one line, no mask, none of an older run; a rough mask, if it was asked for."""
    write_image(tmp_path / "all.nii.gz", np.zeros(OBLIQUE.canonical.shape_zyx, np.uint8), OBLIQUE)
    merge_rows(tmp_path / "predictions.csv", [PredictionRow("all", "ok")])
    (tmp_path / "rough").mkdir()
    write_image(tmp_path / "rough/all.nii.gz", np.zeros(OBLIQUE.canonical.shape_zyx, np.uint8), OBLIQUE)
    rows, errors = predict(scans, tmp_path, ByIntensity(), save_rough=save_rough)
    assert {name: row.status for name, row in rows.items()} == {"all": "failed", "sound": "ok"}
    (error,) = errors
    assert isinstance(error, WorkError)
    assert not isinstance(error, InputError)
    assert str(error).startswith(f"{scans / 'all.nii.gz'}: the rough stage marks 10")
    assert (rows["all"].error, rows["all"].rois, rows["all"].kidney_ml) == (str(error), "[]", None)
    assert not (tmp_path / "all.nii.gz").exists()
    assert (tmp_path / "rough/all.nii.gz").exists() == save_rough
    if save_rough:
        rough = read_labels(tmp_path / "rough/all.nii.gz")
        assert (rough.volume.array > 0).mean() > 0.9
        assert rough.native.geometry.is_same_grid(OBLIQUE.geometry)


def test_continue_tries_it_again(scans: Path, tmp_path: Path) -> None:
    """A better model may have come."""
    predict(scans, tmp_path, ByIntensity())
    network = ByIntensity()
    rows, errors = predict(scans, tmp_path, network, resume=True)
    assert len(errors) == 1
    assert rows["sound"].status == "ok"
    assert {shape[-3:] for shape in network.seen} == {WINDOW}


def test_it_travels_between_processes() -> None:
    """As every error of ours does; the softmax too, if there is one."""
    bare = pickle.loads(pickle.dumps(RoughExcess("a: found; expected; mend")))
    assert (str(bare), bare.rough) == ("a: found; expected; mend", None)
    rough = run_rough(kidneys(OBLIQUE.canonical)[0], PLAN, stub_model().rough)
    whole = pickle.loads(pickle.dumps(RoughExcess("told", rough)))
    assert np.array_equal(whole.rough.array, rough.array)


@pytest.mark.parametrize("limit", [FOREGROUND_LIMIT, ROI_LIMIT])
def test_validation_counts_it_as_an_empty_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """The fold's scores are those of every case, the worst where there are kidneys; a line says for how many."""
    cases = []
    for name, volume in (("all", swamped()), ("sound", kidneys(OBLIQUE.canonical)[0])):
        folder = tmp_path / "raw" / name
        folder.mkdir(parents=True)
        write_image(folder / "imaging.nii.gz", volume.array, OBLIQUE)
        write_image(folder / "segmentation.nii.gz", kidneys(OBLIQUE.canonical)[1], OBLIQUE)
        cases.append(FoldCase(RawCase(name, folder / "imaging.nii.gz", folder / "segmentation.nii.gz")))
    if limit == ROI_LIMIT:
        monkeypatch.setattr(FOREGROUND_LIMIT, 1e9)
        monkeypatch.setattr(ROI_LIMIT, 8_000.0)
    monkeypatch.setattr(validation, "load_model", lambda *_, **how: stub_model())
    monkeypatch.setattr(validation, "store_offsets", lambda *_: None)
    lines = finish_fine(cases, 0, tmp_path / "results", tmp_path / "fold", CPU)
    assert lines[:2] == [
        f"fine fold 0, {decision}: the rough stage marks more than any patient has in 1 of 2 cases (all); "
        "they count as empty masks; train it longer"
        for decision in ("argmax", "calibrated")
    ]
    for decision in ("argmax", "calibrated"):
        report = (tmp_path / "fold" / "validation" / f"report_{decision}.csv").read_text().splitlines()
        rows = {
            line.split(",")[0]: dict(zip(report[0].split(","), line.split(","), strict=True)) for line in report[1:]
        }
        assert float(rows["all"]["dice_kidney"]) == float(rows["all"]["dice_tumor"]) == 0.0
        assert float(rows["all"]["volume_kidney_pred_ml"]) == 0.0
        assert float(rows["sound"]["dice_kidney"]) > 0.9
    assert not read_labels(tmp_path / "fold" / "validation" / "all.nii.gz").volume.array.any()


@given(st.tuples(*[st.integers(0, 9)] * 3), st.tuples(*[st.integers(1, 20)] * 3), st.integers(1, 3000))
def test_slabs_are_the_box(start: tuple[int, int, int], shape: tuple[int, int, int], most: int) -> None:
    """One after the other, each with so many voxels at most, or a slice."""
    box = Box.of_shape(shape).shifted(start)
    slabs = box.slabs(most)
    assert slabs[0].start_zyx == box.start_zyx
    assert slabs[-1].stop_zyx == box.stop_zyx
    for a, b in pairwise(slabs):
        assert a.stop_zyx == (b.start_zyx[0], *box.stop_zyx[1:])
    for slab in slabs:
        assert np.prod(slab.shape_zyx) <= most or slab.shape_zyx[0] == 1


@pytest.mark.parametrize("most", [1, 20_000, 1_000_000])
def test_labels_do_not_depend_on_slabs(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """However much is interpolated at a time."""
    image = kidneys(OBLIQUE.canonical)[0]
    rough = run_rough(image, PLAN, stub_model().rough)
    target: Geometry = image.geometry.resampled(PLAN.target_spacing_mm_zyx)
    whole = upsample_labels(rough, target, NO_OFFSETS)
    monkeypatch.setattr(cascade, "SLAB_VOXELS", most)
    assert np.array_equal(upsample_labels(rough, target, NO_OFFSETS), whole)
    assert whole.any()
