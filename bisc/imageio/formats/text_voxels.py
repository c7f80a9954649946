"""The voxels behind NRRD and MetaImage headers, looked at before ITK reads them: it checks no checksum of a packed NRRD
that is long enough, makes up what a damaged MetaImage lacks, and reads from the front what is too long.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio.formats.text_headers import EXPORT, meta_head, nrrd_head
from bisc.imageio.formats.whole import CHUNK_BYTES, Promise, check_plain, chunks_of, followed
from bisc.imageio.plausible import AGAIN

_NRRD_RAW: Final = "raw"
_NRRD_GZIP: Final = ("gzip", "gz")


def check_whole_nrrd(path: Path, voxels: Promise) -> None:
    """Refuse a NRRD file whose voxels are damaged, cut short, or more than its header says; after `check_nrrd`.

    Voxels as text are left to ITK, which reads one number after the other.

    Args:
        path: The header's file.
        voxels: Their number and size; where they begin is looked up here.

    Raises:
        InputError: Naming the file.
    """
    head = nrrd_head(path)
    encoding = head.fields.get("encoding", "").lower()
    home, start = (head.data[0], 0) if head.data else (path, head.n_bytes)
    n_lines, n_skipped = (int(head.fields.get(field, 0)) for field in ("line skip", "byte skip"))
    with home.open("rb") as file:
        file.seek(start)
        _skip_lines(file, n_lines)
        if encoding == _NRRD_RAW:
            check_plain(path, home, replace(voxels, start=file.tell() + n_skipped))
        elif encoding in _NRRD_GZIP:  # there bytes are skipped within what is unpacked
            with gzip.GzipFile(fileobj=file) as unpacked:
                for _ in followed(path, chunks_of(unpacked), replace(voxels, start=n_skipped), True):
                    pass


def check_whole_meta(path: Path, voxels: Promise) -> None:
    """Refuse a MetaImage whose voxels are damaged, cut short, or more than its header says; after `check_meta`.

    Args:
        path: The header's file.
        voxels: Their number and size; where they begin is looked up here.

    Raises:
        InputError: Naming the file.
    """
    head = meta_head(path)
    home, start = (head.data[0], head.meta_skip) if head.data else (path, head.n_bytes)
    if head.fields.get("BinaryData", "")[:1] in ("F", "f", "0"):  # text, which ITK reads one number after the other
        return
    if head.meta_packed:
        with home.open("rb") as file:
            file.seek(max(0, start))
            for _ in followed(path, _zlib_chunks(path, file, head.meta_packed_bytes, voxels.n_bytes), voxels):
                pass
    elif head.meta_skip < 0:  # the voxels are the file's last bytes, whatever stands before them
        there = home.stat().st_size
        if not head.data and there != start + voxels.n_bytes:
            found = f"its voxels are the last {voxels.n_bytes} of the {there - start} bytes behind its header"
            raise InputError(path, found, "as many bytes as voxels take", EXPORT)
    else:
        check_plain(path, home, replace(voxels, start=start))


def _skip_lines(file: BufferedReader, n_lines: int) -> None:
    while n_lines and (part := file.readline(CHUNK_BYTES)):
        n_lines -= part.endswith(b"\n")


def _zlib_chunks(path: Path, file: BufferedReader, n_packed: int, promised: int) -> Iterator[bytes]:
    """What a zlib stream unpacks to, to its checksum. All of it must lie within `n_packed` bytes (0: within the file):
    MetaIO reads no more, and passes over its failure."""
    stream, n_bytes, left = zlib.decompressobj(), 0, n_packed or sys.maxsize
    try:
        while left and not stream.eof and (data := file.read(min(CHUNK_BYTES, left))):
            left -= len(data)
            while data and not stream.eof:
                chunk = stream.decompress(data, CHUNK_BYTES)
                n_bytes += len(chunk)
                yield chunk
                data = stream.unconsumed_tail
    except zlib.error as error:
        raise InputError(path, f"damaged, after {n_bytes} bytes unpacked", "a sound file", "copy it again") from error
    if not stream.eof or n_bytes < promised:
        raise InputError(path, f"ends after {n_bytes} bytes unpacked", f"{promised} bytes", AGAIN)
