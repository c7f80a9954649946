"""NRRD and MetaImage headers, looked at before ITK obeys them.

ITK dies of some of them, waits for ever on others, and takes a spacing of 1 mm without a word where a number is
missing, is NaN or overflows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class TextHead:
    """What stands at the head of a file.

    Attributes:
        fields: Value by name; a NRRD's in small letters.
        n_bytes: Where the voxels begin that follow in the same file.
        data: The other file that holds the voxels, where there is one.
        pairs: A NRRD's key/value pairs (`Segment0_Name:=kidney`).
    """

    fields: dict[str, str]
    n_bytes: int
    data: Sequence[Path] = ()
    pairs: dict[str, str] = field(default_factory=dict)

    @property
    def meta_skip(self) -> int:
        """A MetaImage's bytes before its voxels in another file; -1 where these are the file's last."""
        return int(self.fields.get(_META_SKIP, 0))

    @property
    def meta_packed_bytes(self) -> int:
        """How long a MetaImage says that its zlib stream is; 0 where it does not."""
        return int(self.fields.get("CompressedDataSize", 0))

    @property
    def meta_packed(self) -> bool:
        """Whether a MetaImage's voxels are a zlib stream, as MetaIO takes that field."""
        return self.fields.get(_META_PACKED, "")[:1] in ("T", "t", "1")


def check_nrrd(path: Path) -> Sequence[Path]:
    """Refuse NRRD headers that ITK dies of, and those without a spacing or with voxels outside the file's folder.

    Returns:
        A detached data file.

    Raises:
        InputError: Naming the line.
    """
    head = nrrd_head(path)
    _check_nrrd_place(path, head.fields)
    return head.data


def data_files(path: Path) -> Sequence[Path]:
    """The detached files that a NRRD or MetaImage header names for its voxels.

    Raises:
        InputError: As `check_nrrd` and `check_meta`.
    """
    is_nrrd = path.name.lower().endswith((".nrrd", ".nhdr"))
    return (nrrd_head(path) if is_nrrd else meta_head(path)).data


def nrrd_head(path: Path) -> TextHead:
    """What stands at the head of a NRRD file; raises as `check_nrrd`."""
    lines = _text_lines(path)
    if not lines[0].startswith("NRRD000"):
        raise InputError(path, "cannot be read (no NRRD header)", "a NRRD image", EXPORT)
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    n_bytes = 0
    for number, raw_line in enumerate(lines):
        n_bytes += _n_bytes(raw_line)
        line = raw_line.removesuffix("\r")
        if not line.strip(" \t"):
            break
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        pair = re.match(r"([^:]*):=(.*)", line)
        free = number == 0 or line.startswith("#") or pair
        sound = free or (colon and name not in fields and _is_sound_nrrd(name, value, line))
        if not sound or number > MAX_LINES or _CONTROL.search(line):
            raise InputError(path, f"cannot be read (header line '{line[:80]}')", "the fields of a NRRD image", EXPORT)
        if not free:
            fields[name] = value.strip()
        elif pair and not line.startswith("#"):
            pairs[pair[1]] = pair[2]
    else:
        if path.stat().st_size > MAX_HEADER_BYTES:
            raise InputError(path, "cannot be read (its header does not end)", "a NRRD image", EXPORT)
    return TextHead(fields, n_bytes, [_beside(path, fields[name]) for name in _NRRD_DATA if name in fields], pairs)


def _is_sound_nrrd(name: str, value: str, line: str) -> bool:
    if len(line) > MAX_LINE or (name in ("units", "space units") and _OTHER_UNITS.search(value)):
        return False
    if name in (*_NRRD_FREE, *_NRRD_DATA):
        return True
    if name == "space":
        return not _NRRD_TIMES.fullmatch(value.strip())
    if name in _NRRD_COUNTS:
        return bool(_COUNT.fullmatch(value.strip())) and int(value) <= _NRRD_COUNTS[name]
    if name == "space origin" and value.count("(") != 1:
        return False
    if name in _NRRD_VECTORS:
        return bool(_VECTORS.fullmatch(value)) and _are_moderate(re.findall(r"[^\s,()]+", value.replace("none", "")))
    return bool(_NRRD_PLAIN.fullmatch(value)) and (name != "spacings" or _are_moderate(value.split()))


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
    head = meta_head(path)
    _check_meta_fields(path, head)
    return head.data


def meta_head(path: Path) -> TextHead:
    """What stands at the head of a MetaImage; raises as `check_meta`."""
    fields: dict[str, str] = {}
    n_bytes = 0
    for raw_line in _text_lines(path)[:MAX_LINES]:
        n_bytes += _n_bytes(raw_line)
        line = raw_line.removesuffix("\r")
        if not line.strip(" \t"):
            continue
        key, value = _meta_field(line)
        if value is None or len(line) > MAX_LINE or _CONTROL.search(line):
            break
        if key == _META_DATA:
            return TextHead(fields, n_bytes, [] if value in LOCAL else [_beside(path, value)])
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


def _check_meta_fields(path: Path, head: TextHead) -> None:
    fields = head.fields
    n_bytes = sum(file.stat().st_size for file in (path, *head.data))
    if head.meta_packed_bytes > n_bytes:
        found = f"cannot be read (its header promises {head.meta_packed_bytes} packed bytes in {n_bytes})"
        raise InputError(path, found, "a whole file", AGAIN)
    if head.meta_skip > 0 and not head.data:  # from the file's begin: the header itself would be taken for voxels
        found = f"cannot be read (its voxels begin at byte {head.meta_skip})"
        raise InputError(path, found, "behind the header", EXPORT)
    if head.meta_packed and not head.data and not head.meta_packed_bytes:
        # MetaIO unpacks other bytes, and passes over its failure
        found = "cannot be read (no CompressedDataSize in its header)"
        raise InputError(path, found, "how many packed bytes follow it", EXPORT)
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


def _text_lines(path: Path) -> list[str]:
    """The lines at the head of a file; bytes of voxels among them are of no matter."""
    with path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    if not head:
        raise InputError(path, "cannot be read (it is empty)", "an image", EXPORT)
    return head.decode("utf-8", "surrogateescape").split("\n")


def _n_bytes(line: str) -> int:
    """Of one of `_text_lines`, as it stands in the file."""
    return len(line.encode("utf-8", "surrogateescape")) + 1


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
