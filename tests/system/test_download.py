"""One file over HTTP: whatever the server does, it is whole under its name, or not there and one line says why."""

from __future__ import annotations

import gzip
import hashlib
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bisc.core.errors import InputError, WorkError
from bisc.system import download
from bisc.system.checksums import Checksum
from bisc.system.download import PARTIAL, DiskFullError, fetch, partial_bytes
from bisc.system.http import UnreachableError, look
from tests.support.http_server import Fault, Server, cut, instead, refuse, serving, told, without

BODY = gzip.compress(random.Random(3).randbytes(200_000), mtime=0)
SHA256 = hashlib.sha256(BODY).hexdigest()
RIGHT = (Checksum("sha256", SHA256, "the test"),)
PATH = "/case_00000/imaging.nii.gz"
TRIES = 6


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WAITS_S", (0.0,) * (TRIES - 1))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as mine:
        mine.files[PATH] = BODY
        yield mine


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "case_00000" / "imaging.nii.gz"


def is_gzip(path: Path) -> None:
    """What `check_whole` is to a scan."""
    try:
        gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise InputError(path, "damaged gzip", "a sound one") from error


def names_in(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def arrives(server: Server, target: Path, *faults: Fault, checked: bool = False) -> list[str]:
    """Fetch once in spite of `faults`; the file is right and alone. Returns the ranges that were asked for."""
    server.faults[PATH].extend(faults)
    count: list[int] = []
    assert fetch(server.url(PATH), target, RIGHT if checked else (), is_gzip, count.append) == SHA256
    assert target.read_bytes() == BODY
    assert names_in(target) == [target.name]
    assert sum(count) == len(BODY), "the progress bar ends where the file does"
    return server.ranges(PATH)


def fails(server: Server, target: Path, *expected: Checksum) -> str:
    """Fetch in vain: one line, and nothing under the file's name."""
    with pytest.raises(WorkError) as error:
        fetch(server.url(PATH), target, expected, is_gzip)
    assert not target.exists()
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(server.address)
    return str(error.value)


def test_a_file_arrives(server: Server, target: Path) -> None:
    """Asked for once, all of it."""
    assert arrives(server, target) == [""]


def test_a_cut_connection_is_gone_on_with(server: Server, target: Path) -> None:
    """Twice: each request asks for what is missing, and no byte comes twice."""
    assert arrives(server, target, cut(1000), cut(2000)) == ["", "bytes=1000-", "bytes=3000-"]


def test_a_later_run_goes_on(server: Server, target: Path) -> None:
    """A run that failed leaves what came, hidden; the next one asks for the rest alone."""
    server.faults[PATH].extend([cut(70_000), *[refuse(503)] * (TRIES - 1)])
    assert "503" in fails(server, target)
    assert partial_bytes(target) == 70_000
    assert all(name.startswith(PARTIAL) for name in names_in(target))
    server.asked.clear()
    assert arrives(server, target) == ["bytes=70000-"]


def test_a_file_that_changed_meanwhile_is_not_stitched_together(server: Server, target: Path) -> None:
    """The part of the old one is thrown away: If-Range."""
    server.files[PATH] = gzip.compress(b"the older file" * 9000, compresslevel=0, mtime=0)
    server.faults[PATH].extend([cut(90_000), refuse(404)])
    fails(server, target)
    server.files[PATH] = BODY
    assert arrives(server, target)[-1] == "bytes=90000-"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(told("Content-Range", "bytes 5-199999/200000"), id="another part"),
        pytest.param(told("ETag", '"other"'), id="part of another file"),
    ],
)
def test_another_part_than_asked_for_is_thrown_away(server: Server, target: Path, fault: Fault) -> None:
    """Then all of it is fetched."""
    assert arrives(server, target, cut(1000), fault) == ["", "bytes=1000-", ""]


def test_a_server_without_range(server: Server, target: Path) -> None:
    """It answers a part with all of it, which replaces what came."""
    assert arrives(server, target, cut(1000), instead(BODY)) == ["", "bytes=1000-"]


def test_a_server_without_marks(server: Server, target: Path) -> None:
    """Whether the file is still the same cannot be told: from the start."""

    def fault(reply: object) -> None:
        without("ETag")(reply)  # type: ignore[arg-type]
        cut(1000)(reply)  # type: ignore[arg-type]

    assert arrives(server, target, fault) == ["", ""]


def test_500_and_then_200(server: Server, target: Path) -> None:
    """Errors of the moment are tried again."""
    assert arrives(server, target, refuse(500), refuse(429, Retry_After="0"), refuse(503)) == [""] * 4


