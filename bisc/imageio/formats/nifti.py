"""NIfTI-1 and NIfTI-2, packed or not: ITK makes the grid of a header that was checked before, and the voxels are
read once, to the file's last byte, as they stand there.

What ITK passes over in silence is refused: it takes a spacing of 0 or NaN for 1 mm, makes up voxels that are missing,
and turns NaN into 0, which is water. It does not read NIfTI-2, which is NIfTI-1 with wider numbers; it is given such a
header as NIfTI-1, in a file of its own.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from io import BufferedReader
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from bisc.core.errors import InputError, one_line, shortened
from bisc.core.geometry import ROUNDING_DRIFT, IntTriple
from bisc.imageio.case import Stored
from bisc.imageio.formats.nifti_header import (
    EPSILON,
    LAYOUTS,
    NIFTI1_BYTES,
    NIFTI2_BYTES,
    Header,
    as_nifti1,
    by,
    check_place,
    scaled,
    sizes_of,
    straightened,
)
from bisc.imageio.formats.whole import CHUNK_BYTES, Promise, chunks_of, filled, followed
from bisc.imageio.plausible import AGAIN, check_header, itk_grid

SLAB_BYTES: Final = 1 << 27
"""Stored bytes held at a time: one large float file must not fill the memory."""
PACKED_BYTES: Final = 1 << 16
"""Far more packed bytes than a header ever takes."""
GZIP_MAGIC, GZIP_STREAM = b"\x1f\x8b", 31
"""How gzip begins; zlib's code for it."""
MARKS: Final = {NIFTI1_BYTES: (344, b"n+1\0"), NIFTI2_BYTES: (4, b"n+2\0\r\n\x1a\n")}
"""By the length of the header, in its first four bytes: where its mark stands, and the mark."""
FIRST_START: Final = 352
"""Where the voxels of a NIfTI-1 file begin at the earliest, by the standard: four bytes behind the header."""
UNSAID_STARTS: Final = (0, NIFTI1_BYTES)
"""What some writers give instead, of voxels that begin at the one place or the other."""
MAX_SIZE: Final = 32767
MAX_START: Final = 1 << 24
"""No header with its extensions is longer; whole numbers up to this one are exact in NIfTI-1's float32."""
KINDS: Final = {
    2: "u1", 256: "i1", 4: "i2", 512: "u2", 8: "i4", 768: "u4", 1024: "i8", 1280: "u8", 16: "f4", 64: "f8",
}  # fmt: skip
"""NIfTI's codes of one number of up to 64 bits."""
READABLE: Final = "a NIfTI, NRRD, MHA or DICOM image"


def open_nifti(path: Path) -> Stored:
    """A `.nii` or `.nii.gz` file, its header checked; its voxels are read in slabs of at most `SLAB_BYTES`.

    Raises:
        InputError: Saying which field is wrong, or which two contradict each other.
    """
    header, is_nifti2 = _header(path)
    drift = check_place(path, header)
    code = int(header["datatype"])
    kind = np.dtype(KINDS.get(code, "u1")).newbyteorder("=" if header.dtype.isnative else "S")
    bent = drift > ROUNDING_DRIFT
    itk = _itk_header(
        path, straightened(header) if bent else header, kind.itemsize, is_nifti2 or bent or _is_mixed(path)
    )
    check_header(path, itk, path.stat().st_size, kind.itemsize)
    if code not in KINDS:  # what has several parts was refused just before
        raise _no_nifti(path, f"its header gives the type {code}")
    geometry = itk_grid(path, itk, drift)
    n_bytes = prod(geometry.shape_zyx) * kind.itemsize
    placed = max(int(header["qform_code"]), int(header["sform_code"])) > 0
    return Stored(geometry, n_bytes, True, lambda: _slabs(path, header, kind, geometry.shape_zyx), placed)


def note_of(path: Path) -> str:
    """What a NIfTI-1 file says in its field `descrip`; empty where it is none."""
    try:
        header, is_nifti2 = _header(path)
    except InputError:
        return ""
    return "" if is_nifti2 else bytes(header["descrip"]).decode("latin-1")


def extensions_of(path: Path) -> tuple[list[bytes], bool]:
    """What stands between a NIfTI file's header and its voxels, an extension each, and whether more of it is broken;
    nothing where the header or the packing is at fault, which reading the voxels tells."""
    try:
        header, is_nifti2 = _header(path)
        at = NIFTI2_BYTES if is_nifti2 else NIFTI1_BYTES
        with _unpacked(path) as file:
            raw = file.read(int(header["vox_offset"]))[at:]
    except (InputError, OSError, EOFError, zlib.error):
        return [], False
    found: list[bytes] = []
    rest = raw[4:] if raw[:1] > b"\0" else b""
    kind = np.dtype("i4").newbyteorder("=" if header.dtype.isnative else "S")
    while rest.strip(b"\0"):
        n_bytes = int(np.frombuffer(rest[:4].ljust(4, b"\0"), kind)[0])
        if not 8 <= n_bytes <= len(rest):
            return found, True
        found.append(rest[8:n_bytes])
        rest = rest[n_bytes:]
    return found, False


