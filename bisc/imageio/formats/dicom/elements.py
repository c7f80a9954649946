"""Whether the elements of a DICOM file fit into it, looked at before a library reads it.

Libraries allocate what an element's length asks for, inflate what is deflated whatever comes of it, and guess where an
encoding is not kept: a slice of a kilobyte with one changed bit takes gigabytes (GDCM), or loses its tags (pydicom).
The encodings are those of DICOM PS3.5, 7.1, and PS3.10, 7.1.
"""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG
from struct import Struct
from typing import Final, Literal, NamedTuple

from bisc.core.errors import InputError
from bisc.system.paths import absence

MARK_AT: Final = 128
MARK: Final = b"DICM"
BARE_BEGINS: Final = (b"\x02\x00", b"\x08\x00")
"""Of files without preamble and mark, which GDCM reads too: group 2 or 8, little endian."""

INDEX: Final = "DICOMDIR"
"""The table of contents of a DICOM medium: marked as DICOM, and no slice."""
GROUP_ZERO: Final = b"\0\0"
"""Of messages between devices, never of a file: where a slice begins so, its preamble has moved."""

LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations with two spare bytes and four of length."""
SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""Those with two bytes of length."""
VAGUE_VRS: Final = frozenset((b"??", b"  ", b"\0\0"))
"""What some writers put where they know none; how long such a value is written is anyone's guess."""
UNDEFINED: Final = 0xFFFFFFFF
META_GROUP, DELIMITER_GROUP = 0x0002, 0xFFFE
PIXELS: Final = (0x7FE0, 0x0010)
SEQUENCE_END: Final = (0xFFFE, 0xE0DD)
SYNTAX: Final = (0x0002, 0x0010)
IMPLICIT: Final = ("1.2.840.10008.1.2", "1.2.840.113619.5.2")
"""DICOM's default, and GE's, whose pixels alone have the other byte order."""
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = ("1.2.840.10008.1.2.1.99",)
"""The whole data set; 1.2.840.10008.1.2.8.1 deflates each frame by itself."""
MAX_INFLATED: Final = 1 << 28
MAX_DEPTH: Final = 64
"""Sequences within each other; GDCM's stack ends somewhere between 10000 and 20000."""
ZEROS: Final = bytes(1 << 16)
UID_FORM: Final = re.compile(r"[0-9]+(\.[0-9]+)+")

Data = mmap.mmap | bytes
Order = Literal["little", "big"]
Encoding = Literal["explicit", "implicit", "either"]
_TAGS: Final = {"little": Struct("<HH"), "big": Struct(">HH")}
_SHORTS: Final = {"little": Struct("<H"), "big": Struct(">H")}
_LONGS: Final = {"little": Struct("<I"), "big": Struct(">I")}


class _Unfit(Exception):
    """An element that no sound file holds."""


class _Element(NamedTuple):
    tag: tuple[int, int]
    vr: bytes
    length: int
    value_at: int


