"""Cases of a training data set, and predictions to score: what bisc_plan_and_preprocess and bisc_evaluate meet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.geometry import Geometry
from bisc.core.volume import NativeGrid
from tests.robustness.hostile_kinds import PIXDIM, CaseKind, hu, labels, patch, scaled, voxels
from tests.robustness.hostile_spoiling import Hu, Voxels, bad_checksum, cut, window
from tests.support.training_fixtures import STORED, patient

Make = Callable[[Path, str], Path]
Change = Callable[[Hu], Voxels]
LabelChange = Callable[[npt.NDArray[np.uint8]], Voxels]
GRID = STORED.geometry
SOUND = ("sound_0", "sound_1")


def sound(folder: Path, case: str, seed: int = 0) -> Path:
    """A sound training case; its folder."""
    array, label_map = patient(STORED.canonical, 12.0 + seed % 7, seed)
    voxels(folder / case / "imaging.nii.gz", array)
    voxels(folder / case / "segmentation.nii.gz", label_map)
    return folder / case


def seed_of(case: str) -> int:
    """Every case its own patient, the same in every run."""
    return sum(case.encode()) + 10


def sound_but(spoil: Callable[[Path], Path]) -> Make:
    """A sound case, then spoilt."""
    return lambda folder, case: spoil(sound(folder, case, seed_of(case)))


def image(change: Change) -> Make:
    return sound_but(lambda case: voxels(case / "imaging.nii.gz", np.asarray(change(hu()))))


def label_map(change: LabelChange) -> Make:
    return sound_but(lambda case: voxels(case / "segmentation.nii.gz", np.asarray(change(labels()))))


def label_grid(geometry: Geometry) -> Make:
    """The label map's voxels on another grid."""

    def spoil(case: Path) -> Path:
        native = NativeGrid.of(geometry)
        array = np.zeros(native.canonical.shape_zyx, np.uint8)
        array[: labels().shape[0], :, :] = labels()[: array.shape[0]]
        return voxels(case / "segmentation.nii.gz", array, native)

    return sound_but(spoil)


def file(name: str, change: Callable[[bytes], bytes]) -> Make:
    """One of a sound case's files with its bytes changed."""

    def spoil(case: Path) -> Path:
        path = case / name
        path.write_bytes(change(path.read_bytes()))
        return path

    return sound_but(spoil)


def without(name: str, other: str) -> Make:
    def spoil(case: Path) -> Path:
        (case / name).unlink()
        return case / other

    return sound_but(spoil)


def second(name: str) -> Make:
    """A case with a file in two formats."""
    return sound_but(lambda case: voxels(case / name, labels() if name.startswith("seg") else hu()))


def linked(name: str, target: str) -> Make:
    def spoil(case: Path) -> Path:
        (case / name).unlink()
        (case / name).symlink_to(target)
        return case / name

    return sound_but(spoil)


def circle(folder: Path, case: str) -> Path:
    (folder / case).symlink_to(case)
    return folder / case


def both_at_fault(folder: Path, case: str) -> Path:
    path = sound(folder, case, seed_of(case))
    (path / "imaging.nii.gz").write_bytes(cut((path / "imaging.nii.gz").read_bytes()))
    voxels(path / "segmentation.nii.gz", labels() * 4)
    return path


def twice(folder: Path, case: str) -> Path:
    """The first sound case again, stored in another format."""
    source = folder / SOUND[0]
    shutil.copytree(source, folder / case)
    (folder / case / "segmentation.nii.gz").unlink()
    voxels(folder / case / "segmentation.nrrd", patient(STORED.canonical, 12.0, 0)[1])
    return folder / case / "imaging.nii.gz"


def spacing_of_both(factor: float) -> Make:
    def spoil(case: Path) -> Path:
        for name in ("imaging", "segmentation"):
            scaled(case / f"{name}.nii.gz", factor)
        return case

    return sound_but(spoil)


