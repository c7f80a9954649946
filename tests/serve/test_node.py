"""The node with a PACS of pynetdicom's own: what comes in goes out once, whatever happens in between."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, _config

from bisc.core.errors import InputError, WorkError
from bisc.pipeline.options import TABLE, PredictionRow
from bisc.pipeline.rows import merge_rows, read_rows
from bisc.serve import store
from bisc.serve.config import Destination, Tls
from bisc.serve.node import Node
from bisc.serve.queue import Queue
from tests.support.ct_series import write_ct
from tests.support.dicom_peers import HERE, PATIENT, Pacs, config_for, patient, running, send, wait
from tests.support.stub_model import stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()


def test_a_study_sent_comes_back_as_seg_and_report(
    tmp_path: Path, pacs: Pacs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once; nothing of it stays but tables; no line says whom it is of; the pages count it."""
    files = sorted(write_ct(tmp_path / "ct", patient()).iterdir())
    with running(config_for(tmp_path, pacs)) as node:
        assert send(node, files) == [0] * len(files)
        wait(lambda: node.work.sent == 1)
        numbers = page(node, "/metrics")
        assert "bisc_studies_sent_total 1\n" in numbers
        assert f"bisc_objects_received_total {len(files)}\n" in numbers
        assert json.loads(page(node, "/health")) == {"healthy": True}
        assert "<td>studies sent<td>1" in page(node, "/")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            page(node, "/etc/passwd")
    assert sorted(pacs.got.values()) == [1, 1]
    assert pacs.last["SEG"].PatientID == "P1"
    assert pacs.last["SR"].StudyInstanceUID == pacs.last["SEG"].StudyInstanceUID
    left = [p for p in (tmp_path / "queue").rglob("*") if p.is_file()]
    assert {p.name for p in left} == {"files.txt", "predictions.csv", "sent.txt"}
    said = capsys.readouterr().err.encode()
    told = said + b"".join(str(p).encode() + p.read_bytes() for p in left)
    assert not [secret for secret in PATIENT if secret in told]


def page(node: Node, path: str) -> str:
    with urllib.request.urlopen(f"http://{HERE}:{node.status.port}{path}") as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize(("calling", "called"), [("STRANGER", "BISC"), ("SCANNER", "OTHER")])
def test_strangers_are_rejected(tmp_path: Path, calling: str, called: str) -> None:
    files = sorted(write_ct(tmp_path / "ct", patient(), keep=[0]).iterdir())
    with running(config_for(tmp_path)) as node:
        assert send(node, files, calling, called) == []
        assert send(node, files) == [0]


def test_a_caller_from_elsewhere_is_rejected(tmp_path: Path) -> None:
    files = sorted(write_ct(tmp_path / "ct", patient(), keep=[0]).iterdir())
    with running(config_for(tmp_path, accept={"SCANNER": ("10.0.0.5",)})) as node:
        assert send(node, files) == []
        assert node.counts.rejected == 1


def test_more_associations_than_allowed_wait(tmp_path: Path) -> None:
    """The one too many is refused; when another ends there is room again."""
    with running(config_for(tmp_path, max_associations=3)) as node:
        ae = AE(ae_title="SCANNER")
        ae.add_requested_context(CTImageStorage)
        there: list[Any] = [ae.associate(HERE, node.receiver.port, ae_title="BISC") for _ in range(4)]
        assert [a.is_established for a in there] == [True, True, True, False]
        there[0].release()
        wait(lambda: ae.associate(HERE, node.receiver.port, ae_title="BISC").is_established, 10)


