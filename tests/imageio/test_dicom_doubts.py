"""What tags say against a stack's positions and pixels is told; what says that values are no HU is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from bisc.core.errors import InputError, PassedOver
from bisc.imageio import read_image
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import open_scan
from tests.imageio.test_studies import chosen, volume
from tests.support.ct_series import item, write_ct, write_enhanced
from tests.support.dicom_changes import ENHANCED, in_groups
from tests.support.dicom_forms import SHAPE, SPACING_ZYX, Change, Form, both, gone, phantom, put
from tests.support.noticed import noticed, unnoticed

SPAN_MM = SHAPE[2] * SPACING_ZYX[2]
TOLD: dict[str, tuple[Change, str]] = {
    "positions in cm": (put(SliceThickness=25), r"lie 2.5 mm apart, and SliceThickness \(0018,0050\) is 25; .* in mm"),
    "a tilt without a lean": (put(GantryDetectorTilt=-12), r"GantryDetectorTilt \(0018,1120\) is -12 degrees, and"),
    "a cropped image": (put(ReconstructionDiameter=24), r"its pixels span 1\d.\d+ mm, and ReconstructionDiameter"),
    "two acquisitions on one grid": (put(InstanceNumber=lambda i: 1 + i // 2), "twice in a row along it, first at sli"),
    "these, begun in the middle": (put(InstanceNumber=lambda i: 1 + (i + 1) // 2), "first at slices 2 and 3; read as"),
}
SOUND: dict[str, Change] = {
    "a thickness of four steps": put(SliceThickness=10),
    "a small tilt": put(GantryDetectorTilt=0.5),
    "a tilt in words": put(GantryDetectorTilt=None),
    "the whole field": put(ReconstructionDiameter=round(SPAN_MM, 1)),
    "no field": put(ReconstructionDiameter=0),
    "one number for all": put(InstanceNumber=1),
}


def square(change: Change) -> Change:
    """Pixels that span as much in both directions."""
    return both(put(PixelSpacing=[SPAN_MM / SHAPE[1], SPACING_ZYX[2]]), change)


@pytest.mark.parametrize("what", TOLD)
def test_what_tags_say_otherwise_is_told(tmp_path: Path, what: str) -> None:
    change, told = TOLD[what]
    with noticed(told) as notes:
        assert np.array_equal(read_image(Form("", change=square(change)).write(tmp_path / "s")).volume.array, phantom())
    assert len(notes) == 1


@pytest.mark.parametrize("what", SOUND)
def test_what_is_sound_is_not_told(tmp_path: Path, what: str) -> None:
    with unnoticed():
        read_image(Form("", change=square(SOUND[what])).write(tmp_path / "s"))


HALF = 30
"""Of the 60 slices of `volume`."""


def renumbered(data: Dataset, i: int) -> None:
    data.InstanceNumber = 1 + i % HALF


def downwards(data: Dataset, i: int) -> None:
    data.InstanceNumber = HALF - i if i < HALF else i + 1 - HALF


@pytest.mark.parametrize("change", [renumbered, downwards])
def test_two_scans_under_one_uid(tmp_path: Path, change: Change) -> None:
    """One ends where the other begins, 1 to 30 and 1 to 30 again. In two folders they are refused, else told."""
    write_ct(tmp_path / "one", volume(), change=change)
    with noticed(r"InstanceNumber \(0020,0013\) runs from (1|30) to (30|1), then 1 to 30: 2 scans under one UID"):
        read_image(tmp_path / "one")
    for name, keep in (("P1", range(HALF)), ("P2", range(HALF, 2 * HALF))):
        write_ct(tmp_path / "two" / name, volume(), keep=keep, change=change)
    (case,) = find_inputs(tmp_path / "two")
    with pytest.raises(InputError, match=r"each in a folder of its own \(\S+/two/P1, \S+/two/P2\); expected slices of"):
        open_scan(case)


def test_one_scan_in_two_folders_is_read(tmp_path: Path) -> None:
    """Its numbers go on."""
    for name, keep in (("P1", range(HALF)), ("P2", range(HALF, 2 * HALF))):
        write_ct(tmp_path / "two" / name, volume(), keep=keep)
    (case,) = find_inputs(tmp_path / "two")
    with unnoticed():
        assert open_scan(case).read().volume.array.shape == volume().array.shape


def test_positions_that_were_lost_are_called_so(tmp_path: Path) -> None:
    """No phases: every slice lies at 0."""
    write_ct(tmp_path / "s", volume(), change=put(ImagePositionPatient=[0, 0, 0]))
    with pytest.raises(InputError, match=r"all 60 slices lie at one position, \(0, 0, 0\) mm; expected ImagePosition"):
        read_image(tmp_path / "s")


def test_frames_of_one_file_have_one_number(tmp_path: Path) -> None:
    with unnoticed():
        read_image(Form("", **ENHANCED).write(tmp_path / "s"))


def typed(*values: str) -> list[Dataset]:
    return [item(FrameType=["DERIVED", "PRIMARY", "VOLUME", *values])]


@pytest.mark.parametrize("shared", [True, False])
def test_what_frames_are_of_their_own_accord(tmp_path: Path, shared: bool) -> None:
    """An enhanced file's ImageType is MIXED; its groups say that it is a map, a localizer, or without contrast
    medium."""

    def write(folder: Path, value: str) -> Path:
        def change(data: Dataset, i: int) -> None:
            data.ImageType = ["MIXED", "PRIMARY", "VOLUME", "MIXED"]
            groups = data.SharedFunctionalGroupsSequence if shared else data.PerFrameFunctionalGroupsSequence
            for group in groups:
                group.CTImageFrameTypeSequence = typed(value)

        return Form("", change=change, **ENHANCED).write(folder)

    with pytest.raises(PassedOver, match="a map of one material, whose values are no HU"):
        read_image(write(tmp_path / "map", "MAT_SPECIFIC"))
    with pytest.raises(PassedOver, match="a localizer, by its ImageType"):
        read_image(write(tmp_path / "scout", "LOCALIZER"))
    with noticed("is a virtual image without contrast medium; read as a CT"):
        read_image(write(tmp_path / "vnc", "MAT_REMOVED"))


def test_the_ct_is_taken_before_an_enhanced_map(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "s" / "iodine.dcm", volume(), SeriesDescription="portal venous")
    data = dcmread(path)
    data.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence = typed("MAT_REMOVED")
    data.save_as(path)
    write_ct(tmp_path / "s", volume(), series="1", number=10)
    assert chosen(tmp_path / "s") == "1.1"


def mapped(*codes: str) -> list[Dataset]:
    units = [item(CodeValue=code, CodingSchemeDesignator="UCUM", CodeMeaning=code) for code in codes]
    return [item(MeasurementUnitsCodeSequence=[unit]) for unit in units]


def both_places(enhanced: bool, kind: str | None, *codes: str) -> Form:
    """RescaleType and the units of another table, in a slice's own tags or in a file's groups."""

    def change(data: Dataset, i: int) -> None:
        place = data.SharedFunctionalGroupsSequence[0] if enhanced else data
        place.RealWorldValueMappingSequence = mapped(*codes)
        if not enhanced:
            put(RescaleType=kind)(data, i) if kind is not None else gone("RescaleSlope", "RescaleIntercept")(data, i)

    if not enhanced:
        return Form("", change=change)
    rescale = "PixelValueTransformationSequence"
    group = gone(rescale)
    if kind is not None:
        group = in_groups(rescale, RescaleSlope=1, RescaleIntercept=0, RescaleType=kind)
    return Form("", change=change, change_frame=group, **ENHANCED)


@pytest.mark.parametrize("enhanced", [True, False])
@pytest.mark.parametrize("kind", ["", "US", None])
def test_values_that_a_table_makes_no_hu_are_refused(tmp_path: Path, enhanced: bool, kind: str | None) -> None:
    """They were read as HU where RescaleType is empty, unspecified or not there."""
    with pytest.raises(InputError, match=r"its values are in mg/ml \(RealWorldValueMappingSequence \(0040,9096\)\)"):
        read_image(both_places(enhanced, kind, "mg/ml").write(tmp_path / "s"))


@pytest.mark.parametrize("enhanced", [True, False])
def test_hu_that_a_table_makes_something_else_too_are_read(tmp_path: Path, enhanced: bool) -> None:
    with noticed("RealWorldValueMappingSequence .* makes mg/ml of its values; read as HU") as notes:
        read_image(both_places(enhanced, "HU", "mg/ml").write(tmp_path / "s"))
    assert len(notes) == 1
    with unnoticed():
        read_image(both_places(enhanced, "US", "mg/ml", "[hnsf'U]").write(tmp_path / "t"))
        read_image(both_places(enhanced, "US", "1").write(tmp_path / "u"))
