"""What is measured, in words and in rows of tables: a withheld value says why, a doubtful one bears its caution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bisc.core.flags import Flags, Light
from bisc.measurement.measures import CaseMeasures, Definition, Group, Measure, Structure
from bisc.preprocessing.segments import Segment

Definitions = Mapping[str, Definition]

SAID: Final = ("axial_mm", "volume_ml")
"""The sizes that a sentence names; of the others the table tells."""
GROUPS: Final[dict[Group, str]] = {"size": "Size", "place": "Place", "kidney": "Kidney", "score": "Scores"}
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
    """A measure as a table shows it; `number` of its footnote, 0 where its definition is not known."""

    name: str
    label: str
    value: str
    interval: str
    unit: str
    caution: str
    raw: str


@dataclass(frozen=True)
class Rows:
    """The measures under one heading."""

    title: str
    rows: tuple[Row, ...]


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


def table_of(structure: Structure, definitions: Definitions) -> list[Rows]:
    """All measures of one structure, by group, in the definitions' order; those without a definition last."""
    known = [name for name in definitions if name in structure.measures]
    groups = []
    for group, title in GROUPS.items():
        names = [name for name in known if definitions[name].group == group]
        if names:
            rows = tuple(_row(name, structure.measures[name], definitions[name]) for name in names)
            groups.append(Rows(title, rows))
    others = [name for name in structure.measures if name not in definitions]
    if others:
        groups.append(Rows("Others", tuple(_row(name, structure.measures[name], None) for name in others)))
    return groups


def _row(name: str, measure: Measure, definition: Definition | None) -> Row:
    cautions = [measure.why, PROXY if measure.proxy else ""]
    return Row(
        name,
        definition.label if definition else name,
        written(measure.value, definition) or "withheld",
        interval(measure, definition),
        definition.unit if definition else "",
        "; ".join(filter(None, cautions)),
        "" if measure.value is None else str(measure.value),
    )


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
    """'Tumour 1, left: largest axial diameter 34 mm (31 to 37), volume 12.4 ml; R.E.N.A.L. score 4 to 9.'"""
    names = [name for name in SAID if name in one.measures]
    names += [name for name in one.measures if name in definitions and definitions[name].group == "score"]
    parts = [_part(definitions.get(name), name, one.measures[name]) for name in names]
    return f"{title_of(one.segment)}: {', '.join(parts) or 'nothing was measured'}."


def title_of(segment: Segment) -> str:
    """'Tumour 1, left'; a kidney's own name."""
    side = "" if segment.side == "middle" else f", {segment.side}"
    return f"Tumour {segment.rank}{side}" if segment.organ == "tumor" else segment.name


def _part(definition: Definition | None, name: str, measure: Measure) -> str:
    label = definition.label if definition else name
    label = label if label[1:2].isupper() or label[1:2] == "." else label[:1].lower() + label[1:]
    unit = f" {definition.unit}" if definition and definition.unit else ""
    value, between = written(measure.value, definition), interval(measure, definition)
    if not value and not between:
        return f"{label} withheld ({measure.why})" if measure.why else f"{label} withheld"
    if not value:
        return f"{label} {between}{unit}"
    return f"{label} {value}{unit}" + (f" ({between})" if between else "")


def reasons(flags: Flags | None) -> list[str]:
    """Why the light is not green, in words."""
    return [] if flags is None else [flag.words for flag in flags.raised]


def totals(segments: Sequence[Segment]) -> str:
    """The two volumes of predictions.csv; empty where nothing was found."""
    if not segments:
        return ""
    tumor = sum(one.volume_ml for one in segments if one.organ == "tumor")
    whole = sum(one.volume_ml for one in segments)
    return f"Kidneys with tumours {whole:.1f} ml, tumours {tumor:.1f} ml together."
