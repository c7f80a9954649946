"""DICOM results: read back by other means, they are the mask to the voxel, on the slices that it was found in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from skimage.draw import polygon2mask

from bisc.core.errors import InputError
from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import open_scan
from bisc.pipeline.dicom_cases import Divided, divided
from bisc.report.dicom.objects import KINDS, Kind, make_objects, save_objects
from bisc.report.dicom.origin import Maker, origin_of
from tests.support.ct_series import STEM, write_ct, write_enhanced
from tests.support.grids import rotation
from tests.support.training_fixtures import ellipsoid

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
MAKER = Maker("Stub", "0123456789abcdef")


def grid(n: int = 30, degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Geometry:
    direction = tuple(float(v) for v in rotation(degrees).ravel())
    return Geometry((n, 60, 72), (4.0, 4.0, 4.5), (-160.0, -120.0, -300.0), direction)


def patient(on: Geometry) -> tuple[Volume, npt.NDArray[np.uint8]]:
    """HU, and labels of two kidneys with a tumour in the left one and another in the right."""
    labels = np.zeros(on.shape_zyx, np.uint8)
    labels[ellipsoid(on, (0.0, 0.0, -70.0), (35.0, 25.0, 25.0))] = 1
    labels[ellipsoid(on, (5.0, 0.0, 70.0), (35.0, 25.0, 25.0))] = 1
    labels[ellipsoid(on, (0.0, 10.0, 75.0), (14.0, 14.0, 14.0))] = 2
    labels[ellipsoid(on, (0.0, -5.0, -80.0), (9.0, 9.0, 9.0))] = 2
    hu = np.asarray([-100, 150, 60], np.int16)[labels]
    hu[:, :3] = -1000
    return Volume(hu, on), labels


@dataclass(frozen=True)
class Case:
    """What was written, and what of."""

    objects: dict[Any, Dataset]
    found: Divided
    labels: npt.NDArray[np.uint8]
    volume: Volume
    out: Path


Write = Callable[[Path, Volume], object]


def made(tmp_path: Path, write: Write, on: Geometry, kinds: tuple[Kind, ...] = KINDS, **how: Any) -> Case:
    """Write a series, read it, make objects of it, save them."""
    volume, labels = patient(on)
    write(tmp_path / "in", volume)
    (case,) = find_inputs(tmp_path / "in")
    scan = open_scan(case)
    image = scan.read()
    assert np.array_equal(image.volume.array, volume.array)
    assert scan.choice is not None
    found = divided(labels, image.volume.geometry, 5.0, None)
    deidentify = how.pop("deidentify", False)
    origin = origin_of(scan.path, scan.choice.stack, deidentify)
    objects = make_objects(
        origin, image.volume, image.native, found.numbered, found.segments, found.sizes, MAKER, kinds, **how
    )
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    paths = {kind: out / f"{kind}.dcm" for kind in kinds}
    assert save_objects(objects, paths, deidentify) == list(paths.values())
    return Case({kind: pydicom.dcmread(path) for kind, path in paths.items()}, found, labels, volume, out)


def reversed_names(folder: Path, volume: Volume) -> None:
    n = volume.geometry.shape_zyx[0]
    write_ct(folder, volume, name=lambda i: f"{n - i:04d}.dcm")


def feet_first(folder: Path, volume: Volume) -> None:
    """Rows run to the patient's right: what a feet-first scanner stores of the same body."""

    def change(data: Dataset, i: int) -> None:
        data.PatientPosition = "FFS"
        x, y, z = data.ImagePositionPatient
        data.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [x + (data.Columns - 1) * data.PixelSpacing[1], y, z]
        pixels = np.frombuffer(data.PixelData, "<i2").reshape(data.Rows, data.Columns)
        data.PixelData = np.ascontiguousarray(pixels[:, ::-1]).tobytes()

    write_ct(folder, volume, change=change)


def enhanced(folder: Path, volume: Volume) -> None:
    n = volume.geometry.shape_zyx[0]
    write_enhanced(folder / "e.dcm", volume, np.random.default_rng(3).permutation(n).tolist())


FORMS: dict[str, tuple[Write, Geometry]] = {
    "axial": (write_ct, grid()),
    "written downwards": (reversed_names, grid()),
    "oblique": (write_ct, grid(degrees=(9.0, -6.0, 4.0))),
    "feet first": (feet_first, grid()),
    "three slices": (write_ct, grid(3)),
    "enhanced, in any order": (enhanced, grid()),
}


