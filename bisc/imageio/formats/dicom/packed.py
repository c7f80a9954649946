"""Packed pixels (JPEG, JPEG-LS, JPEG 2000, RLE): which of a file's pieces are of which frame, and what they decode to.

Where a frame begins, three things say: the number of frames, a table of offsets, and the codes with which a packed
image begins. A library follows one of them; where they contradict each other every frame behind may be another slice's,
so such a file is refused.
"""

from __future__ import annotations

import re
import struct
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_fragments, parse_basic_offsets, parse_fragments
from pydicom.uid import UID, RLELossless, SecondaryCaptureImageStorage

from bisc.core.errors import InputError, one_line
from bisc.imageio.formats.dicom.tags import BROKEN, name_of, number

PIXEL_TAGS: Final = (
    "SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip
UNPACKED: Final = "export it again, unpacked"
JP2: Final = rb"\x00\x00\x00\x0cjP  "
BEGINS: Final = re.compile(rb"\xff\xd8\xff|\xff\x4f\xff\x51|" + JP2)
"""A packed image: SOI of JPEG and JPEG-LS, SOC and SIZ of JPEG 2000, or its file format."""
RLE_BEGINS: Final = re.compile(rb"[\x01-\x0f]\x00\x00\x00\x40\x00\x00\x00")
"""The number of segments, and where the first is: behind 64 bytes of header (PS3.5, G.5)."""
TWO_IMAGES: Final = re.compile(rb"\xff\xd9\x00*(?:\xff+\xd8\xff|\xff\x4f\xff\x51)")
"""The end of one and the beginning of another; codes that within packed values do not stand."""
J2K_SIZES: Final = b"\xff\x4f\xff\x51"
J2K_DEPTH_AT: Final = 42
"""The first component's sign and bits less one, behind the sizes (ISO 15444-1, A.5.1)."""
JPEG_FRAMES: Final = frozenset({*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7})
"""SOF of JPEG, and of JPEG-LS."""
FEW_BITS: Final = 8


def frames_in(path: Path, data: FileDataset, syntax: UID) -> list[bytes]:
    """The packed image of each frame, in stored order.

    Raises:
        InputError: If the file's pieces are damaged, or it does not tell which of them are of which frame.
    """
    n = int(number(path, data, "NumberOfFrames") or 1)
    buffer = BytesIO(data.PixelData)
    try:
        table, at = parse_basic_offsets(buffer), buffer.tell()
        places = {place - at: i for i, place in enumerate(parse_fragments(buffer)[1])}
        pieces = list(generate_fragments(buffer))
        table = _extended(data) or table
    except BROKEN as error:
        found = f"cannot be decoded ({syntax.name}: {one_line(str(error))[-120:]})"
        raise InputError(path, found, "whole pixels in a form of DICOM", "copy or export it again") from error
    begins = RLE_BEGINS if syntax == RLELossless else BEGINS
    starts = [i for i, piece in enumerate(pieces) if begins.match(piece)]
    if table and len(table) != n:
        raise _not_told(path, n, f"{len(table)} frames are there (by the table of offsets)")
    if table and not (table[0] == 0 and table == sorted({*table}) and {*table} <= places.keys()):
        raise _not_told(path, n, "the table of offsets does not lead to where its pieces begin")
    heads = [places[offset] for offset in table] or _heads(n, len(pieces), starts)
    if len(heads) != n or (starts and starts != heads):
        raise _not_told(path, n, f"{len(starts)} packed images are there in {len(pieces)} pieces")
    frames = [b"".join(pieces[i:k]) for i, k in zip(heads, [*heads[1:], len(pieces)], strict=True)]
    if syntax != RLELossless:
        for i, frame in enumerate(frames):
            if TWO_IMAGES.search(frame):
                raise _not_told(path, n, f"frame {i + 1} holds two packed images or more")
    return frames


def _heads(n: int, n_pieces: int, starts: list[int]) -> list[int]:
    """Where no table tells: one piece each, or all are of the one frame, or frames begin where packed images do."""
    if n_pieces == n:
        return list(range(n))
    return [0] if n == 1 else starts


def _extended(data: Dataset) -> list[int]:
    """The table of offsets for large files; empty where there is none."""
    table = data.get("ExtendedOffsetTable") or b""
    return [int(offset) for (offset,) in struct.iter_unpack("<Q", table)] if isinstance(table, bytes) else []


def _not_told(path: Path, n: int, found: str) -> InputError:
    found = f"{name_of('NumberOfFrames')} is {n}, and {found}"
    return InputError(path, found, "packed frames that can be told apart", UNPACKED)


def decoded(path: Path, data: FileDataset, syntax: UID, packed: bytes, folder: Path) -> npt.NDArray[Any]:
    """Stored values of a packed frame, decoded by ITK's GDCM from a file that holds nothing else.

    Args:
        path: Named in errors.
        data: Of the file.
        syntax: Its transfer syntax.
        packed: Of `frames_in`.
        folder: For that file.

    Raises:
        InputError: If the packed image is not of the bits that the header tells; other errors are the libraries'.
    """
    _check_depth(path, data, packed)
    alone = Dataset()
    for tag in PIXEL_TAGS:
        setattr(alone, tag, data.get(tag))
    alone.PhotometricInterpretation = "MONOCHROME2"  # GDCM inverts MONOCHROME1, which only tells how to show a value
    alone.SOPClassUID, alone.SOPInstanceUID = SecondaryCaptureImageStorage, UID("1.2.3")
    alone.PixelData = encapsulate([packed])
    alone["PixelData"].VR = "OB"
    alone.file_meta = FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = syntax
    alone.file_meta.MediaStorageSOPClassUID = alone.SOPClassUID
    alone.file_meta.MediaStorageSOPInstanceUID = alone.SOPInstanceUID
    file = folder / "frame.dcm"
    alone.save_as(file, enforce_file_format=True)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    voxels: npt.NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
    return voxels[0] if voxels.ndim == 3 else voxels


def _check_depth(path: Path, data: Dataset, packed: bytes) -> None:
    """Refuse 8 bits packed where the header tells more, and a sign that the header does not know."""
    stored, signed = int(data.BitsStored), bool(data.PixelRepresentation)
    bits, is_signed = _depth(packed, signed)
    fault = ""
    if bits and bits <= FEW_BITS < stored:
        fault = f"its packed pixels have {bits} bits, and {name_of('BitsStored')} is {stored}"
    elif is_signed and not signed:
        fault = f"its packed pixels have a sign, and {name_of('PixelRepresentation')} is 0"
    elif bits and signed and not is_signed and bits < stored:
        fault = f"its packed pixels are of {bits} bits without a sign, and the header's of {stored} with one"
    if fault:
        raise InputError(path, fault, "pixels as the header tells", UNPACKED)


def _depth(packed: bytes, signed: bool) -> tuple[int, bool]:
    """Bits of a packed image and whether they have a sign, by its own codes; 0 where they do not tell. JPEG knows no
    sign: then it is the header's, `signed`."""
    sizes = packed.find(J2K_SIZES, 0, 1 << 10)
    if packed[:2] != b"\xff\xd8" and 0 <= sizes < len(packed) - J2K_DEPTH_AT:
        depth = packed[sizes + J2K_DEPTH_AT]
        return (depth & 0x7F) + 1, depth >= 0x80
    at = 2 if packed[:2] == b"\xff\xd8" else len(packed)
    while at + 5 <= len(packed) and packed[at] == 0xFF:
        if packed[at + 1] in JPEG_FRAMES:
            return packed[at + 4], signed
        is_fill = packed[at + 1] == 0xFF
        at += 1 if is_fill else 2 + int.from_bytes(packed[at + 2 : at + 4], "big")
    return 0, signed
