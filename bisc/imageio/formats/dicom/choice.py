"""Which series of a study is predicted, and why the others are not: each in words that a user can check.

What counts, `ranks` says. What the words leave open of the phase may be looked up in the voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bisc.core.choices import Phase
from bisc.core.errors import InputError, PassedOver, shortened
from bisc.imageio.formats.dicom.folder import GIVE, Series, series_in, tell_computed
from bisc.imageio.formats.dicom.planes import LEAST_TORN, Plane, goes_on, heights_of
from bisc.imageio.formats.dicom.ranks import (
    FIELD_MM,
    Candidate,
    Wanted,
    behind,
    is_short,
    kind_by_headers,
    kind_of,
    order_of,
    phase_told,
    ranked,
    told_narrow,
)
from bisc.imageio.formats.dicom.stack import Stack, stack_of
from bisc.system.console import collecting, notice, tell

LISTED: Final = 12
PERHAPS: Final = "perhaps better, but "
"""Begins what is said of a damaged series that would be taken before the one that is."""
GOES_ON: Final = "goes on where it ends"
"""Begins what is said of a series that may be a part of the one that is taken."""
Look = Callable[[Stack], Phase | None]
"""Finds the phase of a stack in its voxels."""


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
    found = told_narrow([_candidate(what, one) for one in series_in(what, files)])
    return sorted(found, key=lambda one: (one.series.about.number, one.series.about.uid))


def _candidate(what: Path, one: Series) -> Candidate:
    unfit, stack, notes = one.unfit, None, list[str]()
    if unfit is None:
        try:
            with collecting(held=True) as notes:  # told where it is taken
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
    if best.field_mm is not None and best.field_mm < FIELD_MM:
        found = f"{best.series.label} shows {best.field_mm:.0f} mm from left to right"
        notice(what, found, "read as it is; make sure that both kidneys are in it")
    for one, reason in others:
        if reason.startswith(PERHAPS):
            notice(what, f"{one.series.label} ({phase_told(one)}) is {reason}", f"{best.series.label} was taken")
        if reason.startswith(GOES_ON):
            found = f"{one.series.label} ({_n_slices(one)}) goes on where {best.series.label} ({_n_slices(best)}) ends"
            done = "the latter alone was read; if they are one scan, write it under one SeriesInstanceUID"
            notice(what, found, done)
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
    (best, _), *others = _judged(what, found, wanted, look)
    parts = {id(one) for one, _ in others if _is_part(best, one)}
    said = f"{GOES_ON}: one scan in two series, perhaps"
    return [(best, ""), *((one, said if id(one) in parts else reason) for one, reason in others)]


def _judged(what: Path, found: Sequence[Candidate], wanted: Wanted, look: Look | None) -> list[tuple[Candidate, str]]:
    if wanted.series is not None:
        asked = [one for one in found if one.series.about.uid == wanted.series]
        if not asked:
            raise PassedOver(what, "not the series that was asked for", f"--series {wanted.series}")
        if asked[0].unfit is not None:
            raise asked[0].unfit
        others = [one for one in found if one is not asked[0]]
        return [(asked[0], ""), *((one, one.unfit.found if one.unfit else "not asked for") for one in others)]
    sound = [one for one in found if one.unfit is None]
    if all(is_short(one) for one in sound):
        _check_not_torn(what, found, max((len(one.planes) for one in sound), default=0))
    if not sound:
        raise _none_sound(what, found)
    best, *others = ranked(_looked_at(sound, wanted, look), wanted)
    if wanted.phase not in (None, best.phase):
        damaged = [one for one in found if one.phase == wanted.phase and _is_damaged(one)]
        why = {id(one): f", but {one.unfit.found}" for one in damaged if one.unfit is not None}
        listed = (f"{one.series.label}: {phase_told(one)}{why.get(id(one), '')}" for one in (*damaged, best, *others))
        found_so = f"no series of the {wanted.phase} phase in {what} ({'; '.join(listed)})"
        raise InputError("--phase", found_so, "", "leave it out")
    unfit = [
        (one, f"{PERHAPS if _may_be_better(one, best, wanted) else ''}{one.unfit.found}")
        for one in found
        if one.unfit is not None
    ]
    return [(best, ""), *behind(best, others, wanted), *unfit]


def _is_part(best: Candidate, one: Candidate) -> bool:
    """Whether a series may be a part of the one that is taken, under a UID of its own."""
    frames = {one.series.about.reference, best.series.about.reference} - {""}
    return len(frames) < 2 and goes_on(best.planes, one.planes)


def _check_not_torn(what: Path, found: Sequence[Candidate], n_slices: int) -> None:
    """Refuse single slices of one grid, more than the `n_slices` of any stack, at several heights: they are of one
    scan, whose files bear a SeriesInstanceUID each."""
    by_grid: dict[tuple[float, ...], list[Plane]] = {}
    for planes in (one.planes for one in found):
        if len(planes) == 1:
            by_grid.setdefault(planes[0].grid, []).append(planes[0])
    most = max(by_grid.values(), key=len, default=[])
    if len(heights_of(most)) >= max(LEAST_TORN, n_slices):
        listed = f"{len(most)} series of one slice each, on one grid, at {len(heights_of(most))} heights"
        mend = "write one UID into all slices of a scan; an anonymiser or script gave each file its own, perhaps"
        raise InputError(what, listed, "one SeriesInstanceUID (0020,000E) for a scan", mend)


def _n_slices(one: Candidate) -> str:
    n = len(one.series.frames)
    return "1 slice" if n == 1 else f"{n} slices"


def _is_damaged(one: Candidate) -> bool:  # and not no stack by its kind
    return one.unfit is not None and not isinstance(one.unfit, PassedOver) and one.series.is_stack


def _may_be_better(one: Candidate, best: Candidate, wanted: Wanted) -> bool:
    """Whether a damaged series would be taken before the best sound one, as far as its words and planes tell."""
    if not _is_damaged(one):
        return False
    about, order = one.series.about, order_of(wanted)
    told = (*kind_by_headers(one), order.index(one.phase), about.is_sharp)
    return told < (*kind_of(best), order.index(best.phase), best.series.about.is_sharp)


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
    first = min(kind_of(one) for one in sound)
    in_question = [one for one in sound if kind_of(one) == first]
    if len(in_question) < 2 and wanted.phase is None:
        return sound
    plain = len(in_question) > 1 and all(one.phase == "plain" for one in in_question)
    unknown = [one for one in in_question if plain or one.phase is None]
    seen = {id(one): look(one.stack) for one in unknown if one.stack is not None}
    return [replace(one, phase=seen[id(one)], by="HU") if seen.get(id(one)) else one for one in sound]
