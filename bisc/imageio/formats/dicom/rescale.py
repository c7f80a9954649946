"""How a frame's stored values become HU: by its rescale, or by RealWorldValueMappingSequence, which maps stored values
too (PS3.3, C.7.6.16.2.11) and names their unit. Where the two contradict each other neither is taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from bisc.core.errors import InputError
from bisc.imageio.formats.dicom.tags import AGAIN, items, name_of, number, text

HU_TYPES: Final = ("HU", "HU_MOD", "H.U.", "HOUNSFIELD", "HOUNSFIELD UNIT", "HOUNSFIELD UNITS")
"""Of RescaleType: Hounsfield units, those of modified images (PS3.3, C.11.1.1.2), and what some write in words."""
UNSAID_TYPES: Final = ("", "US")
"""None, and 'unspecified'."""
HU_CODES: Final = frozenset({"[hnsf'U]", "hnsf'U"})
"""Hounsfield units in UCUM, whose codes units have."""
NO_UNITS: Final = ("", "1", "{no_units}")
MAPPING: Final = "RealWorldValueMappingSequence"
GIVE_HU: Final = "give the CT in HU"
MOST_STORED, HALF_HU = 4096, 0.5
"""Two lines are one where they differ by no more over all stored values of a CT."""

Line = tuple[float, float]


@dataclass(frozen=True)
class Mapped:
    """What RealWorldValueMappingSequence says.

    Attributes:
        lines: Slope and intercept of every mapping into HU; None of one that is no line (a table).
        units: Codes of other units; empty where one is HU, or none is said.
    """

    lines: tuple[Line | None, ...]
    units: str


def mapped(path: Path, places: Iterable[Dataset]) -> Mapped:
    """The mappings of all places where they may stand.

    Raises:
        InputError: If a slope or an intercept is no number.
    """
    lines: list[Line | None] = []
    codes: list[str] = []
    for mapping in (one for place in places for one in items(path, place, MAPPING)):
        own = [text(path, code, "CodeValue").strip() for code in items(path, mapping, "MeasurementUnitsCodeSequence")]
        codes += own
        if HU_CODES & {*own}:
            lines += _line(path, mapping)
    is_hu = bool(HU_CODES & {*codes})
    return Mapped(tuple(lines), "" if is_hu else " and ".join(dict.fromkeys(c for c in codes if c not in NO_UNITS)))


def rescale_of(path: Path, places: Iterable[Dataset], table: Mapped) -> Line | None:
    """Slope and intercept, HU = slope * stored + intercept; None where nothing tells them.

    Args:
        path: The file.
        places: Where a rescale may stand, the first that counts first.
        table: It counts where there is no rescale, or none whose type is HU.

    Raises:
        InputError: If the values are no HU, or the two contradict each other.
    """
    other = InputError(path, f"its values are in {table.units} ({name_of(MAPPING)})", "HU", GIVE_HU)
    for place in places:
        slope, intercept = number(path, place, "RescaleSlope"), number(path, place, "RescaleIntercept")
        if slope is None and intercept is None:
            continue
        if slope is None or intercept is None or slope == 0:
            found = f"rescale slope {slope} and intercept {intercept}".replace("None", "missing")
            raise InputError(path, found, "both, and a slope other than 0", AGAIN)
        unit = text(path, place, "RescaleType").strip().upper()
        if table.lines and unit not in ("", *HU_TYPES):
            return _one_line(path, table)
        if unit not in (*HU_TYPES, *UNSAID_TYPES):
            raise InputError(path, f"its values are in {unit} ({name_of('RescaleType')})", "HU", GIVE_HU)
        if table.units and unit in UNSAID_TYPES:
            raise other
        known = [line for line in table.lines if line is not None]
        if known and not any(_is_same(line, (slope, intercept)) for line in known):
            found = f"its rescale makes HU by {_told((slope, intercept))}, and {name_of(MAPPING)} by {_told(known[0])}"
            raise InputError(path, found, "one way to HU", AGAIN)
        return slope, intercept
    if table.units:
        raise other
    return _one_line(path, table) if table.lines else None


def _line(path: Path, mapping: Dataset) -> list[Line | None]:
    """Of one mapping; none where it has neither a line nor a table, and tells of a unit alone."""
    slope, intercept = (number(path, mapping, f"RealWorldValue{word}") for word in ("Slope", "Intercept"))
    if slope is not None and intercept is not None and slope != 0:
        return [(slope, intercept)]
    is_bare = slope is None and intercept is None and "RealWorldValueLUTData" not in mapping
    return [] if is_bare else [None]


def _one_line(path: Path, table: Mapped) -> Line:
    line = table.lines[0]
    if line is None or not all(other is not None and _is_same(line, other) for other in table.lines):
        raise InputError(path, f"{name_of(MAPPING)} makes HU of its values, and not by one line", "a rescale", GIVE_HU)
    return line


def _is_same(one: Line, other: Line) -> bool:
    return abs(one[0] - other[0]) * MOST_STORED + abs(one[1] - other[1]) <= HALF_HU


def _told(line: Line) -> str:
    return f"{line[0]:g} x stored {line[1]:+g}"