def placed(seg: Dataset, on: Geometry) -> npt.NDArray[np.uint8]:
    """(z, y, x) segment numbers on a canonical grid, each frame put where its own position and orientation say."""
    numbers = np.zeros(on.shape_zyx, np.uint8)
    shared = seg.SharedFunctionalGroupsSequence[0]
    turn = np.asarray(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    down, right = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    pixels = np.atleast_3d(seg.pixel_array)
    pixels = pixels.reshape(-1, seg.Rows, seg.Columns)
    for k, frame in enumerate(seg.PerFrameFunctionalGroupsSequence):
        rows, columns = np.nonzero(pixels[k])
        start = np.asarray(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        points = start + np.outer(columns * right, turn[0]) + np.outer(rows * down, turn[1])
        index = np.rint(on.physical_to_index(points)).astype(int)
        values = pixels[k][rows, columns]
        if seg.SegmentationType == "BINARY":
            values = values * frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert not numbers[tuple(index.T)].any()
        numbers[tuple(index.T)] = values
    return numbers


@pytest.mark.parametrize("labelmap", [False, True], ids=["binary", "labelmap"])
@pytest.mark.parametrize("form", FORMS)
def test_a_seg_is_the_mask(tmp_path: Path, form: str, labelmap: bool) -> None:
    """By each frame's own place, and by highdicom's reading along the source's files."""
    write, on = FORMS[form]
    case = made(tmp_path, write, on, ("seg",), labelmap=labelmap)
    seg = case.objects["seg"]
    assert np.array_equal(placed(seg, on), case.found.numbered)
    read = hd.seg.segread(case.out / "seg.dcm")
    assert list(read.segment_numbers) == [one.number for one in case.found.segments]
    if form != "enhanced, in any order":
        instances = [uid for _, _, uid in read.get_source_image_uids()]
        stored = read.get_pixels_by_source_instance(
            sorted(instances, key=lambda uid: int(uid.split(".")[-1])), combine_segments=True, skip_overlap_checks=True
        )
        there = case.found.numbered[
            [int(uid.split(".")[-1]) - 1 for uid in sorted(instances, key=lambda u: int(u.split(".")[-1]))]
        ]
        assert np.array_equal(stored, there[:, :, ::-1] if form == "feet first" else there)


def test_what_a_seg_says(tmp_path: Path) -> None:
    """Segments in their order, coded, with side, tracked; the model and its checksum; patient and study of the source;
    no frame without a voxel."""
    case = made(tmp_path, write_ct, grid())
    seg = case.objects["seg"]
    assert [s.SegmentLabel for s in seg.SegmentSequence] == [
        "Right kidney", "Left kidney", "Tumour 1 (left)", "Tumour 2 (right)",
    ]  # fmt: skip
    right, _, tumor, _ = seg.SegmentSequence
    assert right.SegmentedPropertyTypeCodeSequence[0].CodeValue == "64033007"
    side = right.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (side.CodeValue, side.CodeMeaning) == ("24028007", "Right")
    assert tumor.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
    assert tumor.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeMeaning == "Left"
    algorithm = right.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "BiSC-UNet"
    assert algorithm.AlgorithmParameters == "model=Stub,checksum=0123456789abcdef"
    for made_object in case.objects.values():
        assert (made_object.PatientID, str(made_object.PatientName)) == ("P1", "Doe^Jane")
        assert (made_object.StudyInstanceUID, made_object.AccessionNumber) == (f"{STEM}.1.1", "A1")
    assert seg.FrameOfReferenceUID == f"{STEM}.3.1"
    assert all(plane.any() for plane in seg.pixel_array)


def test_uids_are_of_what_is_held(tmp_path: Path) -> None:
    """Made twice: the same; of another mask or by another model: others; no two objects share one."""
    first, again = (made(tmp_path / name, write_ct, grid()) for name in ("a", "b"))
    uids = {kind: o.SOPInstanceUID for kind, o in first.objects.items()}
    assert {kind: o.SOPInstanceUID for kind, o in again.objects.items()} == uids
    assert len({*uids.values(), *(o.SeriesInstanceUID for o in first.objects.values())}) == 2 * len(KINDS)
    volume, _ = patient(grid())
    (case,) = find_inputs(tmp_path / "a" / "in")
    scan = open_scan(case)
    assert scan.choice is not None
    origin, image = origin_of(scan.path, scan.choice.stack), scan.read()
    other = first.found.numbered.copy()
    other[tuple(np.argwhere(other == 1)[0])] = 0
    for numbered, maker in ((other, MAKER), (first.found.numbered, Maker("Stub", "ffff"))):
        objects = make_objects(
            origin, volume, image.native, numbered, first.found.segments, first.found.sizes, maker, ("seg", "sr")
        )
        assert not {o.SOPInstanceUID for o in objects.values()} & set(uids.values())


def test_a_report_holds_the_tables_numbers(tmp_path: Path) -> None:
    case = made(tmp_path, write_ct, grid(), ("seg", "sr"))
    report = hd.sr.srread(case.out / "sr.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(case.found.segments)
    for group, told in zip(groups, case.found.told(), strict=True):
        assert group.tracking_identifier == told["name"]
        values = [float(m.value) for m in group.get_measurements()]
        assert values == pytest.approx([told[key] for key in ("volume_ml", "axial_mm", "diameter_mm") if key in told])
        assert group.reference_type.meaning == "Referenced Segment"


def test_what_is_cut_off_is_at_least_so_large(tmp_path: Path) -> None:
    """Of three slices of a patient no volume and no diameter stands in a report as if it were the whole one's."""
    case = made(tmp_path, write_ct, grid(3), ("seg", "sr"))
    assert [one["cut"] for one in case.found.told()] == [True] * 4
    numbers = [
        (one.name.meaning, float(one.value))
        for group in hd.sr.srread(case.out / "sr.dcm").content.get_volumetric_roi_measurement_groups()
        for one in group.get_measurements()
    ]
    assert len(numbers) == 2 + 2 * 3
    assert all("at least: cut off by the field of view" in name for name, _ in numbers)
    assert [value for _, value in numbers[:2]] == [of.volume_ml for of in case.found.sizes.values()][:2]


def test_outlines_filled_again_are_the_mask(tmp_path: Path) -> None:
    """Every contour, its points put back on the grid, by the even-odd rule."""
    case = made(tmp_path, write_ct, grid(degrees=(9.0, -6.0, 4.0)), ("rtstruct",))
    on, filled = case.volume.geometry, np.zeros_like(case.found.numbered)
    for contours in case.objects["rtstruct"].ROIContourSequence:
        mask = np.zeros(on.shape_zyx, dtype=bool)
        for contour in contours.ContourSequence:
            points = on.physical_to_index(np.reshape(contour.ContourData, (-1, 3)).astype(float))
            z = int(np.rint(points[:, 0].mean()))
            assert np.abs(points[:, 0] - z).max() < 1e-3
            mask[z] ^= polygon2mask(on.shape_zyx[1:], points[:, 1:])
            image = contour.ContourImageSequence[0]
            assert image.ReferencedSOPInstanceUID.endswith(f".{z + 1}")
        filled[mask] = contours.ReferencedROINumber
    assert np.array_equal(filled, case.found.numbered)


def test_nothing_of_the_patient_is_left(tmp_path: Path) -> None:
    """No value of the source but geometry and pixel description; UIDs are others, one for one; said so."""
    case = made(tmp_path, write_ct, grid(), deidentify=True)
    for kind, made_object in case.objects.items():
        text = (case.out / f"{kind}.dcm").read_bytes()
        for secret in (b"Doe", b"Jane", b"P1 ", b"19500102", b"20240305", b"Roe", b"Elsewhere", STEM.encode(), b"A1"):
            assert secret not in text, (kind, secret)
        assert made_object.PatientIdentityRemoved == "YES"
        assert made_object.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    studies = {o.StudyInstanceUID for o in case.objects.values()}
    assert len(studies) == 1
    assert np.array_equal(placed(case.objects["seg"], grid()), case.found.numbered)


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "FrameOfReferenceUID", "SeriesInstanceUID"])
def test_a_source_without_uids_is_refused(tmp_path: Path, missing: str) -> None:
    def change(data: Dataset, i: int) -> None:
        delattr(data, missing)

    write_ct(tmp_path / "in", patient(grid())[0], change=change)
    (case,) = find_inputs(tmp_path / "in")
    scan = open_scan(case)
    assert scan.choice is not None
    with pytest.raises(InputError, match=rf"has no {missing} .* as NIfTI alone"):
        origin_of(scan.path, scan.choice.stack)


def test_a_case_without_a_kidney_has_a_picture_alone(tmp_path: Path) -> None:
    volume, _ = patient(grid())
    write_ct(tmp_path / "in", volume)
    (case,) = find_inputs(tmp_path / "in")
    scan = open_scan(case)
    assert scan.choice is not None
    image = scan.read()
    nothing = np.zeros(volume.array.shape, np.uint8)
    origin = origin_of(scan.path, scan.choice.stack)
    objects = make_objects(origin, volume, image.native, nothing, [], {}, MAKER, KINDS)
    assert list(objects) == ["capture"]
    assert objects["capture"].Rows > 100
