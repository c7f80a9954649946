"""What a source's odd headers make of the objects: those are there, bear what it says of its patient, and lie where its
slices lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from bisc.core.errors import InputError
from bisc.core.volume import Volume
from bisc.report.dicom.origin import BORNE
from tests.report.test_dicom_objects import Write, grid, made, placed
from tests.support.ct_series import Change, item, write_ct, write_enhanced

GRID = grid(10)
KANJI = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
NAMES: dict[str, tuple[object, bytes]] = {
    "Japanese, the first value empty": (["", "ISO 2022 IR 87"], KANJI),
    "Korean": (["", "ISO 2022 IR 149"], b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    "mixed against the standard": (["ISO_IR 100", "ISO 2022 IR 87"], KANJI),
    "of no standard": ("WIN1252", "Müller^Jörg".encode("cp1252")),
    "UTF-8, not said": (None, "Müller^Jörg".encode()),
}


def changed(*changes: Change) -> Write:
    def change(data: Dataset, i: int) -> None:
        for one in changes:
            one(data, i)

    return lambda folder, volume: write_ct(folder, volume, change=change)


def put(**tags: object) -> Change:
    def change(data: Dataset, i: int) -> None:
        for keyword, value in tags.items():
            data[keyword] = pydicom.DataElement(
                keyword, pydicom.datadict.dictionary_VR(keyword), value, validation_mode=pydicom.config.IGNORE
            )

    return change


def named(charset: object, name: bytes) -> Change:
    """Name and ID as these bytes, whatever they are in."""

    def change(data: Dataset, i: int) -> None:
        del data.SpecificCharacterSet
        if charset is not None:
            put(SpecificCharacterSet=charset)(data, i)
        value = name + b" " * (len(name) % 2)
        for tag, vr in ((0x00100010, "PN"), (0x00100020, "LO")):
            data[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)

    return change


def borne(path: Path) -> dict[str, object]:
    """Of a file, what it says of patient and study: its bytes."""
    data = pydicom.dcmread(path, stop_before_pixels=True)
    elements = {keyword: data.get_item(keyword) for keyword in BORNE if data.get(keyword)}
    return {keyword: getattr(element, "value", None) for keyword, element in elements.items()}


@pytest.mark.filterwarnings("ignore:Unknown encoding")
@pytest.mark.parametrize("names", NAMES)
def test_patient_and_study_are_the_sources_to_the_byte(tmp_path: Path, names: str) -> None:
    """Dates, a sex and character sets that highdicom would end at; all objects bear them as the source does."""
    odd = put(PatientBirthDate="1950", StudyDate="05.03.2024", StudyTime="240000", PatientSex="U")
    case = made(tmp_path, changed(named(*NAMES[names]), odd), GRID, ("seg", "sr", "rtstruct"))
    said = borne(tmp_path / "in" / "IM0000.dcm")
    assert {"PatientName", "PatientID", "PatientBirthDate", "StudyDate", "StudyTime", "PatientSex"} < said.keys()
    for kind in case.objects:
        assert borne(case.out / f"{kind}.dcm") == said, kind
    hd.seg.segread(case.out / "seg.dcm")


def test_slices_a_hair_out_of_true(tmp_path: Path) -> None:
    """Orientations that differ in the last digit; positions that jitter; no thickness, a wrong step, an empty kind of
    compression: a SEG with the stack's measures, and contours in the planes of the slices that they refer to."""

    def jitter(data: Dataset, i: int) -> None:
        data.ImageOrientationPatient = [1, 0, 1e-7 * (i % 2), 0, 1, 0]
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y, float(z) + 0.3 * (-1) ** i]
        del data.SliceThickness

    empty = put(LossyImageCompression="01", LossyImageCompressionRatio=None, LossyImageCompressionMethod=None)
    case = made(tmp_path, changed(jitter, empty, put(SpacingBetweenSlices=-8)), GRID, ("seg", "rtstruct"))
    assert np.array_equal(placed(case.objects["seg"], GRID), case.found.numbered)
    (measures,) = case.objects["seg"].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert float(measures.SliceThickness) == float(measures.SpacingBetweenSlices) == pytest.approx(4.0, abs=0.1)
    assert "LossyImageCompressionRatio" not in case.objects["seg"]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in (tmp_path / "in").iterdir()]
    z_of = {header.SOPInstanceUID: header.ImagePositionPatient[2] for header in headers}
    for contours in case.objects["rtstruct"].ROIContourSequence:
        for contour in contours.ContourSequence:
            z = z_of[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            assert np.abs(np.asarray(contour.ContourData[2::3], dtype=float) - float(z)).max() < 1e-3


def per_frame(data: Dataset) -> None:
    (shared,) = data.SharedFunctionalGroupsSequence
    for group in data.PerFrameFunctionalGroupsSequence:
        group.PixelMeasuresSequence = shared.PixelMeasuresSequence
        group.PlaneOrientationSequence = shared.PlaneOrientationSequence
    data.SharedFunctionalGroupsSequence = [item(PixelValueTransformationSequence=shared[0x00289145].value)]


def flat(data: Dataset) -> None:
    (shared,) = data.SharedFunctionalGroupsSequence
    data.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    data.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    del data.SharedFunctionalGroupsSequence


@pytest.mark.parametrize("change", [per_frame, flat])
def test_an_enhanced_files_measures_stand_anywhere(tmp_path: Path, change: Callable[[Dataset], None]) -> None:
    def write(folder: Path, volume: Volume) -> None:
        path = write_enhanced(folder / "e.dcm", volume, np.random.default_rng(3).permutation(10).tolist())
        data = pydicom.dcmread(path)
        change(data)
        data.save_as(path, enforce_file_format=True)

    case = made(tmp_path, write, GRID, ("seg",))
    assert np.array_equal(placed(case.objects["seg"], GRID), case.found.numbered)
    (measures,) = case.objects["seg"].SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert float(measures.SliceThickness) == 4.0


def single_frames(folder: Path, volume: Volume) -> None:
    for k in range(10):
        write_enhanced(folder / f"{k}.dcm", volume, [k], SOPInstanceUID=f"1.2.3.{k + 1}")


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (changed(put(SOPInstanceUID="1.2.3.4.5")), r"its 10 slices have 1 different SOPInstanceUID .* as NIfTI alone"),
        (single_frames, "10 enhanced files, .* as NIfTI alone"),
    ],
    ids=["one UID for all", "enhanced, a frame a file"],
)
def test_slices_that_cannot_be_referred_to(tmp_path: Path, write: Write, told: str) -> None:
    with pytest.raises(InputError, match=told):
        made(tmp_path, write, GRID, ("seg",))
