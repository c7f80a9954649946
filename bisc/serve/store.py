"""The node's DICOM side: who may call, and what becomes of the objects that are sent to it."""

from __future__ import annotations

import filecmp
import hashlib
import shutil
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any, Final

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, StoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made by the module
from pynetdicom.transport import ThreadedAssociationServer

from bisc.core.errors import InputError
from bisc.imageio.formats.dicom.elements import elements_fit
from bisc.imageio.formats.dicom.tags import read_header, text
from bisc.serve.config import NodeConfig, Tls
from bisc.serve.queue import ON_ITS_WAY, Queue, digest
from bisc.system.files import atomic_file

SUCCESS, OUT_OF_RESOURCES, NOT_UNDERSTOOD, NOT_FOR_US = 0x0000, 0xA700, 0xC000, 0x0124
"""PS3.4, table B.2-1; 0x0124: refused, not authorized."""
PERMANENT, BY_USER, UNKNOWN_CALLER = 0x01, 0x01, 0x03
"""Of a rejected association (PS3.8, 9.3.4)."""
PDUS: Final = 512
"""So many (8 MB or more) come between two looks at the quota."""
STUDIES: Final = "bisc_studies"
"""An association's attribute: of each study that it brought objects of, when the last one came."""
HANDSHAKE_S: Final = 5.0
IDLE_S: Final = 60.0
"""An association on which nothing comes for so long is ended."""


@dataclass
class Counts:
    """What happened since the start."""

    received: int = 0
    refused: int = 0
    rejected: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str) -> None:
        """One more."""
        with self.lock:
            setattr(self, name, getattr(self, name) + 1)


