"""One file over HTTP: taken up where it was cut, whole under its own name or not there at all.

What came so far lies beside the file under a hidden name, with the mark (ETag or date) that the server gave it; only a
file of the same mark is gone on with.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Final
from urllib.error import HTTPError

from bisc.core.errors import InputError, WorkError, one_line, shortened
from bisc.system.checksums import Checksum, verify
from bisc.system.console import check as check_interrupt
from bisc.system.files import make_folder, move
from bisc.system.http import Redirects, mark_of, number, open_url, reason, start_of, status

PARTIAL: Final = ".download-"
"""What came so far of a file is called this and the file's name."""
WAITS_S: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Between tries; a try that brought `MUCH_BYTES` begins the count anew."""
MUCH_BYTES: Final = 1 << 20
LONGEST_WAIT_S: Final = 300.0
"""A server may ask for a pause (Retry-After), but not for any."""
CHUNK_BYTES: Final = 1 << 16
GZIP_MAGIC: Final = b"\x1f\x8b"
PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be another one in a while."""
FULL: Final = (errno.ENOSPC, errno.EDQUOT)
AGAIN: Final = "run the same command again to go on"

Got = Callable[[int], object]


class DiskFullError(WorkError):
    """The disk is full: no other file will fit either."""


class _CutError(Exception):
    """This try failed, another one may not; `wait_s` is what the server asks for."""

    def __init__(self, what: str, wait_s: float = 0.0) -> None:
        super().__init__(what)
        self.wait_s = wait_s


def fetch(
    url: str,
    target: Path,
    expected: Sequence[Checksum] = (),
    check: Callable[[Path], object] = lambda path: None,
    got: Got = lambda n_bytes: None,
) -> str:
    """Fetch a file; returns its SHA-256.

    Args:
        url: Where it is.
        target: Where it goes, which happens in one step when all of it is there and right.
        expected: Checksums, all of which it must have; one that the server names is added.
        check: Looks at the whole file, under a hidden name with the target's suffix; raises `InputError`.
        got: Takes the number of bytes that are there, negative where some were in vain.

    Raises:
        DiskFullError: If it does not fit on the disk. What came stays for the next run, as it does after the errors
            that follow, except of a wrong file.
        InputError: If the target cannot be written for another reason.
        WorkError: If it cannot be had, or is not what it should be, twice.
        Stopped: After SIGINT or SIGTERM.
    """
    make_folder(target.parent)
    part = _Part(target)
    got(part.n_bytes)
    with suppress(_WrongFileError):
        return _whole(url, part, expected, check, got)
    try:
        return _whole(url, part, expected, check, got)
    except _WrongFileError as error:
        raise WorkError(one_line(f"{url}: {error}; fetched twice, and not kept")) from error


def partial_bytes(target: Path) -> int:
    """How much of a file an earlier run left to go on with."""
    return _Part(target).n_bytes


class _WrongFileError(Exception):
    """All of it came, and it is not what it should be."""


def _whole(url: str, part: _Part, expected: Sequence[Checksum], check: Callable[[Path], object], got: Got) -> str:
    redirects = Redirects()
    _transfer(url, part, redirects, got)
    named = [Checksum("sha256", redirects.sha256, "the server's X-Linked-ETag")] if redirects.sha256 else []
    try:
        sha256 = verify(part.path, [*expected, *named])
        check(part.path)
    except InputError as error:
        got(-part.n_bytes)
        part.remove()
        raise _WrongFileError(f"{error.found}, expected {error.expected}" if error.expected else error.found) from error
    part.place()
    return sha256


