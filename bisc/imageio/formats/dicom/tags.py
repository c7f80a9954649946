"""The header of a DICOM file, and its numbers: checked, or refused with the tag's name. Nothing is made up."""

from __future__ import annotations

import math
import mmap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import UID

from bisc.core.errors import InputError
from bisc.imageio.formats.dicom.elements import MARK, MARK_AT, elements_fit, unreadable
from bisc.imageio.plausible import MAX_NUMBER

AGAIN: Final = "export the series again"
BROKEN: Final = (
    BytesLengthException, InvalidDicomError, AttributeError, EOFError, LookupError, ArithmeticError, TypeError,
    ValueError, RuntimeError,
)  # fmt: skip
"""What pydicom raises over damaged files."""

DICOMS: Final = "1.2.840.10008."
GE_SWAPPED: Final = "1.2.840.113619.5.2"
"""GE's own: implicit, its pixels alone in the other byte order."""
PLAIN: Final = frozenset(f"{DICOMS}1.2{end}" for end in ("", ".1", ".1.99", ".2")) | {GE_SWAPPED}
PACKED: Final = frozenset(
    f"{DICOMS}1.2.{end}"
    for end in ("4.50", "4.51", "4.52", "4.53", "4.55", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91", "5")
)
"""Transfer syntaxes that are read: JPEG, JPEG-LS, JPEG 2000, RLE."""
NEWER: Final = {f"{DICOMS}1.2.4.{n}": "JPEG XL" for n in (110, 111, 112)} | {
    f"{DICOMS}1.2.8.1": "Deflated Image Frame Compression"
}
"""Of which pydicom knows no name."""

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
# What it would warn of is looked at here, or does not matter.
warnings.filterwarnings("ignore", module=r"pydicom\.")


def read_header(path: Path, pixels: bool = False) -> FileDataset:
    """The data set of a file, without its pixels unless they are asked for.

    Raises:
        InputError: If it is damaged: an element longer than the file, an encoding that it does not keep; if it
            cannot be read, or is a link that leads nowhere.
    """
    try:
        if path.stat().st_size <= MARK_AT + len(MARK) or not elements_fit(path):
            found = "is damaged (an element is longer than the file, or encoded otherwise than it says)"
            raise InputError(path, found, "a whole DICOM file", "copy or export the series again")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return pydicom.dcmread(data, stop_before_pixels=not pixels, force=True)
    except OSError as error:
        raise unreadable(path, error) from error
    except BROKEN as error:
        found = f"is damaged ({type(error).__name__})"
        raise InputError(path, found, "a whole DICOM file", "copy or export the series again") from error


def syntax_of(data: FileDataset) -> str:
    """A file's transfer syntax; empty where it does not say."""
    return str(data.file_meta.get("TransferSyntaxUID") or "") if hasattr(data, "file_meta") else ""


def check_syntax(path: Path, data: FileDataset) -> None:
    """Refuse a transfer syntax whose pixels are not read: how a maker's own packs them, its header does not tell.

    Raises:
        InputError: Naming it.
    """
    syntax = syntax_of(data)
    if not syntax or syntax in PLAIN or syntax in PACKED:
        return
    if not syntax.startswith(DICOMS):
        raise InputError(path, f"transfer syntax {syntax}", "one of DICOM's own", "convert it with gdcmconv or dcmconv")
    name = NEWER.get(syntax) or UID(syntax).name
    found = f"transfer syntax {syntax}{f' ({name})' if name != syntax else ''}, which is not read"
    raise InputError(path, found, "plain pixels, or JPEG, JPEG-LS, JPEG 2000 or RLE", "export it again, unpacked")


def numbers(path: Path, data: Dataset, keyword: str, n: int) -> tuple[float, ...] | None:
    """The `n` finite numbers of an element; None where it is missing or empty.

    Raises:
        InputError: If they are not so many, no numbers, or no sensible ones.
    """
    value = _value(path, data, keyword)
    if value is None:
        return None
    values = [value] if isinstance(value, str | int | float) else list(value)
    try:
        found = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        found = ()
    if len(found) != n or not all(math.isfinite(v) and abs(v) <= MAX_NUMBER for v in found):
        shown = "\\".join(str(v) for v in values)[:80]
        what = "a number" if n == 1 else f"{n} numbers"
        raise InputError(path, f"{name_of(keyword)} is '{shown}'", what, AGAIN)
    return found


def number(path: Path, data: Dataset, keyword: str) -> float | None:
    """The one number of an element, as `numbers`."""
    found = numbers(path, data, keyword, 1)
    return None if found is None else found[0]


def text(path: Path, data: Dataset, keyword: str) -> str:
    """An element as text, several values joined by a backslash; empty where it is missing."""
    value = _value(path, data, keyword)
    if value is None:
        return ""
    return (
        "\\".join(str(v) for v in value) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    )


def items(path: Path, data: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is missing, or no sequence."""
    value = _value(path, data, keyword)
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Sequence) else []


def name_of(keyword: str) -> str:
    """'PixelSpacing (0028,0030)', as users of DICOM tools know it."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    return f"{keyword} ({tag.group:04X},{tag.element:04X})"


def _value(path: Path, data: Dataset, keyword: str) -> Any:
    try:
        value = data.get(keyword)
    except BROKEN as error:
        raise InputError(path, f"{name_of(keyword)} cannot be read", "a sound element", AGAIN) from error
    return None if value is None or value == "" or (isinstance(value, Sequence) and not len(value)) else value