def test_tries_are_counted_anew_after_much_came(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ends each connection after a while is no reason to give up."""
    monkeypatch.setattr(download, "MUCH_BYTES", 10_000)
    assert len(arrives(server, target, *[cut(15_000)] * 10)) == 11


def test_a_connection_that_is_always_cut(server: Server, target: Path) -> None:
    """One line after a few tries."""
    server.always[PATH] = cut(0)
    said = fails(server, target)
    assert f"cut after 0 of {len(BODY)} bytes, after {TRIES} tries; run the same command again" in said
    assert len(server.asked) == TRIES


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_not_asked_for_again(server: Server, target: Path, status: int) -> None:
    """One request, one line."""
    server.always[PATH] = refuse(status)
    assert f"the server answers {status}" in fails(server, target)
    assert len(server.asked) == 1


def test_wrong_bytes_once(server: Server, target: Path) -> None:
    """All of it is fetched once more."""
    wrong = BODY[:500] + bytes([BODY[500] ^ 1]) + BODY[501:]
    assert arrives(server, target, instead(wrong), checked=True) == ["", ""]


@pytest.mark.parametrize("kind", ["sha256", "git"])
def test_wrong_bytes_always(server: Server, target: Path, kind: str) -> None:
    """Whatever the file is, its checksum says no; nothing of it stays. Git's is the SHA-1 of a header and the bytes."""
    value = {"sha256": "ab" * 32, "git": hashlib.sha1(b"blob 9\0somewhere").hexdigest()}[kind]
    found = {"sha256": SHA256, "git": hashlib.sha1(b"blob %d\0%b" % (len(BODY), BODY)).hexdigest()}[kind]
    said = fails(server, target, Checksum(kind, value, "the table"))  # type: ignore[arg-type]
    assert f"{kind} checksum {found[:12]}..., expected {value[:12]}... (the table); fetched twice" in said
    assert names_in(target) == []


def test_gits_checksum(server: Server, target: Path) -> None:
    """`printf hello | git hash-object --stdin`, as git says it."""
    server.files["/a.json"] = b"hello"
    blob = Checksum("git", "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0", "git")
    fetch(server.url("/a.json"), target.with_name("a.json"), [blob])


def test_a_length_too_short_leaves_no_half_file(server: Server, target: Path) -> None:
    """The rest is never sent, and gzip's own checksum is missing."""
    server.always[PATH] = told("Content-Length", "5000")
    assert "damaged gzip" in fails(server, target)
    assert names_in(target) == []


def test_a_length_too_long(server: Server, target: Path) -> None:
    """All of it came, though more was promised: the server itself says so when asked for the rest."""
    assert arrives(server, target, told("Content-Length", str(len(BODY) + 9))) == ["", f"bytes={len(BODY)}-"]


def test_what_came_is_longer_than_what_is_there_now(server: Server, target: Path) -> None:
    """416 of another size: from the start, though nothing else would show it."""
    target.parent.mkdir()
    target.with_name(f"{PARTIAL}{target.name}").write_bytes(BODY + b"more")
    target.with_name(f"{PARTIAL}{target.name}.mark").write_text(f'"{hashlib.md5(BODY).hexdigest()}"')
    assert fetch(server.url(PATH), target) == SHA256
    assert server.ranges(PATH) == [f"bytes={len(BODY) + 4}-", ""]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        pytest.param(b"<!DOCTYPE html><title>Log in", "text/html; charset=utf-8", "a web page in place of", id="page"),
        pytest.param(b"<html>", "application/gzip", "a web page in place of", id="page by another name"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "text/plain", "something else", id="LFS"),
    ],
)
def test_a_page_in_place_of_a_file(server: Server, target: Path, body: bytes, kind: str, words: str) -> None:
    """Told by its first bytes, and not asked for again."""
    server.always[PATH] = instead(body, kind)
    said = fails(server, target)
    assert f"{words} imaging.nii.gz" in said or words == "something else" in said
    assert len(server.asked) == 1
    assert names_in(target) == []


def test_redirects_are_followed_with_the_range(server: Server, target: Path) -> None:
    """As the images' server does it: the first answer names size and SHA-256, another server has the bytes."""
    server.files["/store"] = BODY
    server.always[PATH] = refuse(302, Location="/store", X_Linked_ETag=f'"{SHA256}"', X_Linked_Size=str(len(BODY)))
    server.faults["/store"].append(cut(1000))
    assert fetch(server.url(PATH), target) == SHA256
    assert server.ranges("/store") == ["", "bytes=1000-"]
    server.asked.clear()
    assert look(server.url(PATH)) == len(BODY)
    assert [where for _, where, _ in server.asked] == [PATH], "the size is known without the second server"


def test_the_sha256_that_a_redirect_names_is_checked(server: Server, target: Path) -> None:
    """Sound gzip, and yet another file."""
    server.files["/store"] = BODY
    server.always[PATH] = refuse(302, Location="/store", X_Linked_ETag=f'"{"0" * 64}"')
    assert "expected 000000000000... (the server's X-Linked-ETag)" in fails(server, target)


def test_redirects_without_end(server: Server, target: Path) -> None:
    """One line."""
    server.always[PATH] = refuse(302, Location=PATH)
    assert "302" in fails(server, target)


def test_a_proxy_is_asked(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the environment names it: it gets the whole address."""
    monkeypatch.setenv("http_proxy", server.address)
    server.files[f"http://kits.invalid{PATH}"] = BODY
    assert fetch(f"http://kits.invalid{PATH}", target) == SHA256


def test_nobody_answers(target: Path) -> None:
    """A port that nobody listens on."""
    with serving() as gone:
        url = gone.url(PATH)
    with pytest.raises(UnreachableError, match="refused"):
        look(url)
    with pytest.raises(WorkError, match=f"refused.*after {TRIES} tries"):
        fetch(url, target)
    assert names_in(target) == []


def test_a_full_disk(server: Server, target: Path) -> None:
    """The system's own ENOSPC, by its device for that; the mark of what came stays for the next run."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    target.parent.mkdir()
    target.with_name(f"{PARTIAL}{target.name}").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"No space left on device.*free space"):
        fetch(server.url(PATH), target)
    assert not target.exists()
    assert len(server.asked) == 1, "not asked for again"


def test_a_folder_that_cannot_be_written(server: Server, target: Path) -> None:
    """What a user can mend: an input error."""
    target.parent.mkdir()
    target.with_name(f"{PARTIAL}{target.name}").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        fetch(server.url(PATH), target)


@settings(max_examples=10)
@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=TRIES - 1), marks=st.booleans())
def test_however_it_is_cut(cuts: list[int], marks: bool) -> None:
    """Any number of cuts anywhere, with marks or without: the same file."""
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        server.files[PATH] = BODY
        if not marks:
            server.always[PATH] = without("ETag")
        arrives(server, Path(folder) / "imaging.nii.gz", *map(cut, cuts))
