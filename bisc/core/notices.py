"""What a user should know of an input though it stops nothing: a Python warning, shown by commands as one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bisc.core.errors import one_line

DEFAULT_PROG: Final = "bisc"
_plain_format = warnings.formatwarning
_prog = DEFAULT_PROG


class Notice(UserWarning):
    """A doubt about an input, in one line; Python shows each text once per process."""


def notice(what: Path | str, found: str, done: str) -> None:
    """Warn of something in an input.

    Args:
        what: The file.
        found: What stands there.
        done: What is made of it.
    """
    warnings.warn(Notice(one_line(f"{what}: {found}; {done}")), stacklevel=2)


def show_notices(prog: str) -> None:
    """Show notices of this process as 'bisc_x: warning: ...', one line each; other warnings as Python does."""
    global _prog
    _prog = prog
    warnings.formatwarning = _format


@contextmanager
def notices_shown_by(prog: str) -> Iterator[None]:
    """`show_notices` while the block runs."""
    before = _prog, warnings.formatwarning
    show_notices(prog)
    try:
        yield
    finally:
        show_notices(before[0])
        warnings.formatwarning = before[1]


def showing_prog() -> str:
    """The command whose name notices bear, to hand on to worker processes."""
    return _prog


def _format(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    if issubclass(category, Notice):
        return f"{_prog}: warning: {message}\n"
    return _plain_format(message, category, filename, lineno, line)