def segments(*names: str) -> Callable[[Path], Path]:
    """The label map as 3D Slicer saves it: tumour 1 and kidney 2, under these names."""

    def spoil(case: Path) -> Path:
        image = sitk.ReadImage(str(case / "segmentation.nii.gz"))
        (case / "segmentation.nii.gz").unlink()
        swapped = sitk.Cast((image == 1) * 2 + (image == 2), sitk.sitkUInt8)
        for i, name in enumerate(names):
            swapped.SetMetaData(f"Segment{i}_Name", name)
            swapped.SetMetaData(f"Segment{i}_LabelValue", str(i + 1))
        path = case / "segmentation.seg.nrrd"
        sitk.WriteImage(swapped, str(path))
        return path

    return spoil


named_segments = segments("Tumor", "Kidney")


def foldered(name: str) -> Make:
    def spoil(case: Path) -> Path:
        (case / name).unlink()
        (case / name).mkdir()
        return case / name

    return sound_but(spoil)


def in_four_dimensions(case: Path) -> Path:
    image = sitk.ReadImage(str(case / "imaging.nii.gz"))
    (case / "imaging.nii.gz").unlink()
    sitk.WriteImage(sitk.JoinSeries([image]), str(case / "imaging.mha"))  # as NRRD it would name no orientation
    return case


def other(**change: object) -> Geometry:
    fields = {f: getattr(GRID, f) for f in ("shape_zyx", "spacing_mm_zyx", "origin_mm_xyz", "direction")}
    return Geometry(**{**fields, **change})


SEG, IMG = "segmentation.nii.gz", "imaging.nii.gz"
BAD_CASES = (
    CaseKind("training image cut short", file(IMG, cut), "ends after"),
    CaseKind("label map with a wrong checksum", file(SEG, bad_checksum), "damaged gzip"),
    CaseKind("label map that is text", file(SEG, lambda _: b"no image"), "not gzip"),
    CaseKind("label map of zero bytes", file(SEG, lambda _: b""), "it is empty"),
    CaseKind("image and label map both at fault", both_at_fault, "", lines=2),
    CaseKind("label 4", label_map(lambda a: a * 2), "label values 0, 2, 4"),
    CaseKind("a negative label", label_map(lambda a: a.astype(np.int16) - 1), "label values -1, 0, 1"),
    CaseKind("fractional labels", label_map(lambda a: a * np.float32(0.5)), "label values 0, 0.5, 1"),
    CaseKind("label map of NaN", label_map(lambda a: np.full(a.shape, np.nan, np.float32)), "are NaN"),
    CaseKind("image without label map", without(SEG, IMG), "has no label map"),
    CaseKind("label map without image", without(IMG, SEG), "has no image"),
    CaseKind(
        "label map half a voxel aside",
        label_grid(other(origin_mm_xyz=tuple(np.add(GRID.origin_mm_xyz, (0.0, 2.0, 0.0))))),
        "on average 0.5 voxels along an axis",
    ),
    CaseKind("label map of another size", label_grid(other(shape_zyx=(64, 64, 25))), "another size"),
    CaseKind(
        "label map of another spacing", label_grid(other(spacing_mm_zyx=(4.0, 4.0, 4.5))), "its corners lie up to"
    ),
    CaseKind(
        "label map of another origin",
        label_grid(other(origin_mm_xyz=(10.0, -20.0, 33.0))),
        "its corners lie up to 3 mm",
    ),
    CaseKind(
        "label map of another direction",
        label_grid(other(direction=(0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0))),
        "its corners lie up to",
    ),
    CaseKind("both in metres", spacing_of_both(0.001), "its spacing is 0.005 x 0.004 x 0.004 mm", lines=2),
    CaseKind("training image with 1024 added", image(lambda a: (a + 1024).astype(np.uint16)), "subtract 1024"),
    CaseKind("training image as windowed picture", image(window), "a picture's grey values"),
    CaseKind(
        "kidneys labelled where there is air",
        image(lambda a: np.where(a > 100, -1000, a)),
        "of what is labelled kidney",
    ),
    CaseKind("training image in two formats", second("imaging.nrrd"), "a second image, beside"),
    CaseKind("label map in two formats", second("segmentation.nrrd"), "a second label map, beside"),
    CaseKind("two names for one scan", twice, "is the same scan as sound_0"),
    CaseKind("training image a dangling link", linked(IMG, "gone.nii.gz"), "a link that leads nowhere"),
    CaseKind("case folder a link in a circle", circle, "a link that leads nowhere"),
    CaseKind("segments with sides", sound_but(segments("left kidney", "right kidney")), "without sides"),
    CaseKind("segments without names of their own", sound_but(segments("Segment_1", "Segment_2")), "names of kidney"),
    CaseKind("label map a folder", foldered(SEG), "is a folder"),
    CaseKind(
        "label map with a negative spacing",
        sound_but(lambda case: patch(case / SEG, PIXDIM, "<f", -4.0)),
        "the spacing -4 x",
    ),
)
"""Of a data set; the named path is the file's, or the case's folder where both files are at fault."""
ODD_CASES = (
    CaseKind("float labels that are whole numbers", label_map(lambda a: a.astype(np.float32))),
    CaseKind("a training image in 4-D, of one volume", sound_but(in_four_dimensions)),
    CaseKind("labels as nibabel scales them", label_map(lambda a: a * np.float32(0.996))),
    CaseKind("a segmentation that names its segments", sound_but(named_segments)),
    CaseKind("label 3 (cyst)", label_map(lambda a: a + (a == 2))),
    CaseKind("an empty label map (noted on the terminal)", label_map(np.zeros_like)),
    CaseKind(
        "label map whose spacing has three decimals",
        label_grid(other(spacing_mm_zyx=tuple(s + 5e-4 for s in GRID.spacing_mm_zyx))),
    ),
    CaseKind("blanks and Unicode in a case's name", lambda f, c: sound(f, "Fall 7 腎", 3)),
)


