"""The kidneys of a divided label map, each cut out with its tumours: what belongs to it, what of it cannot be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bisc.core.geometry import Geometry, IntTriple
from bisc.core.labels import CONNECT_26, MIN_KIDNEY_ML
from bisc.core.volume import Box, Volume
from bisc.measurement.area import touching
from bisc.measurement.kidney_shape import KidneyShape
from bisc.preprocessing.field import beyond_field
from bisc.preprocessing.kidneys import WHOLE_ML
from bisc.preprocessing.midline import hides_middle
from bisc.preprocessing.segments import Segment, is_two

Mask = npt.NDArray[np.bool_]

IN_PLANE: Final = ndimage.generate_binary_structure(3, 1) & np.asarray([False, True, False])[:, None, None]
ALONG_Z: Final = np.ones((3, 1, 1), dtype=bool)
APART_MM: Final = 15.0
"""Parts of a mask farther apart than this, and than `APART_VOXELS`, are not taken for one kidney: specks, a second
kidney, a tumour of something else. As far as `bisc.preprocessing.parts` joins what a rough mask severed."""
APART_VOXELS: Final = 3.0
"""Thick slices: one or two that the mask lacks do not make two kidneys."""
FIELD_VOXELS: Final = 2
"""A mask that comes as near as this to where a round field of view ends is cut off: networks stop a voxel short."""
CUT_OUT_SHARE: Final = 0.5
"""Of what surrounds a kidney: where more of it is filled in, a person cut the kidney out, and no scanner cut it off."""
NEAR_MIDDLE_MM: Final = 40.0
"""A lone kidney nearer to the middle of its image than this may be the other one, in an image cut out around it."""

CUT: Final = "cut off by the field of view"
FUSED: Final = (
    "the kidneys are fused or joined by a tumour, or the kidney lies in the middle: it has no medial side of its own"
)
SEVERAL: Final = (
    f"kidney tissue lies in parts more than {APART_MM:.0f} mm apart: a second kidney on that side, or one in pieces"
)
NO_SIDE: Final = (
    "whether it is the right or the left one is not sure: it lies near the image's middle, and no CT shows the body's"
)
NO_BODY: Final = "the CT shows too little of the body to tell whether it is the right or the left one"
BETWEEN: Final = "it lies in the body's middle, apart from both kidneys"
NO_KIDNEY: Final = f"its side shows less than {WHOLE_ML:.0f} ml of kidney tissue"


@dataclass(frozen=True, eq=False)
class Side:
    """One kidney with its tumours, cut out.

    Attributes:
        kidney: Its segment; None where the side holds tumour alone.
        tumors: Their segments.
        numbered: (z, y, x) numbers, with a voxel of room.
        near: (z, y, x) what of them hangs together with most of the kidney, gaps up to `APART_MM` leapt over.
        grid: The cut-out's.
        image: (z, y, x) HU likewise, or None.
        ends: (z, y, x) where the image ends, or the field of view in it.
        cut: Whether the kidney reaches there.
        odd: Why nothing is told of where its tumours lie: `FUSED`, `BETWEEN`, `SEVERAL`, `NO_SIDE`, `NO_BODY`;
            empty where it can be.
    """

    kidney: Segment | None
    tumors: tuple[Segment, ...]
    numbered: npt.NDArray[np.uint8]
    near: Mask
    grid: Geometry
    image: npt.NDArray[Any] | None
    ends: Mask
    cut: bool
    odd: str

    def mask(self, segment: Segment) -> Mask:
        """The voxels of one of them."""
        return np.asarray(self.numbered == segment.number)

    def is_cut(self, segment: Segment) -> bool:
        """Whether one of them goes on beyond what the image shows."""
        return bool((self.mask(segment) & self.ends).any())

    def shape(self) -> KidneyShape | None:
        """The kidney's, where it has one; specks apart from it are no part of it."""
        if self.kidney is None or self.kidney.volume_ml < WHOLE_ML or self.odd:
            return None
        tumors = np.isin(self.numbered, [one.number for one in self.tumors]) & self.near
        medial_x = -1 if self.kidney.side == "left" else 1  # LPS: x grows to the patient's left
        return KidneyShape(self.mask(self.kidney) & self.near, tumors, self.grid.spacing_mm_zyx, medial_x)

    @property
    def near_tumor_ml(self) -> float:
        """Of its tumours, what does not lie apart."""
        tumors = np.isin(self.numbered, [one.number for one in self.tumors])
        return int(np.count_nonzero(tumors & self.near)) * self.grid.voxel_volume_ml

    @property
    def specks_ml(self) -> float:
        """Of the kidney, what lies apart from it."""
        if self.kidney is None:
            return 0.0
        return int(np.count_nonzero(self.mask(self.kidney) & ~self.near)) * self.grid.voxel_volume_ml


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
    bodiless = image is not None and len(boxes) == 1 and hides_middle(image)
    sides: dict[str, Side] = {}
    for name, box in boxes.items():
        own = [one for one in segments if one.side == name]
        room = box.padded((1, 1, 1)).clipped(grid.shape_zyx)
        assert room is not None  # the box lies within the grid
        part = numbered[room.to_slices()]
        part = np.where(np.isin(part, [one.number for one in own]), part, 0).astype(np.uint8)
        kidney = next((one for one in own if one.organ == "kidney"), None)
        near, several = _bodies(part, kidney, grid)
        ends = _ends(part > 0, room, grid.shape_zyx, image)
        two = bodiless and kidney is not None and is_two(part == kidney.number, grid)
        between = name == "middle" and kidney is None and len(boxes) > 1
        fused = joined or two or (name == "middle" and not bodiless and not between)
        lone = image is None and len(boxes) == 1 and _off_middle_mm(near, room, grid) < NEAR_MIDDLE_MM
        doubts = {FUSED: fused, BETWEEN: between, SEVERAL: several, NO_BODY: bodiless, NO_SIDE: lone}
        sides[name] = Side(
            kidney=kidney,
            tumors=tuple(one for one in own if one.organ == "tumor"),
            numbered=part,
            near=near,
            grid=grid.cropped(room.start_zyx, room.shape_zyx),
            image=None if image is None else image.array[room.to_slices()],
            ends=ends,
            cut=bool((((part > 0) if several else near) & ends).any()),
            odd=next((why for why, holds in doubts.items() if holds), ""),
        )
    return sides


