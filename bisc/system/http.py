"""Requests over HTTP: redirects followed, proxies the system's (`https_proxy` and the like), errors in words."""

from __future__ import annotations

from http.client import HTTPException, HTTPMessage
from typing import IO, Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from bisc._version import __version__
from bisc.core.errors import WorkError, one_line

TIMEOUT_S: Final = 30.0
SHA256_DIGITS: Final = 64


class UnreachableError(WorkError):
    """No answer at all: no network, no such host, or a proxy is needed."""


def look(url: str) -> int | None:
    """A file's size in bytes before it is fetched; None where the server does not say.

    Raises:
        UnreachableError: If nothing answers.
        WorkError: If the answer is an error.
    """
    redirects = Redirects()
    try:
        with open_url(url, redirects, method="HEAD") as answer:
            return number(answer.headers.get("Content-Length"))
    except HTTPError as error:
        error.close()
        if redirects.n_bytes is not None:
            return redirects.n_bytes
        raise WorkError(f"{url}: {status(error)}") from error
    except (OSError, HTTPException) as error:
        raise UnreachableError(f"{url}: no answer ({reason(error)})") from error


class Redirects(HTTPRedirectHandler):
    """Follows redirects, and keeps what the first answer says of a large file that lies elsewhere.

    Hugging Face names its size and SHA-256 (`X-Linked-Size`, `X-Linked-ETag`).
    """

    def __init__(self) -> None:
        self.n_bytes: int | None = None
        self.sha256 = ""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """As the library's; a HEAD is not followed where the first answer has the size already."""
        mark = headers.get("X-Linked-ETag", "").strip('"').lower()
        if len(mark) == SHA256_DIGITS and not mark.strip("0123456789abcdef"):
            self.sha256 = mark
        self.n_bytes = number(headers.get("X-Linked-Size"))
        if req.get_method() == "HEAD" and self.n_bytes is not None:
            return None
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None:
            new.method = req.get_method()  # before Python 3.13 a HEAD became a GET
        return new


def open_url(url: str, redirects: Redirects, method: str = "GET", **headers: str) -> Any:
    """The answer, its body unread; header names with `_` for `-`. Raises what urllib does."""
    own = {"User-Agent": f"bisc-unet/{__version__}", "Accept-Encoding": "identity"}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return build_opener(redirects).open(Request(url, headers={**own, **more}, method=method), timeout=TIMEOUT_S)


def mark_of(headers: HTTPMessage) -> str:
    """What is the same only for the same bytes: a strong ETag, else the date of the last change; empty without."""
    tag: str = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def start_of(headers: HTTPMessage) -> int | None:
    """Where a part begins: 100 of `Content-Range: bytes 100-199/200`."""
    return number(headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0])


def number(text: str | None) -> int | None:
    """A header's whole number; None where it has none."""
    return int(text) if text is not None and text.strip().isdecimal() else None


def status(error: HTTPError) -> str:
    """An answer that is an error, in words."""
    return f"the server answers {error.code} {one_line(str(error.reason))}".rstrip()


def reason(error: BaseException) -> str:
    """Why there was no answer, or no more of it, in the system's words."""
    inner = error.reason if isinstance(error, URLError) and isinstance(error.reason, BaseException) else error
    return one_line(getattr(inner, "strerror", None) or str(inner) or type(inner).__name__)
