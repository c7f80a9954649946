"""Slices that make no straight stack, and cases whose two grids differ."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bisc.core.errors import InputError
from bisc.core.geometry import (
    ROUNDING_DRIFT,
    Geometry,
)
from bisc.core.volume import NativeGrid, Volume
from bisc.evaluation.cases import score_images
from bisc.imageio import CaseImage, check_same_grid, read_image, read_labels, read_stored_geometry
from bisc.imageio.formats.dicom.acquisitions import WORD_TAGS
from bisc.imageio.formats.dicom.frames import Frame
from bisc.imageio.formats.dicom.stack import stack_of
from bisc.system.cases import process_pool, run_cases
from bisc.system.console import notices_shown_by
from tests.imageio.test_grid_faults import SHAPE, sheared
from tests.support.dicom_series import SPACING_XY_MM, write_series
from tests.support.grids import axis_angle, fault, grid, rotation, write_itk
from tests.support.noticed import noticed, unnoticed

SLICES = np.arange(6 * 5 * 6, dtype=np.int16).reshape(6, 5, 6)


def stacked(step: tuple[float, ...] | npt.NDArray[Any], n: int = 6) -> npt.NDArray[Any]:
    return np.asarray(np.array([-10.0, 20.0, 300.0]) + np.arange(n)[:, None] * np.asarray(step))


@pytest.mark.parametrize("turn", [np.eye(3), rotation((15.0, 0.0, 0.0)), axis_angle((1.0, 2.0, -1.0), 70.0)])
def test_straight_series_are_read_where_they_lie(tmp_path: Path, turn: npt.NDArray[Any]) -> None:
    """Axial, tilted and oblique stacks along their own normal, positions with two decimals: each slice in its place."""
    positions = stacked(3.0 * turn[:, 2])
    image = read_image(write_series(tmp_path / "s", SLICES, positions, [turn] * 6, decimals=2))
    for i, position in enumerate(positions):
        (at,) = np.argwhere(image.volume.array == SLICES[i, 0, 0])
        assert image.volume.geometry.index_to_physical(at) == pytest.approx(position, abs=0.02)
    assert image.native.geometry.spacing_mm_zyx == pytest.approx((3.0, *SPACING_XY_MM[::-1]), abs=5e-3)


@pytest.mark.parametrize("degrees", [0.5, 15.0, -22.0])
def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path: Path, degrees: float) -> None:
    """Positions that slide in plane: ITK reads a straight stack with slices too far apart."""
    step = (0.0, 30.0 * np.tan(np.deg2rad(degrees)), 30.0)
    folder = write_series(tmp_path / "s", SLICES, stacked(step), extra={"0018|1120": f"{degrees:g}"})
    assert re.match(
        rf"its slices lean by {abs(degrees):g} degrees \(a tilted gantry, tag 0018,1120: {degrees:g}\): the last lies "
        r"[\d.]+ mm aside; expected slices stacked along their normal \(to 0.05 degrees\); .* dcm2niix",
        fault(read_image, folder),
    )


def test_a_tilted_gantry_told_by_orientation(tmp_path: Path) -> None:
    """Slices turned by 20 degrees, stacked along the table: the same shear, told by tag 0020,0037."""
    folder = write_series(tmp_path / "s", SLICES, stacked((0.0, 0.0, 3.0)), [rotation((20.0, 0.0, 0.0))] * 6)
    assert fault(read_image, folder).startswith(
        "its slices lean by 20 degrees (a tilted gantry): the last lies 5.13 mm"
    )


def test_slices_that_are_no_stack(tmp_path: Path) -> None:
    """One turned, one shifted, one scaled, one without a position: the file is named, and what is wrong with it."""
    straight = stacked((0.0, 0.0, 3.0))
    turned = write_series(tmp_path / "turned", SLICES, straight, [np.eye(3)] * 4 + [rotation((0, 0, 50.0))] * 2)
    shifted = write_series(tmp_path / "shifted", SLICES, straight + np.eye(6, 3, -2) * (4.0, 0, 0) * [[1, 0, 0]])
    scaled = write_series(tmp_path / "scaled", SLICES, straight, spacings_xy_mm=[SPACING_XY_MM] * 5 + [(0.7, 0.7)])
    nowhere = write_series(tmp_path / "nowhere", SLICES, straight)
    text = "\\".join(f"{v:g}" for v in straight[2]).encode()
    bare = nowhere / "002.dcm"
    bare.write_bytes(bare.read_bytes().replace(text, b" " * len(text)))
    doubled = write_series(tmp_path / "doubled", SLICES, straight - np.eye(6, 1, -3) * (0.0, 0.0, 3.0))
    for folder, what, found in (
        (turned, "turned/004.dcm", "turned by 50 degrees against 000.dcm of the same series; expected slices of one"),
        (shifted, "shifted/002.dcm", "lies 4 mm beside the stack of the others; expected slices above each other"),
        (scaled, "scaled/005.dcm", "pixels of 0.7 x 0.7 mm beside 0.9 x 0.8 mm of 000.dcm; expected one pixel spacing"),
        (nowhere, "nowhere/002.dcm", "no position (0020,0032) or orientation (0020,0037): lacks ImagePositionPatient"),
        (doubled, "doubled", "a slice is there twice: 002.dcm and 003.dcm lie at the same position"),
    ):
        with pytest.raises(InputError) as caught:
            read_image(folder)
        assert str(caught.value).startswith(f"{tmp_path / what}: {found}"), str(caught.value)


def test_one_slice_alone_is_named(tmp_path: Path) -> None:
    """It has no neighbour to tell its thickness: that is its header's, or it is refused."""
    alone = write_series(tmp_path / "s", SLICES[:1], stacked((0, 0, 3.0), 1), extra={"0018|0050": "2.5"})
    with noticed("one slice alone; 2.5 mm thick, as its header says"):
        assert read_image(alone).native.geometry.spacing_mm_zyx[0] == 2.5


