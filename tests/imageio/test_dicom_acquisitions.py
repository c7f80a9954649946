"""Two acquisitions or patients in one series, and slices that tags count and that are not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from bisc.core.errors import InputError
from bisc.imageio import read_image
from bisc.imageio.formats.dicom.stack import stack_of
from tests.imageio.test_stack_faults import apart
from tests.imageio.test_studies import volume
from tests.support.ct_series import item, write_ct, write_enhanced
from tests.support.dicom_changes import ENHANCED, in_groups
from tests.support.dicom_forms import SHAPE, Change, Form, put
from tests.support.noticed import noticed, unnoticed

N = 24
"""Slices of two acquisitions, 12 of each, the second half a step behind the first."""


def numbered(number: Callable[[int], int], n: int = N) -> list[Any]:
    return [replace(frame, number=number(i)) for i, frame in enumerate(apart(n))]


BY_TURNS: dict[str, Callable[[int], int]] = {
    "1, 13, 2, 14": lambda i: 1 + i // 2 + 12 * (i % 2),
    "24, 12, 23, 11": lambda i: 24 - i // 2 - 12 * (i % 2),
    "one upwards, one downwards": lambda i: 13 + i // 2 if i % 2 else 12 - i // 2,
    "three: 1, 9, 17, 2, 10, 18": lambda i: 1 + i // 3 + 8 * (i % 3),
}
SOUND: dict[str, Callable[[int], int]] = {
    "upwards": lambda i: i + 1,
    "downwards": lambda i: N - i,
    "two rows of each rotation, the second first": lambda i: i + 1 if i % 2 else i + 3,
    "by chance": lambda i: int(np.random.default_rng(1).permutation(N)[i]) + 1,
    "as names sort, 1, 10, 11": lambda i: int(sorted(map(str, range(1, N + 1)))[i]),
    "one for all": lambda i: 1,
}


@pytest.mark.parametrize("how", BY_TURNS)
def test_numbers_of_two_scans_by_turns_are_refused(how: str) -> None:
    """1 to 12 and 13 to 24: read as one volume of half the step."""
    with pytest.raises(InputError, match=r"along it InstanceNumber \(0020,0013\) is by turns 1?\d to \d+ and 1?\d to"):
        stack_of(Path("s"), numbered(BY_TURNS[how]))


@pytest.mark.parametrize("how", SOUND)
def test_numbers_of_one_scan_are_sound(how: str) -> None:
    with unnoticed():
        assert len(stack_of(Path("s"), numbered(SOUND[how])).frames) == N


@pytest.mark.parametrize("tag", ["AcquisitionTime", "AcquisitionDateTime", "ContentTime", "SeriesTime"])
def test_times_of_two_scans_by_turns_are_refused(tag: str) -> None:
    """Each slice's own; those of one acquisition all before those of the other. Of one sweep they are sound."""
    with pytest.raises(InputError, match=rf"{tag} .* is by turns 100000.00 to 100000.11 and 100100.00 to 100100.11"):
        stack_of(Path("s"), apart(N, **{tag: lambda i: f"100{i % 2}00.{i // 2:02}"}))
    with unnoticed():
        stack_of(Path("s"), apart(N, **{tag: lambda i: f"100000.{i:02}"}))


def of_frame(i: int) -> int:
    return 1 + i % 2


