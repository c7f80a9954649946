"""Which series of a study is predicted, and why the others are not: each in words that a user can check.

First by what a stack is (no reformat, axial, of the trunk, long enough), then by its contrast phase, then by how it was
reconstructed. What the words leave open of the phase may be looked up in the voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log2
from pathlib import Path
from typing import Final

import numpy as np

from bisc.core.choices import PHASES, Phase
from bisc.core.errors import InputError, PassedOver, shortened
from bisc.imageio.formats.dicom.about import About
from bisc.imageio.formats.dicom.folder import AXIAL_COSINE, GIVE, Series, series_in, tell_computed
from bisc.imageio.formats.dicom.frames import cosines
from bisc.imageio.formats.dicom.stack import Stack, stack_of
from bisc.system.console import collecting, notice, tell

LEAST_MM: Final = 100.0
"""Of the body along the stack; a kidney is 11 cm long. Test injections and biopsies show less."""
STEPS_MM: Final = (0.8, 3.5)
"""Slices within are as good as each other: thinner ones are noisy and many, thicker ones blur a small tumour."""
LENGTH_MM: Final = 20.0
"""Stacks whose lengths differ by less show the same."""
LISTED: Final = 12
PERHAPS: Final = "perhaps better, but "
"""Begins what is said of a damaged series that would be taken before the one that is."""
Look = Callable[[Stack], Phase | None]
"""Finds the phase of a stack in its voxels."""


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
    """

    series: Series
    stack: Stack | None
    phase: Phase | None
    by: str = "words"
    unfit: InputError | None = None
    notes: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """Its size and phase, in words."""
        if self.stack is None:
            return self.unfit.found if self.unfit is not None else "no stack"
        n, step = self.stack.shape_zyx[0], self.stack.spacing_mm_zyx[0]
        return f"{n} slices of {step:.4g} mm, {phase_told(self)}"


@dataclass(frozen=True)
class Choice:
    """The series that is predicted.

    Attributes:
        series: It.
        stack: Its grid and frames.
        reason: Which it is, and every other one of its study with the reason why it was left out; one line.
        n_left: How many were left out.
    """

    series: Series
    stack: Stack
    reason: str
    n_left: int = 0


def candidates(what: Path, files: Sequence[Path]) -> list[Candidate]:
    """Every series that `files`, all of one study, make; in the order of their numbers.

    Args:
        what: Named in errors that concern no file alone.
        files: DICOM files.

    Raises:
        InputError: If a file is damaged.
    """
    found = [_candidate(what, one) for one in series_in(what, files)]
    return sorted(found, key=lambda one: (one.series.about.number, one.series.about.uid))


def _candidate(what: Path, one: Series) -> Candidate:
    unfit, stack, notes = one.unfit, None, list[str]()
    if unfit is None:
        try:
            with collecting(quiet=True) as notes:
                stack = stack_of(what, one.frames)
                tell_computed(what, one.about)
        except InputError as error:
            unfit = error
    return Candidate(one, stack, one.about.phase, unfit=unfit, notes=tuple(notes))


def choose(what: Path, files: Sequence[Path], wanted: Wanted, look: Look | None = None) -> Choice:
    """The series of a study to predict.

    Args:
        what: The study's folder, or its one file.
        files: All of its DICOM files.
        wanted: What the user asked for.
        look: Asked where words do not tell the phases of several candidates apart.

    Raises:
        PassedOver: If nothing of it is meant to be a CT stack, or the series that was asked for is of another study.
        InputError: If a file is damaged, no stack is sound, or none is as wanted.
    """
    judged = judge(what, candidates(what, files), wanted, look)
    (best, _), others = judged[0], judged[1:]
    assert best.stack is not None  # it was judged the best
    for note in best.notes:
        tell(note)
    for one, reason in others:
        if reason.startswith(PERHAPS):
            notice(what, f"{one.series.label} ({phase_told(one)}) is {reason}", f"{best.series.label} was taken")
    told = f"{best.series.label}: {best.told}"
    if others:
        left = [shortened(f"{one.series.label}: {reason}", 160) for one, reason in others[:LISTED]]
        more = [f"{len(others) - LISTED} more"] if len(others) > LISTED else []
        told += f"; left out: {'; '.join(left + more)}"
    return Choice(best.series, best.stack, told, len(others))


def judge(
    what: Path, found: Sequence[Candidate], wanted: Wanted, look: Look | None = None
) -> list[tuple[Candidate, str]]:
    """The candidates, the one to predict first and with no reason, the others each with why it was left out.

    Raises:
        PassedOver, InputError: As `choose`, but for damaged files.
    """
    if wanted.series is not None:
        asked = [one for one in found if one.series.about.uid == wanted.series]
        if not asked:
            raise PassedOver(what, "not the series that was asked for", f"--series {wanted.series}")
        if asked[0].unfit is not None:
            raise asked[0].unfit
        others = [one for one in found if one is not asked[0]]
        return [(asked[0], ""), *((one, one.unfit.found if one.unfit else "not asked for") for one in others)]
    sound = [one for one in found if one.unfit is None]
    if not sound:
        raise _none_sound(what, found)
    ranked = _ranked(_looked_at(sound, wanted, look), wanted)
    if wanted.phase not in (None, ranked[0].phase):
        damaged = [one for one in found if one.phase == wanted.phase and _is_damaged(one)]
        why = {id(one): f", but {one.unfit.found}" for one in damaged if one.unfit is not None}
        listed = (f"{one.series.label}: {phase_told(one)}{why.get(id(one), '')}" for one in (*damaged, *ranked))
        found_so = f"no series of the {wanted.phase} phase in {what} ({'; '.join(listed)})"
        raise InputError("--phase", found_so, "", "leave it out")
    unfit = [
        (one, f"{PERHAPS if _may_be_better(one, ranked[0], wanted) else ''}{one.unfit.found}")
        for one in found
        if one.unfit is not None
    ]
    return [(ranked[0], ""), *_behind(ranked, wanted), *unfit]


