"""How a sound file is spoilt: bytes, header fields, numbers in text, members of archives."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.robustness.fuzz_values import (
    DATATYPES,
    DICOM_ELEMENTS,
    DICOM_WORDS,
    FLOATS,
    MAGIC,
    NIFTI_FIELDS,
    NUMBERS,
    VALUES,
    WORDS,
)


@st.composite
def spoilt(draw: st.DrawFn, name: str, data: bytes) -> bytes:
    """One to three faults in a file; what kinds, its name decides."""
    kinds = [*_BYTES]
    if name.endswith((".nii", ".nii.gz")):
        kinds += [_nifti_field] * 6
    elif name.endswith((".zip", ".pt")):
        kinds += [_member] * 8 + [_tail]
    elif name.endswith(".json"):
        kinds = [_leaf] * 12 + [_word] * 3 + kinds
    elif name.endswith(".dcm"):
        kinds += [_element] * 12
    elif name.endswith(".npy"):
        kinds += [_word]
    elif not name.endswith((".dcm", ".raw")):
        kinds += [_word] * 8
    packed = name.endswith(".nii.gz") and draw(st.integers(0, 3)) > 0
    if packed:
        data = gzip.decompress(data)
    for _ in range(draw(st.integers(1, 3))):
        data = draw(st.sampled_from(kinds))(draw, data)
    return gzip.compress(data, 1, mtime=0) if packed else data


def _position(draw: st.DrawFn, data: bytes) -> int:
    """Anywhere, but mostly near the head, where headers are."""
    head = draw(st.booleans())
    return draw(st.integers(0, max(0, min(len(data) - 1, 400 if head else len(data)))))


def _flip(draw: st.DrawFn, data: bytes) -> bytes:
    at = _position(draw, data)
    return data[:at] + bytes(b ^ (1 << draw(st.integers(0, 7))) for b in data[at : at + 1]) + data[at + 1 :]


def _number(draw: st.DrawFn, data: bytes) -> bytes:
    """A whole number of 1 to 8 bytes, either way round."""
    size, order = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(["little", "big"]))
    value = (draw(st.sampled_from(NUMBERS)) % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]
    at = _position(draw, data)
    return data[:at] + value + data[at + size :]


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: _position(draw, data)]


def _insert(draw: st.DrawFn, data: bytes) -> bytes:
    at = _position(draw, data)
    return data[:at] + draw(st.binary(min_size=1, max_size=12)) + data[at:]


def _remove(draw: st.DrawFn, data: bytes) -> bytes:
    at = _position(draw, data)
    return data[:at] + data[at + draw(st.integers(1, 64)) :]


def _repeat(draw: st.DrawFn, data: bytes) -> bytes:
    at, n = _position(draw, data), draw(st.integers(1, 64))
    return data[:at] + data[at : at + n] * draw(st.sampled_from([2, 3, 500])) + data[at + n :]


_BYTES = [_flip, _number, _cut, _insert, _remove, _repeat]


def _nifti_field(draw: st.DrawFn, data: bytes) -> bytes:
    name = draw(st.sampled_from(sorted(NIFTI_FIELDS)))
    kind, at = NIFTI_FIELDS[name]
    if kind == "f":
        value: float = draw(st.sampled_from(FLOATS))
    else:
        choices = {"datatype": DATATYPES, "magic": MAGIC}.get(name, NUMBERS)
        value = draw(st.sampled_from(choices))
        bits = 8 * struct.calcsize(kind)
        value = (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
    packed = struct.pack("<" + kind, value)
    return data[:at] + packed + data[at + len(packed) :]


def _word(draw: st.DrawFn, data: bytes) -> bytes:
    """Another word, number or quoted text in place of one."""
    words = list(re.finditer(rb'"[^"]*"|[^\s,:\[\]{}"]+', data))
    if not words:
        return data
    hit = words[draw(st.integers(0, len(words) - 1))]
    word = draw(st.sampled_from(WORDS) | st.text(max_size=8))
    return data[: hit.start()] + word.encode("utf-8", "surrogatepass") + data[hit.end() :]


def _leaf(draw: st.DrawFn, data: bytes) -> bytes:
    """Another value in place of one of a JSON document, or a key renamed, left out or added."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):  # an earlier fault made it no JSON
        return _flip(draw, data)
    places = list(_places(document))
    if not places:
        return data
    holder, key = places[draw(st.integers(0, len(places) - 1))]
    how = draw(st.sampled_from(["value"] * 6 + ["drop", "repeat"]))
    if how == "value":
        holder[key] = draw(st.sampled_from(VALUES))
    elif how == "drop":
        del holder[key]
    elif isinstance(holder, list):
        holder += [holder[key]] * 3000
    else:
        holder[f"{key} too"] = holder[key]
    return json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON document."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def _element(draw: st.DrawFn, data: bytes) -> bytes:
    """Another length or value in a DICOM element of implicit VR; the file's own header has explicit VR."""
    group, element = draw(st.sampled_from(DICOM_ELEMENTS))
    at = data.find(struct.pack("<HH", group, element), 132)
    width, skip = ("<H", 6) if group == 2 else ("<I", 4)
    start = at + skip + struct.calcsize(width)
    if at < 0 or start > len(data):  # not there, or cut off within its head by an earlier change
        return _flip(draw, data)
    (size,) = struct.unpack(width, data[at + skip : start])
    if draw(st.integers(0, 5)) == 0:
        wrong = draw(st.sampled_from(NUMBERS)) % (1 << 8 * struct.calcsize(width))
        return data[: at + skip] + struct.pack(width, wrong) + data[start:]
    if group == 0x28 and size == 2:
        value = struct.pack("<H", draw(st.sampled_from(NUMBERS)) % 65536)
    else:
        value = draw(st.sampled_from(DICOM_WORDS)).encode()
        value += b" " * (len(value) % 2)
    return data[: at + skip] + struct.pack(width, len(value)) + value + data[start + size :]


