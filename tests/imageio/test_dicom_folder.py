"""What a DICOM folder holds besides its CT stack, and how evenly slices must lie."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage, SecondaryCaptureImageStorage, SegmentationStorage

from bisc.core.errors import InputError, PassedOver
from bisc.imageio import read_image, read_size
from bisc.imageio.formats.dicom.frames import Frame
from bisc.imageio.formats.dicom.stack import OFF_PLACE, stack_of
from bisc.imageio.inputs import find_inputs
from bisc.system.console import collecting
from tests.support.dicom_changes import DOWN
from tests.support.dicom_forms import CORONAL, SHAPE, SPACING_ZYX, Form, both, gone, phantom, put

SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
Make = Callable[[Path], object]


def other(uid: str, **tags: object) -> Callable[[Dataset, int], None]:
    """Of another series."""
    return put(SeriesInstanceUID=f"1.2.{uid}", **tags)


def write_scout(folder: Path, *turns: tuple[tuple[float, ...], tuple[float, ...]], **tags: object) -> None:
    for n, turn in enumerate(turns):
        Form("", turn=turn, keep=(n,), change=other("77", SeriesNumber=1, SeriesDescription="Topo", **tags)).write(
            folder / f"t{n}"
        )
        for path in (folder / f"t{n}").iterdir():
            path.rename(folder / f"scout{n}.dcm")
        (folder / f"t{n}").rmdir()


def no_image(sop_class: str, modality: str) -> Make:
    def make(folder: Path) -> None:
        no_pixels = gone("PixelData", "Rows", "Columns")
        change = both(no_pixels, other("78", Modality=modality, SeriesDescription="Dose report"))
        Form("", storage=sop_class, keep=(0,), change=change).write(folder / "r")
        (folder / "r" / "IM000.dcm").rename(folder / "report.dcm")
        (folder / "r").rmdir()

    return make


def screenshot(folder: Path) -> None:
    """Of a dose sheet: modality CT, colours, no place."""
    change = both(
        other("79", PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0),
        gone("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
        lambda data, i: put(PixelData=data.PixelData * 3)(data, i),
    )
    Form("", storage=SecondaryCaptureImageStorage, keep=(0,), change=change).write(folder / "r")
    (folder / "r" / "IM000.dcm").rename(folder / "dose.dcm")
    (folder / "r").rmdir()


NO_SCANS: dict[str, tuple[Make, str]] = {
    "a localizer by its ImageType": (
        lambda f: write_scout(f, CORONAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
        "a localizer, by its ImageType",
    ),
    "a coronal plane that does not say it": (lambda f: write_scout(f, CORONAL), "a localizer: 1 plane, none"),
    "two planes, coronal and sagittal": (lambda f: write_scout(f, CORONAL, SAGITTAL), "a localizer: 2 planes"),
    "a report": (no_image(EnhancedSRStorage, "SR"), "modality SR (Enhanced SR Storage)"),
    "a segmentation": (no_image(SegmentationStorage, "SEG"), "modality SEG (Segmentation Storage)"),
}


@pytest.mark.parametrize("kind", NO_SCANS)
def test_what_is_no_scan_is_told_beside_a_stack(tmp_path: Path, kind: str) -> None:
    """In one folder with the stack: the stack is read, the other named in a notice."""
    make, reason = NO_SCANS[kind]
    folder = Form("").write(tmp_path / "s")
    make(folder)
    with collecting() as notes:
        assert read_image(folder).volume.array.shape == SHAPE
    assert len(notes) == 1
    assert reason in notes[0]
    assert "left out" in notes[0]


@pytest.mark.parametrize("kind", NO_SCANS)
def test_what_is_no_scan_is_passed_over_alone(tmp_path: Path, kind: str) -> None:
    """By itself it is no failure, and no scan."""
    make, reason = NO_SCANS[kind]
    (tmp_path / "s").mkdir()
    make(tmp_path / "s")
    with pytest.raises(PassedOver) as caught:
        read_image(tmp_path / "s")
    assert reason in str(caught.value)


def test_a_defect_beside_a_stack_is_told(tmp_path: Path) -> None:
    """A picture without a place, a series without spacing: left out with the reason; alone they are faults."""
    folder = Form("").write(tmp_path / "s")
    screenshot(folder)
    with collecting() as notes:
        assert read_image(folder).volume.array.shape == SHAPE
    assert "3 values per voxel" in notes[0]
    (tmp_path / "alone").mkdir()
    screenshot(tmp_path / "alone")
    with pytest.raises(InputError, match="3 values per voxel"):
        read_image(tmp_path / "alone")


def test_one_odd_file_makes_no_scan_of_a_stack(tmp_path: Path) -> None:
    """Among slices of its own series a report or a localizer is a defect, not the series' kind."""
    report = Form("").write(tmp_path / "report")
    Form("", keep=(0,), change=put(Modality="PR")).write(tmp_path / "pr")
    shutil.copy(tmp_path / "pr" / "IM000.dcm", report / "A.dcm")
    with pytest.raises(InputError, match=r"modality PR .*, among the slices of a CT series") as caught:
        read_image(report)
    assert not isinstance(caught.value, PassedOver)
    scout = Form("", change=lambda d, i: put(ImageType=["LOCALIZER"])(d, i) if i == 0 else None).write(tmp_path / "t")
    assert read_image(scout).volume.array.shape == SHAPE


