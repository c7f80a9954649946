"""What ITK passes over in silence: NIfTI files that end too early or hold NaN, DICOM series that lack a slice."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK as sitk

from bisc.core.errors import InputError

HEADER_BYTES: Final = 352
HEADER_BEGINS: Final = 348
"""The first four bytes of a NIfTI-1 header as a number: read the wrong way round, the file is big-endian."""
PROMISE_KEYS: Final = ("vox_offset", "bitpix", "datatype")
FLOAT_TYPES: Final = {"16": "f4", "64": "f8"}
GZIP_SIZE_BYTES: Final = 4
GZIP_STREAM: Final = 31
"""zlib's code for a stream with a gzip header."""
CHUNK_BYTES: Final = 1 << 20
GAP_TOLERANCE: Final = 0.1
"""Slice gaps may differ by this part of the usual gap; positions are often rounded to hundredths of a mm."""


@dataclass(frozen=True)
class _Promise:
    """What a NIfTI header promises: where its voxels begin, how many, of how many bits, and of which kind."""

    start: int
    n_voxels: int
    bits: int
    datatype: str

    @classmethod
    def of(cls, image: sitk.Image) -> _Promise:
        known = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key in PROMISE_KEYS}
        start = int(float(known.get("vox_offset", HEADER_BYTES)))
        return cls(start, image.GetNumberOfPixels(), int(known.get("bitpix", 8)), known.get("datatype", ""))

    @property
    def n_bytes(self) -> int:
        return self.start + self.n_voxels * self.bits // 8


def check_whole_nifti(path: Path, image: sitk.Image) -> None:
    """Refuse a NIfTI file with fewer bytes than its header promises (a broken download or copy), and one with voxels
    that are no numbers: ITK makes up the former and turns the latter into 0, which is water.

    A gzip file ends in its unpacked size, so that a sound file of integers costs one look at its last four bytes.

    Raises:
        InputError: If bytes are missing, or voxels are NaN or infinite.
    """
    promise = _Promise.of(image)
    if path.name.lower().endswith(".gz"):
        whole = _gzip_size(path) == promise.n_bytes % (1 << 32)
    else:
        whole = path.stat().st_size >= promise.n_bytes
    if not whole:
        there = _count_bytes(path, promise.n_bytes)
        if there < promise.n_bytes:
            raise InputError(path, f"ends after {there} bytes", f"{promise.n_bytes} bytes", "copy or export it again")
    bad = _count_not_finite(path, promise) if promise.datatype in FLOAT_TYPES else 0
    if bad:
        raise InputError(path, f"{bad} voxels are NaN or infinite", "finite numbers", "repair the export")


def check_even_slices(folder: Path, reader: sitk.ImageSeriesReader, n_slices: int) -> None:
    """Refuse a DICOM series whose slices are not evenly spaced: its voxels would not lie where the header says.

    Args:
        folder: Named in the error.
        reader: After `Execute`, with its meta data loaded.
        n_slices: Number of files read.

    Raises:
        InputError: Naming the oddest and the usual gap.
    """
    try:
        points = np.array([_numbers(reader.GetMetaData(i, "0020|0032"), 3) for i in range(n_slices)])
        rows, columns = np.reshape(_numbers(reader.GetMetaData(0, "0020|0037"), 6), (2, 3))
    except (ValueError, RuntimeError) as error:
        where = "image positions or orientation that are no finite numbers"
        raise InputError(folder, f"{where} ({error})", "three and six numbers", "export the series again") from error
    gaps = np.abs(np.diff(points @ np.cross(rows, columns)))
    usual = float(np.median(gaps))
    odd = int(np.argmax(np.abs(gaps - usual)))
    if abs(gaps[odd] - usual) > GAP_TOLERANCE * usual:
        raise InputError(
            folder,
            f"slices {odd + 1} and {odd + 2} of {n_slices} lie {gaps[odd]:.4g} mm apart, the others {usual:.4g} mm",
            "evenly spaced slices",
            "export the whole series again",
        )


def _gzip_size(path: Path) -> int:
    """What the end of a gzip file says its unpacked size is, modulo 2**32."""
    with path.open("rb") as file:
        file.seek(-GZIP_SIZE_BYTES, 2)
        return int.from_bytes(file.read(GZIP_SIZE_BYTES), "little")


def _count_bytes(path: Path, enough: int) -> int:
    """How many bytes a file unpacks to; counting ends at `enough`, since a small file can unpack to any number."""
    there = 0
    for chunk in _unpacked(path):
        there += len(chunk)
        if there >= enough:
            break
    return there


def _unpacked(path: Path) -> Iterator[bytes]:
    """A file's bytes, unpacked where it is gzip (of any number of members), up to its end or the first fault."""
    packed = path.name.lower().endswith(".gz")
    stream = zlib.decompressobj(GZIP_STREAM)
    with path.open("rb") as file:
        data = file.read(CHUNK_BYTES)
        while data and not packed:
            yield data
            data = file.read(CHUNK_BYTES)
        while data:
            try:
                yield stream.decompress(
                    data, CHUNK_BYTES
                )  # no more at a time: a chunk can hold a thousand times itself
            except zlib.error:
                return
            data = stream.unconsumed_tail or stream.unused_data or file.read(CHUNK_BYTES)
            if stream.eof:
                stream = zlib.decompressobj(GZIP_STREAM)


def _count_not_finite(path: Path, promise: _Promise) -> int:
    bad, at, rest = 0, 0, b""
    kind = np.dtype(FLOAT_TYPES[promise.datatype])
    for chunk in _unpacked(path):
        if at == 0 and int.from_bytes(chunk[:4], "little") != HEADER_BEGINS:
            kind = kind.newbyteorder(">")
        data = rest + chunk[max(0, promise.start - at) : max(0, promise.n_bytes - at)]
        at += len(chunk)
        rest = data[len(data) - len(data) % kind.itemsize :]
        values = np.frombuffer(data, kind, len(data) // kind.itemsize)
        bad += values.size - int(np.count_nonzero(np.isfinite(values)))
    return bad


def _numbers(text: str, n: int) -> list[float]:
    numbers = [float(part) for part in text.split("\\")]
    if len(numbers) != n or not np.isfinite(numbers).all():
        raise ValueError(f"'{text[:80]}'")
    return numbers
