"""What belongs together though its UIDs say otherwise, and what does not though they say so: by the marks of files.

Anonymisers and scripts that write a UID for each file tear a scan; those that write one for all join patients.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from bisc.imageio.formats.dicom.planes import Plane, goes_on, is_torn

if TYPE_CHECKING:
    from bisc.imageio.formats.dicom.mark import Mark

K = TypeVar("K", bound=Hashable)


def torn_scans(series: Mapping[K, Sequence[Mark]]) -> list[list[K]]:
    """Series of one slice each that together lie as one scan does, scan by scan."""
    lone: dict[tuple[float, ...], dict[K, Plane]] = {}
    for key, marks in series.items():
        plane = marks[0].plane if len(marks) == 1 else None
        if plane is not None:
            lone.setdefault(plane.grid, {})[key] = plane
    return [list(planes) for planes in lone.values() if is_torn(planes.values())]


def is_one_scan(parts: Sequence[tuple[tuple[str, ...], Mark]]) -> bool:
    """Whether folders hold one scan in several series: in each with slices one goes on where another folder's ends.

    Args:
        parts: Files, each with its folder.
    """
    series: dict[tuple[tuple[str, ...], str], list[Mark]] = {}
    for top, mark in parts:
        if mark.plane is not None:
            series.setdefault((top, mark.series), []).append(mark)
    by_grid: dict[tuple[float, ...], list[tuple[tuple[str, ...], list[Mark]]]] = {}
    for (top, _), marks in series.items():
        for grid in {mark.plane.grid for mark in marks if mark.plane is not None}:
            by_grid.setdefault(grid, []).append((top, marks))
    joined = set()
    for rows in by_grid.values():
        for (top, one), (beside, other) in pairwise(sorted(rows, key=lambda row: min(map(_height, row[1])))):
            if top != beside and not _apart(_references(one), _references(other)):
                planes = [[mark.plane for mark in marks if mark.plane is not None] for marks in (one, other)]
                joined |= {top, beside} if goes_on(*planes) else set()
    return bool(joined) and joined == {top for top, _ in series}


def by_person(marks: Sequence[Mark]) -> list[list[int]]:
    """The files of one patient ID and study, divided where they are of several persons or days all the same.

    Of two series that share no frame of reference, contradicting names, birth dates or study dates tell so. What is no
    slice goes with the first.
    """
    series: dict[str, list[Mark]] = {}
    for mark in marks:
        if mark.may_be_slice:
            series.setdefault(mark.series, []).append(mark)
    facts = {uid: _facts(own) for uid, own in series.items()}
    persons: list[list[str]] = []
    for uid, own in facts.items():
        same = [person for person in persons if not all(_contradict(own, facts[other]) for other in person)]
        persons = [person for person in persons if person not in same]
        persons.append([*(other for person in same for other in person), uid])
    if len(persons) < 2:
        return [list(range(len(marks)))]
    whose = {uid: k for k, person in enumerate(persons) for uid in person}
    return [[i for i, mark in enumerate(marks) if whose.get(mark.series, 0) == k] for k in range(len(persons))]


def _facts(marks: Sequence[Mark]) -> tuple[set[str], ...]:
    told = zip(*((*mark.person, mark.when[0]) for mark in marks), strict=True)
    return _references(marks), *({*values} - {""} for values in told)


def _contradict(one: tuple[set[str], ...], other: tuple[set[str], ...]) -> bool:
    (frames, *facts), (other_frames, *others) = one, other
    return not frames & other_frames and any(_apart(a, b) for a, b in zip(facts, others, strict=True))


def _apart(one: set[str], other: set[str]) -> bool:
    """Whether both are told, and not alike."""
    return bool(one and other and not one & other)


def _references(marks: Sequence[Mark]) -> set[str]:
    """Frames of reference; none where each of several files has its own, which tells nothing."""
    found = {mark.reference for mark in marks} - {""}
    return found if len(found) == 1 or len(found) < len(marks) else set()


def _height(mark: Mark) -> float:
    return 0.0 if mark.plane is None else mark.plane.height_mm
