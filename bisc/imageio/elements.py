"""Whether the elements of a DICOM file fit into it, looked at before GDCM reads it.

GDCM allocates what an element's length asks for, and after an error reads the file again in another encoding, in which
every length is wrong: a slice of a kilobyte with one changed bit takes gigabytes, some of which are never given back.
The encodings are those of DICOM PS3.5, 7.1, and PS3.10, 7.1.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bisc.core.errors import InputError

MARK_AT: Final = 128
MARK: Final = b"DICM"

LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations with two spare bytes and four of length."""
SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""Those with two bytes of length."""
VAGUE_VRS: Final = frozenset((b"??", b"  ", b"\0\0"))
"""What some writers put where they know none; how long such a value is written is anyone's guess."""
UNDEFINED: Final = 0xFFFFFFFF
META_GROUP, DELIMITER_GROUP = 0x0002, 0xFFFE
PIXELS: Final = (0x7FE0, 0x0010)
SYNTAX: Final = (0x0002, 0x0010)
IMPLICIT: Final = ("1.2.840.10008.1.2", "1.2.840.113619.5.2")
"""DICOM's default, and GE's, whose pixels alone have the other byte order."""
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1")
KNOWN: Final = re.compile(r"1\.2\.840\.10008\.1\.2(\.[1-9](\.[0-9]{1,3})?(\.[0-9]{1,2})?)?|1\.2\.840\.113619\.5\.2")

Order = Literal["little", "big"]


class _Unfit(Exception):
    """An element that no sound file holds."""


@dataclass(frozen=True)
class _Element:
    tag: tuple[int, int]
    vr: bytes
    length: int
    value_at: int


def elements_fit(path: Path) -> bool:
    """Whether no element of a DICOM file is longer than the file, as far as it can be followed.

    True of files without DICOM's mark, which GDCM reads otherwise or not at all, and of what is deflated.

    Raises:
        InputError: If it cannot be opened.
    """
    if not is_marked(path):
        return True
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            _walk(data)
        except _Unfit:
            return False
    return True


def is_marked(path: Path) -> bool:
    """Whether a file has DICOM's mark; raises as `elements_fit`."""
    try:
        with path.open("rb") as file:
            file.seek(MARK_AT)
            return file.read(len(MARK)) == MARK
    except OSError as error:
        found = f"cannot be read ({error.strerror or error})"
        raise InputError(path, found, "a readable file", "change its permissions or move it away") from error


def _walk(data: mmap.mmap) -> None:
    """Follow the meta group, then the data set in the encoding that it names; sequences are stepped into."""
    at, syntax = MARK_AT + len(MARK), ""
    while at + 8 <= len(data) and int.from_bytes(data[at : at + 2], "little") == META_GROUP:
        element = _element(data, at, explicit=True, order="little", in_meta=True)
        at = element.value_at + element.length
        if element.tag == SYNTAX:
            syntax = data[element.value_at : at].decode("latin-1").strip("\0 ")
    if not KNOWN.fullmatch(syntax):
        raise _Unfit
    if syntax not in DEFLATED:
        _walk_elements(data, at, syntax not in IMPLICIT, "big" if syntax == BIG_ENDIAN else "little")


def _walk_elements(data: mmap.mmap, at: int, explicit: bool, order: Order) -> None:
    in_pixels = False
    while at + 8 <= len(data):
        element = _element(data, at, explicit, order)
        at = element.value_at
        if element.vr in VAGUE_VRS or (element.vr == b"UN" and element.length == UNDEFINED):
            return  # in which encoding the file goes on cannot be told
        if element.tag[0] == DELIMITER_GROUP:
            at += element.length if in_pixels and element.length != UNDEFINED else 0
        elif element.length == UNDEFINED:
            in_pixels = element.tag == PIXELS
        elif element.vr != b"SQ":
            at += element.length


def _element(data: mmap.mmap, at: int, explicit: bool, order: Order, in_meta: bool = False) -> _Element:
    def number(start: int, n_bytes: int) -> int:
        return int.from_bytes(data[start : start + n_bytes], order)

    tag = number(at, 2), number(at + 2, 2)
    vr = data[at + 4 : at + 6] if explicit and tag[0] != DELIMITER_GROUP else b""
    if vr in LONG_VRS:
        element = _Element(tag, vr, number(at + 8, 4), at + 12)
    elif vr in SHORT_VRS:
        element = _Element(tag, vr, number(at + 6, 2), at + 8)
    elif not vr:
        element = _Element(tag, vr, number(at + 4, 4), at + 8)
    elif vr in VAGUE_VRS and not in_meta:
        return _Element(tag, vr, 0, at + 8)
    else:
        raise _Unfit
    if element.length > len(data) and (in_meta or element.length != UNDEFINED):
        raise _Unfit
    return element