def apart(n: int, **tags: Callable[[int], str]) -> list[Frame]:
    """Slices 3 mm apart, with what tells acquisitions apart."""
    turn = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return [
        Frame(Path(f"{i}"), 0, (4, 4), (0.0, 0.0, 3.0 * i), turn, (1.0, 1.0),
              float(tags["SliceThickness"](i)) if "SliceThickness" in tags else 3.0, None, None, "",
              {tag: value(i) for tag, value in tags.items()})
        for i in range(n)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("AcquisitionNumber", "12"), ("AcquisitionNumber", "123"), ("AcquisitionTime", "12"), ("AcquisitionDate", "12"),
        ("SeriesNumber", "12"), ("StackID", "12"), ("SliceThickness", "15"), ("ContrastBolusAgent", " O"),
        ("SeriesDescription", "AV"), ("ProtocolName", "AV"), ("KVP", "12"), ("PatientName", "AB"), ("StudyDate", "12"),
        ("PatientPosition", "HF"), ("AcquisitionDateTime", "12"), ("SeriesTime", "12"), ("ContentTime", "12"),
    ],
)  # fmt: skip
def test_acquisitions_between_each_other_are_refused(tag: str, values: str) -> None:
    """A tag of the whole acquisition, or of its time, that goes to and fro; words that may name a patient are not
    cited."""
    with pytest.raises(InputError, match=rf"two phases or more in one series: along it {tag} .* is by turns") as caught:
        stack_of(Path("s"), apart(12, **{tag: lambda i: values[i % len(values)].strip()}))
    assert ("one and another" in str(caught.value)) is (tag in WORD_TAGS)


SOUND: dict[str, Callable[[int], str]] = {
    "its own for each slice": str,
    "for each two": lambda i: f"{i // 2}",
    "seconds of a fast table": lambda i: f"10101{i // 5}",
    "a scanner's way back": lambda i: f"{99 - i}",
    "of five detectors": lambda i: f"{i % 5}",
}


@pytest.mark.parametrize("how", SOUND)
@pytest.mark.parametrize("tag", ["AcquisitionNumber", "AcquisitionTime", "ContentTime", "InstanceNumber"])
def test_tags_that_vary_by_slice_are_sound(tag: str, how: str) -> None:
    """Spirals, and rotations between which the table moves; short stacks of few rotations too."""
    for n in (5, 6, 7, 8, 40):
        assert len(stack_of(Path("s"), apart(n, **{tag: SOUND[how]})).frames) == n


def test_times_and_kinds_of_images_are_not_told() -> None:
    """What differs along sound series is no notice; ImageType to and fro is one, and no fault."""
    with unnoticed():
        stack_of(Path("s"), apart(40, AcquisitionTime=lambda i: f"{i // 20}", AcquisitionNumber=lambda i: f"{i // 4}"))
        stack_of(Path("s"), apart(40, ImageType=lambda i: f"ORIGINAL\\PRIMARY\\AXIAL\\{'SPI' if i else 'SEQ'}"))
    with noticed(r"ImageType \(0008,0008\) is by turns VMI_50 and VMI_70"):
        stack_of(Path("s"), apart(40, ImageType=lambda i: ("VMI_50", "VMI_70")[i % 2]))


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "ContrastBolusAgent", "SeriesDescription", "KVP"])
def test_acquisitions_behind_each_other_are_told(tag: str) -> None:
    """Native below, venous above: one grid, and no one phase."""
    with noticed(rf"{tag} .* changes along it, first behind slice 15 of 40; .* one acquisition"):
        stack_of(Path("s"), apart(40, **{tag: lambda i: "" if i < 15 else "2"}))


