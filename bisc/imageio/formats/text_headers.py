"""NRRD and MetaImage headers, looked at before ITK obeys them.

ITK dies of some of them, waits for ever on others, and takes a spacing of 1 mm without a word where a number is
missing, is NaN or overflows.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio.plausible import AGAIN, MAX_NUMBER, NO_ORIENTATION
from bisc.system.console import notice

MAX_HEADER_BYTES: Final = 1 << 20
MAX_LINE: Final = 1000
"""Characters of a header's line with numbers; ITK's NRRD parser overruns its memory on longer ones."""
MAX_AXES: Final = 9
MAX_LINES: Final = 5000
"""ITK takes time and memory by the square of their number."""
EXPORT: Final = "export it again"

_PLAIN_NUMBER = re.compile(r"[-+]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][-+]?[0-9]{1,4})?")
_NUMBER = r"\s*[-+]?[0-9.]{1,40}([eE][-+]?[0-9]{1,4})?\s*"
_VECTOR = rf"\(({_NUMBER})(,({_NUMBER})){{0,15}}\)"
_VECTORS = re.compile(rf"\s*(none|{_VECTOR})(\s*(none|{_VECTOR})){{0,15}}\s*", re.IGNORECASE)
_NRRD_VECTORS = ("space directions", "space origin", "measurement frame")
_NRRD_FREE = ("content", "units", "space units", "labels", "sample units", "sampleunits")
_NRRD_PLAIN = re.compile(r"[\w\s.+?-]*")
_NRRD_COUNTS = {"dimension": MAX_AXES, "space dimension": MAX_AXES, "byte skip": 1 << 40, "line skip": 1 << 40}
_NRRD_DATA = ("data file", "datafile")
_NRRD_SPACES = re.compile(r"(left|right)-(anterior|posterior)-superior|[lr][ap]s", re.IGNORECASE)
"""Those that ITK turns into LPS; it takes the axes of any other as they are."""
_NRRD_TIMES = re.compile(r".*-time|[a-z]{3}t", re.IGNORECASE)
"""Spaces with time, which ITK takes for LPS, whatever they are."""
_OTHER_UNITS = re.compile(r"\b([cdnu\u00b5\u03bc]?m|(centi|deci|micro|nano)?met(er|re)s?|microns?|inch(es)?)\b", re.I)
"""Of length, none of them mm; ITK passes over them."""
_META_DATA = "ElementDataFile"
_META_COUNTS = ("NDims", "CompressedDataSize")
_META_SPACING = ("ElementSpacing", "ElementSize")
_META_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
_META_ORIGIN = ("Offset", "Position", "Origin")
_META_VECTORS = (*_META_SPACING, *_META_ORIGIN, "CenterOfRotation", "DimSize")
_META_SCALING: Final = {"ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "0"}
_META_SKIP, _META_UNITS, _META_PACKED = "HeaderSize", "DistanceUnits", "CompressedData"
_META_SINGLE = (_META_DATA, _META_SKIP, _META_UNITS, _META_PACKED)
_META_KNOWN = {key.lower(): key for key in (*_META_SINGLE, *_META_COUNTS, *_META_MATRIX, *_META_VECTORS)}
"""MetaIO minds the case of its keys: one that differs in nothing else would be passed over by it, and not by its
writer."""
_COUNT = re.compile(r"[0-9]{1,19}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""Characters that may end a line for one reader and not for another."""
LOCAL: Final = ("LOCAL", "Local", "local")
CHUNK_BYTES: Final = 1 << 20
_META_BYTES = {
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT", "MET_LONG", "MET_ULONG"), 4),
    **dict.fromkeys(("MET_DOUBLE", "MET_LONG_LONG", "MET_ULONG_LONG"), 8),
}
"""Of a voxel, at least."""


def check_nrrd(path: Path) -> Sequence[Path]:
    """Refuse NRRD headers that ITK dies of, and those without a spacing or with voxels outside the file's folder.

    Returns:
        A detached data file.

    Raises:
        InputError: Naming the line.
    """
    fields, _ = _nrrd_head(path)
    _check_nrrd_place(path, fields)
    return [_beside(path, fields[name]) for name in _NRRD_DATA if name in fields]


def nrrd_pairs(path: Path) -> dict[str, str]:
    """The key/value pairs of a NRRD header (`Segment0_Name:=kidney`).

    Raises:
        InputError: As `check_nrrd`.
    """
    return _nrrd_head(path)[1]


def data_files(path: Path) -> Sequence[Path]:
    """The detached files that a NRRD or MetaImage header names for its voxels.

    Raises:
        InputError: As `check_nrrd` and `check_meta`.
    """
    if path.name.lower().endswith((".nrrd", ".nhdr")):
        fields, _ = _nrrd_head(path)
        return [_beside(path, fields[name]) for name in _NRRD_DATA if name in fields]
    return _meta_head(path)[1]


