"""Whether a stack's slices are of one acquisition, and all of it: by the tags, times and numbers that change along it.

Two acquisitions that lie between each other's slices are refused: half of each would be a volume of its own kind. Two
that follow each other are told, for scanners change tags within a scan, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from bisc.core.errors import InputError
from bisc.imageio.formats.dicom.frames import Frame
from bisc.imageio.formats.dicom.tags import name_of
from bisc.system.console import notice

KIND_TAGS: Final = (
    "AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoNumbers", "ConvolutionKernel",
    "KVP", "StackID", "SliceThickness", "ContrastBolusAgent", "SeriesNumber", "SeriesDescription", "ProtocolName",
    "PatientName", "StudyDate", "PatientPosition", "ManufacturerModelName", "FilterType", "ReconstructionAlgorithm",
    "ScanOptions",
)  # fmt: skip
"""One for all slices of an acquisition; AcquisitionNumber of a rotation, with scanners that stop for each."""
TIME_TAGS: Final = ("AcquisitionTime", "AcquisitionDate", "AcquisitionDateTime")
"""Of each slice its own, or of each rotation; to and fro they go for two acquisitions alone."""
ORDERED_TAGS: Final = (*TIME_TAGS, "ContentTime", "SeriesTime", "SeriesDate")
"""Those of one acquisition all lie before those of the next."""
WORD_TAGS: Final = ("SeriesDescription", "ProtocolName", "ContrastBolusAgent", "StackID", "PatientName")
"""May name a patient, and are not cited."""
NUMBER, TYPE = "InstanceNumber", "ImageType"
TYPE_VALUES: Final = 3
"""Of ImageType: whether a slice was computed, and of what kind it is. What follows some makers write as they like."""
ANOTHER_MM: Final = 1.5
"""Slices so many times as thick are of another reconstruction."""
MOST_MIXED, LEAST_MIXED = 4, 6
"""Acquisitions that may be mixed, of a series of so many slices: one that counts its slices has more."""
LEAST_RUN: Final = 3
"""Slices of one acquisition that tell an order."""
ONE_ACQUISITION: Final = "read as one image; make sure that it is one acquisition"
WHOLE: Final = "read as it is; make sure that it is whole"


def check_not_mixed(what: Path, frames: Sequence[Frame]) -> None:
    """Refuse acquisitions whose slices lie between each other's.

    Where ImageType alone tells so that is told, no more: some makers write into it how a slice was computed.

    Args:
        what: The folder or file.
        frames: Along the stack.

    Raises:
        InputError: Naming the tag that changes to and fro.
    """
    found = next((f"{name_of(tag)} is by turns {cited(tag, kinds)}" for tag in (*KIND_TAGS, *TIME_TAGS)
                  for kinds, changes in [_kinds(frames, tag)] if _by_turns(frames, kinds, changes)), "")  # fmt: skip
    found = found or _orders_by_turns(frames)
    if found:
        found = f"two phases or more in one series: along it {found}"
        raise InputError(what, found, "one acquisition", "put each phase into a folder of its own")


def tell_acquisitions(what: Path, frames: Sequence[Frame]) -> None:
    """Give notice where slices of an even stack seem to be of two acquisitions, or some of one seem not to be there.

    Raises:
        InputError: Of what seem to be two scans, each in a folder of its own.
    """
    _tell_of_parts(what, frames)
    _tell_of_lost(what, frames)
    _tell_of_pairs(what, frames)
    _check_runs(what, frames)


def cited(tag: str, values: Sequence[str]) -> str:
    """Values of a tag, for messages."""
    return "one and another" if tag in WORD_TAGS else " and ".join(value or "none" for value in values)


def _kinds(frames: Sequence[Frame], tag: str, n_values: int | None = None) -> tuple[list[str], list[int]]:
    """The values of a tag, and the slices before which it changes; none in a series too short to tell."""
    values = [frame.phase.get(tag, "") for frame in frames]
    if len(values) < LEAST_MIXED:
        return [], []
    if tag == "SliceThickness":  # some writers compute it of rounded positions
        thick_mm = [frame.thickness_mm or 0.0 for frame in frames]
        values = ["" if max(thick_mm) < ANOTHER_MM * min(thick_mm) else value for value in values]
    values = ["\\".join(value.split("\\")[:n_values]) for value in values]
    return sorted({*values}), [i for i in range(1, len(values)) if values[i] != values[i - 1]]


def _by_turns(frames: Sequence[Frame], kinds: Sequence[str], changes: Sequence[int]) -> bool:
    """Blocks that follow each other have a change less than there are kinds."""
    return len(kinds) <= MOST_MIXED and len(changes) > len(kinds) and len(changes) >= len(frames) / 2


def _orders_by_turns(frames: Sequence[Frame]) -> str:
    """A time or number whose values at every second slice (third, ...) all lie before those of the others, in words;
    empty where none is so. One scan's go up or down, or, where they were written anew, at random."""
    named = [(NUMBER, [f"{number:09}" for number in _numbers(frames)])]
    named += [(tag, [frame.phase.get(tag, "") for frame in frames]) for tag in ORDERED_TAGS]
    for tag, values in named:
        for n in range(2, MOST_MIXED + 1) if all(values) else ():
            turns = sorted((values[i::n] for i in range(n)), key=lambda one: one[:1])
            if len(values) >= n * LEAST_RUN and all(max(a) < min(b) for a, b in pairwise(turns)):
                ranges = [list(dict.fromkeys((min(turn), max(turn)))) for turn in turns]
                told = (" to ".join(end.lstrip("0") if tag == NUMBER else end for end in ends) for ends in ranges)
                return f"{name_of(tag)} is by turns {' and '.join(told)}"
    return ""


