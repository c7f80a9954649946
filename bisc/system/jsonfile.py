"""Typed JSON files: frozen msgspec structs, readable by a person, unknown keys refused."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bisc.core.errors import InputError
from bisc.system.files import write_text


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of everything stored as JSON."""


D = TypeVar("D", bound=Document)
HALF: Final = re.compile("[\ud800-\udfff]")
"""Half a character, as stands in the name of a file that is no UTF-8."""
MAX_JSON_BYTES: Final = 64 << 20
"""A thousand times the largest plan or splits; a larger file is refused before it is read."""


def to_json(document: Document) -> str:
    """Indented JSON; short lists of numbers stay on one line."""
    text = json.dumps(msgspec.to_builtins(document), indent=2, ensure_ascii=False)
    text = HALF.sub(lambda half: rf"\\u{ord(half[0]):x}", text)  # as write_text does, so that it can be read again
    return _join_short_lists(text) + "\n"


def save_json(path: Path, document: Document) -> None:
    """Write `document` whole or not at all."""
    write_text(path, to_json(document))


def load_json(path: Path, kind: type[D], mend: str) -> D:
    """Read a `kind` from `path`.

    Raises:
        InputError: If the file is missing, not JSON, or has a missing, unknown or wrongly typed key.
    """
    return parse_json(read_document(path, kind.__name__, mend), kind, path, mend)


def read_document(path: Path, what: str, mend: str) -> bytes:
    """A JSON file's bytes, at most `MAX_JSON_BYTES`; `what` stands in the error. Raises as `load_json`."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_JSON_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(path, reason, f"a {what} file", mend) from error
    if len(raw) > MAX_JSON_BYTES:
        raise InputError(path, f"more than {MAX_JSON_BYTES} bytes", f"a {what} file", mend)
    return raw


def parse_json(raw: bytes, kind: type[D], name: Path | str, mend: str) -> D:
    """`kind` from JSON bytes; `name` stands in the error. Raises as `load_json`.

    The byte order mark that some editors put before UTF-8 is no part of the document.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(name, "UTF-16 text", "UTF-8", f"save it as UTF-8, or {mend}")
    try:
        return msgspec.json.decode(raw.removeprefix(codecs.BOM_UTF8), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(name, str(error), f"the keys of a {kind.__name__}", mend) from error


def _join_short_lists(text: str) -> str:
    """Put lists that hold only plain values on one line: a spacing reads better as [3.0, 0.78, 0.78]."""
    out: list[str] = []
    lines = text.split("\n")
    i = 0
    while i < len(lines):
        line = lines[i]
        if line.endswith("["):
            j = i + 1
            while j < len(lines) and lines[j].strip().rstrip(",")[-1:] not in "[]{}":
                j += 1
            closing = lines[j].strip() if j < len(lines) else ""
            joined = line + " ".join(part.strip() for part in lines[i + 1 : j]) + closing
            if closing.rstrip(",") == "]" and len(joined) <= 110:
                out.append(joined)
                i = j + 1
                continue
        out.append(line)
        i += 1
    return "\n".join(out)
