"""Which files hold a case's voxels, and whether any of them changed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bisc.core.errors import InputError
from bisc.imageio.label_names import LabelMeaning
from bisc.imageio.text_headers import data_files

DETACHED: Final = (".mhd", ".mha", ".nrrd", ".nhdr")
"""Headers that may name a file beside them."""
PAIRS: Final = {".hdr": ".img", ".img": ".hdr"}


def files_of(path: Path) -> list[Path]:
    """Every file that holds a case's header or voxels: a file, the data file it names, a folder's files by name.

    A header that cannot be read names no other file: reading the case says what is wrong with it.
    """
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    suffix = path.suffix.lower()
    if suffix in PAIRS:
        return [path, *(p for p in (path.with_suffix(PAIRS[suffix]),) if p.is_file())]
    if suffix not in DETACHED:
        return [path]
    try:
        return [path, *data_files(path)]
    except (InputError, OSError):
        return [path]


def source_stamp(image: Path | None, labels: Path, meaning: LabelMeaning | None) -> str:
    """What shows that a training case changed: size and modification time of all its files, and what its labels mean.

    A file of another content with the same size and time shows in its voxels alone (`--verify` reads them).
    """
    files = [file for path in (image, labels) if path is not None for file in files_of(path)]
    stats = [file.stat() for file in files]
    stamps = [f"{s.st_size}:{s.st_mtime_ns}" for s in stats]
    return " ".join([*stamps, meaning.key] if meaning else stamps)
