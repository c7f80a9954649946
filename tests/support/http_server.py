"""A server for downloads, in a thread: it keeps to HTTP (ranges, ETags), or breaks it once per fault that is queued."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """An answer as it is about to be sent; a fault changes it."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: int | None = None
    """How many bytes of the body are sent before the connection is closed; None: all."""
    after: Callable[[], object] = lambda: None
    """Done before it is closed."""


Fault = Callable[[Reply], None]


@dataclass
class Server:
    """What is served, what goes wrong next, and what was asked for.

    Attributes:
        address: Its base address.
        files: Bytes by path.
        faults: Of the next GETs of a path, one each; `always` those of every GET.
        asked: Method, path and Range of each request.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    always: dict[str, Fault] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.address}{path}"

    def ranges(self, path: str) -> list[str]:
        """The Range of each GET of a path; empty for all of it."""
        return [asked for method, where, asked in self.asked if (method, where) == ("GET", path)]


def cut(n_bytes: int) -> Fault:
    """The connection ends after so many bytes."""

    def fault(reply: Reply) -> None:
        reply.sent = n_bytes

    return fault


def hang(n_bytes: int, until: threading.Event) -> Fault:
    """Nothing more comes after so many bytes, and the connection stays."""

    def fault(reply: Reply) -> None:
        reply.sent, reply.after = n_bytes, until.wait

    return fault


def refuse(status: int, **headers: str) -> Fault:
    """Another status, as of a proxy or an overloaded server."""

    def fault(reply: Reply) -> None:
        reply.status, reply.body = status, b"<html>no</html>"
        reply.headers = {"Content-Length": str(len(reply.body)), **{k.replace("_", "-"): v for k, v in headers.items()}}

    return fault


def instead(body: bytes, kind: str = "application/octet-stream") -> Fault:
    """Other bytes, whole, whatever was asked for."""

    def fault(reply: Reply) -> None:
        reply.status, reply.body = 200, body
        reply.headers = {"Content-Length": str(len(body)), "Content-Type": kind}

    return fault


def without(header: str) -> Fault:
    """A header left out."""

    def fault(reply: Reply) -> None:
        reply.headers.pop(header, None)

    return fault


def told(header: str, value: str) -> Fault:
    """A header that does not tell the truth."""

    def fault(reply: Reply) -> None:
        reply.headers[header] = value

    return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: Server, *args: Any) -> None:
        self.mine = server
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, is_get: bool) -> None:
        asked = self.headers.get("Range", "")
        self.mine.asked.append((self.command, self.path, asked))
        reply = self.honest(asked)
        fault = self.mine.always.get(self.path)
        if is_get and self.mine.faults[self.path]:
            fault = self.mine.faults[self.path].popleft()
        if fault is not None:
            fault(reply)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if is_get:
            self.wfile.write(reply.body[: reply.sent])
            self.wfile.flush()
            reply.after()
        self.close_connection = True

    def honest(self, asked: str) -> Reply:
        body = self.mine.files.get(self.path)
        if body is None:
            return Reply(404, {"Content-Length": "0"}, b"")
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        kind = "application/gzip" if self.path.endswith(".gz") else "text/plain"
        headers = {"ETag": tag, "Content-Type": kind, "Content-Length": str(len(body))}
        if not asked or self.headers.get("If-Range", tag) != tag:
            return Reply(200, headers, body)
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            return Reply(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"}, b"")
        headers |= {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        return Reply(206, {**headers, "Content-Length": str(len(body) - start)}, body[start:])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: stderr is what tests read."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port, until the block ends."""
    mine = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, mine)) as http:
        mine.address = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield mine
        finally:
            http.shutdown()
            thread.join()