def test_a_truncated_object_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the association goes on."""
    whole, cut = sorted(write_ct(tmp_path / "ct", patient(), keep=[0, 1]).iterdir())
    cut.write_bytes(cut.read_bytes()[:-4000])
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    with running(config_for(tmp_path, quiet_s=60.0)) as node:
        assert send(node, [cut, whole]) == [store.NOT_UNDERSTOOD, 0]
        assert len(list((tmp_path / "queue" / "incoming").rglob("*.dcm"))) == 1


def test_a_full_queue_refuses(tmp_path: Path) -> None:
    files = sorted(write_ct(tmp_path / "ct", patient(), keep=[0]).iterdir())
    with running(config_for(tmp_path, quota_gb=1e-6)) as node:
        assert send(node, files) == [store.OUT_OF_RESOURCES]
        assert node.counts.refused == 1


def test_a_study_that_had_no_room_is_not_predicted_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until what was refused comes again; without it, it ends in `failed`."""
    files = sorted(write_ct(tmp_path / "ct", patient()).iterdir())
    with running(config_for(tmp_path)) as node:
        quota = node.queue.quota_bytes
        node.queue.quota_bytes = 8 * files[0].stat().st_size
        statuses = send(node, files)
        assert statuses.count(0) == statuses.index(store.OUT_OF_RESOURCES) < 8
        time.sleep(1.0)  # more than the quiet time
        assert node.work.predicted + node.work.failed == 0
        node.queue.quota_bytes = quota
        assert send(node, files[statuses.count(0) :]) == [0] * statuses.count(store.OUT_OF_RESOURCES)
        wait(lambda: node.work.predicted == 1)
        node.queue.quota_bytes = 1.0
        assert set(send(node, files)) == {store.OUT_OF_RESOURCES}
        monkeypatch.setattr("bisc.serve.node.GIVE_UP_S", 0.1)
        wait(lambda: node.work.failed == 1)
    assert [p.name for p in (tmp_path / "queue" / "incoming").iterdir()] == []


@pytest.mark.long
def test_what_was_under_way_goes_on(tmp_path: Path, pacs: Pacs) -> None:
    """Whatever stage a killed node left it in; what was sent is not sent again."""
    files = sorted(write_ct(tmp_path / "ct", patient()).iterdir())
    with running(config_for(tmp_path)) as node:  # nowhere to send to: all ends in `done`
        send(node, files)
        wait(lambda: node.work.sent == 1)
    queue = Queue(tmp_path / "queue", 1e12)
    (job,) = queue.folders("done")
    shutil.copytree(tmp_path / "ct", job / "in")  # as if it had been killed amid its prediction
    job.rename(tmp_path / "queue" / "ready" / f".{job.name}")
    with running(config_for(tmp_path, pacs)) as node:
        wait(lambda: node.work.sent == 1)
    assert sorted(pacs.got.values()) == [1, 1]
    (job,) = queue.folders("done")
    shutil.copytree(tmp_path / "ct", job / "in")
    (job / "sent.txt").unlink()
    job.rename(tmp_path / "queue" / "ready" / job.name)
    first = set(pacs.got)
    with running(config_for(tmp_path, pacs)) as node:  # killed before it noted what it had sent: the same objects
        wait(lambda: node.work.sent == 1)
    assert set(pacs.got) == first


@pytest.mark.long
def test_files_of_a_begun_study_wait_anew_after_a_start(tmp_path: Path) -> None:
    """Its sender may have been cut off with the node, and goes on."""
    files = sorted(write_ct(tmp_path / "ct", patient()).iterdir())
    with running(config_for(tmp_path, quiet_s=60.0)) as node:
        send(node, files[:8])
    for path in (tmp_path / "queue" / "incoming").rglob("*"):
        assert path.exists()
    with running(config_for(tmp_path, quiet_s=1.5)) as node:
        send(node, files[8:])
        wait(lambda: node.work.predicted + node.work.failed == 1)
        assert node.work.predicted == 1


def test_a_watched_folder(tmp_path: Path, pacs: Pacs) -> None:
    """Folders and archives, when they no longer change; masks are kept where the file says."""
    watch, keep = tmp_path / "watch", tmp_path / "keep"
    watch.mkdir()
    with running(config_for(tmp_path, pacs, watch=watch, keep=keep, accept={})) as node:
        write_ct(watch / "jane doe" / "S1", patient())
        shutil.make_archive(str(watch / "second"), "zip", write_ct(tmp_path / "z", patient(), study="2"))
        wait(lambda: node.work.sent == 2)
        assert list(watch.iterdir()) == []
    kept = sorted(p.name for p in keep.rglob("*.nii.gz"))
    assert len(kept) == 2
    assert not [name for name in kept if "doe" in name]
    assert sorted(pacs.got.values()) == [1] * 4


def test_a_study_without_a_ct_ends_in_failed(tmp_path: Path, pacs: Pacs) -> None:
    def report(data: Dataset, i: int) -> None:
        data.Modality = "MR"

    files = sorted(write_ct(tmp_path / "ct", patient(), keep=[0, 1], change=report).iterdir())
    with running(config_for(tmp_path, pacs)) as node:
        send(node, files)
        wait(lambda: node.work.failed == 1)
        assert node.healthy()
    assert not pacs.got


