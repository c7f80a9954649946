"""A known phantom in many forms of DICOM: class, frames, order, tags of place and of rescale, pixel forms.

Each form is one the reader must get right to the HU and the tenth of a millimetre, or refuse in one line. Written by
pydicom, packed by GDCM: neither is asked where a voxel lies.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

SHAPE = (11, 14, 18)
"""Slices, rows, columns: all different, so that no two axes can be taken for each other."""
SPACING_ZYX = (2.5, 0.8, 0.7)
ORIGIN = (-30.0, -45.0, 120.0)
OBLIQUE = ((0.96, 0.28, 0.0), (-0.28, 0.96, 0.0))
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
STEM = "1.2.826.0.1.3680043.8.498.5"
PACKED = (RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1, JPEGExtended12Bit)
PACK = Path(__file__).with_name("dicom_pack.py")


def phantom() -> npt.NDArray[Any]:
    """(z, y, x) HU: air around a body whose value tells slice, row and column."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    hu = 100 * z + 6 * y + x - 200
    hu[:, :2] = -1000
    return np.asarray(hu, dtype=np.int16)


Change = Callable[[Dataset, int], None]


@dataclass(frozen=True)
class Form:
    """One way to store the phantom.

    Attributes:
        name: In the table.
        told: What the refusal says; empty where the form must be read right.
        noted: What a notice says of a form that is read.
        storage: SOP class.
        frames: None: a file a slice; else the frames of one enhanced or plain multi-frame file, in stored order.
        order: Of the files' names and instance numbers.
        turn: Directions of rows and columns.
        kind: dtype of the stored values.
        slope, intercept: By slice.
        change: Last changes of a slice's data set, or of the whole file's where there are frames.
        change_frame: Of a frame's functional groups.
        syntax: Transfer syntax.
        keep: The slices that are written.
        voxels: Makes the (z, y, x) HU.
        spacing_zyx: In mm.
    """

    name: str
    told: str = ""
    noted: str = ""
    storage: UID = CTImageStorage
    frames: Sequence[int] | None = None
    order: Sequence[int] = tuple(range(SHAPE[0]))
    turn: tuple[tuple[float, ...], tuple[float, ...]] = AXIAL
    kind: str = "int16"
    slope: Callable[[int], float] = lambda i: 1.0
    intercept: Callable[[int], float] = lambda i: 0.0
    change: Change = lambda data, i: None
    change_frame: Change = lambda group, i: None
    syntax: str = ExplicitVRLittleEndian
    keep: Sequence[int] = tuple(range(SHAPE[0]))
    voxels: Callable[[], npt.NDArray[Any]] = phantom
    spacing_zyx: tuple[float, float, float] = SPACING_ZYX

    def place(self, i: int) -> list[float]:
        """LPS mm of slice i's first pixel."""
        rows, columns = (np.asarray(v) for v in self.turn)
        return [float(v) for v in np.asarray(ORIGIN) + self.spacing_zyx[0] * i * np.cross(rows, columns)]

    def stored(self, i: int) -> npt.NDArray[Any]:
        """Stored values of slice i."""
        return np.asarray(np.rint((self.voxels()[i] - self.intercept(i)) / self.slope(i)), dtype=self.kind)

    def write(self, folder: Path) -> Path:
        """All files below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._write_files(folder)
        if self.syntax in PACKED:
            files = sorted(str(path) for path in folder.iterdir())
            subprocess.run([sys.executable, str(PACK), self.syntax, *files], check=True)
        return folder

    def _write_files(self, folder: Path) -> None:
        if self.frames is not None:
            _save(self._multi_frame(), folder / "frames.dcm", self.syntax)
            return
        for at, i in enumerate(self.order):
            if i in self.keep:
                data = self._slice(i)
                data.InstanceNumber = at + 1
                self.change(data, i)
                _save(data, folder / f"IM{at:03d}.dcm", self.syntax)

    def _slice(self, i: int) -> Dataset:
        data = self._common(self.stored(i))
        data.SOPInstanceUID = f"{STEM}.9.{i + 1}"
        data.PixelSpacing, data.SliceThickness = list(self.spacing_zyx[1:]), self.spacing_zyx[0]
        data.ImageOrientationPatient = [*self.turn[0], *self.turn[1]]
        data.ImagePositionPatient = self.place(i)
        data.RescaleSlope, data.RescaleIntercept = self.slope(i), self.intercept(i)
        return data

    def _common(self, stored: npt.NDArray[Any]) -> Dataset:
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID, data.Modality = self.storage, f"{STEM}.9", "CT"
        data.StudyInstanceUID, data.SeriesInstanceUID = f"{STEM}.1", f"{STEM}.2"
        data.FrameOfReferenceUID, data.PatientID = f"{STEM}.3", "phantom"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.Rows, data.Columns = stored.shape[-2:]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        bits = 8 * stored.dtype.itemsize
        data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
        data.PixelRepresentation = int(stored.dtype.kind == "i")
        data.PixelData = stored.tobytes()
        return data

    def _multi_frame(self) -> Dataset:
        frames = [i for i in self.frames or () if i in self.keep]
        data = self._common(np.stack([self.stored(i) for i in frames]))
        data.NumberOfFrames, data.InstanceNumber = len(frames), 1
        measures, plane = Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = list(self.spacing_zyx[1:]), self.spacing_zyx[0]
        plane.ImageOrientationPatient = [*self.turn[0], *self.turn[1]]
        shared = Dataset()
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Items([measures]), Items([plane])
        data.SharedFunctionalGroupsSequence = Items([shared])
        groups = []
        for i in frames:
            group, position, rescale = Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = self.place(i)
            rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = self.slope(i), self.intercept(i), "HU"
            group.PlanePositionSequence = Items([position])
            group.PixelValueTransformationSequence = Items([rescale])
            self.change_frame(group, i)
            groups.append(group)
        data.PerFrameFunctionalGroupsSequence = Items(groups)
        self.change(data, 0)
        return data


def _save(data: Dataset, path: Path, syntax: str) -> None:
    meta = data.file_meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax in PACKED else syntax
    if syntax == ExplicitVRBigEndian:
        data.PixelData = np.frombuffer(data.PixelData, f"<u{data.BitsAllocated // 8}").byteswap().tobytes()
    data.save_as(path, enforce_file_format=True)


def gone(*keywords: str) -> Change:
    """Without these tags."""

    def change(data: Dataset, i: int) -> None:
        for keyword in keywords:
            if keyword in data:
                delattr(data, keyword)

    return change


def put(**tags: object) -> Change:
    """With these tags."""

    def change(data: Dataset, i: int) -> None:
        for keyword, value in tags.items():
            setattr(data, keyword, value(i) if callable(value) else value)

    return change


def both(*changes: Change) -> Change:
    """One after another."""

    def change(data: Dataset, i: int) -> None:
        for one in changes:
            one(data, i)

    return change
