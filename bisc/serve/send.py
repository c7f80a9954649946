"""Results to where they go, by C-STORE or STOW-RS; what was sent is noted, and what was not is tried again."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE

from bisc.serve.config import Destination, NodeConfig
from bisc.serve.queue import mark_sent, results, sent
from bisc.serve.store import client_context

TIMEOUT_S: Final = 60.0
AGAIN_S: Final = (5.0, 300.0)
"""Until what was not taken is tried again: at first, and at most."""
TAKEN: Final = (0x0000, 0x0111, *range(0xB000, 0xC000))
"""Stored; there already (UIDs are derived from what an object holds: it is the same one); stored, something coerced."""


class SendError(Exception):
    """A destination did not take what it was sent; its text names no patient."""


class Refused(SendError):
    """It answered, and did not take an object of this job; it may take others."""


class Waits:
    """When what failed is due again: a job, by its name, or a destination. Nothing else waits for it."""

    def __init__(self) -> None:
        self._until: dict[str | Destination, tuple[float, float]] = {}

    def due(self, what: str | Destination) -> bool:
        """Whether it need not wait any longer."""
        return time.monotonic() >= self._until.get(what, (0.0, 0.0))[0]

    def longer(self, what: str | Destination) -> float:
        """It failed once more: how many seconds it waits now."""
        first_s, most_s = AGAIN_S
        wait_s = min(2.0 * self._until.get(what, (0.0, first_s / 2.0))[1], most_s)
        self._until[what] = time.monotonic() + wait_s, wait_s
        return wait_s

    def over(self, what: str | Destination) -> None:
        """It did not fail."""
        self._until.pop(what, None)

    def in_turn(self, jobs: Sequence[Path]) -> list[Path]:
        """What failed comes behind what did not: whatever is wrong with it, it is in nobody's way."""
        return sorted(jobs, key=lambda job: self._until.get(job.name, (0.0, 0.0))[0])


def send_job(job: Path, config: NodeConfig, waits: Waits) -> bool:
    """Send all of a job's objects that were not sent yet to every destination that is due.

    Returns:
        Whether nothing is left to be sent.

    Raises:
        SendError: If one was not taken, after the other destinations were tried.
    """
    faults, there, left = [], sent(job), False
    for to in config.destinations:
        waiting = [path for path in results(job) if f"{to.name} {path.name}" not in there]
        if waiting and not waits.due(to):
            left = True
        elif waiting:
            objects = {path: pydicom.dcmread(path) for path in waiting}
            try:
                (_by_cstore if to.how == "cstore" else _by_stow)(job, objects, to, config)
                waits.over(to)
            except Refused as error:
                waits.over(to)
                faults.append(f"{to.name}: {error}")
            except Exception as error:  # noqa: BLE001 - away, or a certificate is gone: the others are to be tried
                waits.longer(to)
                faults.append(f"{to.name}: {error if isinstance(error, SendError) else type(error).__name__}")
    if faults:
        raise SendError("; ".join(faults))
    return not left


def _by_cstore(job: Path, objects: Mapping[Path, Dataset], to: Destination, config: NodeConfig) -> None:
    ae = AE(ae_title=config.ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = TIMEOUT_S
    for kind, syntax in {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in objects.values()}:
        ae.add_requested_context(kind, syntax)
    tls = None
    if to.tls:
        assert config.tls is not None  # or the file was refused; never in clear instead
        tls = client_context(config.tls), None
    association: Any = ae.associate(to.host, to.port, ae_title=to.ae_title, tls_args=tls)  # type: ignore[arg-type]
    if not association.is_established:
        raise SendError("no association" + (" (it was rejected)" if association.is_rejected else ""))
    refused = []
    try:
        for path, dataset in objects.items():
            try:
                code = association.send_c_store(dataset).get("Status")
            except ValueError:
                refused.append("its kind is not taken")  # no context was accepted for it
                continue
            if code is None:
                raise SendError("no answer")
            if code in TAKEN:
                mark_sent(job, f"{to.name} {path.name}")
            else:
                refused.append(f"status 0x{code:04X}")
    finally:
        association.release()
    if refused:
        raise Refused(", ".join(refused))


def _by_stow(job: Path, objects: Mapping[Path, Dataset], to: Destination, config: NodeConfig) -> None:
    from dicomweb_client.api import DICOMwebClient

    logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)  # it would log what it sends
    headers = {}
    if to.token_file is not None:
        headers["Authorization"] = f"Bearer {to.token_file.read_text(encoding='utf-8').strip()}"
    client = DICOMwebClient(url=to.url, headers=headers)
    client.set_http_retry_params(retry=False)
    refused = []
    for path, dataset in objects.items():
        why = why_refused(client, dataset)
        if why:
            refused.append(why)
        else:
            mark_sent(job, f"{to.name} {path.name}")
    if refused:
        raise Refused(", ".join(refused))


def why_refused(client: Any, dataset: Dataset) -> str:
    """Why an archive did not take an object by STOW-RS; empty where it did, or has it."""
    why = ""
    try:
        answer = client.store_instances([dataset])
    except Exception as error:
        response: Any = getattr(error, "response", None)  # of requests, where it is of an HTTP status
        if response is None or not 400 <= response.status_code < 500:
            raise
        why = f"HTTP {response.status_code}"
        try:
            answer = Dataset.from_json(response.json())  # as of 409 (PS3.18, 10.5.3)
        except Exception:  # noqa: BLE001 - a page in words
            return why
    codes = [item.get("FailureReason") or 0x0110 for item in answer.get("FailedSOPSequence") or []]
    faults = [f"status 0x{code:04X}" for code in codes if code not in TAKEN]
    return faults[0] if faults else "" if codes else why
