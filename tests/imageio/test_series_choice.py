"""Which series of a study is predicted: each criterion by itself, words, and what the user may ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from bisc.core.choices import Phase
from bisc.core.errors import InputError, PassedOver
from bisc.core.geometry import Geometry
from bisc.imageio.case import InputCase
from bisc.imageio.formats.dicom.choice import candidates
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import list_series, open_scan
from tests.imageio.test_studies import (
    GRID,
    LPS,
    chosen,
    coronal,
    dose_report,
    grid_of,
    opened,
    reason_of,
    scout,
    uid_of,
    volume,
)
from tests.support.ct_series import STEM, write_ct
from tests.support.dicom_forms import put
from tests.support.noticed import noticed

Make = Callable[[Path], object]


def stack(series: str, description: str = "", number: int = 5, grid: Geometry = GRID, **how: object) -> Make:
    def make(folder: Path) -> None:
        write_ct(
            folder / series,
            volume(grid),
            series=series,
            description=description,
            number=number,
            **how,  # type: ignore[arg-type]
        )

    return make


def typed(*values: str) -> Callable[[Dataset, int], None]:
    def change(data: Dataset, i: int) -> None:
        data.ImageType = list(values)

    return change


def kernel(name: str) -> Callable[[Dataset, int], None]:
    def change(data: Dataset, i: int) -> None:
        data.ConvolutionKernel = name

    return change


WIDE = Geometry((60, 20, 24), (2.5, 20.0, 18.0), (-216.0, -200.0, -700.0), LPS)
"""432 mm wide."""
TARGET = Geometry((60, 10, 12), (2.5, 15.0, 15.0), (-90.0, -75.0, -700.0), LPS)


RANKS: dict[str, tuple[Make, Make, str]] = {
    "a reformat": (stack("1"), stack("2", number=1, change=typed("DERIVED", "SECONDARY", "MPR")), "derived of other"),
    "coronal planes": (stack("1"), stack("2", number=1, change=coronal), "coronal or sagittal"),
    "the chest": (stack("1", "Abdomen"), stack("2", "Thorax 2.5", number=1), "of another part of the body"),
    "the head, its protocol's part of a word": (
        stack("1", "Abdomen 4.0", change=put(ProtocolName="01_Neuro_Polytrauma")),
        stack("2", "Head 4.0", number=1, change=put(ProtocolName="01_Neuro_Polytrauma", BodyPartExamined="HEAD")),
        "of another part of the body",
    ),
    "stones without contrast": (
        stack("1", "Abdomen arterial"),
        stack("2", "Nephrolithiasis low dose", number=1),
        "phase unknown",
    ),
    "a few slices": (stack("1"), stack("2", number=1, grid=grid_of(12, 2.5)), "too short"),
    "a spine by its words": (stack("1", "ABD 5.0"), stack("2", "LUMBAR 2.0", number=1), "of another part of the body"),
    "a target": (stack("1", grid=WIDE), stack("2", "ren izq", number=1, grid=TARGET), "a field of 180 mm alone"),
    "an early phase": (stack("1", "portal venous"), stack("2", "late arterial", number=1), "early phase by its words"),
    "no contrast": (stack("1", "cortico"), stack("2", "w/o contrast", number=1), "plain phase by its words"),
    "lung": (stack("1", change=kernel("B30f")), stack("2", number=1, change=kernel("B70f")), "a sharp kernel"),
    "thick slices": (stack("1"), stack("2", number=1, grid=grid_of(30, 5.0)), "slices of 5 mm"),
    "very thin slices": (stack("1"), stack("2", number=1, grid=grid_of(300, 0.5)), "slices of 0.5 mm"),
    "a part": (stack("1"), stack("2", number=1, grid=grid_of(44, 2.5)), "shorter (110 mm)"),
    "nothing": (stack("1", number=3), stack("2"), "as good"),
}


@pytest.mark.parametrize(
    "worse", [pytest.param(one, marks=pytest.mark.long) if one == "very thin slices" else one for one in RANKS]
)
def test_the_better_series_is_taken_with_the_reason(tmp_path: Path, worse: str) -> None:
    best, other, why = RANKS[worse]
    best(tmp_path)
    other(tmp_path)
    scan = opened(tmp_path)
    assert uid_of(scan) == "1.1"
    assert f"left out: series {'5' if worse == 'nothing' else '1'}" in reason_of(scan)
    assert why in reason_of(scan).split("left out")[1]


def test_a_narrow_field_is_taken_where_there_is_no_wider_one(tmp_path: Path) -> None:
    """A child's, perhaps: phases count, and the width is told."""
    child = Geometry((60, 10, 12), (2.5, 20.0, 20.0), (-120.0, -100.0, -700.0), LPS)
    wider = Geometry((60, 10, 12), (2.5, 25.0, 25.0), (-150.0, -125.0, -700.0), LPS)
    stack("1", "nativ", number=1, grid=wider)(tmp_path)
    stack("2", "venous", number=2, grid=child)(tmp_path)
    (case,) = find_inputs(tmp_path)
    with noticed("series 2 venous shows 240 mm from left to right; read as it is; make sure that both kidneys are"):
        assert "series 1 nativ: plain phase" in open_scan(case).told.split("left out")[1]


@pytest.mark.parametrize(("turn", "mm"), [(coronal, 252.0), (put(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), None)])
def test_the_field_of_upright_planes(tmp_path: Path, turn: Callable[[Dataset, int], None], mm: float | None) -> None:
    """Coronal planes show left and right, sagittal ones neither."""
    stack("1", change=turn)(tmp_path)
    (one,) = candidates(tmp_path, sorted((tmp_path / "1").iterdir()))
    assert one.field_mm == mm


