"""Nephrometry from a label map: R.E.N.A.L., C-index, DAP, the parts of PADUA and SPARE.

A part that the mask does not settle has an interval instead of points, and so has each sum that holds it. Nothing is
guessed: what stands in for what the score's authors looked at is marked as a proxy.

Sources: R.E.N.A.L.: Kutikov and Uzzo, J Urol 2009; 182: 844. C-index: Simmons et al., J Urol 2010; 183: 1708. DAP:
Simmons et al., J Urol 2012; 188: 384. PADUA: Ficarra et al., Eur Urol 2009; 56: 786. SPARE: Ficarra et al., BJU Int
2019; 124: 621.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bisc.measurement.definitions import OF
from bisc.measurement.measures import Measure
from bisc.measurement.sheet import Sheet
from bisc.measurement.tumor_place import Lines, Place

ENDOPHYTIC: Final = 0.01
"""No larger share of an entirely endophytic tumour lies beyond the outline: a cap of a tenth of its radius."""
CLEARLY: Final = 2 / 3
"""Of a tumour's volume on one side of the plane through axis and hilum, to be called anterior or posterior."""
HILAR_MM: Final = 2.0
TOUCHES_MM: Final = 0.5
NO_LINES: Final = "no sinus can be seen in the mask, so there are no polar lines"
COLLECTING: Final = "no mask shows the collecting system"
NO_CT: Final = "told from the CT alone, which was not given"
NO_FAT: Final = "the CT shows no fat in what the mask shows as the sinus"
BY_SINUS: Final = "to the sinus, where the CT shows fat; the collecting system may be nearer"


@dataclass(frozen=True)
class Findings:
    """What the scores are made of.

    Attributes:
        axial_mm: The largest axial diameter.
        at_least: Whether the tumour is cut off, and so larger than that.
        place: Its place; None where it has none.
        lines: It and the polar lines, likewise.
        to_sinus_mm: Its distance to the sinus as the mask shows it; None where it shows none.
        fat_in_sinus: Whether the CT shows fat there, so that it is the sinus; None without a CT.
        why: Why place or lines are None; or a caution on them.
    """

    axial_mm: float
    at_least: bool
    place: Place | None
    lines: Lines | None
    to_sinus_mm: float | None
    fat_in_sinus: bool | None
    why: str


def put_scores(sheet: Sheet, found: Findings) -> None:
    """Every score of one tumour."""
    _put_renal(sheet, found)
    _put_c_index(sheet, found)
    _put_dap(sheet, found)
    _put_padua(sheet, found)


def r_of(mm: float) -> int:
    """R.E.N.A.L.'s R of a diameter in mm."""
    return 1 if mm <= 40.0 else 2 if mm < 70.0 else 3


def e_of(exophytic: float) -> int:
    """R.E.N.A.L.'s E of the share of a tumour beyond the kidney's outline."""
    return 1 if exophytic >= 0.5 else 2 if exophytic > ENDOPHYTIC else 3


def n_of(mm: float) -> int:
    """R.E.N.A.L.'s N of the distance to sinus or collecting system in mm."""
    return 1 if mm >= 7.0 else 2 if mm > 4.0 else 3


def a_of(anterior: float) -> str:
    """R.E.N.A.L.'s A of the share of a tumour that lies anterior."""
    return "a" if anterior >= CLEARLY else "p" if anterior <= 1 - CLEARLY else "x"


def l_of(lines: Lines) -> int:
    """R.E.N.A.L.'s L of a tumour's shares beyond the polar lines."""
    if lines.above == 1.0 or lines.below == 1.0:
        return 1
    between = 1.0 - lines.above - lines.below
    return 3 if between > 0.5 or lines.crosses_middle else 2


def _put_renal(sheet: Sheet, found: Findings) -> None:
    _graded(sheet, "renal_r", r_of(found.axial_mm), 3, found)
    place, why = found.place, found.why
    if place is None:
        sheet.hold(["renal_e"], why, 1, 3)
        sheet.hold(["renal_a"], why)
    else:
        sheet.put("renal_e", e_of(place.exophytic), **_guessed(why, 3))
        sheet.put("renal_a", a_of(place.anterior), why=why, proxy=bool(why))
    nearest = 1 if found.to_sinus_mm is None else n_of(found.to_sinus_mm)
    least = 1 if why else nearest
    if found.to_sinus_mm is None or not found.fat_in_sinus:
        unknown = NO_CT if found.fat_in_sinus is None else why or NO_FAT
        sheet.hold(["renal_n"], unknown, least, 3)
        sheet.hold(["renal_h"], unknown)
    else:
        sheet.put("renal_n", nearest, low=least, high=3, why=why or BY_SINUS, proxy=True)
        near = found.to_sinus_mm <= HILAR_MM
        by = why or "by the sinus, not by vessels"
        sheet.put("renal_h", "possible" if near else "unlikely", why=by, proxy=True)
    if found.lines is None:
        sheet.hold(["renal_l"], NO_LINES if place else why, 1, 3)
    else:
        sheet.put("renal_l", l_of(found.lines), **_guessed(why, 3))
    _sum(sheet, "renal", ["renal_r", "renal_e", "renal_n", "renal_l"])