def check_whole(path: Path) -> None:
    """Refuse a file that is not whole: its header, all voxels that it promises, gzip's own checksum.

    It is read once, in chunks; what the voxels hold is not looked at.

    Raises:
        InputError: Saying what is wrong.
    """
    header, _ = _header(path)
    kind = KINDS.get(int(header["datatype"]))
    if kind is None:
        raise _no_nifti(path, f"its header gives the type {int(header['datatype'])}")
    with _unpacked(path) as file:
        for _ in followed(path, chunks_of(file), _promise(path, header, np.dtype(kind).itemsize), to_the_end=True):
            pass


def unpacked_bytes(path: Path) -> int:
    """A file's size, unpacked where its name says gzip, as far as it goes."""
    n_bytes = 0
    with suppress(EOFError), _unpacked(path) as file:
        while chunk := file.read1(CHUNK_BYTES):
            n_bytes += len(chunk)
    return n_bytes


def leave_place_open(path: Path) -> None:
    """Set the orientation codes of a NIfTI-1 file to 0, which ITK writes as 1: as of an image that has none."""
    with _unpacked(path) as file:
        raw = bytearray(file.read())
    raw[252:256] = bytes(4)  # qform_code and sform_code
    path.write_bytes(gzip.compress(raw, 1, mtime=0) if _is_packed(path) else raw)


def _header(path: Path) -> tuple[Header, bool]:
    """A file's header as NIfTI-1, and whether it is NIfTI-2 there; its mark, sizes and spacing are sound."""
    raw = _first_bytes(path)
    orders: dict[int, Literal["<", ">"]] = {int.from_bytes(raw[:4], "little"): "<", int.from_bytes(raw[:4], "big"): ">"}
    n_bytes = next((n for n in LAYOUTS if n in orders), 0)
    if not n_bytes:
        raise _no_nifti(path, "no NIfTI header")
    if len(raw) < n_bytes:
        raise _no_nifti(path, f"no NIfTI header: it ends after {len(raw)} bytes")
    at, mark = MARKS[n_bytes]
    if raw[at : at + len(mark)] != mark:
        raise _no_nifti(path, f"no NIfTI header: its mark is {raw[at : at + len(mark)]!r}, not {mark!r}")
    header: Header = np.frombuffer(raw, LAYOUTS[n_bytes].newbyteorder(orders[n_bytes]), 1)[0].copy()
    sizes = sizes_of(header)
    if not sizes or not all(1 <= n <= MAX_SIZE for n in sizes):
        raise _no_nifti(path, f"its header gives the sizes {shortened(str(sizes), 80)}")
    is_nifti2, start = n_bytes == NIFTI2_BYTES, float(header["vox_offset"])
    earliest = n_bytes if is_nifti2 else FIRST_START
    if not ((earliest <= start <= MAX_START and start.is_integer()) or (not is_nifti2 and start in UNSAID_STARTS)):
        found = f"its header lets voxels begin at byte {start:.16g}, no whole number from {earliest} to {MAX_START}"
        raise _no_nifti(path, found)
    header = as_nifti1(header) if is_nifti2 else header
    spacing = header["pixdim"][1 : 1 + min(3, len(sizes))]
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise InputError(path, f"its header gives the spacing {by(spacing)}", "positive numbers in mm", AGAIN)
    return header, is_nifti2


def _first_bytes(path: Path) -> bytes:
    """Enough of a file for its header, unpacked."""
    with path.open("rb") as file:
        raw = file.read(PACKED_BYTES)
    if not raw:
        raise _no_nifti(path, "it is empty")
    packed = _is_packed(path)
    if packed and not raw.startswith(GZIP_MAGIC):
        raise InputError(path, "cannot be read (not gzip)", "a gzip file by its name", AGAIN)
    if raw.startswith(GZIP_MAGIC) and not packed:
        raise InputError(path, "cannot be read (gzip)", "an unpacked file by its name", "name it .nii.gz")
    try:
        return zlib.decompressobj(GZIP_STREAM).decompress(raw, max(MARKS)) if packed else raw
    except zlib.error as error:
        raise _no_nifti(path, "damaged gzip") from error


