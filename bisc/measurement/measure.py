"""All measures of a divided label map: kidneys with side, tumours one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bisc.core.geometry import Geometry, as_triple
from bisc.core.volume import Box, Volume
from bisc.evaluation.diameters import Line, axial_line, line
from bisc.measurement.area import contact_mm2, surface_mm2, touching
from bisc.measurement.definitions import MARGIN_MM, OF
from bisc.measurement.kidney_shape import KidneyShape
from bisc.measurement.measures import CaseMeasures, Point, Structure
from bisc.measurement.scores import Findings, put_scores
from bisc.measurement.sheet import Sheet
from bisc.measurement.tumor_place import Place, beyond, gap_mm, lines_of, place_of
from bisc.preprocessing.kidneys import WHOLE_ML
from bisc.preprocessing.segments import Segment

Mask = npt.NDArray[np.bool_]

FAT_HU: Final = (-150.0, -20.0)
CUT: Final = "cut off by the field of view"
FUSED: Final = "the kidneys are fused, or the kidney lies in the middle: it has no medial side of its own"
NO_KIDNEY: Final = f"its side shows less than {WHOLE_ML:.0f} ml of kidney tissue"
GUESS: Final = "the tumour is larger than what is left of the kidney, whose former outline is a guess"
ONE_KIDNEY: Final = "the other kidney is not seen"
PLACES: Final = ("along_percent", "exophytic_percent", "intraparenchymal_percent", "depth_mm")
OTHER_PLACES: Final = ("contact_cm2", "contact_percent", "to_sinus_mm", "to_tumor_mm")


@dataclass(frozen=True, eq=False)
class Side:
    """One kidney with its tumours, cut out.

    Attributes:
        kidney: Its segment; None where the side holds tumour alone.
        tumors: Their segments.
        numbered: (z, y, x) numbers, with a voxel of room.
        grid: The cut-out's.
        image: (z, y, x) HU likewise, or None.
        cut: Whether it reaches the border of the image.
        fused: Whether it touches the other one, or lies in the middle.
    """

    kidney: Segment | None
    tumors: tuple[Segment, ...]
    numbered: npt.NDArray[np.uint8]
    grid: Geometry
    image: npt.NDArray[Any] | None
    cut: bool
    fused: bool

    def mask(self, segment: Segment) -> Mask:
        """The voxels of one of them."""
        return np.asarray(self.numbered == segment.number)

    @property
    def enough(self) -> bool:
        """Whether there is kidney enough to speak of its outline."""
        return self.kidney is not None and self.kidney.volume_ml >= WHOLE_ML

    def shape(self) -> KidneyShape | None:
        """The kidney's, where it has one."""
        if self.kidney is None or not self.enough or self.fused:
            return None
        tumors = np.isin(self.numbered, [one.number for one in self.tumors])
        medial_x = -1 if self.kidney.side == "left" else 1  # LPS: x grows to the patient's left
        return KidneyShape(self.mask(self.kidney), tumors, self.grid.spacing_mm_zyx, medial_x)


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
    notes = [f"{name} kidney: {CUT}" for name, side in sides.items() if side.cut]
    notes += [f"{name} kidney: {FUSED}" for name, side in sides.items() if side.fused]
    return CaseMeasures(case, tuple(done), tuple(notes))


def sides_of(
    numbered: npt.NDArray[np.uint8], segments: Sequence[Segment], grid: Geometry, image: Volume | None
) -> dict[str, Side]:
    """The kidneys with their tumours, each cut out, by side."""
    names = list(dict.fromkeys(one.side for one in segments))
    boxes = {}
    for name in names:
        box = Box.of_mask(np.isin(numbered, [one.number for one in segments if one.side == name]))
        if box is not None:
            boxes[name] = box
    joined = len(boxes) > 1 and _touch(numbered, segments)
    sides: dict[str, Side] = {}
    for name, box in boxes.items():
        own = [one for one in segments if one.side == name]
        room = box.padded((1, 1, 1)).clipped(grid.shape_zyx)
        assert room is not None  # the box lies within the grid
        part = numbered[room.to_slices()]
        sides[name] = Side(
            kidney=next((one for one in own if one.organ == "kidney"), None),
            tumors=tuple(one for one in own if one.organ == "tumor"),
            numbered=np.where(np.isin(part, [one.number for one in own]), part, 0).astype(np.uint8),
            grid=grid.cropped(room.start_zyx, room.shape_zyx),
            image=None if image is None else image.array[room.to_slices()],
            cut=min(box.start_zyx) == 0 or any(a == b for a, b in zip(box.stop_zyx, grid.shape_zyx, strict=True)),
            fused=joined or name == "middle",
        )
    return sides


def _touch(numbered: npt.NDArray[np.uint8], segments: Sequence[Segment]) -> bool:
    """Whether what belongs to different sides shares a face."""
    whole = Box.of_mask(numbered > 0)
    assert whole is not None  # there are two sides
    part = numbered[whole.to_slices()]
    left = np.isin(part, [one.number for one in segments if one.side == "left"])
    return bool(touching(left, (part > 0) & ~left).any())