def _put_c_index(sheet: Sheet, found: Findings) -> None:
    if found.place is None or found.at_least:
        sheet.hold(["c_index"], found.why)
    else:
        sheet.put("c_index", found.place.centre_mm / (found.axial_mm / 2), why=found.why, proxy=bool(found.why))


def _put_dap(sheet: Sheet, found: Findings) -> None:
    mm = found.axial_mm
    _graded(sheet, "dap_d", 1 if mm < 24.0 else 2 if mm <= 44.0 else 3, 3, found)
    if found.place is None or found.at_least:
        sheet.hold(["dap_a", "dap_p"], found.why, 1, 3)
    else:
        for name, edge_mm, far_mm in (
            ("dap_a", found.place.to_axis_mm, 15.0),
            ("dap_p", found.place.to_equator_mm, 20.0),
        ):
            points = 3 if edge_mm == 0.0 else 2 if edge_mm <= far_mm else 1
            sheet.put(name, points, why=found.why or "from the outline's axis and middle", proxy=True)
    _sum(sheet, "dap", ["dap_d", "dap_a", "dap_p"])


def _put_padua(sheet: Sheet, found: Findings) -> None:
    mm, place, why = found.axial_mm, found.place, found.why
    _graded(sheet, "padua_size", 1 if mm <= 40.0 else 2 if mm <= 70.0 else 3, 3, found)
    if found.lines is None:
        sheet.hold(["padua_polar"], NO_LINES if place else why, 1, 2)
    else:
        sheet.put("padua_polar", 1 if max(found.lines.above, found.lines.below) > 0.5 else 2, **_guessed(why, 2))
    if place is None:
        sheet.hold(["padua_exophytic"], why, 1, 3)
        sheet.hold(["padua_rim"], why, 1, 2)
    else:
        sheet.put("padua_exophytic", e_of(place.exophytic), **_guessed(why, 3))
        sheet.put("padua_rim", 2 if place.medial > 0.5 else 1, **_guessed(why, 2))
    if found.to_sinus_mm is None:
        sheet.hold(["padua_sinus"], NO_LINES if place else why, 1, 2)
    else:
        touches = found.to_sinus_mm <= TOUCHES_MM
        guessed = _guessed(why, 2) or {"why": "by the kidney's medial dent", "proxy": True}
        sheet.put("padua_sinus", 2 if touches else 1, **guessed)
    sheet.hold(["padua_collecting"], COLLECTING, 1, 2)
    parts = ["padua_polar", "padua_exophytic", "padua_rim", "padua_sinus", "padua_collecting", "padua_size"]
    _sum(sheet, "padua", parts)
    _put_spare(sheet, place, why)


def _put_spare(sheet: Sheet, place: Place | None, why: str) -> None:
    sinus, size = (sheet.measures[name].value for name in ("padua_sinus", "padua_size"))
    if place is None or sinus is None or size is None:
        sheet.hold(["spare"], NO_LINES if place else why)
        return
    words = [
        "medial rim" if place.medial > 0.5 else "lateral rim",
        "sinus involved" if sinus == 2 else "sinus free",
        {1: "exophytic by half or more", 2: "exophytic by less than half", 3: "endophytic"}[e_of(place.exophytic)],
        {1: "up to 4 cm", 2: "4 to 7 cm", 3: "above 7 cm"}[int(size)],
    ]
    sheet.put("spare", ", ".join(words), why=why, proxy=True)


def _graded(sheet: Sheet, name: str, points: int, most: int, found: Findings) -> None:
    """Points of a size, which a tumour that is cut off has at least."""
    if found.at_least and points < most:
        sheet.hold([name], found.why, points, most)
    else:
        sheet.put(name, points)


def _sum(sheet: Sheet, name: str, parts: Sequence[str]) -> None:
    """The sum of its parts: a value where each has one, and the interval of what they can be."""
    measures = [sheet.measures[part] for part in parts]
    low, high = (sum(_end(one, end) for one in measures) for end in ("low", "high"))
    lacking = [OF["tumor"][part].label for part, one in zip(parts, measures, strict=True) if one.value is None]
    if lacking:
        sheet.hold([name], f"without {', '.join(lacking)}", low, high)
        return
    total = sum(int(one.value) for one in measures if one.value is not None)
    proxy = any(one.proxy for one in measures)
    interval = {"low": low, "high": high} if (low, high) != (total, total) else {}
    sheet.put(name, total, **interval, proxy=proxy)


def _end(one: Measure, end: str) -> int:
    bound = one.low if end == "low" else one.high
    value = one.value if bound is None else bound
    assert value is not None and not isinstance(value, str)  # points, or their interval
    return int(value)


def _guessed(why: str, most: int) -> dict[str, Any]:
    """How points are given that rest on an outline which is a guess: as a proxy that may be anything."""
    return {"low": 1, "high": most, "why": why, "proxy": True} if why else {}