def test_gaps_and_lost_ends_are_told() -> None:
    """Every second slice gone, or a gap by design; fewer slices than the acquisition gave."""
    whole = [replace(frame, n_images=40) for frame in apart(40)]
    with unnoticed():
        stack_of(Path("s"), whole)
        stack_of(Path("s"), [replace(frame, thickness_mm=2.1) for frame in whole])
        stack_of(Path("s"), [replace(frame, thickness_mm=5.0) for frame in whole])
    with noticed(r"its slices lie 6 mm apart, and SliceThickness \(0018,0050\) is 3; taken as the positions say"):
        stack_of(Path("s"), apart(40)[::2])
    with noticed(r"it has 30 slices of an acquisition that gave 40 \(ImagesInAcquisition \(0020,1002\)\)"):
        stack_of(Path("s"), whole[:30])
    with unnoticed():  # as many again are of another reconstruction
        stack_of(Path("s"), whole[:20])


def test_what_only_seems_to_tell_acquisitions_apart() -> None:
    """Thicknesses computed of rounded positions, and a number for each stop of a wide detector."""
    with unnoticed():
        stack_of(Path("s"), apart(12, SliceThickness=lambda i: "67"[i % 2]))
        stack_of(Path("s"), apart(12, AcquisitionNumber=lambda i: f"{i // 4}"))
    with noticed(r"AcquisitionNumber .* changes along it, first behind slice 5 of 12"):
        stack_of(Path("s"), apart(12, AcquisitionNumber=lambda i: f"{i // 5}"))


def as_case(geometry: Geometry, name: str) -> CaseImage:
    native = NativeGrid.of(geometry)
    return CaseImage(Path(name), Volume(np.zeros(native.canonical.shape_zyx, np.uint8), native.canonical), native)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipped_in_place_is_another_grid(axis: int) -> None:
    """The same corners in another order: a flip of one axis mirrors the patient, and is seen."""
    base = grid()
    flips = np.ones(3)
    flips[axis] = -1.0
    last = np.zeros(3)
    last[2 - axis] = base.shape_zyx[2 - axis] - 1
    mirrored = grid(origin_mm_xyz=tuple(base.index_to_physical(last)), direction=np.diag(flips))
    check_same_grid(as_case(base, "a"), as_case(mirrored, "b"))  # stored the other way round: the voxels coincide
    with pytest.raises(InputError, match="mm from the image's"):
        check_same_grid(as_case(base, "a"), as_case(grid(direction=np.diag(flips)), "b"))


def test_evaluation_of_two_grids_names_both(tmp_path: Path) -> None:
    """Reference and prediction 0.5 mm apart: both files, both grids, the distance and the tolerance."""
    one = write_itk(tmp_path / "ref.nii.gz", np.ones(SHAPE, np.uint8), grid(SHAPE))
    moved = grid(SHAPE, origin_mm_xyz=(-12.5, 30.75, 411.0))
    two = write_itk(tmp_path / "pred.nii.gz", np.ones(SHAPE, np.uint8), moved)
    with pytest.raises(InputError) as caught:
        score_images("a", read_labels(one), read_labels(two))
    for needle in (
        f"{two}: its corners lie up to 0.5 mm from the image's, on average 0.625 voxels",
        str(one),
        "tolerance 0.35 voxels",
        "30.75",
        "30.25",
    ):
        assert needle in str(caught.value)


def test_45_degrees_have_one_axis_order() -> None:
    """A tie between two axis orders: float32 rounding must not give an image and its labels one each."""
    turn = rotation((0.0, 0.0, 45.0))
    rng = np.random.default_rng(0)
    orders = {
        NativeGrid.of(grid(direction=turn + rng.uniform(-6e-8, 6e-8, (3, 3)))).order for _ in range(50)
    }  # fmt: skip
    assert len(orders) == 1


def test_notices_reach_the_user_as_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From a command and from its worker processes: 'bisc_x: warning: FILE: ...', once per file and command."""
    path = write_itk(tmp_path / "a.mha", np.zeros(SHAPE, np.uint8), grid(SHAPE, direction=sheared(1e-6)))
    copy = shutil.copy(path, tmp_path / "copy.mha")
    script = "import sys; from bisc.cli.evaluate import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, "-r", path, "-p", copy, "-o", tmp_path / "report.csv"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    words = "its direction matrix is off by 1.0e-06; taken as the nearest one with axes at right angles"
    assert done.stderr.splitlines() == [f"bisc_evaluate: warning: {one}: {words}" for one in (path, copy)]
    line = f"{path}: {words}"
    capfd.readouterr()
    with process_pool(2) as pool, notices_shown_by("bisc_x"):
        outcomes = run_cases(read_stored_geometry, [path] * 3, pool, "reading")
    assert [(outcome.error, outcome.notes) for outcome in outcomes] == [(None, (line,))] * 3
    assert capfd.readouterr().err == f"bisc_x: warning: {line}\n"


def test_real_headers_pass_in_silence(shared_folder: Path) -> None:
    """None of KiTS19's label maps, nor of the real CT, drifts, leans or is placed twice."""
    paths = [*shared_folder.glob("kits19/case_*/segmentation.nii.gz"), *shared_folder.glob("ct/*/*.nii.gz")]
    assert len(paths) > 100
    with unnoticed():
        assert max(read_stored_geometry(path).drift for path in paths) <= ROUNDING_DRIFT
