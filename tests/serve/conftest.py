"""What the node's tests share."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Iterator

import pytest
from pynetdicom.association import Association

from tests.support.dicom_peers import Pacs


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    found = Pacs()
    yield found
    found.server.shutdown()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """pynetdicom leaves the sockets of associations that were rejected to the collector, which would warn of them in
    another test. What was there before the test is not looked through: half a second each."""
    gc.freeze()
    yield
    for thread in threading.enumerate():  # it holds its socket while it waits for an answer
        if isinstance(thread, Association):
            thread.kill()
            thread.join(timeout=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    gc.unfreeze()
