"""DICOM files under a source, put together into studies: one case for each, wherever its files lie.

A series may lie in several folders, and a folder hold several series, of several patients. What a file is of, its own
tags say; folders give the case its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bisc.system.console import track

if TYPE_CHECKING:
    from bisc.imageio.formats.dicom.mark import Mark

READ_ALL = 200
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
        number: Its place among the studies that share a folder, from 1 on; 0 where it shares none.
        uid: StudyInstanceUID; empty where its files have none.
    """

    holdings: tuple[Holding, ...]
    parts: tuple[str, ...]
    number: int
    uid: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file, folder by folder."""
        return tuple(path for holding in self.holdings for path in holding.files)


def studies_of(holdings: Sequence[Holding]) -> list[StudyFiles]:
    """The studies that the files make, in the order of their first folders.

    Whole copies of a series, by the files' own UIDs, under several names are as many studies as there are names: the
    uppermost folders. A file that cannot be read goes with whatever else its folder holds.
    """
    from bisc.imageio.formats.dicom.mark import mark_of  # pydicom: only where there is DICOM

    flat = [(holding, path) for holding in holdings for path in holding.files]
    bar = track(flat, "look at DICOM files", unit="file") if len(flat) > READ_ALL else flat
    marks = [(holding, path, mark_of(path)) for holding, path in bar]
    series = _by_series(marks)
    groups: dict[tuple[str, ...], list[_File]] = {}
    for key, files in series.items():
        studies = {file.mark.study for file in files}
        # Some writers give every slice a study of its own, which tells nothing.
        study = studies.pop() if len(studies) == 1 else ""
        groups.setdefault((key[1], study) if study else ("", *key), []).extend(files)
    divided = [part for files in groups.values() for part in _copies_apart(files)]
    return _numbered(divided, [(holding, path) for holding, path, mark in marks if mark is None])


@dataclass(frozen=True)
class _File:
    holding: Holding
    path: Path
    mark: Mark


def _by_series(marks: Iterable[tuple[Holding, Path, Mark | None]]) -> dict[tuple[str, str], list[_File]]:
    """By UID and patient; files without a UID by their folder."""
    found: dict[tuple[str, str], list[_File]] = {}
    for holding, path, mark in marks:
        if mark is not None:
            key = (mark.series or str(holding.folder), mark.patient)
            found.setdefault(key, []).append(_File(holding, path, mark))
    return found


def _copies_apart(files: list[_File]) -> list[list[_File]]:
    """The files of one study, divided by their uppermost folders where any of these repeat a whole series."""
    tops = list(dict.fromkeys(file.holding.parts[:1] for file in files))
    if len(tops) < 2:
        return [files]
    instances: dict[str, dict[tuple[str, ...], Counter[str]]] = {}
    for file in files:
        instances.setdefault(file.mark.series, {}).setdefault(file.holding.parts[:1], Counter())[
            file.mark.instance
        ] += 1
    copied = any(
        one == other
        for by_top in instances.values()
        for i, one in enumerate(by_top.values())
        for other in list(by_top.values())[:i]
    )
    return [[file for file in files if file.holding.parts[:1] == top] for top in tops] if copied else [files]


def _numbered(groups: list[list[_File]], damaged: list[tuple[Holding, Path]]) -> list[StudyFiles]:
    """The groups as studies; those that share a folder are told apart by number, the earlier study first."""
    shared: dict[Path, list[int]] = {}
    by_day = sorted(range(len(groups)), key=lambda k: (*groups[k][0].mark.when, str(groups[k][0].path)))
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
        number = 1 + rivals.index(k) if len(rivals) > 1 else 0
        found.append(StudyFiles(files, parts, number, group[0].mark.study))
    alone = _holdings((holding, path) for holding, path in damaged if holding.folder not in shared)
    found += [StudyFiles((holding,), holding.parts, 0) for holding in alone]
    return sorted(found, key=lambda one: (one.holdings[0].parts, one.number))


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