def _ends(organ: Mask, room: Box, shape_zyx: IntTriple, image: Volume | None) -> Mask:
    """Of a side's cut-out, the image's border and what lies beside, or in, what is filled in around a field of view."""
    ends = np.zeros(organ.shape, dtype=bool)
    for axis in range(3):
        faces = np.moveaxis(ends, axis, 0)  # a view
        faces[0] |= room.start_zyx[axis] == 0
        faces[-1] |= room.stop_zyx[axis] == shape_zyx[axis]
    wide = room.padded((1, FIELD_VOXELS, FIELD_VOXELS)).clipped(shape_zyx)
    assert wide is not None  # the room lies within the grid
    filled = None if image is None else beyond_field(image, wide)
    if filled is None:
        return ends
    inner = room.within(wide).to_slices()
    around = ndimage.binary_dilation(organ, CONNECT_26) & ~organ
    if np.count_nonzero(filled[inner] & around) > CUT_OUT_SHARE * np.count_nonzero(around):
        return ends
    beside = ndimage.binary_dilation(filled, IN_PLANE, iterations=FIELD_VOXELS) | ndimage.binary_dilation(
        filled, ALONG_Z
    )
    return np.asarray(ends | beside[inner])


def notes_of(sides: dict[str, Side]) -> list[str]:
    """What holds for a whole side, a sentence each."""
    named = {"kidney" if name == "middle" else f"{name} kidney": side for name, side in sides.items()}
    notes = [f"{name}: {CUT}" for name, side in named.items() if side.cut]
    notes += [f"{name}: {side.odd}" for name, side in named.items() if side.odd not in ("", BETWEEN)]
    for name, side in named.items():
        if side.specks_ml and side.odd != SEVERAL:
            notes.append(
                f"{name}: {side.specks_ml:.3g} ml lie more than {APART_MM:.0f} mm apart from it: they count in "
                "its volume, and are no part of its outline"
            )
    (lone,) = sides.values() if len(sides) == 1 else (None,)
    if lone is not None and lone.image is None and not lone.odd:
        notes.append("the mask shows one side alone, which was told by the image's middle: the CT tells it better (-i)")
    return notes


def _bodies(part: npt.NDArray[np.uint8], kidney: Segment | None, grid: Geometry) -> tuple[Mask, bool]:
    """What hangs together with most of a kidney, and whether as much as a kidney lies apart from that."""
    organ = part > 0
    if kidney is None or ndimage.label(organ, structure=CONNECT_26)[1] < 2:
        return organ, False
    apart_mm = max(APART_MM, APART_VOXELS * max(grid.spacing_mm_zyx))
    leapt = edt.edt(~organ, anisotropy=grid.spacing_mm_zyx) <= apart_mm / 2
    groups, _ = ndimage.label(leapt, structure=CONNECT_26)
    ml = np.bincount(groups[part == kidney.number]) * grid.voxel_volume_ml
    main = int(ml.argmax())
    near = organ & (groups == main)
    return near, bool(ml.sum() - ml[main] >= MIN_KIDNEY_ML)


def _touch(numbered: npt.NDArray[np.uint8], segments: Sequence[Segment]) -> bool:
    """Whether what belongs to different sides shares a face."""
    whole = Box.of_mask(numbered > 0)
    assert whole is not None  # there are two sides
    part = numbered[whole.to_slices()]
    left = np.isin(part, [one.number for one in segments if one.side == "left"])
    return bool(touching(left, (part > 0) & ~left).any())


def _off_middle_mm(near: Mask, room: Box, grid: Geometry) -> float:
    """How far the centre of a kidney's box lies from the image's, along LPS x."""
    inner = Box.of_mask(near)
    assert inner is not None  # of a kidney, or of all that there is
    box = inner.shifted(room.start_zyx)
    centre = np.add(box.start_zyx, box.stop_zyx) / 2.0 - 0.5
    middle = np.subtract(grid.shape_zyx, 1) / 2.0
    return float(abs(grid.index_to_physical(centre)[0] - grid.index_to_physical(middle)[0]))
