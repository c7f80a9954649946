"""NIfTI-2, which ITK does not read, is NIfTI-1 with wider numbers: its header, written as NIfTI-1."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from bisc.core.errors import shortened

HEADER_BYTES: Final = 540
MARK: Final = b"n+2\0\r\n\x1a\n"
MOST_OFFSET: Final = 1 << 24
"""Whole numbers up to this one are exact in NIfTI-1's float32."""
NIFTI1_BYTES: Final = 348


def nifti1_header(raw: bytes, order: str) -> bytes:
    """The 348 bytes of a NIfTI-1 header, in the same byte order, that say of a file what its NIfTI-2 header says.

    Its voxels stay where they are. Numbers are rounded to float32, as every NIfTI-1 file's are.

    Args:
        raw: The first 540 bytes of the file.
        order: '<' or '>', as `struct` has it.

    Raises:
        ValueError: Saying what is wrong, or too large for NIfTI-1.
    """
    if raw[4:12] != MARK:
        raise ValueError(f"no NIfTI header: its mark is {raw[4:12]!r}, not {MARK!r}")
    sizes = struct.unpack_from(f"{order}8q", raw, 16)
    if not all(abs(n) <= np.iinfo(np.int16).max for n in sizes):
        raise ValueError(f"its header gives the sizes {shortened(str(sizes[1:]), 80)}")
    (start,) = struct.unpack_from(f"{order}q", raw, 168)
    if not HEADER_BYTES <= start <= MOST_OFFSET:
        raise ValueError(f"its header lets voxels begin at byte {start}, a header ends at {HEADER_BYTES}")
    out = bytearray(NIFTI1_BYTES)
    struct.pack_into(f"{order}i", out, 0, NIFTI1_BYTES)
    struct.pack_into(f"{order}8h", out, 40, *sizes)
    out[70:74] = raw[12:16]  # datatype and bits of a voxel
    for at, n, doubles_at in ((76, 8, 104), (112, 2, 176), (256, 6, 352), (280, 12, 400)):
        with np.errstate(over="ignore"):  # what becomes infinite is refused as such
            rounded = np.frombuffer(raw, f"{order}f8", n, doubles_at).astype(f"{order}f4")
        out[at : at + 4 * n] = rounded.tobytes()  # spacings, slope and intercept, qform, sform
    struct.pack_into(f"{order}f", out, 108, start)
    qform_code, sform_code = struct.unpack_from(f"{order}2i", raw, 344)
    struct.pack_into(f"{order}2h", out, 252, *(min(max(code, 0), 5) for code in (qform_code, sform_code)))
    (units,) = struct.unpack_from(f"{order}i", raw, 500)
    out[123] = units & 0xFF
    out[344:348] = b"n+1\0"
    return bytes(out)
