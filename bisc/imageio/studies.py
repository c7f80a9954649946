"""DICOM files under a source, put together into studies: one case for each, wherever its files lie.

A series may lie in several folders, and a folder hold several series, of several patients. What a file is of, its own
tags say; folders give the case its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from bisc.imageio.formats.dicom.belonging import by_person, is_one_scan, torn_scans
from bisc.imageio.formats.dicom.planes import EVEN, LEAST_TORN
from bisc.system.console import track
from bisc.system.files import PARTIAL

if TYPE_CHECKING:
    from bisc.imageio.formats.dicom.mark import Mark

NO_PATIENT: Final = re.compile(
    r"(dicom|dcm|images?|scans?|ct|study|series|st|se|pa|dir|cd|dvd|dis[ck])[ _-]*\d*", re.IGNORECASE
)
"""Folders of a medium that name no patient, unless no other does."""
READ_ALL: Final = 200
"""Files whose headers are read without a bar."""


@dataclass(frozen=True)
class Holding:
    """A folder's own DICOM files.

    Attributes:
        folder: The folder.
        parts: The folders between the source and it, its own name last.
        files: By name.
    """

    folder: Path
    parts: tuple[str, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class StudyFiles:
    """All files of one study.

    Attributes:
        holdings: Folders that hold any of them, each with those alone.
        parts: The innermost folder that holds all of its images, as parts below the source.
        apart: What tells it from others that share a folder: its date, 'studyN' where it has none, both where the date
            does not tell it; empty where it shares none. A number alone would be another's when an older one comes.
        key: StudyInstanceUID and PatientID, for programs give several patients one UID; empty where its files have no
            UID.
        rest: A folder that holds more of one of its series, under another patient's name as it seems.
    """

    holdings: tuple[Holding, ...]
    parts: tuple[str, ...]
    apart: str
    key: str = ""
    rest: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file, folder by folder."""
        return tuple(path for holding in self.holdings for path in holding.files)


def own_name(folder: Path) -> str:
    """A folder's name as it was given, or of the next one above that may name a patient.

    Of an unpacked archive none above counts: `archive.unpacked` has named it so, by where the archive lies.
    """
    path = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve would give a link's target's name
    above = takewhile(lambda p: not p.name.startswith(PARTIAL), (path, *path.parents))
    return next((p.name for p in above if p.name and not NO_PATIENT.fullmatch(p.name)), path.name)


def studies_of(holdings: Sequence[Holding]) -> list[StudyFiles]:
    """The studies that the files make, in the order of their first folders.

    A study may lie in any folders. But uppermost folders seem to name patients: a study is spread over several of these
    only where it says all that a real one does (`_is_one_study`), or where its series or the parts of one fit together
    slice by slice. A file that cannot be read goes with its folder; one without a PatientID is of the only patient whom
    others of its series name, else others of its study.
    """
    from bisc.imageio.formats.dicom.mark import mark_of  # pydicom: only where there is DICOM

    flat = [(holding, path) for holding in holdings for path in holding.files]
    bar = track(flat, "look at DICOM files", unit="file") if len(flat) > READ_ALL else flat
    marks = [(holding, path, mark_of(path)) for holding, path in bar]
    series = _by_series([_File(holding, path, mark) for holding, path, mark in marks if mark is not None])
    torn = _torn(series)
    groups: dict[tuple[str, ...], list[_File]] = {}
    one_by_one = torn_scans({key: [file.mark for file in files] for key, files in series.items()})
    homes = _homes(series, one_by_one)
    for key, files in series.items():
        groups.setdefault(homes[key], []).extend(files)
    whole = {homes[keys[0]] for keys in one_by_one}  # one case, which tells what became of its UIDs
    divided = [
        (files, rest or next((torn[file.mark.series] for file in files if file.mark.series in torn), None))
        for home, group in groups.items()
        for files, rest in ([(group, None)] if home in whole else _by_person_and_patient(group))
    ]
    return _numbered(divided, [(holding, path) for holding, path, mark in marks if mark is None])