FRAMES: dict[str, tuple[Change, str]] = {
    "number": (in_groups("FrameContentSequence", FrameAcquisitionNumber=of_frame), "AcquisitionNumber"),
    "date and time": (
        in_groups("FrameContentSequence", FrameAcquisitionDateTime=lambda i: f"202401011000{i % 2}0"),
        "AcquisitionDateTime",
    ),
    "kernel": (in_groups("CTReconstructionSequence", ConvolutionKernel=lambda i: "AB"[i % 2]), "ConvolutionKernel"),
    "voltage": (in_groups("CTXRayDetailsSequence", KVP=lambda i: 60 + 20 * of_frame(i)), "KVP"),
    "converted": (
        in_groups("UnassignedPerFrameConvertedAttributesSequence", InstanceNumber=lambda i: 1 + i // 2 + 9 * (i % 2)),
        "InstanceNumber",
    ),
}


@pytest.mark.parametrize("what", FRAMES)
def test_acquisitions_between_each_other_in_one_file(tmp_path: Path, what: str) -> None:
    """What only an enhanced file's groups tell; in files of a slice each the same is refused."""
    change, tag = FRAMES[what]
    with pytest.raises(InputError, match=f"two phases or more in one series: along it {tag} .* is by turns"):
        read_image(Form("", change_frame=change, **ENHANCED).write(tmp_path / "s"))


def test_frames_of_two_kinds_are_told(tmp_path: Path) -> None:
    def change(group: Dataset, i: int) -> None:
        kind = "DERIVED" if i % 2 else "ORIGINAL"
        group.CTImageFrameTypeSequence = [item(FrameType=[kind, "PRIMARY", "VOLUME", "NONE"])]

    with noticed(r"ImageType \(0008,0008\) is by turns DERIVED\\PRIMARY"):
        read_image(Form("", change_frame=change, **ENHANCED).write(tmp_path / "s"))
    behind = in_groups("CTReconstructionSequence", ConvolutionKernel=lambda i: "A" if i < 4 else "B")
    with noticed(r"ConvolutionKernel .* changes along it, first behind slice 4 of 11"):
        read_image(Form("", change_frame=behind, **ENHANCED).write(tmp_path / "t"))


@pytest.mark.parametrize("tag", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_two_enhanced_files_of_two_scans(tmp_path: Path, tag: str) -> None:
    """As slices are: 'each has its own' tells nothing of files of one slice alone."""
    whole = volume()
    half = whole.geometry.shape_zyx[0] // 2
    for n in range(2):
        order = range(n * half, (n + 1) * half)
        uids = {"SOPInstanceUID": f"1.2.3.{n}"}
        write_enhanced(tmp_path / "one" / f"{n}.dcm", whole, order, **uids)
        write_enhanced(tmp_path / "two" / f"{n}.dcm", whole, order, **uids, **{tag: f"1.2.{n}"})
    assert read_image(tmp_path / "one").volume.array.shape[0] == 2 * half
    with pytest.raises(InputError, match=f"its slices have 2 different {tag}"):
        read_image(tmp_path / "two")


def test_two_names_in_one_series(tmp_path: Path) -> None:
    """Without an ID they are two people's; under one ID the name is told, and not cited."""

    def change(data: Dataset, i: int) -> None:
        data.PatientName = "Doe^Jane" if i < 20 else "Roe^Jane"

    with pytest.raises(InputError, match=r"its slices have 2 different PatientName \(0010,0010\)"):
        read_image(write_ct(tmp_path / "two", volume(), patient="", change=change))
    with noticed(
        r"PatientName \(0010,0010\) changes along it, first behind slice 20 of 60; read as one image"
    ) as notes:
        read_image(write_ct(tmp_path / "one", volume(), change=change))
    assert "Roe" not in "".join(notes)


LACKING: dict[str, tuple[Change, str]] = {
    "files that the series has": (
        put(NumberOfSeriesRelatedInstances=60),
        r"11 files of a series of 60 \(NumberOfSeriesRelatedInstances \(0020,1209\)\); .* make sure that it is whole",
    ),
    "every second number": (
        put(InstanceNumber=lambda i: 2 * i + 1),
        r"InstanceNumber \(0020,0013\) goes on by 2 from slice to slice: those between are gone, perhaps",
    ),
    "a slice of another kind": (
        put(ImageType=lambda i: ["DERIVED", "SECONDARY", "MPR"] if i == 10 else ["ORIGINAL", "PRIMARY", "AXIAL"]),
        r"ImageType \(0008,0008\) changes along it, first behind slice 10 of 11",
    ),
}


@pytest.mark.parametrize("what", LACKING)
def test_slices_that_are_not_there_or_are_no_slices_are_told(tmp_path: Path, what: str) -> None:
    change, told = LACKING[what]
    with noticed(told) as notes:
        read_image(Form("", change=change).write(tmp_path / "s"))
    assert len(notes) == 1


def test_counts_of_whole_series_are_sound(tmp_path: Path) -> None:
    """Numbers may begin anywhere: some scanners count on from series to series."""
    with unnoticed():
        read_image(Form("", change=put(NumberOfSeriesRelatedInstances=SHAPE[0])).write(tmp_path / "s"))
        read_image(Form("", change=put(InstanceNumber=lambda i: 267 + i)).write(tmp_path / "t"))
