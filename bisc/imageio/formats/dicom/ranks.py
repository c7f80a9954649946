"""What counts in the choice of a series, the most important first, and what is said of one that loses by it.

First by what a stack is (no reformat, axial, of the trunk, long and wide enough), then by its contrast phase, then by
how it was reconstructed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import log2
from typing import Final

import numpy as np

from bisc.core.choices import PHASES, Phase
from bisc.core.errors import InputError
from bisc.imageio.formats.dicom.folder import AXIAL_COSINE, Series
from bisc.imageio.formats.dicom.frames import cosines
from bisc.imageio.formats.dicom.planes import Plane, plane_of
from bisc.imageio.formats.dicom.stack import Stack

LEAST_MM: Final = 100.0
"""Of the body along the stack; a kidney is 11 cm long. Test injections and biopsies show less."""
STEPS_MM: Final = (0.8, 3.5)
"""Slices within are as good as each other: thinner ones are noisy and many, thicker ones blur a small tumour."""
FIELD_MM: Final = 250.0
"""From left to right; a narrower field is a child's, or a target's (a spine, a hip), which may lack a kidney."""
NARROW: Final = 0.75
"""Of the widest series' field: what shows less of one body is a target."""
LENGTH_MM: Final = 20.0
"""Stacks whose lengths differ by less show the same."""


@dataclass(frozen=True)
class Wanted:
    """What the user asked for.

    Attributes:
        series: A SeriesInstanceUID; None leaves the choice open.
        phase: A contrast phase; None prefers them in the order of `PHASES`.
    """

    series: str | None = None
    phase: Phase | None = None


@dataclass(frozen=True)
class Candidate:
    """A series of a study that could be predicted, or why not.

    Attributes:
        series: The series.
        stack: Its grid and frames; None where it is none.
        phase: Its contrast phase; None where nothing tells it.
        by: What told the phase, in words.
        unfit: Why it cannot be predicted; None where it can.
        notes: What its stack gave notice of.
        narrow: Whether its field of view is a target's, beside the others of its study.
    """

    series: Series
    stack: Stack | None
    phase: Phase | None
    by: str = "words"
    unfit: InputError | None = None
    notes: tuple[str, ...] = ()
    narrow: bool = False

    @property
    def field_mm(self) -> float | None:
        """What its slices show from left to right; None for sagittal ones, and where nothing tells."""
        for frame in self.series.frames:
            if frame.turn is not None and frame.spacing_mm_yx is not None:
                across = [abs(float(axis[0])) for axis in cosines(frame.turn)]  # rows run along columns' index
                sides = frame.shape_yx[1] * frame.spacing_mm_yx[1], frame.shape_yx[0] * frame.spacing_mm_yx[0]
                return next((mm for part, mm in zip(across, sides, strict=True) if part > AXIAL_COSINE), None)
        return None

    @cached_property
    def planes(self) -> list[Plane]:
        """Of its slices, sound or not, as far as they are placed."""
        found = (plane_of(f.position_mm_xyz, f.turn, f.spacing_mm_yx, f.shape_yx) for f in self.series.frames)
        return [plane for plane in found if plane is not None]

    @property
    def told(self) -> str:
        """Its size and phase, in words."""
        if self.stack is None:
            return self.unfit.found if self.unfit is not None else "no stack"
        n, step = self.stack.shape_zyx[0], self.stack.spacing_mm_zyx[0]
        return f"{n} slices of {step:.4g} mm, {phase_told(self)}"


def order_of(wanted: Wanted) -> list[Phase | None]:
    """Contrast phases, the one to take first."""
    order: list[Phase | None] = [*PHASES[:-1], None, PHASES[-1]]
    if wanted.phase is not None:
        order = [wanted.phase, *(phase for phase in order if phase != wanted.phase)]
    return order


def kind_by_headers(one: Candidate) -> tuple[int, ...]:
    """What a damaged stack would be, as far as its words and planes tell."""
    return _rank(one, *_extent(one.series))


def _extent(series: Series) -> tuple[float, float]:
    """The normal of its planes along the body, and how far apart the outermost of them lie; 0 where nothing tells."""
    placed = [(frame.position_mm_xyz, frame.turn) for frame in series.frames]
    turns = [turn for place, turn in placed if place is not None and turn is not None]
    if not turns:
        return 1.0, 0.0
    normal = np.cross(*cosines(turns[0]))
    heights = [float(np.dot(place, normal)) for place, turn in placed if place is not None]
    return float(normal[2]), max(heights) - min(heights)


def kind_of(one: Candidate) -> tuple[int, ...]:
    """What a stack is, the less the better."""
    assert one.stack is not None  # it is sound
    return _rank(one, float(np.reshape(one.stack.direction, (3, 3))[2, 2]), _length_mm(one))


def _rank(one: Candidate, normal_z: float, length_mm: float) -> tuple[int, ...]:
    about, upright = one.series.about, abs(normal_z) < AXIAL_COSINE
    rank = 0 if about.computed is None else about.computed.rank
    return rank, *map(int, (about.is_derived, upright, about.is_elsewhere, length_mm < LEAST_MM, one.narrow))


def _scores(one: Candidate, wanted: Wanted) -> list[tuple[float, str]]:
    """What counts, the most important first: the less the better, and what is said of a loser."""
    assert one.stack is not None
    step = one.stack.spacing_mm_zyx[0]
    order = order_of(wanted)
    made = one.series.about.computed
    kinds = (
        "" if made is None else made.what,
        "derived of other images",
        "coronal or sagittal",
        "of another part of the body",
        "too short",
        f"a field of {one.field_mm or 0.0:.0f} mm alone",
    )
    return [
        *((float(value), words) for value, words in zip(kind_of(one), kinds, strict=True)),
        (order.index(one.phase), phase_told(one)),
        (one.series.about.is_sharp, "a sharp kernel"),
        (round(max(0.0, log2(step / STEPS_MM[1]), log2(STEPS_MM[0] / step)), 1), f"slices of {step:.4g} mm"),
        (-round(_length_mm(one) / LENGTH_MM), f"shorter ({_length_mm(one):.0f} mm)"),
    ]


def told_narrow(found: list[Candidate]) -> list[Candidate]:
    """The candidates of a study, those marked whose field is a target's beside the widest of a stack."""
    widest = max((one.field_mm or 0.0 for one in found if one.stack is not None), default=0.0)
    limit = min(FIELD_MM, NARROW * widest)
    return [replace(one, narrow=one.field_mm is not None and one.field_mm < limit) for one in found]


def is_short(one: Candidate) -> bool:
    """Whether a sound stack shows too little of the body for a kidney."""
    return _length_mm(one) < LEAST_MM


def _length_mm(one: Candidate) -> float:
    assert one.stack is not None
    return one.stack.shape_zyx[0] * one.stack.spacing_mm_zyx[0]


def ranked(sound: list[Candidate], wanted: Wanted) -> list[Candidate]:
    """The best one first."""
    return sorted(sound, key=lambda one: [value for value, _ in _scores(one, wanted)])  # stable: by number


def behind(best: Candidate, others: list[Candidate], wanted: Wanted) -> list[tuple[Candidate, str]]:
    """The others, each with what it lost by."""
    first = _scores(best, wanted)
    return [
        (one, next((words for (a, words), (b, _) in zip(_scores(one, wanted), first, strict=True) if a > b), "as good"))
        for one in others
    ]


def phase_told(one: Candidate) -> str:
    """A candidate's phase, in words."""
    return f"{one.phase} phase by its {one.by}" if one.phase else "phase unknown"