def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, both sides with a certificate; none without, and who says nothing bars nobody."""
    openssl = shutil.which("openssl") or pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bisc",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setattr("bisc.serve.store.HANDSHAKE_S", 0.5)
    tls = Tls(certificate, key, certificate)
    pacs = Pacs(store.server_context(tls))
    to = (Destination("pacs", "cstore", "PACS", HERE, pacs.port, tls=True),)
    files = sorted(write_ct(tmp_path / "ct", patient()).iterdir())
    with running(config_for(tmp_path, destinations=to, tls=tls)) as node:
        with socket.create_connection((HERE, node.receiver.port), timeout=10) as plain:
            plain.sendall(b"\x01\x00" + bytes(70))  # how an A-ASSOCIATE-RQ begins
            with suppress(ConnectionResetError):
                assert plain.recv(1) in (b"", b"\x15")  # nothing, or a TLS alert
        silent = socket.create_connection((HERE, node.receiver.port))
        assert send(node, files, tls=store.client_context(tls)) == [0] * len(files)
        wait(lambda: node.work.sent == 1)
        silent.close()
    pacs.server.shutdown()
    assert sorted(pacs.got.values()) == [1, 1]


@pytest.mark.parametrize("kept", [False, True])
def test_what_cannot_be_written_or_predicted_is_no_success(
    tmp_path: Path, kept: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a sound study, one that no SEG can refer to, whose mask stays; a broken one; one without a kidney."""

    def predicted(_: object, model: object, out: Path, *rest: object) -> list[PredictionRow]:
        for name in ("k-1_1_seg.dcm", "k-1_1_sr.dcm", "k-1_2.nii.gz"):
            (out / name).touch()
        statuses = enumerate(["ok", "one_kidney", "failed", "no_kidney", "skipped"])
        rows = [PredictionRow(f"k-1_{i + 1}", status, light="red" if i < 2 else "") for i, status in statuses]
        merge_rows(out / TABLE, rows)
        return rows

    monkeypatch.setattr("bisc.serve.node.find_inputs", lambda *_: [])
    monkeypatch.setattr("bisc.serve.node.predict_cases", predicted)
    node = Node(config_for(tmp_path, keep=tmp_path / "keep" if kept else None), stub_model())
    job = tmp_path / "queue" / "ready" / "k-1"
    (job / "in").mkdir(parents=True)
    (job / "files.txt").write_text("a\nb\n")
    before = tmp_path / "queue" / "failed" / "k-2"
    before.mkdir()
    (before / "files.txt").write_text("b\nc\n")
    node._do(job)
    node.status.server.server_close()
    assert (node.work.predicted, node.work.failed) == (2, 2)
    told = capsys.readouterr().err
    assert "k-1: ok (red), one_kidney (red) but not as DICOM, its mask is kept as NIfTI, failed, no_kidney; its" in told
    assert "k-1: predicted without what came earlier of its study, as a job of its own (1 objects)" in told
    left = sorted(p.name for p in node.queue.move(tmp_path / "queue" / "outgoing" / "k-1", "done").glob("out/*"))
    assert left == [*["k-1_2.nii.gz"][kept:], TABLE]
    rows = read_rows(tmp_path / "queue" / "done" / "k-1" / "out" / TABLE)
    assert ["came earlier" in row.notes for row in rows] == [True, True, True, True, False]
    assert (tmp_path / "keep" / "k-1" / "k-1_2.nii.gz").exists() == kept


def test_what_failed_for_a_moment_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beside what did not fail."""

    def predicted(_: object, model: object, out: Path, options: object, complain: Any) -> list[PredictionRow]:
        complain(WorkError("out of memory"))
        return [PredictionRow("k-1_1", "no_kidney"), PredictionRow("k-1_2", "failed")]

    monkeypatch.setattr("bisc.serve.node.TICK_S", 0.01)
    monkeypatch.setattr("bisc.serve.node.find_inputs", lambda *_: [])
    monkeypatch.setattr("bisc.serve.node.predict_cases", predicted)
    node = Node(config_for(tmp_path), stub_model())
    node.status.server.server_close()
    job = tmp_path / "queue" / "ready" / "k-1"
    (job / "in").mkdir(parents=True)
    for left in (True, True, False):
        node._do(job)
        assert job.exists() == left
    assert (node.work.predicted, node.work.failed) == (1, 1)


def test_nobody_may_send(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody may send"):
        Node(config_for(tmp_path, accept={}), stub_model())


def test_a_port_that_is_taken(tmp_path: Path, pacs: Pacs) -> None:
    node = Node(config_for(tmp_path, port=pacs.port), stub_model())
    with pytest.raises(InputError, match="cannot listen"):
        node.run()
