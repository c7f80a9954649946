"""Lengths in DICOM files, checked before GDCM allocates them: files made by hand, element by element."""

from __future__ import annotations

import errno
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from bisc.core.errors import InputError
from bisc.imageio import read_image
from bisc.imageio.formats.dicom.elements import elements_fit
from bisc.imageio.inputs import find_inputs
from tests.support.dicom_forms import Form
from tests.support.dicom_series import write_series

EXPLICIT, IMPLICIT, BIG, JPEG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in (".1", "", ".2", ".4.70", ".1.99"))
ENDLESS = 0xFFFFFFFF


def short(tag: tuple[int, int], vr: bytes, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    n = len(value) if length is None else length
    return struct.pack(f"{order}HH2sH", *tag, vr, n) + value


def long(tag: tuple[int, int], vr: bytes, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    n = len(value) if length is None else length
    return struct.pack(f"{order}HH2sHI", *tag, vr, 0, n) + value


def bare(tag: tuple[int, int], value: bytes, length: int | None = None) -> bytes:
    """Without a VR: the implicit encoding, items and delimiters."""
    return struct.pack("<HHI", *tag, len(value) if length is None else length) + value


def dicom(path: Path, *parts: str | bytes, meta: bytes = b"") -> Path:
    """A file of the transfer syntax, which comes first, and its elements."""
    syntax, *elements = (part.encode() if isinstance(part, str) else part for part in parts)
    uid = syntax + b"\0" * (len(syntax) % 2)
    group = long((2, 1), b"OB", b"\0\1") + short((2, 0x10), b"UI", uid) + meta
    path.write_bytes(bytes(128) + b"DICM" + group + b"".join(elements))
    return path


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
NAME = short((0x10, 0x10), b"PN", b"Doe^Jane")
PIXELS = long((0x7FE0, 0x10), b"OW", bytes(64))
# Fragments look like anything, and are passed over whole.
FRAGMENTS = bare(ITEM, b"") + bare(ITEM, b"\xff" * 32) + bare(SEQUENCE_END, b"")
PACKED = long((0x7FE0, 0x10), b"OB", FRAGMENTS, ENDLESS)
ICON = long((0x88, 0x200), b"SQ", bare(ITEM, PACKED + bare(ITEM_END, b""), ENDLESS) + bare(SEQUENCE_END, b""), ENDLESS)
UNKNOWN = bare(ITEM, b"%b", ENDLESS) + bare(ITEM_END, b"") + bare(SEQUENCE_END, b"")
SOUND: dict[str, tuple[str | bytes, ...]] = {
    "explicit": (EXPLICIT, NAME, PIXELS),
    "implicit": (IMPLICIT, bare((0x10, 0x10), b"Doe^Jane"), bare((0x7FE0, 0x10), bytes(64))),
    "big endian": (BIG, short((0x10, 0x10), b"PN", b"Doe^", order=">"), long((0x7FE0, 0x10), b"OW", b"ab", order=">")),
    "deflated": (DEFLATED, deflated(NAME + PIXELS)),
    "an icon with packed pixels": (
        EXPLICIT,
        long(
            (0x88, 0x200), b"SQ", bare(ITEM, PACKED + bare(ITEM_END, b""), ENDLESS) + bare(SEQUENCE_END, b""), ENDLESS
        ),
        PIXELS,
    ),
    "zeros to the end": (IMPLICIT, bare((0x10, 0x10), b"Doe^Jane"), bytes(1 << 20)),
    "a sequence of known length": (EXPLICIT, long((8, 0x1140), b"SQ", bare(ITEM, NAME)), PIXELS),
    "an endless sequence": (
        EXPLICIT,
        long((8, 0x1140), b"SQ", bare(ITEM, NAME, ENDLESS) + bare(ITEM_END, b"") + bare(SEQUENCE_END, b""), ENDLESS),
        PIXELS,
    ),
    "an endless implicit sequence": (
        IMPLICIT,
        bare((8, 0x1140), bare(ITEM, bare((8, 0x1150), b"1.2 ")) + bare(SEQUENCE_END, b""), ENDLESS),
    ),
    "packed pixels": (JPEG, PACKED),
    "an unknown element with implicit ones": (EXPLICIT, long((9, 0x10), b"UN", UNKNOWN % bare((9, 1), b"ab"), ENDLESS)),
    "an unknown element with explicit ones": (EXPLICIT, long((9, 0x10), b"UN", UNKNOWN % NAME, ENDLESS), PIXELS),
    "a vague VR": (EXPLICIT, bare((9, 0x10), b"", 0x00003F3F), NAME, PIXELS),
    "a maker's own encoding": ("1.2.3", NAME, PIXELS),
    "a last value cut short": (EXPLICIT, NAME, long((0x7FE0, 0x10), b"OW", bytes(64), 66)),
}
BOMBS: dict[str, tuple[str | bytes, ...]] = {
    "a long value": (EXPLICIT, NAME, long((0x7FE0, 0x10), b"OW", bytes(64), 0x7FFFFFFF)),
    "an implicit long value": (IMPLICIT, bare((0x10, 0x10), b"Doe^Jane", 0x30303030)),
    "in an item": (EXPLICIT, long((8, 0x1140), b"SQ", bare(ITEM, long((9, 1), b"OB", b"", 1 << 30)))),
    "an item itself": (EXPLICIT, long((8, 0x1140), b"SQ", bare(ITEM, NAME, 1 << 30))),
    "a fragment": (JPEG, long((0x7FE0, 0x10), b"OB", bare(ITEM, b"", 1 << 30), ENDLESS)),
    "big endian": (BIG, long((0x7FE0, 0x10), b"OW", b"", 1 << 24, order=">")),
    "no VR": (EXPLICIT, short((0x10, 0x10), b"pN", b"Doe^Jane"), PIXELS),
    "implicit, but named explicit": (EXPLICIT, bare((0x10, 0x10), b"Doe^Jane"), PIXELS),
    "in what is deflated": (DEFLATED, deflated(NAME + long((9, 1), b"OB", b"", 1 << 30))),
    "deflated data cut short": (DEFLATED, deflated(NAME + PIXELS)[:-4]),
    "no deflated data": (DEFLATED, b"\xff" * 40),
    "behind an icon": (
        EXPLICIT,
        long(
            (0x88, 0x200), b"SQ", bare(ITEM, PACKED + bare(ITEM_END, b""), ENDLESS) + bare(SEQUENCE_END, b""), ENDLESS
        ),
        long((8, 0x1140), b"SQ", bare(ITEM, long((9, 1), b"OB", b"", 1 << 30))),
    ),
    "in an unknown element": (EXPLICIT, long((9, 0x1000), b"UN", bare(ITEM, b"", 1 << 30), ENDLESS), PIXELS),
    "behind zeros": (IMPLICIT, bytes(8), bare((0xFFFC, 0xFFFC), b"", 1 << 30)),
    "sequences without end": (EXPLICIT, *[long((9, 0x10), b"SQ", bare(ITEM, b"", ENDLESS), ENDLESS)] * 65),
    "in a maker's own encoding": ("1.2.3", NAME, long((0x7FE0, 0x10), b"OW", bytes(64), 0x7FFFFFFF)),
    "no UID of an encoding": ("1.2.x", NAME, PIXELS),
    "no encoding": ("", NAME, PIXELS),
}
META = {
    "a VR of the meta group": short((2, 0x12), b"EI", b"1.2.3.4\0"),
    "a length of the meta group": long((2, 0x102), b"OB", b"", 1 << 28),
    "an endless meta element": long((2, 0x102), b"OB", b"", ENDLESS),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_pass(tmp_path: Path, name: str) -> None:
    assert elements_fit(dicom(tmp_path / "a.dcm", *SOUND[name], meta=short((2, 0x12), b"UI", b"1.2.3\0")))


@pytest.mark.parametrize("name", BOMBS)
def test_lengths_beyond_the_file_are_found(tmp_path: Path, name: str) -> None:
    assert not elements_fit(dicom(tmp_path / "a.dcm", *BOMBS[name]))


@pytest.mark.parametrize("name", META)
def test_the_meta_group_is_looked_at_strictly(tmp_path: Path, name: str) -> None:
    assert not elements_fit(dicom(tmp_path / "a.dcm", EXPLICIT, NAME, PIXELS, meta=META[name]))


@pytest.mark.parametrize("meta", [True, False])
def test_without_preamble(tmp_path: Path, meta: bool) -> None:
    """GDCM reads those too; without a meta group the VR tells the encoding."""
    whole = dicom(tmp_path / "a.dcm", EXPLICIT, NAME, PIXELS).read_bytes()
    path = tmp_path / "bare.dcm"
    date = short((8, 0x20), b"DA", b"20190604")
    path.write_bytes(whole[132:] if meta else date + NAME + PIXELS + bytes(60))
    assert elements_fit(path)
    path.write_bytes(path.read_bytes().replace(b"PN", b"pn"))
    assert not elements_fit(path)


def test_a_damaged_file_beside_series_does_not_claim_them(tmp_path: Path) -> None:
    """Alone it is a fault of its own folder; beside sound slices it spoils theirs."""
    places = [(0.0, 0.0, 3.0 * i) for i in range(3)]
    for name in ("a", "b"):
        write_series(tmp_path / "top" / name, np.zeros((3, 8, 8), np.int16), places)
    stray = dicom(tmp_path / "top" / "stray.dcm", *BOMBS["no VR"])
    assert [(case.name, case.fault) for case in find_inputs(tmp_path / "top")] == [
        ("a", None),
        ("b", None),
        ("top", None),
    ]
    with pytest.raises(InputError, match=r"top: stray\.dcm is damaged"):
        read_image(tmp_path / "top")
    stray.rename(tmp_path / "top" / "b" / "stray.dcm")
    assert [case.name for case in find_inputs(tmp_path / "top")] == ["a", "b"]
    with pytest.raises(InputError, match=r"stray\.dcm is damaged"):
        read_image(tmp_path / "top" / "b")


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without memory maps, for one."""
    path = dicom(tmp_path / "a.dcm", EXPLICIT, NAME, PIXELS)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr("bisc.imageio.formats.dicom.elements.mmap.mmap", refuse)
    with pytest.raises(InputError, match=r"a\.dcm: cannot be read \(No such device\)"):
        elements_fit(path)


def test_more_than_can_be_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dicom(tmp_path / "a.dcm", DEFLATED, deflated(NAME + PIXELS))
    monkeypatch.setattr("bisc.imageio.formats.dicom.elements.MAX_INFLATED", len(NAME + PIXELS) - 1)
    assert not elements_fit(path)


def test_other_files_are_not_dicom(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"\xff" * 300)
    (tmp_path / "empty").touch()
    assert elements_fit(tmp_path / "notes.txt")
    assert elements_fit(tmp_path / "empty")


def test_a_slice_that_would_take_gigabytes(tmp_path: Path) -> None:
    """One changed letter of a VR: GDCM would allocate 2.2 GB and keep it. Folder and file are named."""
    folder = write_series(tmp_path / "ct", np.zeros((3, 8, 8), np.int16), [(0.0, 0.0, 3.0 * i) for i in range(3)])
    assert read_image(folder).volume.array.shape == (3, 8, 8)
    path = folder / "001.dcm"
    data = path.read_bytes()
    assert data.count(b"\2\0\2\0UI") == 1
    path.write_bytes(data.replace(b"\2\0\2\0UI", b"\2\0\2\0EI"))
    assert [case.path for case in find_inputs(folder)] == [folder]
    with pytest.raises(InputError) as caught:
        read_image(folder)
    assert str(caught.value).startswith(f"{folder}: 001.dcm is damaged (an element is longer")


def test_a_mark_that_has_moved(tmp_path: Path) -> None:
    """Two bytes too many before it: GDCM would read the preamble as elements, and take a gigabyte. Other files that
    begin with zeros, such as macOS's .DS_Store, are not looked at."""
    sound = dicom(tmp_path / "a.dcm", EXPLICIT, NAME, PIXELS)
    assert elements_fit(sound)
    moved = tmp_path / "b.DCM"
    moved.write_bytes(bytes(2) + sound.read_bytes())
    assert not elements_fit(moved)
    (tmp_path / ".DS_Store").write_bytes(moved.read_bytes())
    assert elements_fit(tmp_path / ".DS_Store")


def test_values_of_another_length(tmp_path: Path) -> None:
    """Found by fuzz: a number of bytes too few, and pixels that are there and empty."""
    path = Form("", keep=(4,)).write(tmp_path / "ct") / "IM004.dcm"
    data = path.read_bytes()
    rows, pixels = b"\x28\0\x10\0US\2\0", b"\xe0\x7f\x10\0OW\0\0"
    assert (data.count(rows), data.count(pixels)) == (1, 1)
    path.write_bytes(data.replace(rows, rows.replace(b"US", b"UL")))
    with pytest.raises(InputError, match=r"Rows \(0028,0010\) cannot be read"):
        read_image(path.parent)
    path.write_bytes(data.split(pixels)[0] + pixels + bytes(4))
    with pytest.raises(InputError, match="it has no pixels"):
        read_image(path.parent)