def elements_fit(path: Path) -> bool:
    """Whether no element of a DICOM file is longer than the file, as far as it can be followed.

    True of files that do not begin as DICOM does, but for a '.dcm' that begins with zeros and has no mark behind
    them: GDCM would look for elements among the zeros, and take a gigabyte for one.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        if path.stat().st_size <= MARK_AT + len(MARK):
            return True  # mmap takes no empty file
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[MARK_AT : MARK_AT + len(MARK)] == MARK:
                _walk(data, MARK_AT + len(MARK))
            elif data[:2] in BARE_BEGINS:
                _walk(data, 0)
            elif data[:2] == GROUP_ZERO:
                return path.suffix.lower() != ".dcm"
    except _Unfit:
        return False
    except OSError as error:
        raise unreadable(path, error) from error
    return True


def is_dicom(path: Path) -> bool:
    """Whether a file has DICOM's mark, or begins with an element as files without preamble do; raises InputError where
    it cannot be read."""
    head = _head(path)
    return head[MARK_AT:] == MARK or _begins_bare(head)


def seems_dicom(path: Path) -> bool:
    """Whether a file is meant to be DICOM, by its mark or its name; raises as `is_dicom`."""
    return path.suffix.lower() == ".dcm" or is_dicom(path)


def _begins_bare(head: bytes) -> bool:
    """Whether a file begins with an element of group 2 or 8, with its VR in letters or with a short length."""
    if head[:2] not in BARE_BEGINS or len(head) < MARK_AT:
        return False
    explicit = head[4:6] in SHORT_VRS | LONG_VRS
    return head[3:4] == b"\0" and (explicit or int.from_bytes(head[4:8], "little") <= MARK_AT)


def broken_slices(others: Iterable[Path], slices: Iterable[Path]) -> list[Path]:
    """Which of `others`, no DICOM by their bytes, were meant to be: too short for a header, as a copy that broke off
    leaves, and named as one of `slices` but for the number. Other empty files (marks of programs) are none."""
    shapes = {shape_of(path.name) for path in slices}
    named_so = [path for path in others if shape_of(path.name) in shapes]
    return [path for path in named_so if path.is_file() and path.stat().st_size <= MARK_AT + len(MARK)]


def shape_of(name: str) -> str:
    """A name without its numbers, which may be hexadecimal, but have a digit."""
    return re.sub("[A-Fa-f]*[0-9][0-9A-Fa-f]*", "0", name)


def _head(path: Path) -> bytes:
    try:
        if not S_ISREG(path.stat().st_mode):  # to open a pipe is to wait for ever
            raise InputError(path, "is a pipe or a device", "a file", "move it away")
        with path.open("rb") as file:
            return file.read(MARK_AT + len(MARK))
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> InputError:
    """The system's error over a file, as the package's."""
    missing = absence(path)
    if missing:
        return InputError(path, missing, "a file", "mend the link, or remove it")
    found = f"cannot be read ({error.strerror or error})"
    return InputError(path, found, "a readable file", "change its permissions or move it away")


def _walk(data: Data, at: int) -> None:
    """Follow the meta group, then the data set in the encoding that it names; sequences are stepped into."""
    bare, syntax = at == 0, ""
    while at + 8 <= len(data) and _TAGS["little"].unpack_from(data, at)[0] == META_GROUP:
        element = _element(data, at, "explicit", "little", in_meta=True)
        at = element.value_at + element.length
        if element.tag == SYNTAX:
            syntax = data[element.value_at : at].decode("latin-1").strip("\0 ")
    if bare and not syntax:
        _walk_elements(data, at, "either", "little")
        return
    if not UID_FORM.fullmatch(syntax):
        raise _Unfit
    if syntax in DEFLATED:
        data, at = _inflated(data, at), 0
    encoding: Encoding = "implicit" if syntax in IMPLICIT else "explicit"
    _walk_elements(data, at, encoding, "big" if syntax == BIG_ENDIAN else "little")


def _inflated(data: Data, at: int) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        whole = stream.decompress(data[at:], MAX_INFLATED)
    except zlib.error as error:
        raise _Unfit from error
    if not stream.eof:  # cut short, or longer than any slice
        raise _Unfit
    return whole


def _walk_elements(data: Data, at: int, encoding: Encoding, order: Order) -> None:
    """`open_ends`: the encodings around each value of undefined length that is not yet at its end."""
    open_ends: list[Encoding] = []
    pixels_at = -1
    while at + 8 <= len(data):
        if data[at : at + 8] == ZEROS[:8]:
            at = _behind_zeros(data, at)
            continue
        element = _element(data, at, encoding, order)
        at = element.value_at
        if element.vr in VAGUE_VRS:
            return  # where the file goes on cannot be told
        if element.tag[0] == DELIMITER_GROUP:
            if element.tag == SEQUENCE_END and open_ends:
                encoding = open_ends.pop()
            elif element.length != UNDEFINED and len(open_ends) == pixels_at:
                at += element.length  # a fragment, which may look like anything
        elif element.length == UNDEFINED:
            open_ends.append(encoding)
            if len(open_ends) > MAX_DEPTH:
                raise _Unfit
            pixels_at = len(open_ends) if element.tag == PIXELS else -1
            # The standard has implicit elements in what is unknown; not all writers know.
            encoding = "either" if element.vr == b"UN" else encoding
        elif element.vr != b"SQ":
            at += element.length


def _behind_zeros(data: Data, at: int) -> int:
    """Padding, or an empty element of group 0; GDCM reads on behind it."""
    while data[at : at + len(ZEROS)] == ZEROS:
        at += len(ZEROS)
    while data[at : at + 8] == ZEROS[:8]:
        at += 8
    return at


def _element(data: Data, at: int, encoding: Encoding, order: Order, in_meta: bool = False) -> _Element:
    tag = _TAGS[order].unpack_from(data, at)
    vr = b"" if encoding == "implicit" or tag[0] == DELIMITER_GROUP else data[at + 4 : at + 6]
    if vr in SHORT_VRS:
        length, value_at = _SHORTS[order].unpack_from(data, at + 6)[0], at + 8
    elif vr in LONG_VRS:
        if at + 12 > len(data):
            raise _Unfit
        length, value_at = _LONGS[order].unpack_from(data, at + 8)[0], at + 12
    elif not vr or encoding == "either":
        vr, length, value_at = b"", _LONGS[order].unpack_from(data, at + 4)[0], at + 8
    elif vr in VAGUE_VRS and not in_meta:
        return _Element(tag, vr, 0, at + 8)
    else:
        raise _Unfit
    if length > len(data) and (in_meta or length != UNDEFINED):
        raise _Unfit
    return _Element(tag, vr, length, value_at)