class Receiver:
    """Listens for associations until it is stopped."""

    def __init__(self, config: NodeConfig, queue: Queue, counts: Counts, log: Callable[[str], None]) -> None:
        self.config, self.queue, self.counts, self.log = config, queue, counts, log
        self.moving = threading.Lock()
        """Held while a file takes its place, and while complete studies leave theirs."""
        self.server: ThreadedAssociationServer | None = None
        self._pdus = 0

    def start(self) -> None:
        """Listen in threads of its own.

        Raises:
            InputError: If the port cannot be had.
        """
        _config.STORE_RECV_CHUNKED_DATASET = True  # objects go to the disk as they come, however large
        tempfile.tempdir = str(self.queue.spool)  # where pynetdicom puts them, and leaves them if it is cut off
        ae = AE(ae_title=self.config.ae_title)
        ae.require_called_aet = True
        ae.maximum_associations = self.config.max_associations
        ae.network_timeout = ae.dimse_timeout = IDLE_S
        for kind in StoragePresentationContexts:
            ae.add_supported_context(str(kind.abstract_syntax), ALL_TRANSFER_SYNTAXES)  # packed ones are read too
        ae.add_supported_context(Verification)
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._asked),
            (evt.EVT_C_STORE, self._stored),
            (evt.EVT_PDU_RECV, self._came),
            *((kind, self._ended) for kind in (evt.EVT_RELEASED, evt.EVT_ABORTED, evt.EVT_CONN_CLOSE)),
        ]
        address = (self.config.host, self.config.port)
        context = server_context(self.config.tls) if self.config.tls else None
        try:
            self.server = ae.start_server(address, block=False, evt_handlers=handlers, ssl_context=context)
        except OSError as error:
            raise InputError(
                f"{address[0]}:{address[1]}",
                f"cannot listen ({error.strerror or error})",
                "a free port",
                "change 'port'",
            ) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self.server is not None
        return int(self.server.server_address[1])

    def stop(self) -> None:
        """End every association and listen no more."""
        tempfile.tempdir = None
        if self.server is not None:
            self.server.shutdown()

    def _came(self, event: Any) -> None:
        """End an association whose object is larger than there is room: it would fill the disk before it is whole."""
        self._pdus += 1
        if self._pdus % PDUS == 0 and not self.queue.has_room(0):
            self.log("ended an association: the queue's disk quota is used up")
            with self.moving:
                for study in getattr(event.assoc, STUDIES, {}):
                    self.queue.refuse(study, ON_ITS_WAY)
            event.assoc.abort()

    def _ended(self, event: Any) -> None:
        """Note of whole studies that they are; we end an association ourselves where it lies idle."""
        studies: dict[str, float] = getattr(event.assoc, STUDIES, {})
        released = event.event is evt.EVT_RELEASED
        idle = bool(studies) and time.monotonic() - max(studies.values()) > IDLE_S / 2
        with self.moving:
            for study in studies:
                if released or idle:
                    self.queue.whole(study)
        if studies and not released and not idle:
            self.log(f"an association was cut off: studies wait for the rest ({len(studies)})")
        setattr(event.assoc, STUDIES, {})  # the connection is closed after all else

    def _asked(self, event: Any) -> None:
        """Reject who is not named in the file, or calls from elsewhere."""
        asked = event.assoc.requestor
        if self.config.accepts(asked.primitive.calling_ae_title, asked.address):
            return
        self.counts.add("rejected")
        self.log(f"rejected an association from {asked.address}: its AE title and address are not in [accept]")
        event.assoc.acse.send_reject(PERMANENT, BY_USER, UNKNOWN_CALLER)
        event.assoc.kill()

    def _stored(self, event: Any) -> int:
        """Keep an object, safe on the disk before the sender is told so."""
        path = Path(event.dataset_path)
        try:
            status = self._keep(path, event.request.AffectedSOPInstanceUID, event.assoc)
        except (InputError, OSError) as error:
            status = OUT_OF_RESOURCES
            self.log(f"refused an object: {type(error).__name__}")
        self.counts.add("received" if status == SUCCESS else "refused")
        return status

    def _keep(self, path: Path, instance: str, association: Any) -> int:
        try:
            fits = elements_fit(path)
            data = read_header(path) if fits else None
        except InputError:
            data = None
        if data is None or text(path, data, "SOPInstanceUID") != instance:
            self.log("refused an object: it is damaged")
            return NOT_UNDERSTOOD
        study = text(path, data, "StudyInstanceUID") or text(path, data, "SeriesInstanceUID") or instance
        setattr(association, STUDIES, {**getattr(association, STUDIES, {}), study: time.monotonic()})
        with self.moving:
            n_bytes = path.stat().st_size
            if not self.queue.has_room(n_bytes):
                self.queue.refuse(study, instance)
                self.log("refused an object: the queue's disk quota is used up")
                return OUT_OF_RESOURCES
            target = self.queue.place_for(study) / f"{digest(instance)}.dcm"
            if target.exists() and not filecmp.cmp(path, target, shallow=False):  # the reader finds out what it is
                target = target.with_name(
                    f"{target.stem}-{hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()}.dcm"
                )
            with atomic_file(target) as scratch:
                shutil.copyfile(path, scratch)
            self.queue.took(study, instance, n_bytes)
        return SUCCESS


class _Patient(ssl.SSLContext):
    """Waits for a handshake no longer than `HANDSHAKE_S`: pynetdicom accepts nobody else meanwhile."""

    def wrap_socket(self, sock: socket, *args: Any, **how: Any) -> ssl.SSLSocket:
        """As its parent's; closes the socket where it fails."""
        before = sock.gettimeout()
        sock.settimeout(HANDSHAKE_S)
        try:
            wrapped = super().wrap_socket(sock, *args, **how)
        except OSError:
            sock.close()
            raise
        wrapped.settimeout(before)
        return wrapped


def server_context(tls: Tls) -> ssl.SSLContext:
    """Both sides show certificates of the authority."""
    context = _Patient(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls.certificate, tls.key)
    context.load_verify_locations(tls.authority)
    return context


def client_context(tls: Tls) -> ssl.SSLContext:
    """Likewise, as the caller; hospital hosts seldom have names that certificates hold."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_cert_chain(tls.certificate, tls.key)
    context.load_verify_locations(tls.authority)
    return context
