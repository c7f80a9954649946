"""The Python API: every form of an image gives the command's mask, whatever cannot be used is refused by its fields."""

from __future__ import annotations

import doctest
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

import bisc
from benchmarks.by_intensity import write_results
from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from bisc.imageio import write_image
from bisc.imageio.case import InputCase
from bisc.imageio.given import image_given
from bisc.inference import windows
from bisc.pipeline.model_files import export_model
from bisc.pipeline.options import PredictOptions
from bisc.pipeline.predict import predict_case
from bisc.pipeline.segment import Model
from tests.support.stub_model import OBLIQUE, kidneys, stub_model
from tests.support.training_fixtures import IPL, use_one_thread

use_one_thread()
STRAIGHT = NativeGrid.of(Geometry((48, 190, 200), (2.5, 1.6, 1.5), (-120.5, -171.25, 410.0)))
STORED_IPL = NativeGrid.of(Geometry((200, 190, 48), (1.5, 1.6, 2.5), (-120.5, -171.25, 410.0), tuple(IPL)))
GRIDS = {"straight": STRAIGHT, "IPL": STORED_IPL, "oblique, IPL": OBLIQUE}
Labels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(stub_model())


def write_scan(path: Path, native: NativeGrid = STRAIGHT) -> Path:
    write_image(path, kidneys(native.canonical)[0].array, native)
    return path


@pytest.fixture(scope="module", params=list(GRIDS))
def scan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Labels]:
    """A file, and the mask that the command writes of it, as ITK reads that: stored (z, y, x)."""
    folder = tmp_path_factory.mktemp("scan")
    path = write_scan(folder / "ct.nii.gz", GRIDS[request.param])
    row = predict_case(InputCase("mask", path), stub_model(), folder, PredictOptions("calibrated"))
    assert row.status == "ok"
    mask: Labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "mask.nii.gz")))
    return path, mask


def test_every_form_gives_the_commands_mask(scan: tuple[Path, Labels], model: Model, tmp_path: Path) -> None:
    """Voxel for voxel, in the axis order of what was given; saved, it is the command's file again."""
    path, mask = scan
    assert {0, 1, 2} == set(np.unique(mask))
    image: Any = nibabel.load(path)
    array = np.asanyarray(image.dataobj)
    forms: list[tuple[object, dict[str, Any], Labels]] = [
        (path, {}, mask),
        (str(path), {}, mask),
        (sitk.ReadImage(str(path)), {}, mask),
        (bisc.read_image(path), {}, NativeGrid.of(bisc.read_image(path).native.geometry).to_canonical(mask).array),
        (image, {}, mask.transpose()),
        (array, {"affine": image.affine}, mask.transpose()),
        (array.astype(np.float64), {"affine": image.affine.tolist()}, mask.transpose()),
    ]
    there = bisc.read_image(path).volume
    for number, (given, where, expected) in enumerate(forms):
        here = (bisc.read_image(given) if isinstance(given, str | Path) else image_given(given, **where)[0]).volume
        assert here.geometry.voxels_off(there.geometry) < 1e-4
        assert np.array_equal(here.array, there.array)
        result = model.segment(given, **where)
        assert result.labels.dtype == np.uint8
        assert result.labels.shape == expected.shape
        assert np.count_nonzero(result.labels != expected) == 0, number
        assert (result.status, {roi.side for roi in result.rois}) == ("ok", {"left", "right"})
        bisc.write_labels(tmp_path / f"{number}.nii.gz", result)
        saved = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{number}.nii.gz")))
        assert np.array_equal(saved, mask)
    spacing = image.header.get_zooms()
    volumes = [n * float(np.prod(spacing)) / 1000 for n in ((mask > 0).sum(), (mask == 2).sum())]
    assert [result.kidney_ml, result.tumor_ml] == pytest.approx(volumes, rel=1e-5)


def test_an_array_with_a_spacing_is_z_y_x_in_lps(model: Model) -> None:
    """The patient's left kidney, which has the tumour, lies at larger x."""
    hu, truth = kidneys(STRAIGHT.canonical)
    result = model.segment(hu.array, spacing=(2.5, 1.6, 1.5))
    assert result.labels.shape == hu.array.shape
    assert (result.labels == truth).mean() > 0.999
    assert {roi.side: roi.box.start_zyx[2] > 100 for roi in result.rois} == {"left": True, "right": False}


