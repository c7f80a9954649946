"""What is measured, in words and in rows of tables: a withheld value says why, a doubtful one bears its caution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bisc.core.flags import Flags, Light
from bisc.measurement.measures import CaseMeasures, Definition, Group, Measure, Structure
from bisc.preprocessing.segments import Organ, Segment

Definitions = Mapping[Organ, Mapping[str, Definition]]

SAID: Final[Mapping[Organ, tuple[str, ...]]] = {
    "tumor": ("axial_mm", "volume_ml", "exophytic_percent", "renal", "padua", "c_index"),
    "kidney": ("volume_ml", "length_mm"),
}
"""What a sentence names; of the others the table tells."""
GROUPS: Final[dict[Group, str]] = {"kidney": "Kidney", "size": "Size", "place": "Place", "score": "Scores"}
PROXY: Final = "a stand-in for what the definition asks"
LIGHTS: Final[dict[Light | None, tuple[str, str]]] = {
    "green": ("●", "Green: the checks found nothing wrong"),
    "amber": ("▲", "Amber: look at the outlines before you use a number"),
    "red": ("■", "Red: do not use unseen"),
    None: ("○", "Not checked: no flags came with this mask"),
}
"""A sign of its own shape and a sentence for each light, so that nobody needs its colour."""


@dataclass(frozen=True)
class Row:
    """A measure as a table shows it.

    Attributes:
        name: Its column.
        label: For people.
        value: '36.22 ml', '34.1 mm (31.0 to 37.2)', '4 to 9'; 'withheld' where nothing is known.
        note: Its caution's number in the table's notes; 0 where it has none.
        raw: The value as it was given.
    """

    name: str
    label: str
    value: str
    note: int
    raw: str


@dataclass(frozen=True)
class Rows:
    """The measures under one heading."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class StructureTable:
    """One kidney's or tumour's table, and its cautions, each told once."""

    segment: Segment
    groups: tuple[Rows, ...]
    notes: tuple[str, ...]


def written(value: float | str | None, definition: Definition | None) -> str:
    """A value with the decimals that are known of it; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:.{definition.decimals}f}" if definition else f"{value:g}"


def interval(measure: Measure, definition: Definition | None) -> str:
    """'31 to 37', one end where only one is known; empty where none is."""
    low, high = (written(end, definition) for end in (measure.low, measure.high))
    if low and high:
        return low if low == high else f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else ""


def table_of(structure: Structure, definitions: Definitions) -> StructureTable:
    """All measures of one structure, by group, in the definitions' order; those without a definition last."""
    own = definitions[structure.segment.organ]
    known = {
        title: [name for name, one in own.items() if one.group == group and name in structure.measures]
        for group, title in GROUPS.items()
    }
    known["Others"] = [name for name in structure.measures if name not in own]
    notes = list(dict.fromkeys(filter(None, map(_caution, structure.measures.values()))))
    groups = tuple(
        Rows(title, tuple(_row(name, structure.measures[name], own.get(name), notes) for name in names))
        for title, names in known.items()
        if names
    )
    return StructureTable(structure.segment, groups, tuple(notes))


def _caution(measure: Measure) -> str:
    return "; ".join(filter(None, [measure.why, PROXY if measure.proxy else ""]))


def _row(name: str, measure: Measure, definition: Definition | None, notes: Sequence[str]) -> Row:
    caution = _caution(measure)
    return Row(
        name,
        definition.label if definition else name,
        told(measure, definition) or "withheld",
        notes.index(caution) + 1 if caution else 0,
        "" if measure.value is None else str(measure.value),
    )


def told(measure: Measure, definition: Definition | None) -> str:
    """A value with unit and interval, or the interval alone; empty where neither is known."""
    value, between = written(measure.value, definition), interval(measure, definition)
    unit = f"\u00a0{definition.unit}" if definition and definition.unit else ""
    if not value:
        return f"{between}{unit}" if between else ""
    return f"{value}{unit}" + (f" ({between})" if between not in ("", value) else "")


def sentences(measures: CaseMeasures, definitions: Definitions) -> list[str]:
    """What was found, a sentence for each tumour, then one for each kidney."""
    tumors = [one for one in measures.structures if one.segment.organ == "tumor"]
    kidneys = [one for one in measures.structures if one.segment.organ == "kidney"]
    if not measures.structures:
        return ["No kidney was found: the mask is empty."]
    said = [_sentence(one, definitions) for one in tumors] or ["No tumour was found."]
    said += [_sentence(one, definitions) for one in kidneys]
    if not kidneys:
        said.append("No kidney was found beside the tumour: the mask is doubtful.")
    return said


def _sentence(one: Structure, definitions: Definitions) -> str:
    """'Tumour 1, left: largest axial diameter 34.1 mm (31.0 to 37.2), volume 12.40 ml, R.E.N.A.L. sum 4 to 9.'"""
    own = definitions[one.segment.organ]
    names = [name for name in SAID[one.segment.organ] if name in one.measures]
    parts = [_part(own.get(name), name, one.measures[name]) for name in names]
    return f"{title_of(one.segment)}: {', '.join(parts) or 'nothing was measured'}."


def title_of(segment: Segment) -> str:
    """'Tumour 1, left'; a kidney's own name."""
    side = "" if segment.side == "middle" else f", {segment.side}"
    return f"Tumour {segment.rank}{side}" if segment.organ == "tumor" else segment.name


def _part(definition: Definition | None, name: str, measure: Measure) -> str:
    label = definition.label if definition else name
    label = label if not label[1:2].islower() else label[:1].lower() + label[1:]
    value = told(measure, definition)
    if value:
        return f"{label} {value}"
    return f"{label} withheld ({measure.why})" if measure.why else f"{label} withheld"


def reasons(flags: Flags | None) -> list[str]:
    """Why the light is not green, in words."""
    return [] if flags is None else [flag.words for flag in flags.raised]


def checked(flags: Flags) -> list[str]:
    """The light and its reasons, a sentence each: for who sees numbers without the page."""
    risk = "" if flags.risk is None else f" Estimated risk that the mask is wrong: {flags.risk:.0%}."
    return [
        f"Automatic check: {LIGHTS[flags.light][1]}.{risk}",
        *(f"{why[0].upper()}{why[1:]}." for why in reasons(flags)),
    ]


def totals(segments: Sequence[Segment], found: CaseMeasures) -> str:
    """The two volumes of predictions.csv, 'at least' where something is cut off; empty where nothing was found."""
    if not segments:
        return ""
    tumor = sum(one.volume_ml for one in segments if one.organ == "tumor")
    whole = sum(one.volume_ml for one in segments)
    least = ["at least " * found.at_least(*organs) for organs in (("kidney", "tumor"), ("tumor",))]
    return f"Kidneys with tumours {least[0]}{whole:.1f} ml, tumours {least[1]}{tumor:.1f} ml together."
