"""SIGINT and SIGTERM: the main thread unwinds, and where it cannot in time, a watcher ends the process cleanly.

Python runs signal handlers in the main thread, between two steps of the interpreter: a convolution or a file's
decompression may hold it back for many seconds. `set_wakeup_fd` tells a second thread at once. It leaves the main
thread `GRACE_S` to unwind by KeyboardInterrupt, and then acts itself: hooks (a training's state), worker processes,
partial files, one line, exit status 130.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, NoReturn

from bisc.system import console
from bisc.system.files import sweep

STATUS: Final = 130
"""The exit status after SIGINT and SIGTERM alike: what a caller needs to know is that work is left to do."""
GRACE_S: Final = 1.0
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
JOIN_S: Final = 0.5


class _State:
    """One per process, as signal handlers are."""

    def __init__(self) -> None:
        self.handled = False
        self.watched = False
        self.asked = False
        self.heard = False
        self.owed = False
        self.shields = 0
        self.grace_s = GRACE_S
        self.line: str | None = None
        self.said = False
        self.hooks: list[Callable[[], None]] = []
        self.leaving = threading.Lock()


_state = _State()


def asked() -> bool:
    """Whether the running command was asked to stop."""
    return _state.asked


@contextmanager
def handled() -> Iterator[None]:
    """Both signals raise KeyboardInterrupt in the main thread, once; nested uses and other threads change nothing."""
    if _state.handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, _hear) for number in SIGNALS}
    _state.handled = True
    _state.asked = _state.heard = _state.owed = _state.said = False
    try:
        yield
    finally:
        _state.handled = False
        if not _state.watched:  # a caller's process goes on, and its next work was not asked to stop
            _state.asked = _state.heard = _state.owed = False
            for number, handler in old.items():
                signal.signal(number, handler)


def deafen() -> None:
    """The work is done: a signal amid the interpreter's end must not take its exit status."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def shielded() -> Iterator[None]:
    """A block that is finished before KeyboardInterrupt is raised, if the watcher's grace lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.shields += 1
    try:
        yield
    finally:
        _state.shields -= 1
    if _state.owed and not _state.shields:
        _state.owed = False
        raise KeyboardInterrupt


@contextmanager
def last_resort(hook: Callable[[], None]) -> Iterator[None]:
    """Have `hook` called, from whichever thread ends the process, if an interrupt ends it within the block."""
    _state.hooks.append(hook)
    try:
        yield
    finally:
        _state.hooks.remove(hook)


@contextmanager
def answering(line: str) -> Iterator[bool]:
    """Have an interrupt answered by `line`; True for the outermost command, which is the one that speaks."""
    if _state.line is not None:
        yield False
        return
    _state.line = line
    try:
        yield True
    finally:
        if not (_state.asked and _state.watched):  # else the process ends, and the watcher may yet have to speak
            _state.line = None


def say() -> None:
    """Write the answer to stderr, once."""
    if _state.said or _state.line is None:
        return
    _state.said = True
    console.say(_state.line)


def watch() -> None:
    """From now on the process ends soon after a signal, whatever its main thread does. For a process of our own."""
    ours, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    _state.watched = True
    threading.Thread(target=_watch, args=(ours, wakeup), name="interrupt", daemon=True).start()


@contextmanager
def at_once(line: str) -> Iterator[None]:
    """A block in which nothing is to be unwound: a signal ends the process without grace."""
    _state.grace_s, _state.line = 0.0, line
    _state.shields += 1  # the import of an extension module is no place for an exception
    try:
        yield
    finally:
        _state.shields -= 1
        _state.grace_s, _state.line = GRACE_S, None
    if _state.asked:
        leave(line)


def leave(line: str | None = None) -> NoReturn:
    """End the process: hooks, workers, partial files, the line, exit status 130; a second caller waits for the first.

    Not by sys.exit: the interpreter's own end waits for threads that may be deep in a computation.
    """
    with _state.leaving:
        threading.excepthook = _say_nothing  # threads whose workers and pipes are taken from them here
        for hook in [*_state.hooks]:
            with suppress(Exception):  # a state that cannot be saved (a full disk) must not keep the process alive
                hook()
        kill_workers()
        with suppress(Exception):
            # Its semaphores; else its helper process complains of them on stderr, when the line is out.
            multiprocessing.util._exit_function()  # type: ignore[attr-defined]
        _state.line = _state.line or line
        _write_line()
        sweep(last=True)
        os._exit(STATUS)


def kill_workers() -> None:
    """Kill every process that multiprocessing started here, and wait until none is left."""
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(JOIN_S)


def _write_line() -> None:
    """As `say`, but past sys.stderr's lock, which the main thread may hold."""
    if _state.said or _state.line is None:
        return
    _state.said = True
    begin = "\n" if os.isatty(2) else ""  # a progress bar may stand on the line
    with suppress(OSError):
        os.write(2, f"{begin}{_state.line}\n".encode())


def _say_nothing(failure: threading.ExceptHookArgs) -> None:
    """The process ends with one line, and no thread's traceback beside it."""


def _hear(signum: int, frame: FrameType | None) -> None:
    if _state.heard and _state.watched:
        return  # the first one is being answered, and its clean-up is not to be cut short
    again, _state.heard, _state.asked = _state.heard, True, True
    if _state.shields and not again:
        _state.owed = True
        return
    _state.owed = False
    raise KeyboardInterrupt


def _watch(ours: socket.socket, keep: socket.socket) -> None:
    """Wait for a signal, then for the grace; other signals' numbers pass by the same way."""
    while ours.recv(1)[0] not in SIGNALS:
        pass
    _state.asked = True
    threading.Event().wait(_state.grace_s)
    leave()
