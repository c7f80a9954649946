"""The files of a published data set, one by one: their sizes, fetched and recorded, or read again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import urlsplit

from tqdm import tqdm

from bisc.core.errors import BiscError, InputError
from bisc.imageio.formats.nifti import check_whole
from bisc.pipeline.kits_sources import PublishedFile
from bisc.system.cases import run_cases
from bisc.system.checksums import FILE, Checksum, record_checksum, verify
from bisc.system.console import Stopped
from bisc.system.download import DiskFullError, fetch, partial_bytes
from bisc.system.http import UnreachableError, look


@dataclass
class Run:
    """What the threads of one run share.

    Attributes:
        folder: The data set.
        recorded: The SHA-256 of what was fetched before, by path.
        bar: Of bytes.
        full: Set once the disk is full.
        over: Set once nothing more is to be fetched.
    """

    folder: Path
    recorded: dict[str, str]
    bar: tqdm[NoReturn]
    full: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def got(self, n_bytes: int) -> None:
        """Move the bar. Raises Stopped where the run is over."""
        if self.over.is_set():
            raise Stopped
        with self.turn:
            self.bar.update(n_bytes)

    def expected(self, file: PublishedFile) -> list[Checksum]:
        """All that is known of a file beforehand."""
        recorded = self.recorded.get(file.name)
        mine = [Checksum("sha256", recorded, f"{FILE}, of when it was first fetched")] if recorded else []
        return [file.blob, *mine] if file.blob else mine

    def disk_was_full(self) -> bool:
        """Whether somebody said so before, and mark it as said."""
        with self.turn:
            before = self.full.is_set()
            self.full.set()
        return before


@contextmanager
def threads(n_workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads of which none begins anything new once the block ends, however it ends."""
    pool = ThreadPoolExecutor(n_workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def bytes_to_fetch(folder: Path, files: Sequence[PublishedFile], pool: Executor) -> int | None:
    """How much is still to come, files of unknown size taken for as large as the mean of those asked for.

    None where the servers tell no size.

    Raises:
        UnreachableError: If one of the servers does not answer: then no file needs to be tried.
    """
    new = [file for file in files if not (folder / file.name).exists()]
    for file in {urlsplit(file.url).netloc: file for file in reversed(new)}.values():
        _size(file, must_answer=True)
    unknown = [file for file in new if file.n_bytes is None]
    sizes = [o.result for o in run_cases(_size, unknown, pool, "look", lambda file: file.name) if o.result is not None]
    if unknown and not sizes:
        return None
    mean = sum(sizes) / max(1, len(sizes))
    known = sum(file.n_bytes or 0 for file in new) + sum(sizes) + round(mean * (len(unknown) - len(sizes)))
    return known - sum(partial_bytes(folder / file.name) for file in new)


def _size(file: PublishedFile, must_answer: bool = False) -> int | None:
    try:
        return look(file.url)
    except UnreachableError:
        if must_answer:
            raise
    except BiscError:  # fetching it will say more
        pass
    return None


def get_file(run: Run, file: PublishedFile) -> Literal["fetched", "kept", "not"]:
    """Have one file under its name, right and recorded."""
    target = run.folder / file.name
    if target.exists():
        record_checksum(run.folder, file.name, check_file(run, file))
        return "kept"
    if run.full.is_set():
        return "not"
    run.got(0)
    try:
        sha256 = fetch(file.url, target, run.expected(file), _content_check(file), run.got)
    except DiskFullError:
        if run.disk_was_full():
            return "not"
        raise
    record_checksum(run.folder, file.name, sha256)
    return "fetched"


def check_file(run: Run, file: PublishedFile) -> str:
    """The SHA-256 of a file that is there; refused where it is not what was published, or fetched at first."""
    path = run.folder / file.name
    try:
        sha256 = verify(path, run.expected(file))
        _content_check(file)(path)
    except InputError as error:
        raise InputError(path, error.found, error.expected, "remove it, and run bisc_download again") from error
    return sha256


def _content_check(file: PublishedFile) -> Callable[[Path], object]:
    return check_whole if file.name.endswith(".nii.gz") else _check_json


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(path, f"cannot be read ({error})", "a JSON file") from error
