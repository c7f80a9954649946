"""The queue on disk: a folder for each study, moved in one step from stage to stage, so that a kill loses nothing.

    spool/          objects while they come over the wire
    incoming/KEY/   files of a study as they arrive
    ready/JOB/      the study is complete: in/ holds its files, out/ what was made of them so far; files.txt names them
    outgoing/JOB/   predicted: out/ is to be sent, sent.txt says what was
    done/JOB/       sent; failed/JOB/ could not be predicted: their out/ holds the tables alone, and masks of which no
                    DICOM object could be made

A job that was begun is begun again; its results bear the same UIDs. Names are digests: none says whom a study is of.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.system.files import make_folder, remove_partial, write_text

STAGES: Final = ("incoming", "ready", "outgoing", "done", "failed")
SPOOL: Final = "spool"
STALE_S: Final = 600.0
"""What lies in the spool untouched for so long belongs to an association that is gone."""
SENT: Final = "sent.txt"
FILES: Final = "files.txt"
"""Digests of the objects that a job was made of, for those that come later."""
TAKEN: Final = ".taken-"
"""Begins the name of what was copied whole into the queue and is to be removed where it lay."""
KEPT: Final = 1000
"""Finished jobs whose tables are kept; the oldest go first."""
LEAST_FREE: Final = 1 << 30
"""Bytes that are left free on the disk."""
MEASURED_S: Final = 5.0
"""How old a measurement of the folder may be."""
REFUSED: Final = ".refused-"
"""Begins the name of a mark in `incoming/KEY`, one for each object that there was no room for."""
COMING: Final = ".coming"
"""A mark in `incoming/KEY` from an object on until its association ends as it should: that may be cut off, or we be."""
ON_ITS_WAY: Final = "the object that was on its way"
"""In an instance's place, where an association was ended amid one."""
GIVE_UP_S: Final = 900.0
"""A study with a `REFUSED` mark and without a new file for so long stays incomplete: a part of a kidney is no result.
One that was cut off waits as long for the rest; some senders never end an association, so it is predicted then."""


