"""KiTS19, KiTS21 and KiTS23 from where they are published, laid out as planning reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bisc.core.errors import BiscError, InputError
from bisc.pipeline.download_files import Run, bytes_to_fetch, check_file, get_file, threads
from bisc.pipeline.kits_sources import (
    NAMES,
    SOURCES,
    PublishedFile,
    Source,
    chosen_cases,
    files_of_case,
    licence_text,
    published,
)
from bisc.planners.known_issues import published_issues
from bisc.simulation.dataset import RECORD as SIMULATED
from bisc.system.cases import run_cases
from bisc.system.checksums import read_checksums
from bisc.system.console import track_bytes
from bisc.system.files import make_output_folder, write_text
from bisc.system.locks import alone
from bisc.system.paths import Folders

LICENCE_FILE: Final = "LICENCE.txt"
SPARE_BYTES: Final = 64 << 20
"""Left free beside what is fetched."""


@dataclass(frozen=True)
class Downloaded:
    """What became of the files asked for, by their paths in the data set's folder.

    Attributes:
        folder: The data set.
        fetched: Fetched now.
        kept: There already; after `check`, those that are right.
        missing: Not there, and not tried: the disk was full before, or nothing is fetched.
        errors: Of the others.
    """

    folder: Path
    fetched: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    errors: tuple[BiscError, ...] = ()


def download(
    name: str,
    out: str | Path | None = None,
    *,
    n: int | None = None,
    cases: Sequence[int] | None = None,
    labels_only: bool = False,
    mirror: str | None = None,
    accept_licence: bool = False,
    n_workers: int = 4,
    tell: Callable[[str], object] = lambda _: None,
) -> Downloaded:
    """Fetch a challenge's training data into the layout that `plan` reads.

    What is there already stays, and what was cut is gone on with. A file that cannot be had costs its own case.

        data = bisc.download("KiTS19", n=5, accept_licence=True)
        data.folder    # bisc_data/raw/KiTS19

    Args:
        name: "KiTS19", "KiTS21" or "KiTS23".
        out: The data set's folder; None: NAME under the raw folder.
        n: The first so many cases; None: all.
        cases: Their numbers, instead of `n`.
        labels_only: No images.
        mirror: An address that has NAME/case_00000/..., in place of the published ones.
        accept_licence: That the data's licence is agreed to: CC BY-NC-SA 4.0.
        n_workers: Files fetched at a time.
        tell: Takes a line of what is about to be fetched, and of each published fault of the chosen cases.

    Raises:
        InputError: For an argument out of range, a folder that cannot be written or another run is at work in, or too
            little room on the disk.
        UnreachableError: If a server does not answer.
        Stopped: After SIGINT or SIGTERM; what came is kept.
    """
    source = find_source(name)
    chosen, folder = chosen_cases(source, n, cases), _folder(source, out)
    if not accept_licence:
        raise InputError(name, "its licence was not agreed to", source.licence_file, "agree with --accept-licence")
    check_mirror(mirror)
    wanted = _wanted(source, chosen, labels_only, mirror)
    if (folder / SIMULATED).exists():
        found = f"holds simulated cases ({SIMULATED}), which real ones would be mixed with"
        raise InputError(folder, found, "a folder of real ones", "give another: -o DIR")
    make_output_folder(folder)
    with alone(folder, wait=False) as held:
        if held is False:
            raise InputError(folder, "another bisc_download is at work there", mend="wait for it")
        recorded = read_checksums(folder)
        write_text(folder / LICENCE_FILE, licence_text(source))
        kept = [file for file in wanted if file.name in recorded and (folder / file.name).is_file()]
        left = [file for file in wanted if file not in kept]
        for line in published_issues(chosen) if source.name == "KiTS19" else ():
            tell(line)
        with threads(n_workers) as pool:
            n_bytes = bytes_to_fetch(folder, left, pool)
        tell(_what_comes(f"{source.name}: {len(chosen)} cases in {folder}", len(kept), len(left), n_bytes))
        free = shutil.disk_usage(folder).free
        if n_bytes is not None and n_bytes + SPARE_BYTES > free:
            found = f"{_gb(free)} are free on its disk"
            raise InputError(folder, found, _gb(n_bytes), "free space, choose another folder with -o, or fewer with -n")
        return _fetch_all(folder, recorded, kept, left, n_bytes, n_workers)


def check(
    name: str,
    out: str | Path | None = None,
    *,
    n: int | None = None,
    cases: Sequence[int] | None = None,
    labels_only: bool = False,
    n_workers: int = 4,
) -> Downloaded:
    """Read a downloaded data set again, against the published checksums and those of the first download.

    Nothing is fetched. Arguments as in `download`.

    Raises:
        InputError: For an argument out of range, or a list of checksums that cannot be read.
        Stopped: After SIGINT or SIGTERM.
    """
    source = find_source(name)
    folder = _folder(source, out)
    wanted = _wanted(source, chosen_cases(source, n, cases), labels_only, None)
    there = [file for file in wanted if (folder / file.name).is_file()]
    with track_bytes("", None, shown=False) as bar, threads(n_workers) as pool:
        run = Run(folder, read_checksums(folder), bar)
        outcomes = run_cases(partial(check_file, run), there, pool, "verify", lambda file: file.name)
    return Downloaded(
        folder,
        kept=tuple(o.job.name for o in outcomes if o.error is None),
        missing=tuple(file.name for file in wanted if file not in there),
        errors=tuple(o.error for o in outcomes if o.error is not None),
    )


def find_source(name: str) -> Source:
    """A challenge by its name.

    Raises:
        InputError: If it is none of them.
    """
    if name not in SOURCES:
        raise InputError(name, "is no data set that can be downloaded", ", ".join(NAMES))
    return SOURCES[name]


def check_mirror(mirror: str | None) -> None:
    """Refuse what is no address. Raises InputError."""
    if mirror is None:
        return
    try:
        parts = urlsplit(mirror)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and mirror.isascii()
    except ValueError:
        sound = False
    if not sound:
        raise InputError("--mirror", mirror, "an address that begins with http:// or https://")


def _folder(source: Source, out: str | Path | None) -> Path:
    return Folders.from_environment().raw / source.name if out is None else Path(out)


def _wanted(source: Source, cases: Sequence[str], labels_only: bool, mirror: str | None) -> list[PublishedFile]:
    files = [file for case in cases for file in files_of_case(source, case, labels_only, mirror)]
    return [published(source, source.table, mirror), *files]


def _what_comes(where: str, n_kept: int, n_left: int, n_bytes: int | None) -> str:
    there = f"{n_kept} files are there, " if n_kept else ""
    much = "of unknown size" if n_bytes is None else _gb(n_bytes)
    return f"{where}: {there}{n_left} files to fetch, {much}"


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def _fetch_all(
    folder: Path,
    recorded: dict[str, str],
    kept: Sequence[PublishedFile],
    left: Sequence[PublishedFile],
    n_bytes: int | None,
    n_workers: int,
) -> Downloaded:
    with track_bytes("download", n_bytes) as bar:
        run = Run(folder, recorded, bar)
        with threads(n_workers) as pool:
            try:
                outcomes = run_cases(partial(get_file, run), left, pool, "download", lambda file: file.name, bar=False)
            finally:
                run.over.set()
    by_result = {kind: tuple(o.job.name for o in outcomes if o.result == kind) for kind in ("fetched", "kept", "not")}
    return Downloaded(
        folder,
        by_result["fetched"],
        (*(file.name for file in kept), *by_result["kept"]),
        by_result["not"],
        tuple(o.error for o in outcomes if o.error is not None),
    )