def _is_damaged(one: Candidate) -> bool:  # and not no stack by its kind
    return one.unfit is not None and not isinstance(one.unfit, PassedOver) and one.series.is_stack


def _may_be_better(one: Candidate, best: Candidate, wanted: Wanted) -> bool:
    """Whether a damaged series would be taken before the best sound one, as far as its words and planes tell."""
    if not _is_damaged(one):
        return False
    about, order = one.series.about, _order(wanted)
    told = (*_rank(about, *_extent(one.series)), order.index(one.phase), about.is_sharp)
    return told < (*_kind(best), order.index(best.phase), best.series.about.is_sharp)


def _extent(series: Series) -> tuple[float, float]:
    """The normal of its planes along the body, and how far apart the outermost of them lie; 0 where nothing tells."""
    placed = [(frame.position_mm_xyz, frame.turn) for frame in series.frames]
    turns = [turn for place, turn in placed if place is not None and turn is not None]
    if not turns:
        return 1.0, 0.0
    normal = np.cross(*cosines(turns[0]))
    heights = [float(np.dot(place, normal)) for place, turn in placed if place is not None]
    return float(normal[2]), max(heights) - min(heights)


def _order(wanted: Wanted) -> list[Phase | None]:
    """Contrast phases, the one to take first."""
    order: list[Phase | None] = [*PHASES[:-1], None, PHASES[-1]]
    if wanted.phase is not None:
        order = [wanted.phase, *(phase for phase in order if phase != wanted.phase)]
    return order


def _none_sound(what: Path, found: Sequence[Candidate]) -> InputError:
    faults = [one.unfit for one in found if one.unfit is not None]
    defects = [fault for fault in faults if not isinstance(fault, PassedOver)]
    if len(defects or faults) == 1:
        return (defects or faults)[0]
    listed = "; ".join(f"{one.series.label}: {one.told}" for one in found[:LISTED])
    if not defects:
        return PassedOver(what, f"no CT stack: {listed}" if found else "no CT stack", "a CT series", GIVE)
    return InputError(
        what, f"none of {len(found)} series can be read ({listed})", "a sound CT series", "export it again"
    )


def _looked_at(sound: list[Candidate], wanted: Wanted, look: Look | None) -> list[Candidate]:
    """Phases found in the voxels, where words do not tell them and they matter; nor do words that call all of several
    series plain, as a protocol's name may."""
    if look is None:
        return sound
    first = min(_kind(one) for one in sound)
    in_question = [one for one in sound if _kind(one) == first]
    if len(in_question) < 2 and wanted.phase is None:
        return sound
    plain = len(in_question) > 1 and all(one.phase == "plain" for one in in_question)
    unknown = [one for one in in_question if plain or one.phase is None]
    seen = {id(one): look(one.stack) for one in unknown if one.stack is not None}
    return [replace(one, phase=seen[id(one)], by="HU") if seen.get(id(one)) else one for one in sound]


def _kind(one: Candidate) -> tuple[int, ...]:
    """What a stack is, the less the better."""
    assert one.stack is not None  # it is sound
    return _rank(one.series.about, float(np.reshape(one.stack.direction, (3, 3))[2, 2]), _length_mm(one))


def _rank(about: About, normal_z: float, length_mm: float) -> tuple[int, ...]:
    made, upright = about.computed, abs(normal_z) < AXIAL_COSINE
    rank = 0 if made is None else made.rank
    return rank, int(about.is_derived), int(upright), int(about.is_elsewhere), int(length_mm < LEAST_MM)


def _scores(one: Candidate, wanted: Wanted) -> list[tuple[float, str]]:
    """What counts, the most important first: the less the better, and what is said of a loser."""
    assert one.stack is not None
    step = one.stack.spacing_mm_zyx[0]
    order = _order(wanted)
    made = one.series.about.computed
    kinds = (
        "" if made is None else made.what,
        "derived of other images",
        "coronal or sagittal",
        "of another part of the body",
        "too short",
    )
    return [
        *((float(value), words) for value, words in zip(_kind(one), kinds, strict=True)),
        (order.index(one.phase), phase_told(one)),
        (one.series.about.is_sharp, "a sharp kernel"),
        (round(max(0.0, log2(step / STEPS_MM[1]), log2(STEPS_MM[0] / step)), 1), f"slices of {step:.4g} mm"),
        (-round(_length_mm(one) / LENGTH_MM), f"shorter ({_length_mm(one):.0f} mm)"),
    ]


def _length_mm(one: Candidate) -> float:
    assert one.stack is not None
    return one.stack.shape_zyx[0] * one.stack.spacing_mm_zyx[0]


def _ranked(sound: list[Candidate], wanted: Wanted) -> list[Candidate]:
    return sorted(sound, key=lambda one: [value for value, _ in _scores(one, wanted)])  # stable: by number


def _behind(ranked: list[Candidate], wanted: Wanted) -> list[tuple[Candidate, str]]:
    """Those behind the first one, each with what it lost by."""
    best = _scores(ranked[0], wanted)
    return [
        (one, next((words for (a, words), (b, _) in zip(_scores(one, wanted), best, strict=True) if a > b), "as good"))
        for one in ranked[1:]
    ]


def phase_told(one: Candidate) -> str:
    """A candidate's phase, in words."""
    return f"{one.phase} phase by its {one.by}" if one.phase else "phase unknown"
