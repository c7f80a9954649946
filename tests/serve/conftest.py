"""What the node's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.dicom_peers import Pacs


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    found = Pacs()
    yield found
    found.server.shutdown()
