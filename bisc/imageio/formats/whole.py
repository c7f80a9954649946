"""Whether a file holds the voxels that its header promises, and nothing else that may be voxels.

A header of too small a type or size leaves a rest, and the voxels before it are read as others: every second byte of
int16 as a label, rows of 60 of 64 columns. Which of the two is right is not guessed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio.plausible import AGAIN

CHUNK_BYTES: Final = 1 << 20
MOST_SURPLUS: Final = 2
"""A small packed file can unpack to any number of bytes: past so many times what is promised it is not followed."""
STRAY_BYTES: Final = 16
"""As an end of line or a checksum behind the voxels takes; no row of a CT is as short."""


@dataclass(frozen=True)
class Promise:
    """What a header says of its voxels.

    Attributes:
        sizes: Voxels along each axis.
        voxel_bytes: Of one voxel.
        start: Bytes before them in the file, unpacked.
    """

    sizes: tuple[int, ...]
    voxel_bytes: int
    start: int = 0

    @property
    def n_bytes(self) -> int:
        """Of all voxels."""
        return prod(self.sizes) * self.voxel_bytes

    @property
    def end(self) -> int:
        """Where the file may end."""
        return self.start + self.n_bytes


def chunks_of(file: gzip.GzipFile | BufferedReader) -> Iterator[bytes]:
    """What is left of a file, at most `CHUNK_BYTES` at a time."""
    while chunk := file.read1(CHUNK_BYTES):
        yield chunk


def followed(path: Path, chunks: Iterable[bytes], promise: Promise, to_the_end: bool = False) -> Iterator[bytes]:
    """The chunks of a file, unpacked; once the last was given out, it held its voxels, and nothing else.

    Args:
        path: Named in errors.
        chunks: The whole file's.
        promise: Of its header.
        to_the_end: Whether gzip's checksum must be there. Else all voxels of a file that lacks it are used.

    Raises:
        InputError: Where bytes are missing, damaged, or too many to be a few stray ones or padding.
    """
    n_bytes, n_zeros = 0, 0
    try:
        for chunk in chunks:
            n_zeros += chunk[max(0, promise.end - n_bytes) :].count(0)
            n_bytes += len(chunk)
            if n_bytes > MOST_SURPLUS * promise.end + CHUNK_BYTES:
                raise _far_too_long(path, promise)
            yield chunk
    except EOFError as error:  # gzip's: the end is missing, perhaps nothing but the checksum
        if to_the_end and n_bytes >= promise.end:
            raise InputError(path, "ends before its gzip checksum", "a whole gzip file", AGAIN) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(path, f"damaged gzip, after {n_bytes} bytes", "a sound gzip file", AGAIN) from error
    _check_surplus(path, n_bytes, n_zeros, promise)


def check_plain(path: Path, data: Path, promise: Promise) -> None:
    """As `followed`, of a file `data` that is not packed; none of its voxels is read."""
    there = data.stat().st_size
    if there > MOST_SURPLUS * promise.end + CHUNK_BYTES:
        raise _far_too_long(path, promise)
    with data.open("rb") as file:
        file.seek(promise.end)
        n_zeros = sum(chunk.count(0) for chunk in chunks_of(file))
    _check_surplus(path, there, n_zeros, promise)


def _check_surplus(path: Path, there: int, n_zeros: int, promise: Promise) -> None:
    """Refuse a file of `there` bytes that lacks voxels, or has more behind them, of which `n_zeros` are 0: only a few
    stray bytes may follow, or zeros, with which tapes and disks pad files.

    As many zeros as whole slices along any axis take are refused: the end of a label map is empty, and so is what a
    header of the wrong size or type leaves of it.
    """
    surplus = there - promise.end
    if surplus < 0:
        raise InputError(path, f"ends after {there} bytes", f"{promise.end} bytes", AGAIN)
    slices = any(surplus % (promise.n_bytes // size) == 0 for size in promise.sizes)
    if not surplus or (not slices and (surplus <= STRAY_BYTES or n_zeros == surplus)):
        return
    found = f"holds {surplus} bytes behind the {promise.n_bytes} of the voxels that its header promises"
    mend = "correct the header's sizes or type, or export it again"
    raise InputError(path, found, "as many voxels as its header says", mend)


def _far_too_long(path: Path, promise: Promise) -> InputError:
    found = f"holds more than {MOST_SURPLUS} times what its header promises"
    return InputError(path, found, f"{promise.end} bytes", AGAIN)


def filled(target: memoryview, rest: bytes, chunks: Iterator[bytes]) -> bytes:
    """Fill `target` from `rest` and the chunks behind it; what is left of the last chunk."""
    at = 0
    while at < len(target):
        rest = rest or next(chunks, b"")
        n = min(len(rest), len(target) - at)
        target[at : at + n] = rest[:n]
        rest, at = rest[n:], at + n
    return rest
