"""A .zip of a study, unpacked while it is worked on. Nothing in it is trusted: neither its names nor its sizes."""

from __future__ import annotations

import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio.studies import own_name
from bisc.system.console import notice
from bisc.system.files import make_output_folder, scratch_folder

SUFFIX: Final = ".zip"
MOST_FILES: Final = 1 << 20
LEFT_FREE: Final = 0.9
"""Of the disk, so much may be filled."""
ENCRYPTED: Final = 0x1
LINK: Final = 0o120000
KIND: Final = 0o170000
MOST_TARGET: Final = 4096
"""Bytes of what a link says; Linux takes no more."""
LISTED: Final = 5
NOISE: Final = "__MACOSX"
BEGIN_NS: Final = 315_532_800_000_000_000
"""1980, where the times of FAT disks begin."""
APART_NS: Final = 250_000_000
"""Between the times of files whose CRC differ by one: all 2**32 lie before 2015, and few fall together where a disk
keeps whole seconds."""


def is_archive(path: Path) -> bool:
    """Whether a path names a .zip."""
    return path.suffix.lower() == SUFFIX and path.is_file()


@contextmanager
def unpacked(source: Path, beside: Path) -> Iterator[Path]:
    """`source` itself, or, of a .zip, a folder with what it holds, which is gone after the block.

    The folder bears the archive's name, or, where that names no patient (study.zip), that of the next folder above.
    Each file's time of change stands for its content, and says nothing else: `--continue` knows it by size and time.
    An error of the block that names the folder names the archive instead.

    Args:
        source: Any input.
        beside: The output folder, in which it is unpacked.

    Raises:
        InputError: If the archive is damaged, encrypted, larger than the disk, names files outside of itself, or has
            links to what it does not hold.
    """
    if not is_archive(source):
        yield source
        return
    make_output_folder(beside)
    with scratch_folder(beside) as scratch:
        folder = scratch / own_name(source.with_suffix(""))
        folder.mkdir()
        try:
            with zipfile.ZipFile(source) as archive:
                _unpack(source, archive, folder)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, OSError) as error:
            raise InputError(source, f"cannot be unpacked ({error})", "a whole .zip", "export it again") from error
        try:
            yield folder
        except InputError as error:
            if error.what != str(folder):
                raise
            raise type(error)(source, error.found, error.expected, error.mend) from error


def _unpack(source: Path, archive: zipfile.ZipFile, folder: Path) -> None:
    members = [m for m in archive.infolist() if not m.is_dir() and PurePosixPath(m.filename).parts[:1] != (NOISE,)]
    if len(members) > MOST_FILES:
        raise InputError(source, f"holds {len(members)} files", f"at most {MOST_FILES}", "unpack it yourself")
    if any(m.flag_bits & ENCRYPTED for m in members):
        raise InputError(source, "is encrypted", "a plain .zip", "unpack it, and give the folder")
    promised, free = sum(m.file_size for m in members), shutil.disk_usage(folder).free
    if promised > LEFT_FREE * free:
        found = f"holds {promised / 1e9:.3g} GB, and the disk of {folder.parent.parent} has {free / 1e9:.3g} GB left"
        raise InputError(source, found, "room for what it holds", "free space or choose another output folder")
    _check_links(source, archive, [m for m in members if _is_link(m)])
    for member in members:
        if _is_link(member):
            continue
        target = folder / _safe(source, member.filename)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise InputError(source, f"holds {member.filename} twice", "every file once", "unpack it yourself")
        with archive.open(member) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file)  # no more than its promised size is ever given out
        when = BEGIN_NS + member.CRC * APART_NS  # not the member's date: anonymisers give one to all
        os.utime(target, ns=(when, when))


def _is_link(member: zipfile.ZipInfo) -> bool:
    return (member.external_attr >> 16) & KIND == LINK


def _check_links(source: Path, archive: zipfile.ZipFile, links: list[zipfile.ZipInfo]) -> None:
    """Refuse links to what the archive does not hold, a slice perhaps; links within, and hidden ones, are passed over.

    None is ever made.
    """
    aliases = {link.filename for link in links}
    there = {PurePosixPath(name) for name in archive.namelist() if name not in aliases}
    there |= {folder for path in there for folder in path.parents}
    within: list[str] = []
    lost: list[str] = []
    for link in links:
        path = PurePosixPath(link.filename)
        if any(part.startswith(".") for part in path.parts):
            continue
        with archive.open(link) as file:
            leads_to = file.read(MOST_TARGET).decode(errors="replace")
        is_there = PurePosixPath(normpath(path.parent / leads_to)) in there
        (within if is_there else lost).append(link.filename)
    if lost:
        found = f"holds links to files that are not in it ({_listed(lost)})"
        raise InputError(source, found, "the files themselves", "zip them without -y, or unpack it and give the folder")
    if within:
        notice(source, f"holds links to files of its own ({_listed(within)})", "passed over, the files are read")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _safe(source: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise InputError(
            source, f"names a file outside of itself ({name})", "names of files within", "unpack it yourself"
        )
    return path
