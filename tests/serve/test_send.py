"""What the node sends: to whom, how often, and what becomes of what is not taken."""

from __future__ import annotations

import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from bisc.serve.config import Destination, Tls
from bisc.serve.node import Node
from bisc.serve.queue import Queue
from bisc.serve.send import Waits, why_refused
from tests.support.ct_series import STEM, write_ct
from tests.support.dicom_peers import HERE, Pacs, config_for, patient, running, send, wait
from tests.support.stub_model import stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()


def test_a_pacs_that_is_away_gets_it_later(tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bisc.serve.send.AGAIN_S", (0.2, 0.4))
    files = sorted(write_ct(tmp_path / "ct", patient()).iterdir())
    pacs.answer = 0xA700
    with running(config_for(tmp_path, pacs)) as node:
        send(node, files)
        wait(lambda: node.work.send_failures >= 2)
        assert not pacs.got
        pacs.answer = 0x0000
        wait(lambda: node.work.sent == 1)
    assert sorted(pacs.got.values()) == [1, 1]


def test_what_cannot_be_sent_is_in_nobodys_way(tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is refused, one that is there already, a damaged file, a destination whose certificate is gone."""
    monkeypatch.setattr("bisc.serve.node.TICK_S", 0.02)
    outgoing = Queue(tmp_path / "queue", 1e12).folder / "outgoing"
    for study in ("1", "2", "3", "4"):
        (one,) = write_ct(outgoing / f"{study}-1" / "out", patient(), study=study, keep=[0]).iterdir()
        one.rename(one.with_name("x_seg.dcm"))
    (outgoing / "3-1" / "out" / "x_seg.dcm").write_bytes(b"damaged")
    pacs.refuses = {f"{STEM}.1.1": 0xA900, f"{STEM}.1.2": 0x0111}
    tls = Tls(*[tmp_path / "none"] * 3)
    config = config_for(tmp_path, pacs)
    gone = Destination("gone", "cstore", "PACS", HERE, pacs.port, tls=True)
    node = Node(replace(config, destinations=(*config.destinations, gone), tls=tls), stub_model())
    node.sender.start()
    wait(lambda: pacs.got, 10)
    assert node.sender.is_alive()
    node.stop()
    node.sender.join()
    node.status.server.server_close()
    assert {job.parent.name for job in outgoing.glob("*/sent.txt")} == {"2-1", "4-1"}


@pytest.mark.parametrize(
    ("status", "reason", "why"),
    [(200, None, ""), (200, 0xA900, "status 0xA900"), (409, 0x0111, ""), (409, 45070, ""),
     (409, 0xC000, "status 0xC000"), (413, None, "HTTP 413")],
)  # fmt: skip
def test_what_an_archive_answers(status: int, reason: int | None, why: str) -> None:
    """PS3.18: 200 or 409 with a list of what it did not store; 45070 is Azure's 'already stored'."""
    answer = Dataset()
    if reason is not None:
        failed = Dataset()
        failed.FailureReason = reason
        answer.FailedSOPSequence = [failed]

    class Archive:
        status_code = status

        def json(self) -> Any:
            return answer.to_json_dict()

        def store_instances(self, _: object) -> Dataset:
            if status == 200:
                return answer
            error = OSError()
            error.response = self  # type: ignore[attr-defined]
            raise error

    assert why_refused(Archive(), Dataset()) == why


def test_an_archive_that_is_away() -> None:
    class Archive:
        status_code = 503

        def store_instances(self, _: object) -> Dataset:
            error = OSError()
            error.response = self  # type: ignore[attr-defined]
            raise error

    with pytest.raises(OSError):
        why_refused(Archive(), Dataset())


def test_waits_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    waits = Waits()
    assert [waits.longer("a") for _ in range(8)] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert (waits.due("a"), waits.due("b")) == (False, True)
    assert waits.in_turn([Path("a"), Path("b")]) == [Path("b"), Path("a")]
    now = 300.0
    assert waits.due("a")
    waits.over("a")
    assert waits.longer("a") == 5.0


def test_stow(tmp_path: Path) -> None:
    """By DICOMweb, with the token of a file."""
    got: list[tuple[str, bytes]] = []

    class Archive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers.get("Authorization", ""), body))
            answer = b'{"00081199": {"vr": "SQ", "Value": []}}'
            self.send_response(200)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer((HERE, 0), Archive)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "token").write_text("s3cret\n")
    url = f"http://{HERE}:{server.server_address[1]}/dicom-web"
    to = (Destination("archive", "stow", url=url, token_file=tmp_path / "token"),)
    files = sorted(write_ct(tmp_path / "ct", patient()).iterdir())
    with running(config_for(tmp_path, destinations=to)) as node:
        send(node, files)
        wait(lambda: node.work.sent == 1)
    server.shutdown()
    server.server_close()
    assert [authorization for authorization, _ in got] == ["Bearer s3cret"] * 2
    assert all(b"DICM" in body for _, body in got)