@dataclass(frozen=True)
class _File:
    holding: Holding
    path: Path
    mark: Mark


def _by_series(files: Sequence[_File]) -> dict[tuple[str, str], list[_File]]:
    """By UID and patient; files without a UID by their folder."""
    named: dict[str, set[str]] = {"": set()}
    for file in files:
        for uid in {file.mark.series, file.mark.study} - {""}:
            named.setdefault(uid, set()).update({file.mark.patient} - {""})
    found: dict[tuple[str, str], list[_File]] = {}
    for file in files:
        mark = file.mark
        others = named[mark.series] or named[mark.study]
        patient = mark.patient or (next(iter(others)) if len(others) == 1 else "")
        found.setdefault((mark.series or str(file.holding.folder), patient), []).append(file)
    return found


def _homes(
    series: dict[tuple[str, str], list[_File]], one_by_one: list[list[tuple[str, str]]]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """The study of each series, by patient and UID; of slices that bear a series each, whatever studies, one."""
    homes: dict[tuple[str, str], tuple[str, ...]] = {}
    for key, files in series.items():
        studies = {file.mark.study for file in files}
        # Some writers give every slice a study of its own, which tells nothing.
        study = studies.pop() if len(studies) == 1 else ""
        homes[key] = (key[1], study) if study else ("", *key)
    for keys in one_by_one:
        same = {homes[key] for key in keys}
        homes = {key: min(same) if home in same else home for key, home in homes.items()}
    return homes


def _torn(series: dict[tuple[str, str], list[_File]]) -> dict[str, Path]:
    """Folders of the series whose slices bear several PatientIDs and make one even stack all the same: each part would
    pass for a patient."""
    under: dict[str, dict[tuple[str, ...], set[str]]] = {}
    for (uid, patient), files in series.items():
        if uid == files[0].mark.series:
            under.setdefault(uid, {})[patient,] = {file.mark.instance for file in files}
    torn: dict[str, Path] = {}
    for uid, by_patient in under.items():
        files = [file for (patient,) in by_patient for file in series[uid, patient]]
        if len(by_patient) > 1 and len(files) >= LEAST_TORN and _fit_together(files, {uid: by_patient}):
            torn[uid] = files[0].holding.folder
    return torn


def _by_person_and_patient(files: list[_File]) -> list[tuple[list[_File], Path | None]]:
    persons = by_person([file.mark for file in files])
    return [part for person in persons for part in _by_patient([files[i] for i in person])]


def _by_patient(files: list[_File]) -> list[tuple[list[_File], Path | None]]:
    """The files of one study, divided by their uppermost folders where a series lies under several that may name
    patients: copies, or programs that give everyone the same UIDs. With each part, the folder that holds another part
    of one of its series, if there is any."""
    tops = list(dict.fromkeys(file.holding.parts[:1] for file in files))
    under: dict[str, dict[tuple[str, ...], set[str]]] = {}
    for file in files:
        under.setdefault(file.mark.series, {}).setdefault(file.holding.parts[:1], set()).add(file.mark.instance)
    several = [by_top for by_top in under.values() if len(by_top) > 1]
    is_medium = all(NO_PATIENT.fullmatch(top[0]) for top in tops if top)
    if len(tops) < 2 or (is_medium and not any(_shared(by_top.values()) for by_top in several)):
        return [(files, None)]
    parts = [(file.holding.parts[:1], file.mark) for file in files]
    if _fit_together(files, under) if several else _is_one_study(files) or is_one_scan(parts):
        return [(files, None)]
    divided: list[tuple[list[_File], Path | None]] = []
    for top in tops:
        own = [file for file in files if file.holding.parts[:1] == top]
        rest = [by_top for by_top in several if top in by_top and not _shared(by_top.values())]
        other = next((t for by_top in rest for t in by_top if t != top), None)
        beside = next((file.holding.folder for file in files if file.holding.parts[:1] == other), None)
        divided.append((own, None if other is None else beside))
    return divided


def _fit_together(files: list[_File], under: dict[str, dict[tuple[str, ...], set[str]]]) -> bool:
    """Whether every series that lies under several folders is whole under none of them, and makes one even stack."""
    for series, by_top in under.items():
        if len(by_top) > 1:
            places = {f.mark.instance: f.mark.place_mm_xyz for f in files if f.mark.series == series}
            if "" in places or not all(places.values()) or any(len(part) == len(places) for part in by_top.values()):
                return False
            points = np.asarray(list(places.values()))
            steps = np.diff(np.sort(points[:, np.ptp(points, axis=0).argmax()]))
            if steps.min() <= 0 or np.ptp(steps) > EVEN * steps.mean():
                return False
    return True


def _is_one_study(files: list[_File]) -> bool:
    """Whether slices bear a patient's ID and each of their series a number of its own, as those of a scanner do; what
    is no slice (a report, a screenshot) is often written by others, without."""
    marks = [file.mark for file in files if file.mark.may_be_slice]
    numbers = {mark.series: mark.number for mark in marks}
    return all(mark.patient and mark.number for mark in marks) and len(set(numbers.values())) == len(numbers)


def _shared(sets: Iterable[set[str]]) -> bool:
    """Whether any two have something in common."""
    together = list(sets)
    return len(set().union(*together)) < sum(map(len, together))


def _numbered(divided: list[tuple[list[_File], Path | None]], damaged: list[tuple[Holding, Path]]) -> list[StudyFiles]:
    """The groups as studies; those that share a folder are told apart by date, or number, the earlier first."""
    groups = [files for files, _ in divided]
    when = [max(file.mark.when for file in files) for files in groups]  # a report need not have a date
    shared: dict[Path, list[int]] = {}
    by_day = sorted(range(len(groups)), key=lambda k: (*when[k], str(groups[k][0].path)))
    for k in by_day:
        for folder in {file.holding.folder for file in groups[k]}:
            shared.setdefault(folder, []).append(k)
    found = []
    for k, group in enumerate(groups):
        mine = {file.holding.folder for file in group}
        rivals = max((shared[folder] for folder in mine), key=len)
        lost = [(holding, path) for holding, path in damaged if holding.folder in mine]
        images = [file.holding.parts for file in group if file.mark.may_be_slice]
        parts = _common(images or [file.holding.parts for file in group])
        files = _holdings([*((file.holding, file.path) for file in group), *lost])
        apart = _apart([when[j][0] for j in rivals], rivals.index(k)) if len(rivals) > 1 else ""
        study, patient = group[0].mark.study, max(file.mark.patient for file in group)
        key = f"{study} {patient}" if study else ""
        found.append(StudyFiles(files, parts, apart, key, divided[k][1]))
    alone = _holdings((holding, path) for holding, path in damaged if holding.folder not in shared)
    found += [StudyFiles((holding,), holding.parts, "") for holding in alone]
    return sorted(found, key=lambda one: (one.holdings[0].parts, one.apart))


def _apart(days: Sequence[str], i: int) -> str:
    """The name of study i by its day; numbers go on within a day."""
    day, number = days[i], days[: i + 1].count(days[i])
    if not re.fullmatch(r"\d{8}", day):
        return f"study{number}"
    return day if days.count(day) == 1 else f"{day}_study{number}"


def _holdings(files: Iterable[tuple[Holding, Path]]) -> tuple[Holding, ...]:
    by_folder: dict[Path, tuple[Holding, list[Path]]] = {}
    for holding, path in files:
        by_folder.setdefault(holding.folder, (holding, []))[1].append(path)
    made = [Holding(holding.folder, holding.parts, tuple(sorted(paths))) for holding, paths in by_folder.values()]
    return tuple(sorted(made, key=lambda one: one.parts))


def _common(parts: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    shortest = min(parts, key=len)
    n = next((i for i, name in enumerate(shortest) if any(other[i] != name for other in parts)), len(shortest))
    return shortest[:n]