def scored(prediction: Callable[[Path], Path] | None = None, reference: Callable[[Path], Path] | None = None) -> Make:
    """A reference and its prediction, one of them spoilt; `folder` holds ref/ and pred/."""

    def make(folder: Path, case: str) -> Path:
        paths = [voxels(folder / side / f"{case}.nii.gz", labels()) for side in ("ref", "pred")]
        return reference(paths[0]) if reference else prediction(paths[1]) if prediction else paths[1]

    return make


def bytes_of(data: bytes) -> Callable[[Path], Path]:
    def spoil(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return spoil


def mask(change: LabelChange, native: NativeGrid = STORED) -> Callable[[Path], Path]:
    return lambda path: voxels(path, np.asarray(change(labels())), native)


NEAR = NativeGrid.of(other(spacing_mm_zyx=tuple(s + 5e-4 for s in GRID.spacing_mm_zyx)))
MOVED = NativeGrid.of(other(origin_mm_xyz=(10.0, -20.0, 32.0)))
BAD_PREDICTIONS = (
    CaseKind("a prediction on another grid", scored(mask(np.array, MOVED)), "its corners lie up to 2 mm"),
    CaseKind(
        "a prediction of another size",
        scored(mask(lambda a: a[:-1], NativeGrid.of(other(shape_zyx=(64, 64, 23))))),
        "another size",
    ),
    CaseKind("a prediction that is text", scored(bytes_of(b"no image")), "not gzip"),
    CaseKind("a prediction of zero bytes", scored(bytes_of(b"")), "it is empty"),
    CaseKind("probabilities as prediction", scored(mask(lambda a: a * np.float32(0.3))), "label values 0, 0.3, 0.6"),
    CaseKind("a CT as prediction", scored(mask(lambda a: hu())), "label values -1000"),
    CaseKind(
        "a prediction in micrometres", scored(lambda path: scaled(path, 1000.0)), "mm (x, y, z); expected 0.1 to 20 mm"
    ),
    CaseKind("a reference with label 7", scored(reference=mask(lambda a: a * 7)), "label values 0, 7, 14"),
    CaseKind("a reference cut short", scored(reference=lambda p: bytes_of(cut(p.read_bytes()))(p)), "ends after"),
)
ODD_PREDICTIONS = (
    CaseKind("a prediction as float", scored(mask(lambda a: a.astype(np.float64)))),
    CaseKind("a prediction whose spacing has three decimals", scored(mask(np.array, NEAR))),
    CaseKind("an empty prediction", scored(mask(np.zeros_like))),
)
