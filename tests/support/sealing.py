"""Model files made by hand: sealed rightly, whatever is in them, as a hostile author would."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bisc.system.sealed import DIGITS, MARK, sealed


def members_of(path: Path) -> dict[str, bytes]:
    """Of any archive, by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def relisted(members: dict[str, bytes]) -> dict[str, bytes]:
    """The members, with checksums in model.json that are right for the weights as they are now."""
    record = json.loads(members["model.json"])
    for entry in record["networks"]:
        data = members.get(entry["file"], b"")
        entry["sha256"], entry["n_bytes"] = hashlib.sha256(data).hexdigest(), len(data)
    return members | {"model.json": json.dumps(record).encode()}


def resealed(path: Path, change: Callable[[dict[str, bytes]], object], relist: bool = True) -> Path:
    """A model file with other members and, with `relist`, the checksums that fit them."""
    members = members_of(path)
    change(members)
    path.write_bytes(sealed(relisted(members) if relist else members))
    return path


def change_record(members: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> None:
    """Another model.json."""
    record = json.loads(members["model.json"])
    change(record)
    members["model.json"] = json.dumps(record).encode()


def sealed_by_hand(members: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with a right digest and whatever members, doubled or packed ones too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
        archive.comment = MARK + b"0" * DIGITS
    body = buffer.getvalue()[:-DIGITS]
    return body + hashlib.sha256(body).hexdigest().encode()
