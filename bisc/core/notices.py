"""What a user should know of an input though it stops nothing: one line on stderr, and a note beside the result.

No Python warning: a filter (`PYTHONWARNINGS`, a library's own) would silence it or make an error of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from bisc.core.console import say
from bisc.core.errors import one_line

DEFAULT_PROG: Final = "bisc"
_prog = DEFAULT_PROG
_shown: set[str] = set()
_lock = threading.Lock()
_collectors: ContextVar[tuple[list[str], ...]] = ContextVar("collectors", default=())
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def notice(what: Path | str, found: str, done: str) -> None:
    """Tell of something in an input: on stderr, each text once, and to everyone who is `collecting`.

    Args:
        what: The file.
        found: What stands there.
        done: What is made of it.
    """
    tell(one_line(f"{what}: {found}; {done}"))


def tell(text: str) -> None:
    """`notice` by its whole text, one line: what another process collected, for instance."""
    for notes in _collectors.get():
        if text not in notes:
            notes.append(text)
    if _quiet.get():
        return
    with _lock:
        if text in _shown:
            return
        _shown.add(text)
    say(f"{_prog}: warning: {text}")


@contextmanager
def collecting(quiet: bool = False) -> Iterator[list[str]]:
    """The texts of the notices that this thread gives while the block runs, each once; blocks may nest.

    Args:
        quiet: Show none of them: somebody else will, by `tell`.
    """
    notes: list[str] = []
    collectors, hushed = _collectors.set((*_collectors.get(), notes)), _quiet.set(quiet or _quiet.get())
    try:
        yield notes
    finally:
        _collectors.reset(collectors)
        _quiet.reset(hushed)


@contextmanager
def notices_shown_by(prog: str) -> Iterator[None]:
    """While the block runs, notices are shown as 'PROG: warning: ...', one line each; each text once in it."""
    global _prog, _shown
    before = _prog, _shown
    _prog, _shown = prog, set()
    try:
        yield
    finally:
        _prog, _shown = before
