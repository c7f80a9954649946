"""A DICOM SEG's frames: packed otherwise than the standard has it, of no segment or of two, of parts of voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset

from bisc.imageio.formats.dicom.segmentation import read_segmentation
from bisc.pipeline.measure_jobs import read_mask
from bisc.system.console import collecting
from tests.report.test_dicom_objects import Case, grid, made
from tests.support.ct_series import write_ct
from tests.support.grids import fault

Change = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(tmp_path_factory.mktemp("seg"), write_ct, grid(), kinds=("seg",))


def bits(seg: Dataset) -> npt.NDArray[np.uint8]:
    """(frames, rows, columns), of 60 x 72 pixels, which are whole bytes."""
    shape = (int(seg.NumberOfFrames), int(seg.Rows), int(seg.Columns))
    stored = np.frombuffer(seg.PixelData, np.uint8)
    return np.unpackbits(stored, count=int(np.prod(shape)), bitorder="little").reshape(shape)


def odd(seg: Dataset) -> npt.NDArray[np.uint8]:
    """Without the last row and column: 59 x 71 = 4189 bits, 523 bytes and 5 bits."""
    frames = bits(seg)[:, :-1, :-1]
    seg.Rows, seg.Columns = frames.shape[1:]
    return frames


def store(seg: Dataset, packed: npt.NDArray[np.uint8]) -> None:
    seg.PixelData = packed.tobytes() + b"\0" * (packed.size % 2)


def changed(case: Case, path: Path, change: Change) -> Path:
    seg = pydicom.dcmread(case.out / "seg.dcm")
    change(seg)
    seg.save_as(path)
    return path


def joined(seg: Dataset) -> None:
    store(seg, np.packbits(odd(seg), bitorder="little"))


def padded(seg: Dataset) -> None:
    frames = odd(seg)
    store(seg, np.packbits(frames.reshape(len(frames), -1), axis=1, bitorder="little"))


def short(seg: Dataset) -> None:
    joined(seg)
    seg.PixelData = seg.PixelData[:-600]


def long(seg: Dataset) -> None:
    seg.PixelData += b"\0\0"


def doubled(seg: Dataset) -> None:
    for one in seg.SegmentSequence:
        one.SegmentNumber = 1


def lacking(seg: Dataset) -> None:
    seg.SegmentSequence = seg.SegmentSequence[:-1]


def fractional(values: tuple[int, int, int]) -> Change:
    """Nothing, all and the largest."""

    def change(seg: Dataset) -> None:
        frames = bits(seg)
        seg.SegmentationType, seg.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
        seg.BitsAllocated, seg.BitsStored, seg.HighBit, seg.MaximumFractionalValue = 8, 8, 7, values[2]
        store(seg, np.asarray(values, np.uint8)[frames])

    return change


def found(case: Case) -> npt.NDArray[np.uint8]:
    """The slices with a label."""
    return case.labels[(case.labels > 0).any(axis=(1, 2))]


@pytest.mark.parametrize("change", [joined, padded])
def test_frames_may_be_filled_to_whole_bytes(tmp_path: Path, case: Case, change: Change) -> None:
    array = read_segmentation(changed(case, tmp_path / "odd.dcm", change)).volume.array
    assert np.array_equal(array[1:-1], found(case)[:, :-1, :-1])


@pytest.mark.parametrize("values", [(0, 1, 1), (0, 255, 255), (0, 100, 100)])
def test_a_fractional_one_of_nothing_and_all_is_binary(
    tmp_path: Path, case: Case, values: tuple[int, int, int]
) -> None:
    array = read_segmentation(changed(case, tmp_path / "whole.dcm", fractional(values))).volume.array
    assert np.array_equal(array[1:-1], found(case))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (short, "bytes of pixels, and its"),
        (long, "bytes of pixels, and its"),
        (doubled, "4 segments of SegmentNumber (0062,0004) 1"),
        (lacking, "its frames are of segment 4, and its SegmentSequence (0062,0002) has [1, 2, 3]"),
        (fractional((0, 128, 255)), "is a fractional segmentation"),
        (fractional((0, 1, 255)), "is a fractional segmentation"),
        (fractional((0, 2, 1)), "is a fractional segmentation"),
    ],
)
def test_what_is_not_told_is_refused(tmp_path: Path, case: Case, change: Change, line: str) -> None:
    assert line in fault(read_segmentation, changed(case, tmp_path / "bad.dcm", change))


def test_frames_that_are_not_there_amid_a_kidney_are_told(tmp_path: Path, case: Case) -> None:
    """Of one segment alone, or of all at one height: a SEG need not hold frames that are empty."""
    seg = pydicom.dcmread(case.out / "seg.dcm")
    groups, frames = list(seg.PerFrameFunctionalGroupsSequence), bits(seg)
    heights = np.asarray([float(one.PlanePositionSequence[0].ImagePositionPatient[2]) for one in groups])
    middle = np.unique(heights)[len(np.unique(heights)) // 2]
    segments = np.asarray([int(one.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for one in groups])
    for lost in (heights == middle, (heights == middle) & (segments == 1)):

        def change(data: Dataset, kept: npt.NDArray[np.bool_] = ~lost) -> None:
            data.PerFrameFunctionalGroupsSequence = [groups[k] for k in np.flatnonzero(kept)]
            data.NumberOfFrames = int(kept.sum())
            store(data, np.packbits(frames[kept], bitorder="little"))

        with collecting(quiet=True) as notes:
            read_mask(changed(case, tmp_path / "lost.dcm", change), None)
        assert any(f"breaks off and goes on behind an empty axial slice (z {middle:.4g} mm)" in one for one in notes)


@pytest.mark.parametrize("keep", [3, 4])
def test_a_label_map_of_a_segment_that_is_not_described_is_refused(tmp_path: Path, keep: int) -> None:
    case = made(tmp_path, write_ct, grid(), kinds=("seg",), labelmap=True)

    def change(seg: Dataset) -> None:
        seg.SegmentSequence = [one for one in seg.SegmentSequence if int(one.SegmentNumber) <= keep]

    path = changed(case, tmp_path / "map.dcm", change)
    if keep == 4:
        assert np.array_equal(read_segmentation(path).volume.array[1:-1], found(case))
    else:
        assert "its frames are of segment 4" in fault(read_segmentation, path)
