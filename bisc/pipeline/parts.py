"""One part of a command's cases, for job arrays: each leaves a note of what it has done, joining looks for them all.

A note stands in FOLDER/parts/WHAT_I_of_N.json. It tells what became of each case, with a stamp of its files and of what
was asked: one of other files or options is no note of this run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from bisc._version import __version__
from bisc.core.errors import BiscError, InputError, WorkError
from bisc.system.jsonfile import Document, load_json, save_json

FOLDER: Final = "parts"
NAMED: Final = 5
"""So many of the missing cases are named, for each part."""
Case = TypeVar("Case")


class Told(Document, frozen=True):
    """An error as it stands in a note: InputError's four parts, or another's text."""

    parts: tuple[str, str, str, str] | None
    text: str = ""

    def error(self) -> BiscError:
        """As it was raised: the exit status is that of the part's own run."""
        return WorkError(self.text) if self.parts is None else InputError(*self.parts)


class PartCase(Document, frozen=True):
    """What became of one case of a part.

    Attributes:
        name: Of the case.
        stamp: `stamp_of` what it depends on.
        told: What was wrong with it.
        result: What the command needs for joining, as plain values.
    """

    name: str
    stamp: str
    told: tuple[Told, ...] = ()
    result: Any = None


class PartNote(Document, frozen=True):
    """A whole part; `told` is what was wrong and no one case's, `way` how it was computed."""

    part: int
    parts: int
    cases: tuple[PartCase, ...]
    told: tuple[Told, ...] = ()
    way: str = ""


@dataclass(frozen=True)
class Joined:
    """What all parts' notes tell: the cases; what went wrong, those of no one case first in each part; the ways in
    which they were computed."""

    cases: Sequence[PartCase]
    errors: Sequence[BiscError]
    ways: Sequence[str]


@dataclass(frozen=True)
class Part:
    """One part of `count`, from 1; with `number` None all of them, to be joined."""

    number: int | None
    count: int

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}" if self.number else f"{self.count} parts joined"

    def share(self, cases: Sequence[Case], name: Callable[[Case], str]) -> list[Case]:
        """Those of the cases that are this part's, in their order: every `count`-th by name. Joining has all."""
        if self.number is None:
            return list(cases)
        mine = {name(case) for case in sorted(cases, key=name)[self.number - 1 :: self.count]}
        return [case for case in cases if name(case) in mine]

    def keep(
        self,
        folder: Path,
        what: str,
        stamps: Mapping[str, str],
        errors: Iterable[tuple[str, BiscError]],
        results: Mapping[str, object] | None = None,
        way: str = "",
    ) -> None:
        """Leave this part's note, now that its cases are done.

        Args:
            folder: Where the command writes.
            what: The note's name.
            stamps: `stamp_of` every case of this part.
            errors: By case; one may have several, and those of no one case are called "".
            results: By case, what the command needs for joining, as plain values; None: nothing.
            way: How they were computed, where that may differ between machines.
        """
        told: dict[str, list[Told]] = {name: [] for name in ("", *stamps)}
        for name, error in errors:
            told[name].append(_told(error))
        results = results or {}
        cases = tuple(
            PartCase(name=name, stamp=stamp, told=tuple(told[name]), result=results.get(name))
            for name, stamp in stamps.items()
        )
        path = self._note(folder, what, self.number or 0)
        note = PartNote(part=self.number or 0, parts=self.count, cases=cases, told=tuple(told[""]), way=way)
        save_json(path, note)

    def join(
        self, folder: Path, what: str, stamps: Mapping[str, str], is_there: Callable[[PartCase], bool] = lambda _: True
    ) -> Joined:
        """What the parts' notes tell of the cases, in the order of `stamps`.

        Args:
            folder: Where the command writes.
            what: The notes' name.
            stamps: Of every case, as it is now.
            is_there: Whether what was made of a case lies there still.

        Raises:
            WorkError: If a part is missing, or was another run's; its cases are named.
        """
        told: dict[str, PartCase] = {}
        loose: list[Told] = []
        ways: set[str] = set()
        missing: list[str] = []
        names = list(stamps)
        for number in range(1, self.count + 1):
            share = Part(number, self.count).share(names, str)
            note = self._read(folder, what, number)
            done = {case.name: case for case in note.cases} if note is not None else {}
            lacking = [
                name
                for name in share
                if name not in done or done[name].stamp != stamps[name] or not (done[name].told or is_there(done[name]))
            ]
            told |= {name: done[name] for name in share if name not in lacking}
            loose += note.told if note is not None and share else ()
            ways |= {note.way} if note is not None and note.way and share else set()
            if lacking:
                how = "is missing" if not done else "is not of these files and options"
                some = ", ".join(lacking[:NAMED]) + (f" and {len(lacking) - NAMED} more" * (len(lacking) > NAMED))
                missing.append(f"part {number} of {self.count} {how}: {some}")
        if missing:
            raise WorkError(f"{folder}: {'; '.join(missing)}; run it with --part, then join again")
        cases = [told[name] for name in names]
        errors = [one.error() for one in [*loose, *(one for case in cases for one in case.told)]]
        return Joined(cases, errors, sorted(ways))

    def _read(self, folder: Path, what: str, number: int) -> PartNote | None:
        path = self._note(folder, what, number)
        return load_json(path, PartNote, "run that part again") if path.exists() else None

    def _note(self, folder: Path, what: str, number: int) -> Path:
        return folder / FOLDER / f"{what}_{number}_of_{self.count}.json"


def stamp_of(files: Iterable[Path | None], *asked: object) -> str:
    """Changes with this version, with a file's size and time, and with what was asked; a file that is not there counts
    as that."""
    stats: list[object] = []
    for file in files:
        try:
            stat = None if file is None else file.stat()
        except OSError:
            stat = None
        stats.append(stat and (stat.st_size, stat.st_mtime_ns))
    return hashlib.blake2b(repr((__version__, stats, asked)).encode(), digest_size=8).hexdigest()


def _told(error: BiscError) -> Told:
    if isinstance(error, InputError):
        return Told(parts=(error.what, error.found, error.expected, error.mend))
    return Told(parts=None, text=str(error))
