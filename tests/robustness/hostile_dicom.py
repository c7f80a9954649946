"""Kinds of DICOM folders, refused or fine; forms of DICOM itself have a table of their own (dicom_table)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, JPEG2000Lossless

from tests.robustness.hostile_kinds import CaseKind, hu
from tests.support.dicom_forms import Change, Form, both, gone, put

SLICES = range(24)
voxels = cache(hu)


def series(
    change: Change = lambda data, i: None, first: int | None = None, **how: object
) -> Callable[[Path, str], Path]:
    """The sound patient as a DICOM series; with `first`, the file that must be named, else the folder."""
    like: dict[str, Any] = {"order": SLICES, "keep": SLICES, "voxels": voxels, "spacing_zyx": (5.0, 4.0, 4.0), **how}

    name = "frames.dcm" if "frames" in how else "IM{:03d}.dcm"

    def make(folder: Path, case: str) -> Path:
        form = Form("", change=both(change, put(SeriesInstanceUID=f"1.2.3.{crc32(case.encode())}")), **like)
        form.write(folder / case)
        return folder / case if first is None else folder / case / name.format(first)

    return make


def unscaled(data: Dataset, i: int) -> None:
    if i == 7:
        gone("RescaleSlope", "RescaleIntercept")(data, i)


def phases(data: Dataset, i: int) -> None:
    data.ImagePositionPatient = [0, 0, 5.0 * (i // 2)]
    data.AcquisitionNumber = 1 + i % 2


def padded(data: Dataset, i: int) -> None:
    """63536 outside of the field of view, as GE's unsigned files have it."""
    stored = (np.frombuffer(data.PixelData, "<i2").astype(int) + 1024).clip(0).reshape(data.Rows, data.Columns)
    stored[:3] = 63536
    data.PixelData = stored.astype("<u2").tobytes()
    data.PixelRepresentation, data.RescaleIntercept = 0, -1024
    data.add_new(0x00280120, "US", 63536)


ENHANCED: dict[str, Any] = {"storage": EnhancedCTImageStorage, "frames": SLICES[::-1]}
NO_SPACING, NO_PLACE = "no PixelSpacing (0028,0030)", "lacks ImagePositionPatient (0020,0032)"
BAD_DICOM = (
    CaseKind("DICOM without PixelSpacing", series(gone("PixelSpacing"), 0), NO_SPACING),
    CaseKind(
        "DICOM with ImagerPixelSpacing alone",
        series(both(gone("PixelSpacing"), put(ImagerPixelSpacing=[4, 4])), 0),
        NO_SPACING,
    ),
    CaseKind(
        "DICOM frames without positions",
        series(first=0, change_frame=gone("PlanePositionSequence"), **ENHANCED),
        NO_PLACE,
    ),
    CaseKind("a DICOM series of two phases", series(phases), "two phases or more in one series"),
    CaseKind("a DICOM series in another unit", series(put(RescaleType="MGML"), 0), "its values are in MGML"),
    CaseKind(
        "one DICOM slice without rescale",
        series(unscaled, 7),
        "no RescaleSlope (0028,1053)",
    ),
)
ODD_DICOM = (
    CaseKind("DICOM of an unknown class", series(storage="1.2.3.4.5")),
    CaseKind(
        "DICOM, packed, frames shuffled",
        series(syntax=JPEG2000Lossless, **ENHANCED),
    ),
    CaseKind("DICOM padded with 63536", series(padded)),
    CaseKind("DICOM with SpacingBetweenSlices 0", series(put(SpacingBetweenSlices=0))),
)
