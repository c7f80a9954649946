"""Packed frames that cannot be told apart, and packed images of other bits than the header tells."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from bisc.core.errors import InputError
from bisc.imageio import read_image
from tests.support.dicom_changes import ALL, ENHANCED, UNSIGNED
from tests.support.dicom_forms import SHAPE, Form, phantom
from tests.support.noticed import noticed, unnoticed

N = SHAPE[0]


def j2k(plane: npt.NDArray[Any]) -> bytes:
    code = io.BytesIO()
    Image.fromarray(plane).save(code, "JPEG2000", no_jp2=True, irreversible=False)
    return code.getvalue() + b"\0" * (code.tell() % 2)


CODES = [j2k((plane.astype(np.int32) + 1024).astype(np.uint16)) for plane in phantom()]


def pieces(*parts: bytes, table: Sequence[int] = ()) -> bytes:
    """The pixels' element of pieces as they are, and of any table."""
    items = [struct.pack(f"<{len(table)}I", *table), *parts]
    return b"".join(b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item for item in items)


def put_pixels(path: Path, value: bytes, syntax: UID = JPEG2000Lossless, **tags: object) -> Path:
    data = dcmread(path)
    data.PixelData = value
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.file_meta.TransferSyntaxUID = syntax
    for keyword, tag in tags.items():
        setattr(data, keyword, tag)
    data.save_as(path)
    return path


def enhanced(folder: Path, value: bytes, **tags: object) -> Path:
    form = Form("", **ENHANCED, **UNSIGNED)
    return put_pixels(form.write(folder) / "frames.dcm", value, **tags)


def places(*parts: bytes) -> list[int]:
    return [sum(len(part) + 8 for part in parts[:i]) for i in range(len(parts))]


HALVES = [half for code in CODES for half in (code[:90], code[90:])]
TOLD = {
    "a piece each": pieces(*CODES),
    "a piece each, and a table": pieces(*CODES, table=places(*CODES)),
    "two pieces each": pieces(*HALVES),
    "two pieces each, and a table": pieces(*HALVES, table=places(*HALVES)[::2]),
}


@pytest.mark.parametrize("how", TOLD)
def test_frames_that_are_told_apart_are_read(tmp_path: Path, how: str) -> None:
    with unnoticed():
        assert np.array_equal(read_image(enhanced(tmp_path / "s", TOLD[how])).volume.array, phantom())


OFFSETS = places(*CODES)
NOT_TOLD = {
    "a piece more": (pieces(CODES[3], *CODES), f"is {N}, and {N + 1} packed images are there in {N + 1} pieces"),
    "a piece less": (pieces(*CODES[:-1]), f"is {N}, and {N - 1} packed images are there in {N - 1} pieces"),
    "one missing, one in two": (pieces(*HALVES[:2], *CODES[2:]), f"{N - 1} packed images are there in {N} pieces"),
    "a table of other frames": (pieces(*CODES, table=OFFSETS[:-1]), f"is {N}, and {N - 1} frames are there"),
    "a table that descends": (pieces(*CODES, table=[0, *OFFSETS[:0:-1]]), "the table of offsets does not lead to"),
    "a table of zeros": (pieces(*CODES, table=[0] * N), "the table of offsets does not lead to"),
    "a table beside the pieces": (pieces(*CODES, table=[0, *(o + 2 for o in OFFSETS[1:])]), "the table of offsets"),
    "a table that leaves one out": (
        pieces(CODES[3], *CODES, table=[0, *places(CODES[3], *CODES)[2:]]),
        f"is {N}, and {N + 1} packed images are there in {N + 1} pieces",
    ),
    "two in one piece": (pieces(CODES[0] + CODES[1], *CODES[1:]), "frame 1 holds two packed images or more"),
}  # fmt: skip


@pytest.mark.parametrize("how", NOT_TOLD)
def test_frames_that_cannot_be_told_apart_are_refused(tmp_path: Path, how: str) -> None:
    """They were read, every frame in another one's place."""
    value, told = NOT_TOLD[how]
    with pytest.raises(InputError) as caught:
        read_image(enhanced(tmp_path / "s", value))
    assert told in str(caught.value)
    assert str(caught.value).endswith("expected packed frames that can be told apart; export it again, unpacked")


def test_the_table_of_large_files_is_checked_too(tmp_path: Path) -> None:
    def table(offsets: Sequence[int]) -> dict[str, bytes]:
        lengths = struct.pack(f"<{N}Q", *(len(code) for code in CODES))
        return {"ExtendedOffsetTable": struct.pack(f"<{N}Q", *offsets), "ExtendedOffsetTableLengths": lengths}

    sound = enhanced(tmp_path / "s", pieces(*CODES), **table(OFFSETS))
    assert np.array_equal(read_image(sound).volume.array, phantom())
    with pytest.raises(InputError, match="the table of offsets does not lead to"):
        read_image(enhanced(tmp_path / "t", pieces(*CODES), **table([0, *OFFSETS[:0:-1]])))


def one_slice(folder: Path, value: bytes, syntax: UID = JPEG2000Lossless, **tags: object) -> Path:
    return put_pixels(Form("", keep=(0,), **UNSIGNED).write(folder) / "IM000.dcm", value, syntax, **tags)


@pytest.mark.parametrize("value", [pieces(CODES[0], CODES[1]), pieces(CODES[0] + CODES[1])])
def test_two_packed_images_in_a_slice_are_refused(tmp_path: Path, value: bytes) -> None:
    with pytest.raises(InputError, match=r"NumberOfFrames \(0028,0008\) is 1, and"):
        read_image(one_slice(tmp_path / "s", value))