def _nrrd_head(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Fields and key/value pairs."""
    lines = _text_lines(path)
    if not lines[0].startswith("NRRD000"):
        raise InputError(path, "cannot be read (no NRRD header)", "a NRRD image", EXPORT)
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    for number, raw_line in enumerate(lines):
        line = raw_line.removesuffix("\r")
        if not line.strip(" \t"):
            break
        field, colon, value = line.partition(":")
        field = field.strip().lower()
        pair = re.match(r"([^:]*):=(.*)", line)
        free = number == 0 or line.startswith("#") or pair
        sound = free or (colon and field not in fields and _is_sound_nrrd(field, value, line))
        if not sound or number > MAX_LINES or _CONTROL.search(line):
            raise InputError(path, f"cannot be read (header line '{line[:80]}')", "the fields of a NRRD image", EXPORT)
        if not free:
            fields[field] = value.strip()
        elif pair and not line.startswith("#"):
            pairs[pair[1]] = pair[2]
    else:
        if path.stat().st_size > MAX_HEADER_BYTES:
            raise InputError(path, "cannot be read (its header does not end)", "a NRRD image", EXPORT)
    return fields, pairs


def _is_sound_nrrd(field: str, value: str, line: str) -> bool:
    if len(line) > MAX_LINE or (field in ("units", "space units") and _OTHER_UNITS.search(value)):
        return False
    if field in (*_NRRD_FREE, *_NRRD_DATA):
        return True
    if field == "space":
        return not _NRRD_TIMES.fullmatch(value.strip())
    if field in _NRRD_COUNTS:
        return bool(_COUNT.fullmatch(value.strip())) and int(value) <= _NRRD_COUNTS[field]
    if field == "space origin" and value.count("(") != 1:
        return False
    if field in _NRRD_VECTORS:
        return bool(_VECTORS.fullmatch(value)) and _are_moderate(re.findall(r"[^\s,()]+", value.replace("none", "")))
    return bool(_NRRD_PLAIN.fullmatch(value)) and (field != "spacings" or _are_moderate(value.split()))


def _check_nrrd_place(path: Path, fields: dict[str, str]) -> None:
    """One direction or spacing for each axis; where no space is named, the axes are taken as they are."""
    steps = fields.get("space directions", fields.get("spacings", "")).lower()
    n_steps = steps.count("(") or len(steps.split())
    if n_steps < 3 <= len(fields.get("sizes", "").split()):
        found = f"its header gives a spacing for {n_steps} axes"
        raise InputError(path, found, "one for each of three", "export it with its spacing")
    if "space directions" not in fields or not _NRRD_SPACES.fullmatch(fields.get("space", "")):
        notice(path, *NO_ORIENTATION)


def check_meta(path: Path) -> Sequence[Path]:
    """Refuse MetaImage headers that ITK dies of, waits on for ever or allocates memory for, and those without voxels,
    without a spacing or with voxels outside the file's folder.

    Returns:
        A data file beside the header.

    Raises:
        InputError: Naming the line.
    """
    fields, data = _meta_head(path)
    _check_meta_fields(path, fields, data)
    return data


def _meta_head(path: Path) -> tuple[dict[str, str], list[Path]]:
    """Fields, and a data file beside the header."""
    fields: dict[str, str] = {}
    for raw_line in _text_lines(path)[:MAX_LINES]:
        line = raw_line.removesuffix("\r")
        if not line.strip(" \t"):
            continue
        key, value = _meta_field(line)
        if value is None or len(line) > MAX_LINE or _CONTROL.search(line):
            break
        if key == _META_DATA:
            return fields, [] if value in LOCAL else [_beside(path, value)]
        known = _META_KNOWN.get(key.lower(), key)
        if known != key or (key in fields and key in _META_KNOWN.values()) or not _is_sound_meta(key, value, fields):
            raise InputError(path, f"cannot be read (header line '{line[:80]}')", "the fields of a MetaImage", EXPORT)
        fields[key] = value
    raise InputError(path, "cannot be read (no ElementDataFile in its header)", "a MetaImage", EXPORT)


def _meta_field(line: str) -> tuple[str, str | None]:
    """Key and value, parted by the first of MetaIO's two signs; no value where there is neither."""
    key, *values = (part.strip() for part in re.split("[=:]", line, maxsplit=1))
    return key, values[0] if values else None


def _is_sound_meta(key: str, value: str, before: dict[str, str]) -> bool:
    """`before`: the fields above; the number of axes stands there."""
    if key == _META_SKIP:
        return value == "-1" or bool(_COUNT.fullmatch(value))
    if key == _META_UNITS:
        return value in ("mm", "?")
    if key in _META_COUNTS:
        return bool(_COUNT.fullmatch(value)) and (key != "NDims" or 1 <= int(value) <= MAX_AXES)
    n_axes, words = int(before.get("NDims", 0)), value.split()
    if key in _META_MATRIX:
        return len(words) == n_axes**2 and _are_moderate(words)
    if key == "DimSize" and not all(map(_COUNT.fullmatch, words)):
        return False
    return key not in _META_VECTORS or (len(words) == n_axes and _are_moderate(words))


def _check_meta_fields(path: Path, fields: dict[str, str], data: Sequence[Path]) -> None:
    """`data`: the file of the voxels, where it is another one."""
    n_bytes = sum(file.stat().st_size for file in (path, *data))
    n_packed, n_skipped = int(fields.get("CompressedDataSize", 0)), int(fields.get(_META_SKIP, 0))
    if n_packed > n_bytes:
        found = f"cannot be read (its header promises {n_packed} packed bytes in {n_bytes})"
        raise InputError(path, found, "a whole file", AGAIN)
    if n_skipped > 0 and not data:  # from the file's begin: the header itself would be taken for voxels
        raise InputError(path, f"cannot be read (its voxels begin at byte {n_skipped})", "behind the header", EXPORT)
    if not any(key in fields for key in _META_SPACING):
        raise InputError(path, "its header gives no spacing", "ElementSpacing", "export it with its spacing")
    for key, none in _META_SCALING.items():
        if fields.get(key, none) not in (none, f"{none}.0"):
            found = f"{key} is {fields[key]}, which some readers heed and others do not"
            raise InputError(path, found, "values that are meant as they stand", "write it again without it")
    for keys in (_META_ORIGIN, _META_MATRIX):
        said = {key: fields[key] for key in keys if key in fields}
        if len(set(said.values())) > 1:
            raise InputError(path, f"its header says {' and '.join(said)}, which differ", "one of them", EXPORT)
    if not any(key in fields for key in _META_MATRIX):
        notice(path, *NO_ORIENTATION)


def _are_moderate(words: Sequence[str]) -> bool:
    """Whether all are numbers such as positions, spacings and cosines can be, in ITK's notation (Python's has more)."""
    return all(_PLAIN_NUMBER.fullmatch(word) and abs(float(word)) <= MAX_NUMBER for word in words)


def check_whole_meta(path: Path) -> None:
    """Refuse a MetaImage with packed voxels that are damaged or cut short, of which ITK makes some up; after
    `check_meta`.

    Raises:
        InputError: Naming the file.
    """
    fields, home, start = dict[str, str](), path, 0
    for line in _text_lines(path):
        start += len(line.encode("utf-8", "surrogateescape")) + 1
        key, value = _meta_field(line)
        if key == _META_DATA and value is not None:
            home, start = (path, start) if value in LOCAL else (_beside(path, value), 0)
            break
        fields[key] = value or ""
    if fields.get(_META_PACKED, "").lower() not in ("true", "1"):
        return
    stream, n_bytes = zlib.decompressobj(), 0
    try:
        with home.open("rb") as file:
            file.seek(start)
            data = file.read(CHUNK_BYTES)
            while data and not stream.eof:
                n_bytes += len(stream.decompress(data, CHUNK_BYTES))
                data = stream.unconsumed_tail or file.read(CHUNK_BYTES)
    except zlib.error as error:
        raise InputError(path, f"damaged, after {n_bytes} bytes unpacked", "a sound file", "copy it again") from error
    promised = prod(map(int, fields["DimSize"].split())) * _META_BYTES.get(fields.get("ElementType", ""), 1)
    if not stream.eof or n_bytes < promised:
        raise InputError(path, f"ends after {n_bytes} bytes unpacked", f"{promised} bytes", AGAIN)


def _text_lines(path: Path) -> list[str]:
    """The lines at the head of a file; bytes of voxels among them are of no matter."""
    with path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    if not head:
        raise InputError(path, "cannot be read (it is empty)", "an image", EXPORT)
    return head.decode("utf-8", "surrogateescape").split("\n")


def _beside(path: Path, name: str) -> Path:
    """The file in `path`'s own folder that its header names for its voxels."""
    data = path.parent / name
    homes = (path.parent.resolve(), path.resolve().parent)
    plain = re.fullmatch(r"[^/\\%\x00-\x1f]+", name) and name not in (".", "..") and not name.startswith("LIST")
    if not plain or data.resolve().parent not in homes or not data.is_file():
        raise InputError(
            path,
            f"cannot be read (its header sends the reader to '{name[:80]}')",
            "its voxels in the same file, or in one file beside it",
            "export it as one .nii.gz",
        )
    return data