def test_a_defective_stack_is_not_left_out_for_another(tmp_path: Path) -> None:
    """Which of the two is the abdomen is not guessed."""
    folder = Form("").write(tmp_path / "s")
    Form("", change=both(other("81"), put(PixelSpacing=0.8))).write(tmp_path / "t")
    for path in (tmp_path / "t").iterdir():
        shutil.copy(path, folder / f"b{path.name}")
    with pytest.raises(InputError, match="2 DICOM series"):
        read_image(folder)


def test_a_short_axial_stack_is_no_localizer(tmp_path: Path) -> None:
    assert read_image(Form("", keep=(4, 5, 6)).write(tmp_path / "s")).volume.array.shape == (3, *SHAPE[1:])


def test_two_stacks_are_not_chosen_from(tmp_path: Path) -> None:
    """Both are named with their slices."""
    folder = Form("").write(tmp_path / "s")
    Form("", keep=(0, 1, 2), change=other("80", SeriesNumber=3, SeriesDescription="Lung  1.0")).write(tmp_path / "t")
    for path in (tmp_path / "t").iterdir():
        shutil.copy(path, folder / f"b{path.name}")
    with pytest.raises(InputError) as caught:
        read_image(folder)
    for needle in ("2 DICOM series", "series 3 Lung 1.0, 3 slices", "11 slices", "put each series into a folder"):
        assert needle in str(caught.value)


def test_one_file_is_read_as_a_folder_is(tmp_path: Path) -> None:
    """A file of many frames by itself, whatever its name; a slice by itself, with its thickness."""
    frames = Form("", frames=DOWN).write(tmp_path / "s") / "frames.dcm"
    assert read_size(frames).shape_zyx == SHAPE
    bare = frames.rename(tmp_path / "I0001")
    assert np.array_equal(read_image(bare).volume.array, read_image(Form("").write(tmp_path / "t")).volume.array)
    assert read_size(tmp_path / "t").shape_zyx == SHAPE
    assert read_image(tmp_path / "t" / "IM004.dcm").native.geometry.spacing_mm_zyx == SPACING_ZYX


@pytest.mark.parametrize("name", ["IM001", "IM001.ima", "IM001.img"])
@pytest.mark.parametrize("bare", [True, False])
def test_slices_by_other_names(tmp_path: Path, name: str, bare: bool) -> None:
    """By DICOM's mark, or without preamble by their first element, whatever they are called."""
    folder = Form("").write(tmp_path / "s")
    for i, path in enumerate(sorted(folder.iterdir())):
        data = path.read_bytes()
        path.unlink()
        (folder / name.replace("001", f"{i:03d}")).write_bytes(data[132:] if bare else data)
    (case,) = find_inputs(tmp_path)
    assert (case.name, case.fault) == ("s", None)
    assert np.array_equal(read_image(case.path).volume.array, phantom())


def frame(height_mm: float) -> Frame:
    turn = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return Frame(Path("a.dcm"), 0, (4, 4), (0.0, 0.0, height_mm), turn, (1.0, 1.0), 1.0, None, None, "", {})


@given(
    st.integers(4, 60), st.floats(0.3, 6.0), st.floats(-500, 500), st.randoms(use_true_random=False), st.floats(0, 0.12)
)
@settings(max_examples=60)
def test_slices_off_by_less_than_the_part_are_read(
    n: int, step: float, start: float, random: Random, part: float
) -> None:
    """Any heights within 12 % of a slice of an even stack: read in their order, each within the stated part."""
    heights = [start + step * (i + random.uniform(-part, part)) for i in range(n)]
    shuffled = [frame(h) for h in heights]
    random.shuffle(shuffled)
    stack = stack_of(Path("s"), shuffled)
    assert [f.position_mm_xyz[2] for f in stack.frames if f.position_mm_xyz] == heights
    places = stack.origin_mm_xyz[2] + stack.spacing_mm_zyx[0] * np.arange(n)
    assert np.abs(places - heights).max() <= OFF_PLACE * step * 1.05 + 1e-6


@given(st.integers(4, 60), st.floats(0.3, 6.0), st.data())
@settings(max_examples=60)
def test_a_missing_slice_is_always_seen(n: int, step: float, data: st.DataObject) -> None:
    """Whichever of n + 1 slices is missing inside the stack, positions rounded to a tenth of a slice."""
    gone_at = data.draw(st.integers(1, n - 1))
    heights = [round(i * step, 2) for i in range(n + 1) if i != gone_at]
    with pytest.raises(InputError, match="apart, the others"):
        stack_of(Path("s"), [frame(h) for h in heights])


@given(st.sampled_from([0.33, 0.45, 0.5, 0.6, 0.625, 0.75, 0.8, 1.25, 2.5]), st.integers(2, 900), st.floats(-900, 900))
def test_positions_with_one_decimal_are_read(step: float, n: int, start: float) -> None:
    """What some scanners write; the spacing is that of the scanner to a hundredth where there are 20 slices."""
    stack = stack_of(Path("s"), [frame(round(start + step * i, 1)) for i in range(n)])
    assert stack.spacing_mm_zyx[0] == pytest.approx(step, rel=0.01 if n >= 20 else 0.35)