def _itk_header(path: Path, header: Header, voxel_bytes: int, copied: bool) -> sitk.ImageFileReader:
    """ITK's reader of a file, or of its `header` as a file of its own; it has read that.

    Of NIfTI-2, which it does not know, of a name like c.Nii.Gz, which it does not take, and of a bent sform, which it
    refuses ('No orthonormal definition found') unless an environment variable allows all of them, a tilted gantry's
    too, and to the caller as well.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    try:
        if not copied:
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            return reader
        with TemporaryDirectory(prefix="bisc-nifti-") as folder:
            copy = Path(folder) / "header.nii"
            copy.write_bytes(header.tobytes() + bytes(4))
            reader.SetFileName(str(copy))
            reader.ReadImageInformation()
            return reader
    except OSError as error:
        found = f"its header cannot be copied into a temporary folder ({error.strerror or error})"
        raise InputError(path, found, "room there", "free space, or set TMPDIR") from error
    except RuntimeError as error:
        reason = one_line(str(error)).rsplit("ERROR:", 1)[-1].strip()[-200:]
        if int(header["datatype"]) in KINDS:  # of others it is unknown how long the file should be
            with _unpacked(path) as file:
                for _ in followed(path, chunks_of(file), _promise(path, header, voxel_bytes)):
                    pass  # damage is told as such
        if copied:
            reason = "a NIfTI header of another kind"  # ITK's words would name the copy
        raise InputError(path, f"cannot be read ({reason})", READABLE, AGAIN) from error


def _slabs(path: Path, header: Header, kind: np.dtype[Any], shape_zyx: IntTriple) -> Iterator[npt.NDArray[Any]]:
    """The stored numbers, scaled as the header says. Before the last slab is given out, the file has been followed to
    its end: only gzip's checksum tells a flipped bit or an overwritten block from a sound file."""
    z, y, x = shape_zyx
    step = max(1, SLAB_BYTES // (x * y * kind.itemsize))
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not (np.isfinite(slope) and abs(slope) > EPSILON) and np.isfinite(intercept) and abs(intercept) > EPSILON:
        found = f"scl_slope {slope:g} with scl_inter {intercept:g}: some readers add it, others do not"
        raise InputError(path, found, "a slope beside an intercept", "write it with a slope of 1, or without both")
    promise, n_bad = _promise(path, header, kind.itemsize), 0
    with _unpacked(path) as file:
        chunks = followed(path, chunks_of(file), promise)
        rest = filled(memoryview(bytearray(promise.start)), b"", chunks)
        for at in range(0, z, step):
            slab = np.empty((min(step, z - at), y, x), kind)
            rest = filled(slab.reshape(-1).view(np.uint8).data, rest, chunks)
            if kind.kind == "f":
                n_bad += slab.size - int(np.count_nonzero(np.isfinite(slab)))
            if at + step >= z:
                for _ in chunks:
                    pass
                if n_bad:
                    raise InputError(path, f"{n_bad} voxels are NaN or infinite", "finite numbers", "repair the export")
            yield scaled(slab, slope, intercept)


def _promise(path: Path, header: Header, voxel_bytes: int) -> Promise:
    """Of a header. Where that leaves open at which byte voxels begin, the file's length tells: it is read for that.

    The standard allows nothing before byte 352. Of a smaller number ITK takes the header's end, byte 348, and others
    byte 0 or nothing.
    """
    given = int(header["vox_offset"])
    promise = Promise(sizes_of(header), voxel_bytes, max(NIFTI1_BYTES, given))
    if given not in UNSAID_STARTS:
        return promise
    with _unpacked(path) as file:
        there = sum(map(len, followed(path, chunks_of(file), promise)))
    start = there - promise.n_bytes
    has_extensions = start == FIRST_START and _first_bytes(path)[NIFTI1_BYTES] != 0
    if start not in (NIFTI1_BYTES, FIRST_START) or has_extensions:
        found = f"its vox_offset is {given}, and {there} bytes of {promise.n_bytes} in voxels do not tell where"
        raise InputError(path, found, f"voxels from byte {FIRST_START} on", "save it again")
    return replace(promise, start=start)


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _is_mixed(path: Path) -> bool:
    """Whether the suffix has small letters and capitals."""
    suffix = path.name[path.name.lower().rindex(".nii") :]
    return suffix not in (suffix.lower(), suffix.upper())


def _unpacked(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.GzipFile(path) if _is_packed(path) else path.open("rb")


def _no_nifti(path: Path, reason: str) -> InputError:
    return InputError(path, f"cannot be read ({reason})", READABLE, AGAIN)
