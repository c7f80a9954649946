"""A PACS of pynetdicom's own, and a node beside it."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, StoragePresentationContexts, evt

from bisc.core.geometry import Geometry
from bisc.core.volume import Volume
from bisc.serve.config import Destination, NodeConfig
from bisc.serve.node import Node
from tests.support.stub_model import kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()
LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((16, 80, 96), (9.0, 4.0, 4.0), (-190.0, -160.0, -700.0), LPS)
HERE = "127.0.0.1"
PATIENT = (b"Doe", b"Jane", b"P1", b"19500102")


def patient() -> Volume:
    return kidneys(GRID)[0]


class Pacs:
    """Takes what it is sent, and counts it by UID."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.got: Counter[str] = Counter()
        self.last: dict[str, Dataset] = {}
        self.answer = 0x0000
        self.refuses: dict[str, int] = {}
        """Answers to the objects of a study, by its UID."""
        ae = AE(ae_title="PACS")
        ae.supported_contexts = StoragePresentationContexts
        started: Any = ae.start_server(
            (HERE, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.take)], ssl_context=tls
        )
        self.server = started
        self.port = self.server.server_address[1]

    def take(self, event: Any) -> int:
        if self.answer == 0:
            path = getattr(event, "dataset_path", None)
            data = pydicom.dcmread(path) if path else event.dataset
            if data.StudyInstanceUID in self.refuses:
                return self.refuses[data.StudyInstanceUID]
            self.got[str(data.SOPInstanceUID)] += 1
            self.last[str(data.Modality)] = data
        return self.answer


def config_for(tmp_path: Path, pacs: Pacs | None = None, **how: Any) -> NodeConfig:
    to = (Destination("pacs", "cstore", "PACS", HERE, pacs.port),) if pacs else ()
    config = NodeConfig(
        folder=tmp_path / "queue",
        model=tmp_path,
        port=0,
        status_port=0,
        quiet_s=0.3,
        accept={"SCANNER": (HERE,)},
        destinations=to,
        extras=("sr",),
    )
    return replace(config, **how)


@contextmanager
def running(config: NodeConfig) -> Iterator[Node]:
    node = Node(config, stub_model())
    thread = threading.Thread(target=node.run, daemon=True)
    thread.start()
    wait(lambda: node.receiver.server is not None and node.sender.is_alive())
    try:
        yield node
    finally:
        node.stop()
        thread.join(timeout=60)
        assert not thread.is_alive()


def wait(done: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def send(
    node: Node, files: list[Path], calling: str = "SCANNER", called: str = "BISC", tls: ssl.SSLContext | None = None
) -> list[int | None]:
    """Statuses of each file; none where the association was not had."""
    ae = AE(ae_title=calling)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association: Any = ae.associate(HERE, node.receiver.port, ae_title=called, tls_args=(tls, HERE) if tls else None)
    if not association.is_established:
        return []
    found = [association.send_c_store(path).get("Status") for path in files]
    association.release()
    return found