def test_probabilities_lie_on_the_labels(scan: tuple[Path, Labels], model: Model) -> None:
    """Of each voxel they sum to one; their argmax is the mask in the ROIs; elsewhere is background."""
    image: Any = nibabel.load(scan[0])
    for given in (scan[0], image, bisc.read_image(scan[0])):
        result = model.segment(given, decision="argmax", probabilities=True)
        assert result.probabilities is not None
        assert result.probabilities.shape == (3, *result.labels.shape)
        assert np.abs(result.probabilities.sum(axis=0) - 1.0).max() < 1e-5
        assert np.array_equal(result.probabilities.argmax(axis=0), result.labels)
    assert model.segment(scan[0]).probabilities is None


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_threads_share_a_model(tmp_path: Path, precision: str) -> None:
    """Two at a time, different images: each gets what it gets alone."""
    write_results(tmp_path / "results", base_features=4)
    paths = [write_scan(tmp_path / "a.nii.gz"), write_scan(tmp_path / "b.nii.gz", STORED_IPL)]
    model = bisc.load_model(tmp_path / "results", device="cpu", precision=precision)
    alone = [model.segment(path) for path in paths]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(model.segment, paths * 2))
    for found, expected in zip(together, alone * 2, strict=True):
        assert np.array_equal(found.labels, expected.labels)
        assert (found.status, found.rois, found.notes) == (expected.status, expected.rois, expected.notes)


