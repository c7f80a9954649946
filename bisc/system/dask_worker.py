"""What runs in the worker processes of a Dask scheduler: the greeting, and one case at a time."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

from bisc._version import __version__
from bisc.core.errors import BiscError, InputError

Job = TypeVar("Job")
Result = TypeVar("Result")
LOCAL: Final = "local"
"""Instead of a scheduler's address: workers of this machine, for one command alone."""
OURS: Final = "client"
"""The file that the client wrote."""
SEEN_WITHIN_S: Final = 5.0
"""What another machine writes is not seen at once."""


class Answer(Enum):
    """Of a worker, in a result's place."""

    STRANGER = "this process was not greeted: another was here before"
    GONE = "the worker was lost with it"


SHARED: Final = "storage that the client and all workers share, under one path"
SHARED_MEND: Final = "mount it there"

_sessions: set[str] = set()
"""Of this worker process: the clients that have greeted it."""
_turn: Final = threading.Lock()
"""One case at a time, however many threads a worker has: what was lost is known by that, and memory is counted so."""


def greet(
    token: str, version: str, probe: Path, inputs: Sequence[Path], prepare: Callable[[], object] | None
) -> str | BiscError:
    """In a worker process, before its first case: the name of the file that it wrote for the client, or its fault."""
    if version != __version__:
        return InputError("bisc", f"is version {__version__}", f"{version}, as of the client", "install that one")
    if text_of(probe / OURS) != token:
        return InputError(probe.parent, "does not hold what the client wrote there", SHARED, SHARED_MEND)
    for path in inputs:
        if not path.exists():
            return InputError(path, "is not seen", SHARED, SHARED_MEND)
    name = f"worker-{secrets.token_hex(4)}"
    try:
        (probe / name).write_text(token, encoding="utf-8")
    except OSError as error:
        return InputError(probe.parent, f"cannot be written ({error.strerror})", SHARED, "let the worker write there")
    try:
        with _turn:
            if prepare is not None:
                prepare()
    except BiscError as error:
        return error
    _sessions.add(token)
    return name


def do(token: str, work: Callable[[Job], Result], job: Job) -> Result | Answer:
    """In a worker process: one job."""
    if token not in _sessions:
        return Answer.STRANGER
    with _turn:
        return work(job)


def text_of(path: Path) -> str:
    """A small file's text, waited for a while: another machine's is not seen at once."""
    until = time.monotonic() + SEEN_WITHIN_S
    while True:
        with suppress(OSError):
            text = path.read_text(encoding="utf-8")
            if text:
                return text
        if time.monotonic() > until:
            return ""
        time.sleep(0.1)


def absolute(value: Any) -> Any:
    """A job with every path in it absolute: a worker is in another folder."""
    if isinstance(value, Path):
        return value.absolute()
    if type(value) in (tuple, list):
        return type(value)(absolute(one) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        given = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        return replace(value, **{name: absolute(one) for name, one in given.items()})
    return value