def _tail(draw: st.DrawFn, data: bytes) -> bytes:
    """A number somewhere in the archive's directory."""
    at = max(0, len(data) - 1 - draw(st.integers(0, 400)))
    size = draw(st.sampled_from([1, 2, 4]))
    return data[:at] + (draw(st.sampled_from(NUMBERS)) % (1 << 8 * size)).to_bytes(size, "little") + data[at + size :]


def _member(draw: st.DrawFn, data: bytes) -> bytes:
    """An archive packed again with one member spoilt, renamed, doubled or left out."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
    except Exception:  # noqa: BLE001 - an earlier fault made it no archive
        return _flip(draw, data)
    if not members:
        return data
    # Pickles and JSON before weights: there is little to find among the latter.
    telling = [i for i, (info, _) in enumerate(members) if info.filename.endswith((".pkl", ".json", ".pt"))]
    chosen = draw(st.sampled_from(telling or [0]) | st.integers(0, len(members) - 1))
    info, content = members[chosen]
    how = draw(st.sampled_from(["spoil"] * 6 + ["rename", "double", "drop", "pack"]))
    if how == "spoil":
        kinds = [*_BYTES, *([_word] * 4 if info.filename.endswith(".json") else [])]
        kinds += [_member] * 8 if info.filename.endswith(".pt") else []
        members[chosen] = (info, draw(st.sampled_from(kinds))(draw, content))
    elif how == "rename":
        info.filename = draw(
            st.sampled_from(["../x", "/x", "a\\b", "fine/fold_" + "9" * 5000 + "/checkpoint_last.pt", " "])
        )
    elif how == "double":
        members.append(members[chosen])
    elif how == "drop":
        del members[chosen]
    method = draw(st.sampled_from([0, 8, 12, 14])) if how == "pack" else zipfile.ZIP_STORED
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")  # of names that occur twice
        for info, content in members:
            archive.writestr(info.filename, content, method)
    return out.getvalue()