class _Part:
    """What came so far of a file, and its mark."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{PARTIAL}{target.name}")
        self.mark_path = target.with_name(f"{PARTIAL}{target.name}.mark")

    @property
    def n_bytes(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    @property
    def mark(self) -> str:
        try:
            return self.mark_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def begin(self, mark: str) -> None:
        """Empty it, and only then give it the mark: at no moment has one file's part another's mark."""
        with self.saying():
            self.path.write_bytes(b"")
            self.mark_path.write_text(mark, encoding="utf-8")

    def remove(self) -> None:
        with self.saying():
            self.path.unlink(missing_ok=True)
            self.mark_path.unlink(missing_ok=True)

    def place(self) -> None:
        """Make it the target, once its bytes are on the disk."""
        with self.saying():
            with self.path.open("r+b") as file:
                os.fsync(file.fileno())
            move(self.path, self.target)
            self.remove()

    @contextmanager
    def saying(self) -> Iterator[None]:
        """The system's errors as the package's."""
        try:
            yield
        except OSError as error:
            why = one_line(error.strerror or str(error))
            if error.errno in FULL:
                raise DiskFullError(f"{self.target}: cannot be written ({why}); free space, then {AGAIN}") from error
            raise InputError(self.target, f"cannot be written ({why})", mend="choose another folder") from error


def _transfer(url: str, part: _Part, redirects: Redirects, got: Got) -> None:
    """Bring all of it, in as many tries as `WAITS_S` allows."""
    waits = iter(WAITS_S)
    while True:
        check_interrupt()
        before = part.n_bytes
        try:
            _try(url, part, redirects, got)
            return
        except _CutError as cut:
            if part.n_bytes - before >= MUCH_BYTES:
                waits = iter(WAITS_S)
            wait_s = next(waits, None)
            if wait_s is None:
                raise WorkError(one_line(f"{url}: {cut}, after {len(WAITS_S) + 1} tries; {AGAIN}")) from cut
            _pause(max(wait_s, cut.wait_s))


def _try(url: str, part: _Part, redirects: Redirects, got: Got) -> None:
    """One request, for what is missing; raises `_CutError` where it does not bring that."""
    have, mark = part.n_bytes, part.mark
    if have and not mark:  # whether the file is still the same could not be told
        have = _in_vain(part, have, got)
    more = {"Range": f"bytes={have}-", "If_Range": mark} if have else {}
    try:
        with open_url(url, redirects, **more) as answer:
            _receive(answer, part, have, got)
    except HTTPError as error:
        error.close()
        if have and error.code == 416:
            if error.headers.get("Content-Range", "") == f"bytes */{have}":
                return  # all of it is there: the last run ended just before it was placed
            _in_vain(part, have, got)
            raise _CutError("the server has less of it than came before") from error
        if error.code in PASSING:
            raise _CutError(status(error), number(error.headers.get("Retry-After")) or 0.0) from error
        raise WorkError(f"{url}: {status(error)}") from error
    except (OSError, HTTPException) as error:
        raise _CutError(reason(error)) from error


def _receive(answer: HTTPResponse, part: _Part, have: int, got: Got) -> None:
    """Write an answer to the part, behind `have` bytes where the server goes on from there."""
    length, mark = number(answer.headers.get("Content-Length")), mark_of(answer.headers)
    if answer.status == 206:
        if start_of(answer.headers) != have or (mark and mark != part.mark):
            _in_vain(part, have, got)
            raise _CutError("the server sent another part than it was asked for")
    else:
        got(-have)
        have = 0
        part.begin(mark)
    total = None if length is None else have + length
    with part.saying(), part.path.open("ab", buffering=0) as file:
        while chunk := _read(answer, have):
            if have == 0:
                _check_kind(answer, chunk, part)
            view = memoryview(chunk)
            while view:  # unbuffered: what is counted has been taken by the system
                view = view[file.write(view) :]
            have += len(chunk)
            got(len(chunk))
            check_interrupt()
    if total is not None and have < total:
        raise _CutError(f"the connection was cut after {have} of {total} bytes")


def _in_vain(part: _Part, have: int, got: Got) -> int:
    """Give up what came: nothing is left, 0 bytes."""
    got(-have)
    part.remove()
    return 0


def _read(answer: HTTPResponse, have: int) -> bytes:
    try:
        return answer.read1(CHUNK_BYTES)
    except (OSError, HTTPException) as error:  # the network's: the disk's come of writing
        raise _CutError(f"the connection was cut after {have} bytes ({reason(error)})") from error


def _check_kind(answer: HTTPResponse, chunk: bytes, part: _Part) -> None:
    """Refuse, by its first bytes, what is another thing than a file of this name."""
    is_page = answer.headers.get_content_type() == "text/html"
    n = min(len(chunk), len(GZIP_MAGIC))
    if is_page or (part.target.suffix == ".gz" and chunk[:n] != GZIP_MAGIC[:n]):
        part.remove()
        what = "a web page" if is_page or chunk.lstrip()[:1] == b"<" else "something else"
        begins = shortened(repr(chunk[:40]), 60)
        found = f"{what} in place of {part.target.name} ({begins}); open the address in a browser"
        raise WorkError(one_line(f"{answer.url}: {found}"))


def _pause(wait_s: float) -> None:
    """Wait, and hear Ctrl-C meanwhile."""
    end = time.monotonic() + min(wait_s, LONGEST_WAIT_S)
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
        check_interrupt()
