"""What a measure is, and what one structure's and one case's measures are: types alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bisc.preprocessing.segments import Organ, Segment

Point = tuple[float, float, float]
"""(x, y, z) LPS mm."""
Group = Literal["size", "place", "kidney", "score"]


@dataclass(frozen=True)
class Definition:
    """What a measure means.

    Attributes:
        name: Its column, with the unit: `axial_mm`.
        label: For people: 'Largest axial diameter'.
        unit: 'mm', 'ml', '%' or ''.
        decimals: Digits that are written; no more are known.
        group: Under which heading it is shown.
        of: What it is measured of.
        meaning: One sentence: what is measured, by which convention, whose.
    """

    name: str
    label: str
    unit: str
    decimals: int
    group: Group
    of: Organ
    meaning: str


@dataclass(frozen=True)
class Measure:
    """One measured value, or why there is none.

    Attributes:
        value: A number in the definition's unit, or a category; None where it is withheld.
        low: Of a score that the mask alone does not settle, the least it can be; of a size the lower end of its
            interval; None where there is none.
        high: The upper end likewise.
        why: Of a withheld value the reason; else a caution to be shown with it.
        proxy: Whether something else stands in for what the definition's author measured.
        ends: Of a diameter, its two end points.
    """

    value: int | float | str | None
    low: float | None = None
    high: float | None = None
    why: str = ""
    proxy: bool = False
    ends: tuple[Point, Point] | None = None


@dataclass(frozen=True)
class Structure:
    """One kidney or tumour, and its measures by name."""

    segment: Segment
    measures: Mapping[str, Measure]


@dataclass(frozen=True)
class CaseMeasures:
    """All that is measured of one label map.

    Attributes:
        case: Its name.
        structures: Kidneys, the right one first; then tumours, the largest first.
        notes: What holds for all of it, a sentence each.
    """

    case: str
    structures: tuple[Structure, ...]
    notes: tuple[str, ...] = field(default=())

    def at_least(self, *organs: str) -> bool:
        """Whether one of these organs' structures is larger than what is seen, and so is their sum."""
        volumes = [one.measures["volume_ml"] for one in self.structures if one.segment.organ in organs]
        return any(one.value is None and one.low is not None for one in volumes)
