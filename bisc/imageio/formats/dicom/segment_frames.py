"""Frames of a DICOM SEG before they are read: whose they are, and where each one's bits lie."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bisc.core.errors import InputError

AGAIN: Final = "export it again"


def check_frames(path: Path, seg: Any) -> None:
    """That every number is one segment's, and every frame or voxel is of one that is there.

    Raises:
        InputError: If not: whose the frames are is not told.
    """
    numbers = Counter(int(one.SegmentNumber) for one in seg.SegmentSequence)
    doubled = [number for number, n in numbers.items() if n > 1]
    if doubled:
        found = f"{numbers[doubled[0]]} segments of SegmentNumber (0062,0004) {doubled[0]}"
        raise InputError(path, found, "a number for each", AGAIN)
    if seg.SegmentationType == "LABELMAP":
        frames = (seg.get_stored_frame(k + 1) for k in range(int(seg.NumberOfFrames)))
        named = {int(number) for frame in frames for number in np.unique(frame)}
        named -= {0, int(seg.get("PixelPaddingValue", 0))}
    else:
        groups = (*seg.get("SharedFunctionalGroupsSequence", ()), *seg.PerFrameFunctionalGroupsSequence)
        items = [one for group in groups for one in group.get("SegmentIdentificationSequence") or ()]
        named = {int(one.ReferencedSegmentNumber) for one in items}
    lacking = sorted(named - set(numbers))
    if lacking:
        found = f"its frames are of segment {lacking[0]}, and its SegmentSequence (0062,0002) has {sorted(numbers)}"
        raise InputError(path, found, "every segment described", AGAIN)


def settle_bits(path: Path, data: Any) -> None:
    """PixelData of unpacked bits as the standard has them, one frame's behind the other's: writers that fill each frame
    up to whole bytes shift the later ones, where rows x columns is no multiple of 8.

    Raises:
        InputError: If its length is neither's.
    """
    from pydicom.uid import UID

    if int(data.BitsAllocated) != 1 or UID(data.file_meta.TransferSyntaxUID).is_encapsulated:
        return
    n, n_bits, n_bytes = int(data.NumberOfFrames), int(data.Rows) * int(data.Columns), len(data.PixelData)
    joined, padded = -(-n * n_bits // 8), n * -(-n_bits // 8)
    if n_bytes in (joined, joined + joined % 2):  # filled up to an even length
        return
    if n_bytes not in (padded, padded + padded % 2):
        found = f"{n_bytes} bytes of pixels, and its {n} frames of {data.Rows} x {data.Columns} bits are {joined}"
        raise InputError(path, found, "a whole file", AGAIN)
    stored = np.frombuffer(data.PixelData, np.uint8, padded).reshape(n, -1)
    bits = np.unpackbits(stored, axis=1, count=n_bits, bitorder="little")
    data.PixelData = np.packbits(bits, bitorder="little").tobytes()


def check_whole(path: Path, seg: Any, planes: npt.NDArray[Any]) -> None:
    """That a fractional segmentation's stored values are nothing or all, and so a binary one's.

    Raises:
        InputError: If not: where a part of a voxel begins to count is not said.
    """
    if seg.SegmentationType == "FRACTIONAL" and not np.isin(planes, (0, int(seg.MaximumFractionalValue))).all():
        raise InputError(path, "is a fractional segmentation", "a binary one, or a label map", "export it as binary")
