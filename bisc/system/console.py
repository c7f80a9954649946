"""What passes between a command and its user: notices, progress, and the wish to stop.

SIGINT and SIGTERM do no
more than set a mark, which long work looks at between its steps (`check`): nothing is ever cut in two, and what is
saved there is whole.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, TypeVar

from tqdm import tqdm

from bisc.core.errors import one_line


def say(line: str) -> None:
    """One line on stderr; lost where there is none, or none that can be written."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # ValueError: closed
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


DEFAULT_PROG: Final = "bisc"
_prog = DEFAULT_PROG
_shown: set[str] = set()
_lock = threading.Lock()
_collectors: ContextVar[tuple[list[str], ...]] = ContextVar("collectors", default=())
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
_hushed = False


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
    if _quiet.get() or _hushed:
        return
    with _lock:
        if text in _shown:
            return
        _shown.add(text)
    say(f"{_prog}: warning: {text}")


@contextmanager
def collecting(quiet: bool = False, held: bool = False) -> Iterator[list[str]]:
    """The texts of the notices that this thread gives while the block runs, each once; blocks may nest.

    Args:
        quiet: Show none of them: somebody else will, by `tell`.
        held: Nor tell the blocks around: perhaps nobody will.
    """
    notes: list[str] = []
    around = () if held else _collectors.get()
    collectors, hushed = _collectors.set((*around, notes)), _quiet.set(quiet or held or _quiet.get())
    try:
        yield notes
    finally:
        _collectors.reset(collectors)
        _quiet.reset(hushed)


def collected() -> tuple[str, ...]:
    """What the innermost block that is `collecting` has heard so far; nothing outside of one."""
    return tuple(_collectors.get()[-1]) if _collectors.get() else ()


def hush() -> None:
    """No notice and no bar of this process from now on: another one does the same work, and tells of it."""
    global _hushed
    _hushed = True


def prog() -> str:
    """By which command notices are shown."""
    return _prog


@contextmanager
def notices_shown_by(command: str) -> Iterator[None]:
    """While the block runs, notices are shown as 'COMMAND: warning: ...', one line each; each text once in it."""
    global _prog, _shown
    before = _prog, _shown
    _prog, _shown = command, set()
    try:
        yield
    finally:
        _prog, _shown = before


T = TypeVar("T")


def track(
    items: Iterable[T],
    what: str,
    total: int | None = None,
    unit: str = "case",
    start: int = 0,
    shown: bool = True,
    between: Callable[[], object] | None = None,
) -> tqdm[T]:
    """Iterate with a bar on stderr, quiet where stderr is not a terminal; before each item the user may stop it.

    `between` looks whether he wants to, instead of `check`: for work that several processes must leave together.

    Raises:
        Stopped: From the iterator, between two items.
    """
    return tqdm(
        _checked(items, between or check),
        desc=what,
        total=len(items) if total is None and isinstance(items, Sized) else total,
        initial=start,
        unit=unit,
        disable=not shown or not is_seen(),
        dynamic_ncols=True,
        leave=True,
    )


def track_bytes(what: str, total: int | None, shown: bool = True) -> tqdm[NoReturn]:
    """A bar of bytes, moved by its `update`; for work that runs in threads, and hears the user by `check`."""
    hidden = not shown or not is_seen()
    return tqdm(desc=what, total=total, unit="B", unit_scale=True, disable=hidden, dynamic_ncols=True)


def is_seen() -> bool:
    """Whether stderr is a terminal, on which bars are shown."""
    return not _hushed and sys.stderr is not None and sys.stderr.isatty()


def _checked(items: Iterable[T], between: Callable[[], object]) -> Iterator[T]:
    between()
    for item in items:
        yield item
        between()


SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED: Final = 130
"""The exit status after SIGINT and SIGTERM alike: what a caller needs to know is that work is left to do."""


class Stopped(KeyboardInterrupt):
    """The user asked to stop, and the work is between two steps."""


class _Signals:
    """One per process, as signal handlers are."""

    asked = False
    line: str | None = None
    """What answers the user; None before a command began."""
    own_process = False
    deaf = False
    patient = False


def check() -> None:
    """The end of a step of long work: raises `Stopped` where SIGINT or SIGTERM came since the command began."""
    if _Signals.asked:
        raise Stopped


def ask_to_stop() -> None:
    """What the first signal does, from any thread: the work in hand ends at its next `check`."""
    _Signals.asked = True


def be_patient() -> None:
    """Further signals do no more than the first: a launcher sends its own after the user's, and kills who stays."""
    _Signals.patient = True


@contextmanager
def stoppable(line: str) -> Iterator[bool]:
    """A block that both signals end at its next `check`; True for the outermost block, whose `line` is the answer.

    A second signal does not wait for a check: in a process of our own it says the line and ends it, else it raises
    KeyboardInterrupt. In other threads than the main one signals are not heard, nor after `deafen`, but checks are.
    """
    outermost, main = _Signals.line is None, threading.current_thread() is threading.main_thread()
    if outermost:
        _Signals.line = line
    old = {number: signal.signal(number, _hear) for number in SIGNALS} if main and not _Signals.deaf else {}
    try:
        yield outermost
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        if outermost and not _Signals.own_process:  # a caller's next work was not asked to stop
            _Signals.line, _Signals.asked = None, False


def listen() -> None:
    """For the beginning of a process of our own: both signals end it at once, until a command begins."""
    _Signals.own_process = True
    for number in SIGNALS:
        signal.signal(number, _hear)


def stop_at_end_of_input() -> None:
    """Ask to stop as SIGTERM does once standard input ends: it is a pipe of the process that started this one, which
    closes it to end it, or is gone. Works where signals cannot be sent (Windows)."""
    threading.Thread(target=_await_end_of_input, name="end of input", daemon=True).start()


def _await_end_of_input() -> None:
    with suppress(OSError):
        while os.read(0, 1 << 16):
            pass
    _Signals.asked = True


def deafen() -> None:
    """Ignore both: the work is done, or somebody else decides about this process."""
    _Signals.deaf = True
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _hear(signum: int, frame: FrameType | None) -> None:
    again, _Signals.asked = _Signals.asked, True
    if (not again or _Signals.patient) and _Signals.line is not None:
        return  # until the next check; before a command began there is nothing to wait for
    if not _Signals.own_process:
        raise KeyboardInterrupt
    for worker in multiprocessing.active_children():
        worker.kill()
    begin = "\n" if os.isatty(2) else ""  # a progress bar may stand on the line
    with suppress(OSError):  # past sys.stderr, whose lock this thread may hold
        os.write(2, f"{begin}{_Signals.line or f'{_prog}: error: interrupted before it began'}\n".encode())
    os._exit(INTERRUPTED)