def test_an_image_in_memory_needs_room_too(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one on disk does: an error with the figures, before a network runs."""
    monkeypatch.setattr(windows, "free_gb", lambda: 0.5)
    with pytest.raises(bisc.WorkError, match=r"^array: 10 x 9 x 8 voxels need 0.9 GB of memory, 0.5 GB are fr"):
        model.segment(HU, spacing=(3.0, 1.0, 1.0))


HU = np.full((8, 9, 10), -1000, np.int16)
HU[2:6, 2:7, 2:7] = 40
NAN = HU.astype(np.float32)
NAN[3, 3, 3] = np.nan
MM = {"spacing": (3.0, 1.0, 1.0)}
SHEAR = np.diag([1.0, 1.0, 3.0, 1.0])
SHEAR[0, 1] = 0.2


@pytest.mark.parametrize(
    ("image", "where", "found"),
    [
        (np.random.default_rng(0).random((8, 9, 10)), MM, "scaled to 0..1"),
        ((HU + 1000) / 300.0 - 2.0, MM, "normalised"),
        ((HU + 1024) / 1e4, MM, "normalised"),  # rounded to HU there is nothing left of it
        (HU + 1024, MM, "no CT in HU"),
        (NAN, MM, "1 voxels are NaN or infinite"),
        (HU > 0, MM, "voxels of type bool"),
        (np.ma.masked_less(HU, -500), MM, "a masked array"),  # type: ignore[no-untyped-call]
        (HU.astype(object), MM, "voxels of type object"),
        (HU.astype(complex), MM, "voxels of type complex"),
        (HU[0], MM, "of shape (9, 10)"),
        (HU[None], MM, "of shape (1, 8, 9, 10)"),
        (HU[:0], MM, "of shape (0, 9, 10)"),
        (HU, {}, "no affine and no spacing"),
        (HU, {**MM, "affine": np.eye(4)}, "an affine and a spacing"),
        (HU, {"spacing": (3.0, 1.0)}, "the spacing (3.0, 1.0)"),
        (HU, {"spacing": "mm"}, "the spacing mm"),
        (HU, {"spacing": (3.0, -1.0, 1.0)}, "unusable geometry"),
        (HU, {"spacing": (0.003, 0.001, 0.001)}, "its spacing is"),
        (HU, {"affine": np.eye(3)}, "an unusable affine"),
        (HU, {"affine": "RAS"}, "an unusable affine"),
        (HU, {"affine": np.diag([1.0, 0.0, 1.0, 1.0])}, "has length 0"),
        (HU, {"affine": np.diag([1.0, np.nan, 1.0, 1.0])}, "an unusable affine"),
        (HU, {"affine": SHEAR}, "miss a right angle"),
        (HU, {"affine": np.array([[1, 0, 0, 1e300], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])}, "its origin is"),
        ([[1, 2], [3, 4]], {}, "of type list"),
        (None, {}, "of type NoneType"),
        ("no_such_file.nii.gz", {}, "does not exist"),
        ("no_such_file.nii.gz", MM, "has its own"),
        (sitk.GetImageFromArray(np.zeros((4, 4), np.int16)), {}, "2 dimensions"),
        (sitk.GetImageFromArray(np.zeros((4, 4, 4, 3), np.int16), isVector=True), {}, "3 values per voxel"),
        (nibabel.Nifti1Image(HU[..., None], np.eye(4)), {}, "of shape (8, 9, 10, 1)"),
    ],
)
def test_what_cannot_be_used_is_refused(image: object, where: dict[str, Any], found: str, model: Model) -> None:
    """By an error whose fields a program can read."""
    with pytest.raises(bisc.InputError) as caught:
        model.segment(image, **where)
    assert found in caught.value.found
    assert caught.value.what
    assert caught.value.expected
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, bisc.BiscError)


def test_an_unknown_decision_is_refused(model: Model) -> None:
    with pytest.raises(bisc.InputError, match="expected argmax or calibrated"):
        model.segment(HU, spacing=(3, 1, 1), decision="best")  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"precision": "fp8"}, {"folds": []}, {"folds": 0}, {"device": "tpu"}])
def test_how_a_model_cannot_be_loaded(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(bisc.InputError, match=next(iter(options))):
        bisc.load_model(tmp_path, **options)


def test_weights_tell_models_apart(tmp_path: Path) -> None:
    """By a mark that any weight changes, and reading them again does not."""
    marks = []
    for features in (4, 4, 8):
        write_results(tmp_path / "results", base_features=features)
        marks.append([fold.mark for fold in bisc.load_model(tmp_path / "results", device="cpu").cascade.fine])
    assert marks[0] == marks[1] != marks[2]


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(bisc.InputError, match=r"plan\.json"):
        bisc.load_model(tmp_path)
    with pytest.raises(bisc.InputError, match=r"nope\.zip: does not exist"):
        bisc.load_model(tmp_path / "nope.zip")


def test_what_is_said_of_an_input_is_in_the_notes(model: Model, capfd: pytest.CaptureFixture[str]) -> None:
    """Not on stderr, which is a command's."""
    affine = np.diag([1.5, 1.6, 2.5, 1.0])
    affine[0, 1] = 1e-4
    hu, _ = kidneys(STRAIGHT.canonical)
    result = model.segment(hu.array.transpose(), affine=affine)
    assert len(result.notes) == 1
    assert "direction matrix" in result.notes[0]
    assert capfd.readouterr().err == ""


def test_a_doubtful_mask_says_so(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    hu, _ = kidneys(STRAIGHT.canonical)
    assert model.segment(hu.array, spacing=(2.5, 1.6, 1.5)).doubt == ""
    monkeypatch.setattr("bisc.pipeline.segment.MAX_KIDNEY_ML", 1.0)
    assert "implausible" in model.segment(hu.array, spacing=(2.5, 1.6, 1.5)).doubt
    empty = model.segment(np.full((8, 9, 10), -1000), spacing=(3, 1, 1))
    assert (empty.status, empty.rois, empty.kidney_ml) == ("no_kidney", (), 0.0)
    assert "an empty scan" in empty.doubt


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every public docstring, one after the other in one folder."""
    monkeypatch.chdir(tmp_path)
    write_scan(Path("ct.nii.gz"))
    write_results(Path("results"), base_features=4)
    export_model(Path("results"), None, Path("model.zip"))
    names: dict[str, Any] = {"bisc": bisc}
    documented: list[Callable[..., Any]] = [
        bisc.load_model, bisc.Model.segment, bisc.segment, bisc.write_labels, bisc.read_image,
    ]  # fmt: skip
    for function in documented:
        test = doctest.DocTestParser().get_doctest(function.__doc__ or "", names, function.__name__, None, 0)
        assert test.examples, function.__name__
        assert doctest.DocTestRunner(verbose=False).run(test, clear_globs=False).failed == 0
        names |= test.globs
    assert Path("mask.nii.gz").exists()


def test_the_package_is_light_and_complete() -> None:
    """Importing it loads neither torch nor ITK; every name is listed, and unknown ones are no attributes."""
    code = "import sys, bisc; assert not {'torch', 'SimpleITK', 'numpy'} & set(sys.modules); print(*dir(bisc))"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(bisc.__all__) <= set(listed)
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        _ = bisc.segmnt
