"""Archives that end in the SHA-256 of every byte before it: a .zip that any program opens, and no byte of which can
change unnoticed.

The digest is the end of the archive's comment, and a zip's comment is the end of the file. So what it covers is all of
the file but its own 64 digits: members, their names, both kinds of headers, the directory, the rest of the comment.
"""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError, one_line

MARK: Final = b"BiSC-UNet model file. SHA-256 of every byte before this number: "
DIGITS: Final = 64
MAX_BYTES: Final = (4 << 30) - 1
"""Ten networks of 128 base features; and no zip64, whose records the digest would cover all the same."""
MAX_EXPANSION: Final = 10
"""How much larger than an archive its members may be together; weights hardly pack at all."""
AGAIN: Final = "get the file again from where it was published, or export the model again"


@dataclass(frozen=True, eq=False)
class Sealed:
    """An archive whose digest was right.

    Attributes:
        path: Where it lies.
        members: Content by name.
        sha256: Of the whole file, its own digits too: what `sha256sum` prints and a publisher states.
    """

    path: Path
    members: Mapping[str, bytes]
    sha256: str


def sealed(members: Mapping[str, bytes]) -> bytes:
    """An archive of these members, stored as they are and in this order; the same members give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(_dateless(name), data)
        archive.comment = MARK + b"0" * DIGITS
    body = buffer.getvalue()[:-DIGITS]
    return body + hashlib.sha256(body).hexdigest().encode()


def read_sealed(path: Path, marker: str, expected: str) -> Sealed | None:
    """A sealed archive, every byte of it checked; None where the file is another archive: without digest, and without
    the member `marker`, which all sealed ones have.

    Args:
        path: The file.
        marker: A member's name.
        expected: What the file should be, in words.

    Raises:
        InputError: If it cannot be read, is too large or no archive, if its bytes are not those it was sealed with, or
            if its members are other than `sealed` makes them.
    """
    raw = _read(path, expected)
    body, digest = raw[:-DIGITS], raw[-DIGITS:]
    is_marked = body.endswith(MARK)
    found = hashlib.sha256(body).hexdigest()
    if is_marked and digest != found.encode():
        where = _damaged_member(raw)
        told = f"{where} damaged" if where else "damaged"
        stated = one_line(digest.decode("ascii", "replace"))
        raise InputError(path, f"{told}: the SHA-256 of its bytes is {found}", f"{stated}, as at its end", AGAIN)
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = archive.infolist()
            if not is_marked and marker not in archive.namelist():
                return None
            fault = archive_fault(archive, len(raw))
            if not is_marked:
                fault = "the digest at its end is not there, so it was changed or packed again"
            elif any(member.compress_type != zipfile.ZIP_STORED for member in members):
                fault = "a member is packed"
            elif sum(member.file_size for member in members) > len(raw):
                fault = "its members are larger than it"
            if fault:
                raise InputError(path, f"no usable archive ({fault})", expected, AGAIN)
            content = {member.filename: archive.read(member) for member in members}
    except InputError:
        raise
    except Exception as error:  # zipfile stumbles over foreign bytes in a dozen ways
        raise InputError(path, one_line(f"no usable archive ({error})"), expected, AGAIN) from error
    return Sealed(path, content, hashlib.sha256(raw).hexdigest())


def archive_fault(archive: zipfile.ZipFile, n_bytes: int) -> str:
    """What no model's archive has, in words: members that lead out of a folder, links, doubles, bombs; else empty."""
    members = archive.infolist()
    names = [member.filename for member in members]
    outside = [n for n in names if n.startswith("/") or "\\" in n or ":" in n or ".." in n.split("/")]
    if outside:
        return f"its member '{outside[0][:100]}' leads out of it"
    if len(set(names)) < len(names):
        return "a member occurs twice"
    if any(stat.S_ISLNK(member.external_attr >> 16) for member in members):
        return "a member is a link"
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        return "a member is packed by another method than deflate"
    if sum(member.file_size for member in members) > MAX_EXPANSION * n_bytes:
        return f"its members unpack to more than {MAX_EXPANSION} times its size"
    return ""


def _read(path: Path, expected: str) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(path, f"more than {MAX_BYTES} bytes", expected, "name another file")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise InputError(path, getattr(error, "strerror", None) or str(error), expected, "name another file") from error


def _damaged_member(raw: bytes) -> str:
    """The first member that its own CRC-32 shows to be other than it was, to say where; empty where none does."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return archive.testzip() or ""
    except Exception:  # noqa: BLE001 - as in `read_sealed`; that the file is damaged is known already
        return ""


def _dateless(member: str) -> zipfile.ZipInfo:
    """A member dated 1980, made on Unix, as all are: the same model gives the same archive."""
    info = zipfile.ZipInfo(member)
    info.external_attr = 0o644 << 16
    info.create_system = 3
    return info
