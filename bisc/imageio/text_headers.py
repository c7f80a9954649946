"""NRRD and MetaImage headers, looked at before ITK obeys them.

ITK dies of some of them, waits for ever on others, and takes a spacing of 1 mm without a word where a number is
missing, is NaN or overflows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.core.notices import notice
from bisc.imageio.axes import NO_ORIENTATION

MAX_HEADER_BYTES: Final = 1 << 20
MAX_LINE: Final = 1000
"""Characters of a header's line with numbers; ITK's NRRD parser overruns its memory on longer ones."""
MAX_NUMBER: Final = 1e9
"""For positions, spacings and cosines: squares of larger ones may overflow."""
MAX_AXES: Final = 9
EXPORT: Final = "export it again"

_PLAIN_NUMBER = re.compile(r"[-+]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][-+]?[0-9]{1,4})?")
_NUMBER = r"\s*[-+]?[0-9.]{1,40}([eE][-+]?[0-9]{1,4})?\s*"
_VECTOR = rf"\(({_NUMBER})(,({_NUMBER})){{0,15}}\)"
_VECTORS = re.compile(rf"\s*(none|{_VECTOR})(\s*(none|{_VECTOR})){{0,15}}\s*", re.IGNORECASE)
_NRRD_VECTORS = ("space directions", "space origin", "measurement frame")
_NRRD_FREE = ("content", "units", "space units", "labels", "sample units", "sampleunits")
_NRRD_PLAIN = re.compile(r"[\w\s.+?-]*")
_NRRD_DATA = ("data file", "datafile")
_NRRD_SPACES = re.compile(r"(left|right)-(anterior|posterior)-superior(-time)?|[lr][ap]st?", re.IGNORECASE)
"""Those that ITK turns into LPS; it takes the axes of any other as they are."""
_META_DATA = "ElementDataFile"
_META_COUNTS = ("NDims", "CompressedDataSize")
_META_SPACING = ("ElementSpacing", "ElementSize")
_META_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
_META_VECTORS = (*_META_SPACING, "Offset", "Position", "Origin", "CenterOfRotation", "DimSize")
_META_SKIP = "HeaderSize"
_META_KNOWN = {k.lower(): k for k in (_META_DATA, _META_SKIP, *_META_COUNTS, *_META_MATRIX, *_META_VECTORS)}
"""MetaIO minds the case of its keys: one that differs in nothing else would be passed over by it, and not by its
writer."""
_COUNT = re.compile(r"[0-9]{1,19}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""Characters that may end a line for one reader and not for another."""
LOCAL: Final = ("LOCAL", "Local", "local")


def check_nrrd(path: Path) -> Sequence[Path]:
    """Refuse NRRD headers that ITK dies of, and those without a spacing or with voxels outside the file's folder.

    Returns:
        A detached data file.

    Raises:
        InputError: Naming the line.
    """
    lines = _text_lines(path)
    if not lines[0].startswith("NRRD000"):
        raise InputError(path, "cannot be read (no NRRD header)", "a NRRD image", EXPORT)
    fields: dict[str, str] = {}
    for line in lines:
        if not line.strip(" \t"):
            break
        field, colon, value = line.partition(":")
        field = field.strip().lower()
        free = line is lines[0] or line.startswith("#") or re.match(r"[^:]*:=", line)
        sound = free or (colon and field not in fields and _is_sound_nrrd(field, value, line))
        if not sound or _CONTROL.search(line):
            raise InputError(path, f"cannot be read (header line '{line[:80]}')", "the fields of a NRRD image", EXPORT)
        if not free:
            fields[field] = value.strip()
    else:
        if path.stat().st_size > MAX_HEADER_BYTES:
            raise InputError(path, "cannot be read (its header does not end)", "a NRRD image", EXPORT)
    _check_nrrd_place(path, fields)
    return [_beside(path, fields[name]) for name in _NRRD_DATA if name in fields]


def _is_sound_nrrd(field: str, value: str, line: str) -> bool:
    if field in (*_NRRD_FREE, *_NRRD_DATA):
        return True
    if len(line) > MAX_LINE:
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
    fields: dict[str, str] = {}
    for line in _text_lines(path):
        if not line.strip(" \t"):
            continue
        key, *values = (part.strip() for part in re.split("[=:]", line, maxsplit=1))
        if not values or len(line) > MAX_LINE or _CONTROL.search(line):
            break
        if key == _META_DATA:
            data = [] if values[0] in LOCAL else [_beside(path, values[0])]
            _check_meta_fields(path, fields, data)
            return data
        known = _META_KNOWN.get(key.lower(), key)
        if (
            known != key
            or (key in fields and key in _META_KNOWN.values())
            or not _is_sound_meta(key, values[0], fields)
        ):
            raise InputError(path, f"cannot be read (header line '{line[:80]}')", "the fields of a MetaImage", EXPORT)
        fields[key] = values[0]
    raise InputError(path, "cannot be read (no ElementDataFile in its header)", "a MetaImage", EXPORT)


def _is_sound_meta(key: str, value: str, before: dict[str, str]) -> bool:
    """`before`: the fields above; the number of axes stands there."""
    if key == _META_SKIP:
        return value == "-1" or bool(_COUNT.fullmatch(value))
    if key in _META_COUNTS:
        return bool(_COUNT.fullmatch(value)) and (key != "NDims" or 1 <= int(value) <= MAX_AXES)
    n_axes, words = int(before.get("NDims", 0)), value.split()
    if key in _META_MATRIX:
        return len(words) == n_axes**2 and _are_moderate(words)
    return key not in _META_VECTORS or (len(words) == n_axes and _are_moderate(words))


def _check_meta_fields(path: Path, fields: dict[str, str], data: Sequence[Path]) -> None:
    """`data`: the file of the voxels, where it is another one."""
    n_bytes = sum(file.stat().st_size for file in (path, *data))
    n_packed, n_skipped = int(fields.get("CompressedDataSize", 0)), int(fields.get(_META_SKIP, 0))
    if n_packed > n_bytes:
        found = f"cannot be read (its header promises {n_packed} packed bytes in {n_bytes})"
        raise InputError(path, found, "a whole file", "copy or export it again")
    if n_skipped > 0 and not data:  # from the file's begin: the header itself would be taken for voxels
        raise InputError(path, f"cannot be read (its voxels begin at byte {n_skipped})", "behind the header", EXPORT)
    if not any(key in fields for key in _META_SPACING):
        raise InputError(path, "its header gives no spacing", "ElementSpacing", "export it with its spacing")
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
    return head.decode("latin-1").replace("\r\n", "\n").split("\n")


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