def test_a_broken_series_is_told_and_left_for_a_sound_one(tmp_path: Path) -> None:
    stack("1", number=1, keep=[i for i in range(60) if i != 20])(tmp_path)
    stack("2", number=2)(tmp_path)
    scan = opened(tmp_path)
    assert uid_of(scan) == "1.2"
    assert "left out: series 1: slices 20 and 21 of 59 lie 5 mm apart" in reason_of(scan)


def test_a_better_series_that_is_damaged_is_told(tmp_path: Path) -> None:
    """The arterial one is taken, and what the venous one lacks stands in the warning, in `choice` and with --phase."""
    stack("1", "venous", number=1, keep=[i for i in range(60) if i != 20])(tmp_path)
    stack("2", "arterial", number=2)(tmp_path)
    (case,) = find_inputs(tmp_path)
    with noticed(
        r"series 1 venous \(late phase by its words\) is perhaps better, but slices 20 and 21 of 59 lie 5 mm apart.*; "
        "series 2 arterial was taken"
    ):
        assert "left out: series 1 venous: perhaps better, but slices 20 and 21 of 59" in open_scan(case).told
    with pytest.raises(InputError, match=r"no series of the late phase .*series 1 venous: late .*, but slices 20 and"):
        opened(tmp_path, phase="late")
    assert "perhaps" not in opened(tmp_path, phase="early").told


@pytest.mark.parametrize("what", ["coronal", "of the chest", "short", "plain"])
def test_a_damaged_series_that_is_no_better_is_no_warning(tmp_path: Path, what: str) -> None:
    words = {"of the chest": "venous thorax", "plain": "nativ"}.get(what, "venous")
    change = coronal if what == "coronal" else lambda data, i: None
    keep = [i for i in range(20 if what == "short" else 60) if i != 10]
    stack("1", words, number=1, keep=keep, change=change)(tmp_path)
    stack("2", "arterial", number=2)(tmp_path)
    told = reason_of(opened(tmp_path))
    assert "lie 5 mm apart" in told
    assert "perhaps" not in told


def test_two_acquisitions_between_each_other_are_refused(tmp_path: Path) -> None:
    """Slices of two phases, half a step apart: evenly spaced, and no one's."""
    stack("1", change=put(AcquisitionNumber=lambda i: 1 + i % 2))(tmp_path)
    with pytest.raises(InputError, match=r"AcquisitionNumber .* is by turns 1 and 2"):
        opened(tmp_path)


def test_only_broken_series_are_a_fault_that_names_them(tmp_path: Path) -> None:
    for k in ("1", "2"):
        stack(k, number=int(k), keep=[i for i in range(60) if i != 20])(tmp_path)
    with pytest.raises(InputError, match="none of 2 series can be read"):
        opened(tmp_path)


def test_a_study_without_a_stack_is_passed_over(tmp_path: Path) -> None:
    stack("1", keep=[0], change=scout)(tmp_path)
    stack("2", number=6, keep=[0], change=dose_report)(tmp_path)
    with pytest.raises(PassedOver, match="no CT stack"):
        opened(tmp_path)


def test_series_and_phase_are_asked_for(tmp_path: Path) -> None:
    stack("1", "venous")(tmp_path)
    stack("2", "arterial", number=6)(tmp_path)
    assert chosen(tmp_path) == "1.1"
    assert chosen(tmp_path, series=f"{STEM}.2.1.2") == "1.2"
    assert chosen(tmp_path, phase="early") == "1.2"
    with pytest.raises(PassedOver, match="not the series that was asked for"):
        opened(tmp_path, series="1.2.3")
    with pytest.raises(InputError, match=r"no series of the plain phase .*early phase by its words"):
        opened(tmp_path, phase="plain")


def test_voxels_are_looked_at_only_where_words_leave_it_open(tmp_path: Path) -> None:
    """Of several good stacks without a known phase each is looked at once; of one alone none."""
    looked: list[int] = []

    def look(image: object) -> Phase:
        looked.append(1)
        return "early" if len(looked) == 1 else "late"

    stack("1")(tmp_path)
    assert chosen(tmp_path, look=look) == "1.1"
    assert looked == []
    stack("2", number=6)(tmp_path)
    stack("3", "venous", number=7, keep=[0, 1, 2])(tmp_path)
    assert chosen(tmp_path, look=look) == "1.2"
    assert len(looked) == 2
    assert "late phase by its HU" in reason_of(opened(tmp_path, look=look)) or len(looked) == 4


def test_voxels_are_looked_at_where_all_are_called_plain(tmp_path: Path) -> None:
    """A protocol's name may say so of a whole study; the series with contrast medium is taken then."""
    for series in ("1", "2"):
        stack(series, "abdomen without contrast", number=int(series))(tmp_path)
    phases: list[Phase] = ["plain", "late"]
    assert chosen(tmp_path, look=lambda _: phases.pop(0)) == "1.2"
    assert phases == []


def test_what_a_study_holds_is_listed(tmp_path: Path) -> None:
    stack("1", "venous")(tmp_path)
    stack("2", "topo", number=6, keep=[0], change=scout)(tmp_path)
    (case,) = find_inputs(tmp_path)
    listed = list_series(case)
    assert [(one.label, one.reason) for one in listed] == [
        ("series 5 venous", ""),
        ("series 6 topo", "a localizer, by its ImageType"),
    ]
    assert listed[0].told == "60 slices of 2.5 mm, late phase by its words"
    assert listed[0].uid == f"{STEM}.2.1.1"


def test_a_file_that_is_no_dicom_has_no_series(tmp_path: Path) -> None:
    with pytest.raises(PassedOver, match="no DICOM"):
        open_scan(InputCase("a", tmp_path / "a.nii.gz"), series="1.2")