class Queue:
    """All jobs of a node."""

    def __init__(self, folder: Path, quota_bytes: float) -> None:
        self.folder, self.quota_bytes = folder, quota_bytes
        for stage in STAGES:
            remove_partial(make_folder(folder / stage))
        for key in self.folders("incoming"):
            remove_partial(key)
        self.spool = make_folder(folder / SPOOL)
        self.clear_spool(0.0)
        self.began = time.time()
        self._used = (0.0, 0)

    def folders(self, stage: str) -> list[Path]:
        """A stage's jobs, the oldest first."""
        with suppress(OSError):
            found = [p for p in (self.folder / stage).iterdir() if p.is_dir() and not p.name.startswith(".")]
            return sorted(found, key=lambda p: (_changed(p), p.name))
        return []

    def place_for(self, study: str) -> Path:
        """Where files of a study are gathered."""
        return make_folder(self.folder / "incoming" / digest(study))

    def complete(self, quiet_s: float) -> Path | None:
        """Move the oldest study without a new file for so long to `ready`, if there is one; after a start the silence
        is counted anew. One at a time: the others still grow while they wait."""
        for folder in self.folders("incoming"):
            wait_s = max(quiet_s, GIVE_UP_S) if (folder / COMING).exists() else quiet_s
            if time.time() - max(self.began, _changed(folder)) < wait_s:
                continue
            if not any(p.is_file() and not p.name.startswith(".") for p in folder.rglob("*")):
                continue
            if not any(folder.glob(f"{REFUSED}*")):
                return self._as_job(folder)
        return None

    def give_up(self, quiet_s: float) -> list[Path]:
        """Move studies that lack objects, and get none, to `failed`; what came of them goes."""
        lost = []
        for folder in self.folders("incoming"):
            if any(folder.glob(f"{REFUSED}*")) and time.time() - max(self.began, _changed(folder)) >= quiet_s:
                lost.append(self.move(self._as_job(folder), "failed"))
        return lost

    def _as_job(self, folder: Path) -> Path:
        job = self.new_job(folder.name)
        make_folder(job.parent)
        staging = self.folder / "ready" / f".{job.name}"
        make_folder(staging)
        write_text(staging / FILES, "".join(f"{p.stem}\n" for p in sorted(folder.glob("[!.]*"))))
        folder.rename(staging / "in")  # files that come from now on make a folder, and a job, of their own
        return staging.rename(job)

    def whole(self, study: str) -> None:
        """Note that an association that brought objects of a study, if it still waits, ended as it should."""
        for mark in (COMING, f"{REFUSED}{digest(ON_ITS_WAY)}"):
            (self.folder / "incoming" / digest(study) / mark).unlink(missing_ok=True)

    def refuse(self, study: str, instance: str) -> None:
        """Note that an object of a study was not taken, until it comes again."""
        (self.place_for(study) / f"{REFUSED}{digest(instance)}").touch()

    def took(self, study: str, instance: str, n_bytes: int) -> None:
        """Note that an object was taken."""
        (self.place_for(study) / f"{REFUSED}{digest(instance)}").unlink(missing_ok=True)
        (self.place_for(study) / COMING).touch()
        when, used = self._used
        self._used = when, used + n_bytes

    def clear_spool(self, older_s: float = STALE_S) -> None:
        """Remove what broken associations left."""
        for path in self.spool.iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime >= older_s:
                    path.unlink()

    def new_job(self, key: str) -> Path:
        """A job's folder under `ready`, which is not made."""
        taken = {p.name for stage in STAGES[1:] for p in (self.folder / stage).iterdir()}
        taken |= {name.removeprefix(".") for name in taken}
        n = next(n for n in range(1, len(taken) + 2) if f"{key}-{n}" not in taken)
        return self.folder / "ready" / f"{key}-{n}"

    def came_before(self, job: Path) -> int:
        """How many objects of a job's study came earlier, in other jobs, and are not among its own."""
        key, _, _ = job.name.rpartition("-")
        before = [_lines(path) for stage in STAGES[1:] for path in (self.folder / stage).glob(f"{key}-*/{FILES}")]
        return len(set().union(*before) - _lines(job / FILES))

    def take(self, path: Path) -> Path:
        """Make an entry of another folder a job: it is one when all of it is here, and not before.

        Raises:
            OSError: If it cannot be moved; it is where it was, then.
            InputError: Likewise.
        """
        job = self.new_job(digest(path.name))
        staging = make_folder(job.with_name(f".{job.name}"))
        gone = path.with_name(f"{TAKEN}{job.name}")
        try:
            target = make_folder(staging / "in") / path.name
            try:
                path.rename(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                part = staging / "part"  # from another file system: what a kill leaves here is no job
                if path.is_dir():
                    shutil.copytree(path, part, symlinks=True)
                else:
                    shutil.copy2(path, part)
                part.rename(target)
                path.rename(gone)  # or what a kill leaves there would be a study
        except (OSError, InputError):
            shutil.rmtree(staging, ignore_errors=True)
            raise
        staging.rename(job)
        remove(gone)
        return job

    def recover(self) -> None:
        """Finish moves that a kill cut in two."""
        for staging in (self.folder / "ready").glob(".*-*"):
            if any((staging / "in").glob("*")):
                staging.rename(staging.with_name(staging.name.removeprefix(".")))
            else:
                shutil.rmtree(staging, ignore_errors=True)

    def move(self, job: Path, stage: str) -> Path:
        """To another stage; what is not needed there goes."""
        if stage != "ready":
            shutil.rmtree(job / "in", ignore_errors=True)
        if stage in ("done", "failed"):
            for path in (job / "out").glob("*"):
                if path.suffix not in (".csv", ".gz"):
                    remove(path)
        target = self.folder / stage / job.name
        job.rename(target)
        os.utime(target)
        for old in self.folders(stage)[:-KEPT] if stage in ("done", "failed") else []:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def used_bytes(self) -> int:
        """What the folder holds, measured every few seconds."""
        when, used = self._used
        if time.monotonic() - when > MEASURED_S:
            used = sum(_size(p) for p in self.folder.rglob("*"))
            self._used = time.monotonic(), used
        return used

    def has_room(self, n_bytes: int) -> bool:
        """Whether so many more fit within the quota and on the disk."""
        free = shutil.disk_usage(self.folder).free
        return self.used_bytes() + n_bytes <= self.quota_bytes and free - n_bytes >= LEAST_FREE


def sent(job: Path) -> set[str]:
    """What of a job was sent, as 'DESTINATION FILE'."""
    return _lines(job / SENT)


def mark_sent(job: Path, what: str) -> None:
    """Note it for good."""
    with (job / SENT).open("a", encoding="utf-8") as file:
        file.write(f"{what}\n")
        file.flush()
        os.fsync(file.fileno())


def results(job: Path) -> Iterator[Path]:
    """A job's DICOM objects, the segmentation before what refers to it."""
    order = ("_seg.dcm", "_sr.dcm", "_rtstruct.dcm", "_capture.dcm")
    for ending in order:
        yield from sorted((job / "out").glob(f"*{ending}"))


def digest(text: str) -> str:
    """A name that tells nothing."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _lines(path: Path) -> set[str]:
    with suppress(OSError):
        return set(path.read_text(encoding="utf-8").splitlines())
    return set()


def remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