def test_a_slice_in_pieces_is_read(tmp_path: Path) -> None:
    folder = one_slice(tmp_path / "s", pieces(*HALVES[:2]))
    assert np.array_equal(read_image(folder).volume.array[0], phantom()[0])


def test_frames_of_rle_have_one_piece_each(tmp_path: Path) -> None:
    folder = Form("", keep=(0,), frames=ALL, syntax=RLELossless).write(tmp_path / "s")
    path = folder / "frames.dcm"
    code = get_frame(dcmread(path).PixelData, 0, number_of_frames=1)
    put_pixels(path, pieces(code, code), RLELossless)
    with pytest.raises(InputError, match="is 1, and 2 packed images are there in 2 pieces"):
        read_image(path)


OVERLAY = 0x1000


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_bits_above_those_stored_are_no_part_of_a_value(tmp_path: Path, packed: bool, signed: bool) -> None:
    """An overlay in bit 12 put 4096 HU on top."""
    offset = 0 if signed else 1024
    words = ((phantom()[5].astype(np.int32) + offset) & 0xFFF).astype(np.uint16)
    words[4:9, 5:8] |= OVERLAY
    tags = {
        "BitsStored": 12, "HighBit": 11, "PixelRepresentation": int(signed), "RescaleIntercept": -offset,
    }  # fmt: skip
    folder = Form("", keep=(5,), **UNSIGNED).write(tmp_path / "s")
    path = folder / "IM005.dcm"
    if packed:
        put_pixels(path, encapsulate([j2k(words)]), **tags)
    else:
        data = dcmread(path)
        data.PixelData = words.tobytes()
        for keyword, tag in tags.items():
            setattr(data, keyword, tag)
        data.save_as(path)
    if packed and signed:  # its decoder has cleared them
        assert np.array_equal(read_image(folder).volume.array[0], phantom()[5])
        return
    with noticed(r"bits set above BitsStored \(0028,0101\), as old files keep overlays; these bits are no part"):
        assert np.array_equal(read_image(folder).volume.array[0], phantom()[5])


@pytest.mark.parametrize(("signed", "fill"), [(False, 63536), (True, 62512)])
def test_padding_beyond_the_bits_stored_is_air(tmp_path: Path, signed: bool, fill: int) -> None:
    """-2000 without a sign would be 1072 HU, and so would be -3024 with 12 bits."""

    def change(data: Any, i: int) -> None:
        words = np.frombuffer(data.PixelData, "<u2").copy().reshape(SHAPE[1:])
        words[:2] = fill
        data.PixelData, data.BitsStored, data.HighBit = words.tobytes(), 12, 11
        if not signed:
            data.add_new(0x00280120, "US", fill)

    how = {} if signed else UNSIGNED
    folder = Form("", change=change, **how).write(tmp_path / "s")
    array = read_image(folder).volume.array
    assert set(np.unique(array[:, :2])) == {-3024 if signed else -1024}
    assert np.array_equal(array[:, 2:], phantom()[:, 2:])


@pytest.mark.parametrize("value", [4095, 3071])
def test_padding_at_the_end_of_12_bits_is_air(tmp_path: Path, value: int) -> None:
    """Such series were refused as no CT in HU."""

    def change(data: Any, i: int) -> None:
        words = np.frombuffer(data.PixelData, "<i2").copy().reshape(SHAPE[1:])
        words[:2] = value
        data.PixelData = words.tobytes()
        data.add_new(0x00280120, "SS", value)

    how = UNSIGNED if value == 4095 else {}
    array = read_image(Form("", change=change, **how).write(tmp_path / "s")).volume.array
    assert set(np.unique(array[:, :2])) == {-1024}
    assert np.array_equal(array[:, 2:], phantom()[:, 2:])


GREY = np.arange(SHAPE[1] * SHAPE[2], dtype=np.uint8).reshape(SHAPE[1:])


def with_sign(code: bytes) -> bytes:
    """The same, its values said to have one."""
    return code[:42] + bytes([code[42] | 0x80]) + code[43:]


def jpeg(plane: npt.NDArray[Any]) -> bytes:
    code = io.BytesIO()
    Image.fromarray(plane).save(code, "JPEG", quality=100)
    return code.getvalue() + b"\0" * (code.tell() % 2)


SIGNED = {"PixelRepresentation": 1, "RescaleIntercept": 0}
FEW: dict[str, tuple[bytes, UID, dict[str, object], str]] = {
    "8 bits": (j2k(GREY), JPEG2000Lossless, {}, r"packed pixels have 8 bits, and BitsStored \(0028,0101\) is 16"),
    "8 bits, JPEG": (jpeg(GREY), JPEGBaseline8Bit, {}, "packed pixels have 8 bits, and BitsStored"),
    "a sign": (with_sign(CODES[0]), JPEG2000Lossless, {}, r"have a sign, and PixelRepresentation \(0028,0103\) is 0"),
}


@pytest.mark.parametrize("kind", FEW)
def test_packed_pixels_of_other_bits_are_refused(tmp_path: Path, kind: str) -> None:
    """Their values are no HU, whatever the rescale."""
    code, syntax, tags, told = FEW[kind]
    with pytest.raises(InputError, match=told):
        read_image(one_slice(tmp_path / "s", encapsulate([code]), syntax, **tags))


def test_values_with_a_sign_in_a_code_without_are_read(tmp_path: Path) -> None:
    """As many archives pack them: the bits count, and the header's sign."""
    code = j2k(phantom()[0].view(np.uint16))
    folder = one_slice(tmp_path / "s", encapsulate([code]), **SIGNED)
    assert np.array_equal(read_image(folder).volume.array[0], phantom()[0])
