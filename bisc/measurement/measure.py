"""All measures of a divided label map: kidneys with side, tumours one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Geometry, as_triple
from bisc.core.volume import Volume
from bisc.evaluation.diameters import Line, axial_line, line
from bisc.measurement.area import contact_mm2, surface_mm2
from bisc.measurement.definitions import MARGIN_MM, OF
from bisc.measurement.kidney_shape import KidneyShape
from bisc.measurement.measures import CaseMeasures, Point, Structure
from bisc.measurement.scores import Findings, put_scores
from bisc.measurement.sheet import Sheet
from bisc.measurement.sides import APART_MM, CUT, FUSED, NO_KIDNEY, SEVERAL, Side, notes_of, sides_of
from bisc.measurement.tumor_place import Place, beyond, gap_mm, lines_of, place_of
from bisc.preprocessing.segments import MOST_TUMORS, Segment

Mask = npt.NDArray[np.bool_]

FAT_HU: Final = (-150.0, -20.0)
FAT_SHARE: Final = 0.1
"""Of the sinus; noise alone makes up to a twentieth of other tissue as dark."""
APART: Final = f"it lies more than {APART_MM:.0f} mm from the kidney"
GUESS: Final = "the tumour is larger than what is left of the kidney, whose former outline is a guess"
POLE: Final = "a tumour took the kidney's pole, which is a guess: the rest carried on as an ellipsoid"
REST: Final = f"it stands for all tumours from the {MOST_TUMORS}th on"
THICK_SHARE: Final = 0.6
"""Of the radius of a ball of a tumour's volume: on thicker slices its contact surface comes out too small by 7 to 45 %,
on thinner ones by 7 at most (balls of 8 to 20 mm in an ellipsoid, slices of 0.5 to 8 mm)."""
THICK: Final = "its slices are thick for its size: it comes out too small, by 7 to 45 % for balls"
BULGES: Final = "most of it bulges out of the kidney: it comes out too large, by 1 to 22 % for balls of 20 to 50 mm"
ONE_KIDNEY: Final = "the other kidney is not seen"
PLACES: Final = ("along_percent", "exophytic_percent", "intraparenchymal_percent", "depth_mm")
OTHER_PLACES: Final = ("contact_cm2", "contact_percent", "to_sinus_mm", "to_tumor_mm")


def measure(
    case: str,
    numbered: npt.NDArray[np.uint8],
    segments: Sequence[Segment],
    grid: Geometry,
    image: Volume | None = None,
) -> CaseMeasures:
    """Measure a divided label map.

    Args:
        case: Its name.
        numbered: Canonical (z, y, x) segment numbers, as of `bisc.preprocessing.segments.divide`.
        segments: In their order; none where nothing was found.
        grid: The map's.
        image: Canonical (z, y, x) HU on the same grid; without it what only a CT tells is withheld.
    """
    sides = sides_of(numbered, segments, grid, image)
    shapes = {name: side.shape() for name, side in sides.items()}
    done = [
        _kidney(one, sides[one.side], shapes[one.side], segments, sides)
        if one.organ == "kidney"
        else _tumor(one, sides[one.side], shapes[one.side])
        for one in segments
    ]
    notes = notes_of(sides)
    if sum(one.organ == "tumor" for one in segments) == MOST_TUMORS:
        notes.append(f"{MOST_TUMORS} tumours are told apart; if there are more, the last stands for all the rest")
    return CaseMeasures(case, tuple(done), tuple(notes))


def _kidney(
    segment: Segment,
    side: Side,
    shape: KidneyShape | None,
    segments: Sequence[Segment],
    sides: Mapping[str, Side],
) -> Structure:
    sheet, own, mm = Sheet(segment), side.mask(segment), side.grid.spacing_mm_zyx
    tumor_ml = sum(one.volume_ml for one in side.tumors)
    n_apart = sum(not (side.mask(one) & side.near).any() for one in side.tumors)
    apart = f"{n_apart} of its tumours: more than {APART_MM:.0f} mm from it" if n_apart else ""
    sheet.put("tumors", len(side.tumors), why=apart)
    cut = side.cut or any(side.is_cut(one) for one in side.tumors)  # one that lies apart cuts no kidney
    if cut:
        sheet.hold(["organ_ml"], CUT, low=segment.volume_ml + tumor_ml)
        sheet.hold(["tumor_ml"], CUT, low=tumor_ml)
    if side.cut:
        sheet.hold(["volume_ml"], CUT, low=segment.volume_ml)
        sheet.hold(OF["kidney"], CUT)
        return sheet.done()
    several = side.odd if side.odd == SEVERAL else ""
    sheet.put("volume_ml", segment.volume_ml, why=several)
    if not cut:
        sheet.put("organ_ml", segment.volume_ml + tumor_ml, why=several or apart)
        sheet.put("tumor_ml", tumor_ml, why=apart)
    if side.odd in (FUSED, SEVERAL):
        sheet.hold(OF["kidney"], side.odd)
        return sheet.done()
    kidneys = [one for one in segments if one.organ == "kidney"]
    doubts = [CUT if sides[one.side].cut else sides[one.side].odd for one in kidneys]
    if len(kidneys) < 2:
        sheet.hold(["split_percent"], ONE_KIDNEY)
    elif any(doubts):
        sheet.hold(["split_percent"], f"the other kidney: {next(filter(None, doubts))}")
    else:
        sheet.put("split_percent", 100.0 * segment.volume_ml / sum(one.volume_ml for one in kidneys))
    tumors = np.isin(side.numbered, [one.number for one in side.tumors])
    left = beyond(own, tumors, MARGIN_MM, mm) / np.count_nonzero(own) if side.tumors else 1.0
    sheet.put("remaining_ml", left * segment.volume_ml)
    sheet.put("remaining_percent", 100.0 * left)
    if shape is None:
        sheet.hold(OF["kidney"], side.odd or NO_KIDNEY)
        return sheet.done()
    why = GUESS if side.near_tumor_ml > segment.volume_ml else POLE if shape.lost.any() else ""
    longest = line((shape.parenchyma | shape.tumors) & shape.outline, mm)
    assert longest is not None  # there is a kidney
    sheet.put("length_mm", longest.length_mm, why=why, ends=_ends(longest, side.grid))
    if shape.polar_slices is None:
        sheet.hold(["lower_line_percent", "upper_line_percent"], "no sinus can be seen in the mask")
    else:
        low, high = shape.pole_slices
        for name, z in zip(("lower_line_percent", "upper_line_percent"), shape.polar_slices, strict=True):
            sheet.put(name, 100.0 * (z - low) / (high - low), why=why)
    return sheet.done()


def _tumor(segment: Segment, side: Side, shape: KidneyShape | None) -> Structure:
    sheet, own, mm = Sheet(segment), side.mask(segment), side.grid.spacing_mm_zyx
    if segment.rank == MOST_TUMORS:
        sheet.put("volume_ml", segment.volume_ml, why=REST)
        sheet.hold(OF["tumor"], REST)
        return sheet.done()
    axial, longest = axial_line(own, mm), line(own, mm)
    assert axial is not None and longest is not None  # no segment is empty
    cut = side.is_cut(segment)
    sizes = {"volume_ml": segment.volume_ml, "equivalent_mm": _ball_mm(segment.volume_ml)}
    for name, value in sizes.items():
        if cut:
            sheet.hold([name], CUT, low=value)
        else:
            sheet.put(name, value)
    for name, found in (("axial_mm", axial), ("diameter_mm", longest)):
        if cut:
            sheet.hold([name], CUT, low=found.length_mm)
        else:
            sheet.put(name, found.length_mm, ends=_ends(found, side.grid))
    why = CUT if side.cut or cut else side.odd or (NO_KIDNEY if shape is None else "")
    if not why and not (own & side.near).any():
        why = APART
    if not why and side.kidney is not None and side.near_tumor_ml > side.kidney.volume_ml:
        why = GUESS
    if not why and shape is not None and (own & shape.lost).any():
        why = POLE
    shape = None if why in (CUT, APART) else shape
    place = None if shape is None else place_of(own, shape)
    if place is not None:  # what is written is what is graded, here and below
        place = replace(place, exophytic=round(100 * place.exophytic) / 100)
    to_sinus_mm = _put_place(sheet, own, side, shape, place, cut, why)
    put_scores(
        sheet,
        Findings(
            axial_mm=round(axial.length_mm, OF["tumor"]["axial_mm"].decimals),
            at_least=cut,
            place=place,
            lines=None if shape is None else lines_of(own, shape),
            to_sinus_mm=to_sinus_mm,
            fat_in_sinus=_fat_in_sinus(side, shape),
            why=why,
        ),
    )
    return sheet.done()


def _put_place(
    sheet: Sheet, own: Mask, side: Side, shape: KidneyShape | None, place: Place | None, cut: bool, why: str
) -> float | None:
    """What of a tumour's place needs no score; its distance to the sinus is returned."""
    mm = side.grid.spacing_mm_zyx
    if place is None:
        sheet.hold(PLACES, why)
    else:
        values = 100 * place.along, 100 * place.exophytic, 100 * (1 - place.exophytic), place.depth_mm
        for name, value in zip(PLACES, values, strict=True):
            sheet.put(name, value, why=why, proxy=bool(why))
    to_sinus_mm = None if shape is None else gap_mm(own, shape.sinus, mm)
    if to_sinus_mm is not None:
        to_sinus_mm = round(to_sinus_mm, OF["tumor"]["to_sinus_mm"].decimals)
        sheet.put("to_sinus_mm", to_sinus_mm, proxy=True, why=why or "to the kidney's medial dent")
    if cut:
        sheet.hold(OTHER_PLACES, why)
        return None
    if side.kidney is not None:
        contact = contact_mm2(own, side.mask(side.kidney), mm)
        thick = THICK if contact and max(mm) > THICK_SHARE * _ball_mm(sheet.segment.volume_ml) / 2 else ""
        bulges = BULGES if contact and place is not None and place.exophytic > 0.5 else ""
        sheet.put("contact_cm2", contact / 100.0, why=thick or bulges)
        sheet.put("contact_percent", min(100.0, 100.0 * contact / surface_mm2(own, mm)), why=thick or bulges)
    others = np.isin(side.numbered, [one.number for one in side.tumors if one.number != sheet.segment.number])
    to_tumor_mm = gap_mm(own, others, mm)
    if to_tumor_mm is not None:
        sheet.put("to_tumor_mm", to_tumor_mm)
    sheet.hold(["to_tumor_mm"], "it is the only one of its kidney")
    sheet.hold(OTHER_PLACES, why or "no sinus can be seen in the mask")
    return to_sinus_mm


def _ball_mm(ml: float) -> float:
    """The diameter of a ball of this volume."""
    return float(10.0 * (6.0 * ml / np.pi) ** (1 / 3))


def _fat_in_sinus(side: Side, shape: KidneyShape | None) -> bool | None:
    """Whether the CT shows fat in what the mask shows as the sinus; None without a CT."""
    if side.image is None:
        return None
    if shape is None:
        return False
    inside = side.image[shape.sinus]
    return inside.size > 0 and float(np.mean((inside >= FAT_HU[0]) & (inside <= FAT_HU[1]))) >= FAT_SHARE


def _ends(found: Line, grid: Geometry) -> tuple[Point, Point]:
    """The line's two ends in LPS mm: its voxels' centres."""
    first, last = grid.index_to_physical([found.first_zyx, found.last_zyx])
    return as_triple(first), as_triple(last)
