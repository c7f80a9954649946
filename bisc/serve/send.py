"""Results to where they go, by C-STORE or STOW-RS; what was sent is noted, and what was not is tried again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pydicom
from pynetdicom import AE

from bisc.serve.config import Destination, NodeConfig
from bisc.serve.queue import mark_sent, results, sent
from bisc.serve.store import client_context

TIMEOUT_S: Final = 60.0
ACCEPTED: Final = range(0xB000, 0xC000)
"""Warnings: the object was stored, with something coerced."""


class SendError(Exception):
    """A destination did not take an object; its text names no patient."""


def send_job(job: Path, config: NodeConfig) -> None:
    """Send all of a job's objects that were not sent yet to every destination.

    Raises:
        SendError: If one was not taken, after the other destinations were tried.
    """
    faults = []
    for destination in config.destinations:
        there = sent(job)
        waiting = [path for path in results(job) if f"{destination.name} {path.name}" not in there]
        if not waiting:
            continue
        try:
            send = _by_cstore if destination.how == "cstore" else _by_stow
            send(job, waiting, destination, config)
        except SendError as error:
            faults.append(f"{destination.name}: {error}")
    if faults:
        raise SendError("; ".join(faults))


def _by_cstore(job: Path, files: Sequence[Path], to: Destination, config: NodeConfig) -> None:
    ae = AE(ae_title=config.ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT_S
    read = {path: pydicom.dcmread(path) for path in files}
    for kind, syntax in {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in read.values()}:
        ae.add_requested_context(kind, syntax)
    tls = None
    if to.tls:
        assert config.tls is not None  # or the file was refused; never in clear instead
        tls = client_context(config.tls), None
    association: Any = ae.associate(to.host, to.port, ae_title=to.ae_title, tls_args=tls)  # type: ignore[arg-type]
    if not association.is_established:
        raise SendError("no association" + (" (it was rejected)" if association.is_rejected else ""))
    try:
        for path, dataset in read.items():
            try:
                status = association.send_c_store(dataset)
            except (ValueError, RuntimeError) as error:  # no context was accepted, or the association is gone
                raise SendError(type(error).__name__) from error
            code = status.get("Status")
            if code is None or (code != 0 and code not in ACCEPTED):
                raise SendError("no answer" if code is None else f"status 0x{code:04X}")
            mark_sent(job, f"{to.name} {path.name}")
    finally:
        association.release()


def _by_stow(job: Path, files: Sequence[Path], to: Destination, config: NodeConfig) -> None:
    from dicomweb_client.api import DICOMwebClient

    logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)  # it would log what it sends
    headers = {}
    try:
        if to.token_file is not None:
            headers["Authorization"] = f"Bearer {to.token_file.read_text(encoding='utf-8').strip()}"
        client = DICOMwebClient(url=to.url, headers=headers)
        client.set_http_retry_params(retry=False)
        for path in files:
            answer = client.store_instances([pydicom.dcmread(path)])
            if answer.get("FailedSOPSequence"):
                raise SendError("an object was refused")
            mark_sent(job, f"{to.name} {path.name}")
    except SendError:
        raise
    except Exception as error:
        raise SendError(type(error).__name__) from error