def _kidney(
    segment: Segment,
    side: Side,
    shape: KidneyShape | None,
    segments: Sequence[Segment],
    sides: Mapping[str, Side],
) -> Structure:
    sheet, own, mm = Sheet(segment), side.mask(segment), side.grid.spacing_mm_zyx
    tumor_ml = sum(one.volume_ml for one in side.tumors)
    sheet.put("tumors", len(side.tumors))
    if side.cut:
        sheet.hold(["volume_ml"], CUT, low=segment.volume_ml)
        sheet.hold(["organ_ml"], CUT, low=segment.volume_ml + tumor_ml)
        sheet.hold(["tumor_ml"], CUT, low=tumor_ml)
        sheet.hold(OF["kidney"], CUT)
        return sheet.done()
    sheet.put("volume_ml", segment.volume_ml)
    sheet.put("organ_ml", segment.volume_ml + tumor_ml)
    sheet.put("tumor_ml", tumor_ml)
    if side.fused:
        sheet.hold(OF["kidney"], FUSED)
        return sheet.done()
    kidneys = [one for one in segments if one.organ == "kidney"]
    if len(kidneys) < 2:
        sheet.hold(["split_percent"], ONE_KIDNEY)
    elif any(sides[one.side].cut for one in kidneys):
        sheet.hold(["split_percent"], f"the other kidney: {CUT}")
    else:
        sheet.put("split_percent", 100.0 * segment.volume_ml / sum(one.volume_ml for one in kidneys))
    tumors = np.isin(side.numbered, [one.number for one in side.tumors])
    left = beyond(own, tumors, MARGIN_MM, mm) / np.count_nonzero(own) if side.tumors else 1.0
    sheet.put("remaining_ml", left * segment.volume_ml)
    sheet.put("remaining_percent", 100.0 * left)
    if shape is None:
        sheet.hold(OF["kidney"], NO_KIDNEY)
        return sheet.done()
    why = GUESS if tumor_ml > segment.volume_ml else ""
    longest = line((own | tumors) & shape.outline, mm)
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
    axial, longest = axial_line(own, mm), line(own, mm)
    assert axial is not None and longest is not None  # no segment is empty
    cut = _at_border(own, side)
    ball_mm = 10.0 * (6.0 * segment.volume_ml / np.pi) ** (1 / 3)
    sizes = {"volume_ml": segment.volume_ml, "equivalent_mm": ball_mm}
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
    why = CUT if side.cut else FUSED if side.fused else NO_KIDNEY if shape is None else ""
    tumor_ml = sum(one.volume_ml for one in side.tumors)
    if not why and side.kidney is not None and tumor_ml > side.kidney.volume_ml:
        why = GUESS
    place = None if shape is None or side.cut else place_of(own, shape)
    to_sinus_mm = _put_place(sheet, own, side, shape, place, cut, why)
    put_scores(
        sheet,
        Findings(
            axial_mm=axial.length_mm,
            at_least=cut,
            place=place,
            lines=None if shape is None or side.cut else lines_of(own, shape),
            to_sinus_mm=to_sinus_mm,
            to_fat_mm=_to_fat_mm(own, side, shape),
            has_ct=side.image is not None,
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
    to_sinus_mm = None if shape is None or cut else gap_mm(own, shape.sinus, mm)
    if to_sinus_mm is not None:
        sheet.put("to_sinus_mm", to_sinus_mm, proxy=True, why="to the kidney's medial dent")
    if cut:
        sheet.hold(OTHER_PLACES, why)
        return None
    if side.kidney is not None:
        contact = contact_mm2(own, side.mask(side.kidney), mm)
        sheet.put("contact_cm2", contact / 100.0)
        sheet.put("contact_percent", min(100.0, 100.0 * contact / surface_mm2(own, mm)))
    others = np.isin(side.numbered, [one.number for one in side.tumors if one.number != sheet.segment.number])
    to_tumor_mm = gap_mm(own, others, mm)
    if to_tumor_mm is not None:
        sheet.put("to_tumor_mm", to_tumor_mm)
    sheet.hold(["to_tumor_mm"], "it is the only one of its kidney")
    sheet.hold(OTHER_PLACES, why or "no sinus can be seen in the mask")
    return to_sinus_mm


def _to_fat_mm(own: Mask, side: Side, shape: KidneyShape | None) -> float | None:
    """From a tumour to the fat of the sinus in the CT."""
    if side.image is None or shape is None or _at_border(own, side):
        return None
    fat = shape.sinus & (side.image >= FAT_HU[0]) & (side.image <= FAT_HU[1])
    return gap_mm(own, fat, side.grid.spacing_mm_zyx)


def _at_border(own: Mask, side: Side) -> bool:
    """Whether a tumour reaches the image's border: the cut-out has a voxel of room but there."""
    if not side.cut:
        return False
    box = Box.of_mask(own)
    assert box is not None  # no segment is empty
    return min(box.start_zyx) == 0 or any(a == b for a, b in zip(box.stop_zyx, own.shape, strict=True))


def _ends(found: Line, grid: Geometry) -> tuple[Point, Point]:
    """The line's two ends in LPS mm: its voxels' centres."""
    first, last = grid.index_to_physical([found.first_zyx, found.last_zyx])
    return as_triple(first), as_triple(last)