def _tell_of_parts(what: Path, frames: Sequence[Frame]) -> None:
    kinds, changes = _kinds(frames, TYPE)
    mixed = _by_turns(frames, kinds, changes)
    if mixed:
        notice(what, f"along it {name_of(TYPE)} is by turns {cited(TYPE, kinds)}", ONE_ACQUISITION)
    for tag in (*KIND_TAGS, *(() if mixed else (TYPE,))):
        kinds, changes = _kinds(frames, tag, TYPE_VALUES if tag == TYPE else None)
        blocks = np.diff([0, *changes, len(frames)])
        is_rotations = tag == "AcquisitionNumber" and len({*blocks.tolist()}) == 1  # of wide detectors
        if changes and len(kinds) <= MOST_MIXED and not is_rotations:
            found = f"{name_of(tag)} changes along it, first behind slice {changes[0]} of {len(frames)}"
            notice(what, found, ONE_ACQUISITION)
            break


def _tell_of_lost(what: Path, frames: Sequence[Frame]) -> None:
    """Slices that a tag counts and that are not there, at an end; or every second one, which leaves an even stack."""
    stated = max(frame.n_images or 0 for frame in frames)
    if len(frames) < stated < 2 * len(frames):  # more is of several reconstructions
        found = f"it has {len(frames)} slices of an acquisition that gave {stated} ({name_of('ImagesInAcquisition')})"
        notice(what, found, WHOLE)
    n_files, in_series = len({frame.path for frame in frames}), max(frame.n_in_series or 0 for frame in frames)
    if n_files < in_series:
        found = f"{n_files} files of a series of {in_series} ({name_of('NumberOfSeriesRelatedInstances')})"
        notice(what, found, WHOLE)
    values = _numbers(frames)
    steps = {b - a for a, b in pairwise(values)}
    if len(values) >= LEAST_MIXED and len(steps) == 1 and abs(min(steps)) > 1:
        found = f"{name_of(NUMBER)} goes on by {abs(min(steps))} from slice to slice: those between are gone, perhaps"
        notice(what, found, WHOLE)


def _tell_of_pairs(what: Path, frames: Sequence[Frame]) -> None:
    """Two acquisitions on one grid, each slice of the one beside its like of the other: 1, 1, 2, 2, ..."""
    values = _numbers(frames)
    if len(values) < 2:
        return
    at = 0 if values[0] == values[1] else 1  # or half a pair at an end
    pairs = list(zip(values[at::2], values[at + 1 :: 2], strict=False))
    if len(pairs) < LEAST_RUN or any(a != b for a, b in pairs) or len({*values[at::2]}) < len(pairs):
        return
    found = f"{name_of(NUMBER)} stands twice in a row along it, first at slices {at + 1} and {at + 2}"
    notice(what, found, ONE_ACQUISITION)


def _check_runs(what: Path, frames: Sequence[Frame]) -> None:
    """Two scans one behind the other, under one UID by an anonymiser: 1, 2, 3, ..., 1, 2, 3, ... Those of two folders
    are refused; a scanner may number a second range anew, too."""
    values = _numbers(frames)
    begins = [0]
    for i in range(1, len(values)):
        run = values[begins[-1] : i]
        onward = run[-1] != values[i] if len(run) == 1 else (run[1] - run[0]) * (values[i] - run[-1]) > 0
        begins += [] if onward else [i]
    ends = [*begins[1:], len(values)]
    runs = [values[a:b] for a, b in zip(begins, ends, strict=True)]
    if len(runs) < 2 or min(map(len, runs)) < LEAST_RUN or len({*values}) > len(values) - LEAST_RUN:
        return
    told = ", then ".join(f"{run[0]} to {run[-1]}" for run in runs[:LEAST_RUN])
    found = f"along it {name_of(NUMBER)} runs from {told}: {len(runs)} scans under one UID, perhaps"
    places = [{frame.path.parent for frame in frames[a:b]} for a, b in zip(begins, ends, strict=True)]
    if all(one.isdisjoint(other) for one, other in pairwise(places)):
        folders = ", ".join(str(min(one)) for one in places[:LEAST_RUN])
        mend = "give each folder alone; if it is one scan, put its slices into one folder"
        raise InputError(what, f"{found}, each in a folder of its own ({folders})", "slices of one scan", mend)
    notice(what, found, ONE_ACQUISITION)


def _numbers(frames: Sequence[Frame]) -> list[int]:
    """InstanceNumber along the stack; none where slices lack it."""
    values = [frame.number for frame in frames if frame.number is not None]
    return values if len(values) == len(frames) else []
