"""Notices in tests: one is expected, or none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from bisc.system.console import collecting


@contextmanager
def noticed(match: str) -> Iterator[list[str]]:
    """The block gives a notice that `match` is found in; yields all of them."""
    with collecting() as notes:
        yield notes
    assert any(re.search(match, note) for note in notes), notes


@contextmanager
def unnoticed() -> Iterator[None]:
    """The block gives no notice."""
    with collecting() as notes:
        yield
    assert notes == []
