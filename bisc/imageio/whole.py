"""What ITK passes over in silence: damaged NIfTI files, those that end early, hold NaN or have a twin."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
import SimpleITK as sitk

from bisc.core.errors import InputError
from bisc.imageio.nifti_header import GZIP_STREAM
from bisc.imageio.nifti_header import HEADER_BYTES as HEADER_BEGINS  # its first four bytes, as a number

HEADER_BYTES: Final = 352
PROMISE_KEYS: Final = ("vox_offset", "bitpix", "datatype")
FLOAT_TYPES: Final = {"16": "f4", "64": "f8"}
CHUNK_BYTES: Final = 1 << 20
MOST_SURPLUS: Final = 2
"""A small gzip file can unpack to any number of bytes: past so many times what is promised it is not followed."""
SOUND_BYTES: Final = 1 << 30
"""Sound as far as these is sound enough to look for another fault."""


@dataclass(frozen=True)
class Promise:
    """What a NIfTI-1 header promises: where its voxels begin, how many, of how many bits, and of which kind."""

    start: int
    n_voxels: int
    bits: int
    datatype: str

    @classmethod
    def of(cls, image: sitk.Image | sitk.ImageFileReader) -> Promise:
        known = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key in PROMISE_KEYS}
        start = int(float(known.get("vox_offset", HEADER_BYTES)))
        return cls(start, prod(image.GetSize()), int(known.get("bitpix", 8)), known.get("datatype", ""))

    @property
    def n_bytes(self) -> int:
        return self.start + self.n_voxels * self.bits // 8


def check_whole_nifti(path: Path, image: sitk.Image | sitk.ImageFileReader) -> None:
    """Refuse a NIfTI file with fewer bytes than its header promises (a broken download or copy), and one with voxels
    that are no numbers: ITK makes up the former and turns the latter into 0, which is water.

    A gzip file is unpacked to its end: only its checksum tells a flipped bit or an overwritten block from a sound file,
    and ITK reads both alike.

    Raises:
        InputError: If bytes are missing or damaged, or voxels are NaN or infinite.
    """
    promise = Promise.of(image)
    packed = path.name.lower().endswith(".gz")
    if packed or promise.datatype in FLOAT_TYPES:
        content = _Content(promise)
        for chunk in promised_chunks(path, promise.n_bytes):
            content.add(chunk)
        there, bad = content.n_bytes, content.n_not_finite
    else:
        there, bad = path.stat().st_size, 0
    if there < promise.n_bytes:
        raise InputError(path, f"ends after {there} bytes", f"{promise.n_bytes} bytes", "copy or export it again")
    if bad:
        raise InputError(path, f"{bad} voxels are NaN or infinite", "finite numbers", "repair the export")


def promised_chunks(path: Path, n_promised: int) -> Iterator[bytes]:
    """A file's bytes, unpacked where its name says gzip, of which its header promises `n_promised`.

    Raises:
        InputError: If the gzip is damaged, or unpacks to far more.
    """
    n_bytes = 0
    try:
        for chunk in _unpacked(path):
            n_bytes += len(chunk)
            if n_bytes > MOST_SURPLUS * n_promised + CHUNK_BYTES:
                found = f"unpacks to more than {MOST_SURPLUS} times what its header promises"
                raise InputError(path, found, f"{n_promised} bytes", "copy or export it again")
            yield chunk
    except zlib.error as error:
        found = f"damaged gzip, after {n_bytes} bytes"
        raise InputError(path, found, "a sound gzip file", "copy or export it again") from error


def check_alone(path: Path) -> None:
    """Refuse scan.nii.gz where scan.nii lies beside it: ITK takes the header of the one and the voxels of the other.

    Raises:
        InputError: Naming both.
    """
    name = path.name.lower()
    unpacked = path.with_name(path.name[: -len(".gz")])
    if name.endswith(".nii.gz") and unpacked.is_file():
        raise InputError(
            path,
            f"{unpacked.name} lies beside it, and its voxels would be read instead",
            "one of them",
            "move one away",
        )


def is_sound_gzip(path: Path) -> bool:
    """Whether a file, if its name says gzip, can be unpacked as far as it goes."""
    n_bytes = 0
    try:
        for chunk in _unpacked(path):
            n_bytes += len(chunk)
            if n_bytes > SOUND_BYTES:
                break
    except zlib.error:
        return False
    return True


def unpacked_bytes(path: Path) -> int:
    """A file's size, unpacked where its name says gzip.

    Raises:
        zlib.error: Where it is damaged.
    """
    return sum(len(chunk) for chunk in _unpacked(path))


def _unpacked(path: Path) -> Iterator[bytes]:
    """A file's bytes, unpacked where it is gzip (of any number of members), up to its end.

    Raises:
        zlib.error: Where a member is damaged, or its checksum wrong.
    """
    packed = path.name.lower().endswith(".gz")
    stream = zlib.decompressobj(GZIP_STREAM)
    with path.open("rb") as file:
        data = file.read(CHUNK_BYTES)
        while data and not packed:
            yield data
            data = file.read(CHUNK_BYTES)
        begun, rest = False, b""
        while data:
            data = data if begun else data.lstrip(b"\0")  # what tapes and block copies pad a file with
            if data:
                begun = True
                yield stream.decompress(data, CHUNK_BYTES)  # a chunk can hold a thousand times itself
            if stream.eof:
                begun, rest, stream = False, stream.unused_data, zlib.decompressobj(GZIP_STREAM)
            data, rest = stream.unconsumed_tail or rest or file.read(CHUNK_BYTES), b""


class _Content:
    """Counts a NIfTI file's unpacked bytes as they go by, and its voxels that are NaN or infinite."""

    def __init__(self, promise: Promise) -> None:
        self.promise = promise
        self.n_bytes = 0
        self.n_not_finite = 0
        self._kind = np.dtype(FLOAT_TYPES[promise.datatype]) if promise.datatype in FLOAT_TYPES else None
        self._rest = b""

    def add(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        if self._kind is not None:
            self._count(chunk, self._kind)
        self.n_bytes += len(chunk)

    def _count(self, chunk: bytes, kind: np.dtype[np.floating]) -> None:
        promise, at = self.promise, self.n_bytes
        if at == 0 and int.from_bytes(chunk[:4], "little") != HEADER_BEGINS:
            self._kind = kind = kind.newbyteorder(">")
        data = self._rest + chunk[max(0, promise.start - at) : max(0, promise.n_bytes - at)]
        self._rest = data[len(data) - len(data) % kind.itemsize :]
        values = np.frombuffer(data, kind, len(data) // kind.itemsize)
        self.n_not_finite += values.size - int(np.count_nonzero(np.isfinite(values)))
